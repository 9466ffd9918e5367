"""Batch normalisation."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnn.arrays import Shape, Static, default_float, number, require_features, require_floating, wide_dtype, widened
from jaxnn.kernels.barriers import materialized
from jaxnn.layer import Backward, Forward, Init, changed, recipe
from jaxnn.mesh_axes import mean_over, n_devices, require_axis


class BatchNormParams(NamedTuple):
    scale: Float[Array, "features"]
    bias: Float[Array, "features"]


class BatchNormState(NamedTuple):
    mean: Float[Array, "features"]
    variance: Float[Array, "features"]


class BatchNormCache(NamedTuple):
    x: Float[Array, "batch *middle features"]
    mean: Float[Array, "features"]
    inverse_std: Float[Array, "features"]
    train: Static[bool]


@recipe
class BatchNorm:
    """Batch normalisation: each feature with mean 0 and variance 1 over the rows, then scaled and shifted.

    Rows r run over the batch and middle axes alike; R is their number.
        training    mu = 1/R sum_r x_r        var = 1/R sum_r (x_r - mu)^2
                    running mean     <- momentum * running mean     + (1 - momentum) mu
                    running variance <- momentum * running variance + (1 - momentum) R/(R-1) var
        evaluation  mu, var = running mean, running variance
        x^_r = (x_r - mu) / sqrt(var + epsilon)        y_r = scale * x^_r + bias
    The batch is normalised by its own (biased) variance; the running variance averages the unbiased one, as in the
    paper (Flax's averages the biased one). `momentum` is the fraction kept (PyTorch's is the fraction replaced).
    With `axis_name`, the mesh axis whose devices share a batch ("devices" under `data_parallel`), mu, var and R are
    those of the rows of all devices, which have equally many, and the running statistics are the same on all devices.
    Evaluation needs no axis.

    Shapes: x (B, ..., N) -> y (B, ..., N); scale, bias and the running statistics are (N,).
    Backward, with s = 1/sqrt(var + epsilon):
        dbias = sum_r dy_r        dscale = sum_r dy_r x^_r
        training    dx_r = scale s (dy_r - dbias / R - x^_r dscale / R)
        evaluation  dx_r = scale s dy_r
    With `axis_name` the sums in dx are over all devices' rows, and dbias and dscale are each device's own part.
    Keeps x, mu and s. Rows are coupled in training: `couples_batch`. Sample weights belong to the objective: a row of
    weight 0 still counts in mu and var. Sums are taken, and running statistics kept, in float32 at least; y and dx have
    x's dtype.
    Raises: ValueError if the last axis of x isn't N, or in training if there is one row (its variance is 0) or no mesh
    axis `axis_name`.
    Source: Ioffe and Szegedy 2015, algorithms 1 and 2.  NumPy twin: reference/normalization.py (of one device).
    """

    momentum: float = number("[0, 1]", 0.9)
    epsilon: float = number("[0, inf)", 1e-5)
    axis_name: str | None = None

    couples_batch = True

    def over_axis(self, axis_name: str | None) -> "BatchNorm":
        return changed(self, axis_name=axis_name)

    def init(self, key: jax.Array, shape: Shape, dtype: Any = None) -> Init:
        if not shape:
            raise ValueError(f"{self}: one example should have at least one axis, got shape (): use x[:, None]")
        features, dtype = shape[-1:], default_float(dtype)
        running = jnp.zeros(features, wide_dtype(dtype)), jnp.ones(features, wide_dtype(dtype))
        return Init(BatchNormParams(jnp.ones(features, dtype), jnp.zeros(features, dtype)), BatchNormState(*running))

    def output_shape(self, shape: Shape) -> Shape:
        return shape

    def forward(
        self,
        params: BatchNormParams,
        state: BatchNormState,
        x: jax.Array,
        *,
        key: Any = None,
        train: bool = False,
    ) -> Forward:
        require_floating(self, x)
        require_features(self, x.shape, params.scale.shape[0])
        x = jnp.asarray(x)
        wide = widened(x)
        if train:
            mean, variance, state = self._statistics(state, wide)
        else:
            mean, variance = (running.astype(wide.dtype) for running in state)
        inverse_std = jax.lax.rsqrt(variance + self.epsilon)
        y = _rows(params.scale, wide) * _normalized(wide, mean, inverse_std) + _rows(params.bias, wide)
        return Forward(y.astype(x.dtype), state, BatchNormCache(x, mean, inverse_std, Static(train)))

    # In training x_r enters y through itself, and through mu and var, which all R rows share: with an axis, the rows of
    # all devices. With g_r = scale dy_r, the cotangent of x^_r, and every sum over all R rows:
    #   dvar = sum_r g_r (x_r - mu) (-1/2) s^3 = -1/2 s^2 sum_r g_r x^_r
    #   dmu  = -s sum_r g_r                      (dvar's part is 0, because sum_r (x_r - mu) = 0)
    #   dx_r = s g_r + dmu / R + dvar 2 (x_r - mu) / R = s (g_r - 1/R sum g - x^_r 1/R sum g x^).
    # Over a device's own rows sum g = scale dbias and sum g x^ = scale dscale. The mean of both over devices makes the
    # sums in dx complete; dbias and dscale stay a device's own part, because params' gradients are added up outside.
    def backward(self, params: BatchNormParams, cache: BatchNormCache, dy: jax.Array) -> Backward:
        x, mean, inverse_std, train = cache
        x, dy = materialized(x, widened(dy))  # they are used three times
        scale = params.scale.astype(dy.dtype)
        rows, n_rows = tuple(range(x.ndim - 1)), x.size // x.shape[-1]
        normalized = _normalized(widened(x), mean, inverse_std)
        dbias = jnp.sum(dy, axis=rows)
        dscale = jnp.sum(dy * normalized, axis=rows)
        g = _rows(scale, dy) * dy
        if train.value:
            own_means = scale * dbias / n_rows, scale * dscale / n_rows
            mean_g, mean_gx = mean_over(own_means, self.axis_name)
            g = g - _rows(mean_g, g) - normalized * _rows(mean_gx, g)
        dx = _rows(inverse_std, g) * g
        dparams = BatchNormParams(dscale.astype(params.scale.dtype), dbias.astype(params.bias.dtype))
        return Backward(dparams, dx.astype(x.dtype))

    def _statistics(self, state: BatchNormState, x: jax.Array) -> tuple[jax.Array, jax.Array, BatchNormState]:
        """mu, var and the new state, over the rows of all devices, which have equally many."""
        require_axis(self, self.axis_name)
        n_rows = n_devices(self.axis_name) * x.size // x.shape[-1]
        if n_rows < 2:
            raise ValueError(
                f"{self}: training needs at least two rows, got {n_rows}: its variance would be 0; use a larger "
                "batch (also the ragged last one), or train=False"
            )
        rows = tuple(range(x.ndim - 1))
        mean = mean_over(jnp.mean(x, axis=rows), self.axis_name)
        variance = mean_over(jnp.mean(jnp.square(x - _rows(mean, x)), axis=rows), self.axis_name)
        unbiased = variance * (n_rows / (n_rows - 1))
        return mean, variance, BatchNormState(self._moved(state.mean, mean), self._moved(state.variance, unbiased))

    def _moved(self, running: jax.Array, statistic: jax.Array) -> jax.Array:
        """A running statistic after this batch, in its own dtype."""
        old = widened(running)
        return (self.momentum * old + (1 - self.momentum) * statistic.astype(old.dtype)).astype(running.dtype)


def _rows(feature: jax.Array, x: jax.Array) -> jax.Array:
    """A vector of features, repeated for each row of x, in x's dtype."""
    return jnp.broadcast_to(feature.astype(x.dtype), x.shape)


def _normalized(x: jax.Array, mean: jax.Array, inverse_std: jax.Array) -> jax.Array:
    return (x - _rows(mean, x)) * _rows(inverse_std, x)
