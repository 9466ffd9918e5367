"""Convolution: the same weights at every place of a sequence or an image."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnn.arrays import Shape, default_float, require_features, require_floating, require_positive
from jaxnn.kernels.barriers import materialized
from jaxnn.kernels.convolution import convolution, input_gradient, weight_gradient
from jaxnn.layer import Backward, Forward, Init, recipe
from jaxnn.layers.windowed import WeighedWindows


class ConvParams(NamedTuple):
    weight: Float[Array, "*window n_in_group n_out"]
    bias: Float[Array, "n_out"] | None


class ConvCache(NamedTuple):
    x: Float[Array, "batch *spatial n_in"]


@recipe
class _Conv(WeighedWindows):
    groups: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        name = type(self).__name__
        require_positive(f"{name}: groups", self.groups)
        if self.n_out % self.groups:
            raise ValueError(f"{name}: groups should divide n_out, got {self.groups} groups of {self.n_out} outputs")

    def init(self, key: jax.Array, shape: Shape, dtype: Any = None) -> Init:
        self.output_shape(shape)
        weight_key, bias_key = jax.random.split(key)
        n_in_group = shape[-1] // self.groups
        weight = self.weight_init(weight_key, (*self._windows.size, n_in_group, self.n_out), default_float(dtype))
        bias = self.bias_init(bias_key, (self.n_out,), default_float(dtype)) if self.bias else None
        return Init(ConvParams(weight, bias), ())

    def output_shape(self, shape: Shape) -> Shape:
        counts = self._windows.require_fit(self, shape)
        if shape[-1] % self.groups:
            raise ValueError(f"{self}: groups should divide the channels, got {self.groups} for examples of {shape}")
        return (*counts, self.n_out)

    def forward(self, params: ConvParams, state: Any, x: jax.Array, *, key: Any = None, train: bool = False) -> Forward:
        require_floating(self, x)
        require_features(self, x.shape, params.weight.shape[-2] * self.groups)
        self.output_shape(x.shape[1:])
        y = convolution(x, params.weight, self._windows, self.groups, self.precision)
        if params.bias is not None:
            y = y + jnp.broadcast_to(params.bias, y.shape)
        return Forward(y, state, ConvCache(x))

    def backward(self, params: ConvParams, cache: ConvCache, dy: jax.Array) -> Backward:
        x, windows, spatial = cache.x, self._windows, cache.x.shape[1:-1]
        (dy,) = materialized(dy)  # it is used three times
        dweight = weight_gradient(x, dy, windows, self.groups, self.precision)
        dbias = None if params.bias is None else jnp.sum(dy, axis=tuple(range(dy.ndim - 1)))
        dx = input_gradient(dy, params.weight, windows, self.groups, spatial, self.precision)
        return Backward(ConvParams(dweight, dbias), dx)


class Conv1D(_Conv):
    """Convolution of sequences: `Conv2D` with one axis.

        y[b, i, f] = sum_{u, c} x[b, s i + d u - low, c] W[u, c, f] + bias[f]

    Shapes: x (B, L, C), weight (k, C / G, F), bias (F,) or None without `bias` -> y (B, L', F).
    Backward: as in `Conv2D`.  Keeps x.  Raises: as `Conv2D`.  NumPy twin: reference/windows.py.

    >>> Conv1D(25, 5, stride=2).output_shape((40, 1))
    (20, 25)
    """

    n_axes = 1


class Conv2D(_Conv):
    """Convolution: y is what each window of x sees, weighted by W, the same for all windows.

        y[b, i, j, f] = sum_{u, v, c} x[b, s i + d u - low, s j + d v - low, c] W[u, v, c, f] + bias[f]
    with stride s and dilation d, an int or one for each axis; where the window reaches over x's edge, x is 0 there.
    `padding`: "SAME" (as much as makes ceil(H / s) rows, the odd one below), "VALID" (none: `low` is 0), or
    ((low, high), (low, high)). With G `groups`, the channels and the outputs fall into G equal parts, in order, and
    outputs see only the channels of their own part; `groups` = C is the depthwise convolution.

    Shapes: x (B, H, W, C), weight (k, k, C / G, F), bias (F,) or None without `bias` -> y (B, H', W', F), with
    H' = floor((H + low + high - d (k - 1) - 1) / s) + 1.
    Backward, with o(i, u) = s i + d u - low:
        dW[u, v, c, f] = sum_{b, i, j} x[b, o(i, u), o(j, v), c] dy[b, i, j, f]
        dx[b, p, q, c] = sum_f sum_{i, u: o(i, u) = p} sum_{j, v: o(j, v) = q} W[u, v, c, f] dy[b, i, j, f]
        db[f] = sum_{b, i, j} dy[b, i, j, f]
    Keeps x. `precision` is `jax.lax.Precision`'s, by name, and holds in backward too. The forms that compute all this
    are in kernels/convolution.py.
    Raises: ValueError if x doesn't have these axes or channels, if no window fits, or if `groups` doesn't divide the
    channels and n_out; TypeError if x isn't floating.
    Source: PRINCIPLES G6 to G9 (hanbingtao, part 4).  NumPy twin: reference/windows.py.

    >>> net = Conv2D(32)
    >>> net.output_shape((28, 28, 1)), net.init(jax.random.key(0), (28, 28, 1)).params.weight.shape
    ((28, 28, 32), (3, 3, 1, 32))
    >>> Conv2D(2, 3, stride=2, padding=((1, 1), (1, 1))).output_shape((5, 5, 3))
    (3, 3, 2)
    """

    n_axes = 2
