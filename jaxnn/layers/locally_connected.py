"""Local connections without shared weights: the step from the fully connected layer to convolution."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnn.arrays import Shape, default_float, require_features, require_floating
from jaxnn.kernels.windows import seen, spread
from jaxnn.layer import Backward, Forward, Init
from jaxnn.layers.windowed import WeighedWindows


class LocallyConnectedParams(NamedTuple):
    weight: Float[Array, "*counts_and_window n_in n_out"]
    bias: Float[Array, "*counts n_out"] | None


class LocallyConnectedCache(NamedTuple):
    x: Float[Array, "batch *spatial n_in"]


class _LocallyConnected(WeighedWindows):
    def init(self, key: jax.Array, shape: Shape, dtype: Any = None) -> Init:
        """Each window's weight starts as a convolution's would, so that fan-in is taps times channels."""
        windows, dtype = self._windows, default_float(dtype)
        counts = windows.require_fit(self, shape)
        weight_key, bias_key = jax.random.split(key)
        keys = jax.random.split(weight_key, counts)
        window_weight = lambda key: self.weight_init(key, (*windows.size, shape[-1], self.n_out), dtype)  # noqa: E731
        for _ in counts:
            window_weight = jax.vmap(window_weight)
        bias = self.bias_init(bias_key, (*counts, self.n_out), dtype) if self.bias else None
        return Init(LocallyConnectedParams(window_weight(keys), bias), ())

    def output_shape(self, shape: Shape) -> Shape:
        return (*self._windows.require_fit(self, shape), self.n_out)

    def forward(
        self, params: LocallyConnectedParams, state: Any, x: jax.Array, *, key: Any = None, train: bool = False
    ) -> Forward:
        require_floating(self, x)
        require_features(self, x.shape, params.weight.shape[-2])
        counts = self._windows.require_fit(self, x.shape[1:])
        if params.weight.shape[: len(counts)] != counts:
            raise ValueError(
                f"{self}: params are for {params.weight.shape[: len(counts)]} windows, but x of shape {x.shape} has "
                f"{counts}: make the params anew with net.init(key, shape of one example)"
            )
        y = jnp.einsum("bnk,nkf->bnf", self._patches(x), self._matrices(params.weight), precision=self.precision)
        y = y.reshape(len(x), *counts, self.n_out)
        if params.bias is not None:
            y = y + jnp.broadcast_to(params.bias, y.shape)
        return Forward(y, state, LocallyConnectedCache(x))

    def backward(self, params: LocallyConnectedParams, cache: LocallyConnectedCache, dy: jax.Array) -> Backward:
        x, weight = cache.x, params.weight
        dy_rows = dy.reshape(len(dy), -1, self.n_out)
        dweight = jnp.einsum("bnk,bnf->nkf", self._patches(x), dy_rows, precision=self.precision)
        dbias = None if params.bias is None else jnp.sum(dy, axis=0)
        dpatches = jnp.einsum("bnf,nkf->bnk", dy_rows, self._matrices(weight), precision=self.precision)
        dtaps = jnp.moveaxis(dpatches.reshape(*dy.shape[:-1], -1, x.shape[-1]), -2, 0)
        dx = spread(list(dtaps), self._windows, x.shape[1:-1])
        return Backward(LocallyConnectedParams(dweight.reshape(weight.shape), dbias), dx)

    def _patches(self, x: jax.Array) -> jax.Array:
        """What each window sees, flat: (B, windows, taps * C)."""
        return jnp.stack(list(seen(x, self._windows)), axis=-2).reshape(len(x), -1, self._n_taps * x.shape[-1])

    def _matrices(self, weight: jax.Array) -> jax.Array:
        """The weight as one matrix a window: (windows, taps * C, F)."""
        return weight.reshape(-1, self._n_taps * weight.shape[-2], self.n_out)

    @property
    def _n_taps(self) -> int:
        return len(self._windows.taps)


class LocallyConnected1D(_LocallyConnected):
    """Local connections in sequences: `LocallyConnected2D` with one axis.

        y[b, i, f] = sum_{u, c} x[b, s i + d u - low, c] W[i, u, c, f] + bias[i, f]

    Shapes: x (B, L, C), weight (L', k, C, F), bias (L', F) or None without `bias` -> y (B, L', F).
    Backward: as in `LocallyConnected2D`.  Keeps x.  Raises: as `LocallyConnected2D`.  NumPy twin: reference/windows.py.
    """

    n_axes = 1


class LocallyConnected2D(_LocallyConnected):
    """Local connections: each window of x has a weight of its own, where `Conv2D` has one for all.

        y[b, i, j, f] = sum_{u, v, c} x[b, s i + d u - low, s j + d v - low, c] W[i, j, u, v, c, f] + bias[i, j, f]
    Windows, stride, padding and dilation as in `Conv2D`.

    Shapes: x (B, H, W, C), weight (H', W', k, k, C, F), bias (H', W', F) or None without `bias` -> y (B, H', W', F).
    Backward, with o(i, u) = s i + d u - low:
        dW[i, j, u, v, c, f] = sum_b x[b, o(i, u), o(j, v), c] dy[b, i, j, f]        db[i, j, f] = sum_b dy[b, i, j, f]
        dx[b, p, q, c] = sum_f sum_{i, u: o(i, u) = p} sum_{j, v: o(j, v) = q} W[i, j, u, v, c, f] dy[b, i, j, f]
    Keeps x. `precision` is `jax.lax.Precision`'s, by name, and holds in backward too.
    Raises: ValueError if x doesn't have these axes, or the channels or the size that params are for, or if no window
    fits; TypeError if x isn't floating.
    Source: PRINCIPLES G6.  NumPy twin: reference/windows.py.

    >>> params, _ = LocallyConnected2D(2, 3, stride=2, padding="VALID").init(jax.random.key(0), (5, 7, 3))
    >>> params.weight.shape, params.bias.shape
    ((2, 3, 3, 3, 3, 2), (2, 3, 2))
    """

    n_axes = 2
