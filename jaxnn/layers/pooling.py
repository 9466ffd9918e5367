"""Pooling: each place of y summarises several places of x."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnn.arrays import PyTree, Shape, Static, require_floating
from jaxnn.kernels.pooling import avg_pool, avg_pool_gradient, max_pool, max_pool_gradient
from jaxnn.kernels.windows import Padding, PerAxis
from jaxnn.layer import Backward, Forward, Parameterless, recipe
from jaxnn.layers.windowed import Windowed


class WinnerCache(NamedTuple):
    winner: jax.Array
    spatial: Static[Shape]


class SpatialCache(NamedTuple):
    spatial: Static[Shape]


class _Pool(Windowed, Parameterless):
    def output_shape(self, shape: Shape) -> Shape:
        counts, windows = self.counts(shape), self.windows(len(shape) - 1)
        pads = windows.pads(tuple(shape[:-1]))
        if any(max(pad) >= extent for pad, extent in zip(pads, windows.extent, strict=True)):
            raise ValueError(f"{self}: padding should be less than a window spans, {windows.extent}, got {pads}")
        return (*counts, shape[-1])


@recipe
class MaxPool(_Pool):
    """The maximum of each window, channel by channel.

        y[b, i, j, c] = max_{u, v} x[b, s i + d u - low, s j + d v - low, c]
    over the places inside x. `stride` None is the window's size: windows side by side. An int stands for all axes:
    `MaxPool(2)` takes images (B, H, W, C) and sequences (B, L, C) alike. Windows and padding as in `Conv2D`.

    Shapes: x (B, H, W, C) -> y (B, H', W', C), H' = floor((H + low + high - d (k - 1) - 1) / s) + 1.
    Backward: each dy goes to the place that won; a place that won several windows gets the sum. A tie goes to the first
    place in row-major order; a NaN wins. Keeps the winner: a byte a window, up to 256 places.
    Before a monotone activation it gives the same y as after it, and the activation has fewer numbers to compute.
    Raises: ValueError if no window fits, or if padding is as large as a window; TypeError if x isn't floating.
    Source: PRINCIPLES G8 (hanbingtao, part 4).  NumPy twin: reference/windows.py.

    >>> MaxPool(2).output_shape((28, 28, 32)), MaxPool(3, stride=2, padding="SAME").output_shape((7, 8))
    ((14, 14, 32), (4, 8))
    """

    window: PerAxis = 2
    stride: PerAxis | None = None
    padding: Padding = "VALID"
    dilation: PerAxis = 1

    def forward(self, params: PyTree, state: PyTree, x: jax.Array, *, key: Any = None, train: bool = False) -> Forward:
        require_floating(self, x)
        self.output_shape(x.shape[1:])
        y, winner = max_pool(x, self.windows(x.ndim - 2))
        return Forward(y, state, WinnerCache(winner, Static(x.shape[1:-1])))

    def backward(self, params: PyTree, cache: WinnerCache, dy: jax.Array) -> Backward:
        return Backward((), max_pool_gradient(cache.winner, dy, self.windows(dy.ndim - 2), cache.spatial.value))


@recipe
class AvgPool(_Pool):
    """The mean of each window, channel by channel.

        y[b, i, j, c] = 1/n sum_{u, v} x[b, s i + d u - low, s j + d v - low, c]
    n is the number of the window's places; with `count_include_pad` False, of those inside x. Fields as in `MaxPool`.

    Shapes: x (B, H, W, C) -> y (B, H', W', C).
    Backward: each dy, divided by n, goes to all its window's places.  Keeps x's shape, which takes no memory.
    Raises: as `MaxPool`.
    Source: PRINCIPLES G8 (hanbingtao, part 4).  NumPy twin: reference/windows.py.
    """

    window: PerAxis = 2
    stride: PerAxis | None = None
    padding: Padding = "VALID"
    count_include_pad: bool = True
    dilation: PerAxis = 1

    def forward(self, params: PyTree, state: PyTree, x: jax.Array, *, key: Any = None, train: bool = False) -> Forward:
        require_floating(self, x)
        self.output_shape(x.shape[1:])
        y = avg_pool(x, self.windows(x.ndim - 2), self.count_include_pad)
        return Forward(y, state, SpatialCache(Static(x.shape[1:-1])))

    def backward(self, params: PyTree, cache: SpatialCache, dy: jax.Array) -> Backward:
        windows = self.windows(dy.ndim - 2)
        return Backward((), avg_pool_gradient(dy, windows, cache.spatial.value, self.count_include_pad))


@recipe
class GlobalAvgPool(Parameterless):
    """The mean of each channel over all places: y[b, c] = 1/n sum_p x[b, p, c].

    Shapes: x (B, ..., C), with at least one axis of places -> y (B, C).
    Backward: dx = dy / n at every place.  Keeps x's shape, which takes no memory.
    Raises: ValueError if x has no axis of places; TypeError if it isn't floating.
    Source: Lin et al. 2014, section 3.2.  NumPy twin: reference/windows.py.
    """

    def output_shape(self, shape: Shape) -> Shape:
        if len(shape) < 2:
            raise ValueError(f"{self}: x should be (B, ..., C), with places to average, got examples of {tuple(shape)}")
        return tuple(shape[-1:])

    def forward(self, params: PyTree, state: PyTree, x: jax.Array, *, key: Any = None, train: bool = False) -> Forward:
        require_floating(self, x)
        self.output_shape(x.shape[1:])
        return Forward(jnp.mean(x, axis=tuple(range(1, x.ndim - 1))), state, SpatialCache(Static(x.shape[1:-1])))

    def backward(self, params: PyTree, cache: SpatialCache, dy: jax.Array) -> Backward:
        spatial = cache.spatial.value
        share = jnp.expand_dims(dy / math.prod(spatial), tuple(range(1, 1 + len(spatial))))
        return Backward((), jnp.broadcast_to(share, (len(dy), *spatial, dy.shape[-1])))
