"""Normalisations within an example: LayerNorm, GroupNorm and RMSNorm. BatchNorm normalises over the rows of a batch.

Each divides the numbers of an example into sets, normalises each set, and then scales and shifts:
    LayerNorm   a set is all of the last axes
    GroupNorm   a set is a group of channels, at all places
    RMSNorm     a set is the last axis, and its mean isn't subtracted
No row influences another's output, there are no running statistics, and training and evaluation are the same. Sums are
taken in float32 at least; y and dx have x's dtype. x is kept rather than x^: in bfloat16 x^ would be rounded, and y,
which the next layer may keep as its input, doesn't determine x^ where scale is 0.

NaN: a NaN in x is a NaN in all of its set, and in no other.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnn.arrays import Shape, default_float, number, require_features, require_floating, require_positive, widened
from jaxnn.layer import Backward, Forward, Init, recipe


class NormParams(NamedTuple):
    scale: Float[Array, "*axes"] | None
    bias: Float[Array, "*axes"] | None


class NormCache(NamedTuple):
    """x, and the mean and 1 / sqrt(variance + epsilon) of each set."""

    x: Float[Array, "batch *axes"]
    mean: jax.Array
    inverse_std: jax.Array


class RMSNormCache(NamedTuple):
    x: Float[Array, "batch *middle features"]
    inverse_rms: Float[Array, "batch *middle 1"]


@recipe
class LayerNorm:
    """Layer normalisation: the last `n_axes` axes of each example with mean 0 and variance 1, then scaled and shifted.

        mu = mean(x)        var = mean((x - mu)^2)        s = 1 / sqrt(var + epsilon)        (means over these axes)
        x^ = (x - mu) s        y = scale * x^ + bias
    The variance is the biased one. Without `scale` or `bias` that parameter is None.

    Shapes: x (B, ..., *N) -> y of x's shape; scale and bias (*N), which is `n_axes` axes.
    Backward, with g = scale dy, sums over all rows and means over the normalised axes:
        dbias = sum dy        dscale = sum dy x^        dx = s (g - mean(g) - x^ mean(g x^))
    Keeps x, mu and s.
    Raises: ValueError if an example has fewer axes, if they aren't those of the params, or if they hold one number
    (its variance is 0, so that y is the bias); TypeError if x isn't floating.
    Source: Ba, Kiros and Hinton 2016, equations 3 and 4.  NumPy twin: reference/normalization.py.

    >>> params, _ = LayerNorm(2).init(jax.random.key(0), (7, 3, 4))
    >>> params.scale.shape, params.bias.shape
    ((3, 4), (3, 4))
    """

    n_axes: int = 1
    epsilon: float = number("[0, inf)", 1e-5)
    scale: bool = True
    bias: bool = True

    def __post_init__(self) -> None:
        require_positive("LayerNorm: n_axes", self.n_axes)

    def init(self, key: jax.Array, shape: Shape, dtype: Any = None) -> Init:
        return Init(_params(self, self._normalized(shape), dtype), ())

    def output_shape(self, shape: Shape) -> Shape:
        self._normalized(shape)
        return shape

    def forward(
        self, params: NormParams, state: tuple, x: jax.Array, *, key: Any = None, train: bool = False
    ) -> Forward:
        require_floating(self, x)
        normalized_shape = self._normalized(x.shape[1:])
        for param in params:
            if param is not None and param.shape != normalized_shape:
                raise ValueError(
                    f"{self}: the last axes of x should be {param.shape}, as its params are, got x of shape {x.shape}: "
                    "check the data, or make the params anew with net.init(key, shape of one example)"
                )
        x = jnp.asarray(x)
        normalized, mean, inverse_std = _standardized(widened(x), self._axes, self.epsilon)
        return Forward(_affine(params, normalized).astype(x.dtype), state, NormCache(x, mean, inverse_std))

    def backward(self, params: NormParams, cache: NormCache, dy: jax.Array) -> Backward:
        x, mean, inverse_std = cache
        normalized = (widened(x) - mean) * inverse_std
        dparams, g = _affine_backward(params, normalized, dy)
        dx = _standardized_backward(normalized, inverse_std, g, self._axes)
        return Backward(dparams, dx.astype(x.dtype))

    @property
    def _axes(self) -> tuple[int, ...]:
        return tuple(range(-self.n_axes, 0))

    def _normalized(self, shape: Shape) -> Shape:
        """The shape of what is normalised together."""
        if len(shape) < self.n_axes:
            raise ValueError(
                f"{self}: one example should have {self.n_axes} or more axes, got shape {tuple(shape)}: "
                "use a smaller n_axes, or x[:, None] for single numbers"
            )
        _require_several(self, math.prod(shape[-self.n_axes :]), shape, "use a larger n_axes, or leave it out")
        return tuple(shape[-self.n_axes :])


@recipe
class GroupNorm:
    """Group normalisation: the channels in equal groups, each with mean 0 and variance 1 over all places of an example.

        mu, var  of each example and group, over the middle axes and the group's channels alike
        x^ = (x - mu) s,  s = 1 / sqrt(var + epsilon)        y = scale * x^ + bias
    The variance is the biased one. Channels are the last axis, and neighbours form a group. `GroupNorm(1)` takes all
    channels together; `GroupNorm(C)`, each channel by itself, is instance normalisation. Without `scale` or `bias`
    that parameter is None.

    Shapes: x (B, ..., C), such as images (B, H, W, C) -> y of x's shape; scale and bias (C,).
    Backward, with g = scale dy, sums over all rows and means over a group's numbers:
        dbias = sum dy        dscale = sum dy x^        dx = s (g - mean(g) - x^ mean(g x^))
    Keeps x, mu and s.
    Raises: ValueError if `groups` doesn't divide the channels, if params are for another number of channels, or if a
    group holds one number (its variance is 0, so that y is the bias); TypeError if x isn't floating.
    Source: Wu and He 2018, equations 1 and 7; instance normalisation: Ulyanov, Vedaldi and Lempitsky 2016.
    NumPy twin: reference/normalization.py.

    >>> params, _ = GroupNorm(2).init(jax.random.key(0), (8, 8, 6))
    >>> params.scale.shape
    (6,)
    """

    groups: int
    epsilon: float = number("[0, inf)", 1e-5)
    scale: bool = True
    bias: bool = True

    def __post_init__(self) -> None:
        require_positive("GroupNorm: groups", self.groups)

    def init(self, key: jax.Array, shape: Shape, dtype: Any = None) -> Init:
        return Init(_params(self, self._channels(shape), dtype), ())

    def output_shape(self, shape: Shape) -> Shape:
        self._channels(shape)
        return shape

    def forward(
        self, params: NormParams, state: tuple, x: jax.Array, *, key: Any = None, train: bool = False
    ) -> Forward:
        require_floating(self, x)
        for param in params:
            if param is not None:
                require_features(self, x.shape, param.shape[0])
        self._channels(x.shape[1:])
        x = jnp.asarray(x)
        normalized, mean, inverse_std = _standardized(self._grouped(widened(x)), self._axes, self.epsilon)
        y = _affine(params, normalized.reshape(x.shape))
        return Forward(y.astype(x.dtype), state, NormCache(x, mean, inverse_std))

    def backward(self, params: NormParams, cache: NormCache, dy: jax.Array) -> Backward:
        x, mean, inverse_std = cache
        normalized = (self._grouped(widened(x)) - mean) * inverse_std
        dparams, g = _affine_backward(params, normalized.reshape(x.shape), dy)
        dx = _standardized_backward(normalized, inverse_std, self._grouped(g), self._axes)
        return Backward(dparams, dx.reshape(x.shape).astype(x.dtype))

    _axes = (1, 3)

    def _grouped(self, x: jax.Array) -> jax.Array:
        """(B, ..., C) as (B, places, groups, channels of a group)."""
        return x.reshape(x.shape[0], math.prod(x.shape[1:-1]), self.groups, x.shape[-1] // self.groups)

    def _channels(self, shape: Shape) -> Shape:
        if not shape:
            raise ValueError(f"{self}: one example should have at least one axis, got shape (): use x[:, None]")
        if shape[-1] % self.groups:
            raise ValueError(
                f"{self}: groups should divide the {shape[-1]} channels, the last axis of an example of shape "
                f"{tuple(shape)}: use 1 to {shape[-1]} groups of equal size, or put the channels last"
            )
        _require_several(self, math.prod(shape) // self.groups, shape, "use fewer groups, or leave it out")
        return tuple(shape[-1:])


@recipe
class RMSNorm:
    """Root mean square normalisation: the last axis divided by its root mean square, then scaled. No mean, no bias.

        s = 1 / sqrt(mean(x^2) + epsilon)        x^ = x s        y = scale * x^
    Without `scale` that parameter is None.

    Shapes: x (B, ..., N) -> y of x's shape; scale (N,).
    Backward, with g = scale dy, sums over all rows and means over the last axis:
        dscale = sum dy x^        dx = s (g - x^ mean(g x^))
    Keeps x and s.
    Raises: ValueError if the last axis of x isn't N; TypeError if x isn't floating.
    Source: Zhang and Sennrich 2019, equation 4.  NumPy twin: reference/normalization.py.

    >>> RMSNorm(epsilon=0.0, scale=False).forward((None, None), (), jnp.array([[1.0, -7.0]])).y
    Array([[ 0.2, -1.4]], dtype=float32)
    """

    epsilon: float = number("[0, inf)", 1e-6)
    scale: bool = True

    bias = False

    def init(self, key: jax.Array, shape: Shape, dtype: Any = None) -> Init:
        self.output_shape(shape)
        return Init(_params(self, tuple(shape[-1:]), dtype), ())

    def output_shape(self, shape: Shape) -> Shape:
        if not shape:
            raise ValueError(f"{self}: one example should have at least one axis, got shape (): use x[:, None]")
        return shape

    def forward(
        self, params: NormParams, state: tuple, x: jax.Array, *, key: Any = None, train: bool = False
    ) -> Forward:
        require_floating(self, x)
        self.output_shape(x.shape[1:])
        scale, _ = params
        if scale is not None:
            require_features(self, x.shape, scale.shape[0])
        x = jnp.asarray(x)
        wide = widened(x)
        inverse_rms = jax.lax.rsqrt(jnp.mean(jnp.square(wide), axis=-1, keepdims=True) + self.epsilon)
        return Forward(_affine(params, wide * inverse_rms).astype(x.dtype), state, RMSNormCache(x, inverse_rms))

    # x_i enters its set through itself and through s, and ds/dx_i = -1/2 s^3 2 x_i / n. With g the cotangent of x^:
    #   dx_i = s g_i + (sum_j g_j x_j) (-s^3 x_i / n) = s (g_i - x^_i mean(g x^)).
    def backward(self, params: NormParams, cache: RMSNormCache, dy: jax.Array) -> Backward:
        x, inverse_rms = cache
        normalized = widened(x) * inverse_rms
        dparams, g = _affine_backward(params, normalized, dy)
        through_rms = normalized * jnp.mean(g * normalized, axis=-1, keepdims=True)
        dx = inverse_rms * (g - through_rms)
        return Backward(dparams, dx.astype(x.dtype))


def _standardized(x: jax.Array, axes: tuple[int, ...], epsilon: float) -> tuple[jax.Array, jax.Array, jax.Array]:
    """x^, mu and s. The variance is taken around the mean: mean(x^2) - mu^2 would cancel where x is far from 0."""
    mean = jnp.mean(x, axis=axes, keepdims=True)
    centred = x - mean
    inverse_std = jax.lax.rsqrt(jnp.mean(jnp.square(centred), axis=axes, keepdims=True) + epsilon)
    return centred * inverse_std, mean, inverse_std


# x_i enters its set of n numbers through itself, through mu and through var. With g the cotangent of x^:
#   dvar = sum_i g_i (x_i - mu) (-1/2) s^3 = -1/2 s^2 sum_i g_i x^_i
#   dmu  = -s sum_i g_i                      (dvar's part is 0, because sum_i (x_i - mu) = 0)
#   dx_i = s g_i + dmu / n + dvar 2 (x_i - mu) / n = s (g_i - mean(g) - x^_i mean(g x^)).
def _standardized_backward(
    normalized: jax.Array, inverse_std: jax.Array, g: jax.Array, axes: tuple[int, ...]
) -> jax.Array:
    through_mean = jnp.mean(g, axis=axes, keepdims=True)
    through_variance = normalized * jnp.mean(g * normalized, axis=axes, keepdims=True)
    return inverse_std * (g - through_mean - through_variance)


def _affine(params: NormParams, normalized: jax.Array) -> jax.Array:
    """y = scale * x^ + bias, the params along the last axes."""
    scale, bias = params
    y = normalized if scale is None else _along(scale, normalized) * normalized
    return y if bias is None else y + _along(bias, y)


def _affine_backward(params: NormParams, normalized: jax.Array, dy: jax.Array) -> tuple[NormParams, jax.Array]:
    """dparams, and g = scale dy."""
    scale, bias = params
    dy = widened(dy)
    dscale = None if scale is None else _summed(dy * normalized, scale)
    dbias = None if bias is None else _summed(dy, bias)
    return NormParams(dscale, dbias), dy if scale is None else _along(scale, dy) * dy


def _along(param: jax.Array, x: jax.Array) -> jax.Array:
    """A parameter of the last axes, repeated for each row of x, in x's dtype."""
    return jnp.broadcast_to(param.astype(x.dtype), x.shape)


def _summed(x: jax.Array, param: jax.Array) -> jax.Array:
    """The sum over all axes but the parameter's."""
    return jnp.sum(x, axis=tuple(range(x.ndim - param.ndim))).astype(param.dtype)


def _params(layer: Any, shape: Shape, dtype: Any) -> NormParams:
    scale = jnp.ones(shape, default_float(dtype)) if layer.scale else None
    bias = jnp.zeros(shape, default_float(dtype)) if layer.bias else None
    return NormParams(scale, bias)


def _require_several(layer: Any, n: int, shape: Shape, remedy: str) -> None:
    if n == 1:
        raise ValueError(
            f"{layer}: what is normalised together should be at least two numbers, got one, in an example of shape "
            f"{tuple(shape)}: its variance is 0, so that y would be the bias whatever x is; {remedy}"
        )
