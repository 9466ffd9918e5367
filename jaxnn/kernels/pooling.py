"""Pooling. Of a maximum, forward keeps the winner: one small integer a window is all that backward needs.

    y[b, i, c] = max_u x[b, s i + d u - low, c]        winner[b, i, c] = the first u, in row-major order, that has it
    dx[b, p, c] = sum_{i, u : s i + d u - low = p, u = winner} dy[b, i, c]

A tie goes to the first place. A NaN wins, and of several the first: y is NaN, and the gradient goes to that place.
Padding never wins, not even against -inf.

Shapes: x (B, *spatial, C), y, dy and winner (B, *counts, C). Each function has one form for all platforms;
`max_pool_by_library`, the obvious twin, is `jax.lax`'s own.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.arrays import Shape, wide_dtype, widened
from jaxnn.kernels.windows import Windows, seen, spread, summed


class Pooled(NamedTuple):
    y: jax.Array
    winner: jax.Array


def max_pool(x: jax.Array, windows: Windows) -> Pooled:
    """The maximum of every window, and which tap it is."""
    best, *others = seen(x, windows, fill=-math.inf)
    winner = jnp.broadcast_to(_first(windows, x.shape[1:-1]), best.shape)
    for u, x_tap in enumerate(others, start=1):
        # x_tap > best; where x_tap is NaN, true unless best is NaN already.
        better = ~(x_tap <= best) & (best == best)
        best = jnp.where(better, x_tap, best)
        winner = jnp.where(better, jnp.asarray(u, winner.dtype), winner)
    return Pooled(best, winner)


def max_pool_gradient(winner: jax.Array, dy: jax.Array, windows: Windows, spatial: Shape) -> jax.Array:
    """dx: each window's dy goes to its winner."""

    def part(tap: jax.Array, winner: jax.Array, dy: jax.Array) -> jax.Array:
        return jnp.where(winner == tap.astype(winner.dtype), dy, 0)

    return _from_taps(part, windows, spatial, winner, dy)


def avg_pool(x: jax.Array, windows: Windows, count_include_pad: bool) -> jax.Array:
    """The mean of every window."""
    total = summed(seen(x, windows), wide_dtype(x.dtype))
    return (total / _counted(windows, x.shape[1:-1], count_include_pad).astype(total.dtype)).astype(x.dtype)


def avg_pool_gradient(dy: jax.Array, windows: Windows, spatial: Shape, count_include_pad: bool) -> jax.Array:
    """dx: an equal share of each window's dy goes to each of its places."""
    wide = widened(dy)
    share = wide / _counted(windows, spatial, count_include_pad).astype(wide.dtype)
    return _from_taps(lambda tap, share: share, windows, spatial, share).astype(dy.dtype)


def _from_taps(part: Callable[..., jax.Array], windows: Windows, spatial: Shape, *arrays: jax.Array) -> jax.Array:
    """dx (B, *spatial, C), where window i gives part(u, *arrays[i]) to its tap u.

    Windows that lie side by side, as tiles, need no sum: each place is in one window, and one pass is enough.
    """
    if not _tiles(windows, spatial):
        parts = [part(jnp.asarray(u), *arrays) for u in range(len(windows.taps))]
        return spread(parts, windows, spatial)
    n_axes = len(spatial)
    within = [2 + 2 * axis for axis in range(n_axes)]  # (B, count, 1, count, 1, C) against (1, k, 1, k, 1)
    tap = jnp.arange(len(windows.taps)).reshape([n for k in windows.size for n in (1, k)] + [1])[None]
    dx = part(tap, *(jnp.expand_dims(array, within) for array in arrays))
    counts = arrays[0].shape[1:-1]
    covered = [k * n for k, n in zip(windows.size, counts, strict=True)]
    batch, n_channels = arrays[0].shape[0], arrays[0].shape[-1]
    whole = (batch, *(n for pair in zip(counts, windows.size, strict=True) for n in pair), n_channels)
    dx = jnp.broadcast_to(dx, whole).reshape(batch, *covered, n_channels)
    rest = [(0, n - m, 0) for n, m in zip(spatial, covered, strict=True)]  # what no window sees, at the end
    return jax.lax.pad(dx, jnp.zeros((), dx.dtype), [(0, 0, 0), *rest, (0, 0, 0)]) if any(r for _, r, _ in rest) else dx


def _tiles(windows: Windows, spatial: Shape) -> bool:
    """Whether the windows lie side by side, without overlap, gap or padding."""
    return windows.stride == windows.size and set(windows.dilation) == {1} and not any(map(any, windows.pads(spatial)))


def max_pool_by_library(x: jax.Array, windows: Windows) -> jax.Array:
    """y by `jax.lax.reduce_window`, whose gradient is a select-and-scatter."""
    return jax.lax.reduce_window(
        x,
        -jnp.inf,
        jax.lax.max,
        (1, *windows.size, 1),
        (1, *windows.stride, 1),
        ((0, 0), *windows.pads(x.shape[1:-1]), (0, 0)),
        window_dilation=(1, *windows.dilation, 1),
    )


def _first(windows: Windows, spatial: Shape) -> np.ndarray:
    """The first tap of each window that is inside x, in the smallest integer dtype that numbers all taps."""
    smallest = np.min_scalar_type(len(windows.taps) - 1)
    return np.argmax(_inside(windows, spatial), axis=-1).astype(smallest)[None, ..., None]


def _counted(windows: Windows, spatial: Shape, count_include_pad: bool) -> np.ndarray:
    """How many places each window's mean is taken over."""
    inside = _inside(windows, spatial)
    return np.asarray(inside.shape[-1]) if count_include_pad else np.sum(inside, axis=-1)[None, ..., None]


def _inside(windows: Windows, spatial: Shape) -> np.ndarray:
    """Which taps of each window are inside x: (*counts, number of taps)."""
    counts = windows.counts(spatial)
    inside = np.ones((*counts, *windows.size), bool)
    for axis, (n, (low, _)) in enumerate(zip(spatial, windows.pads(spatial), strict=True)):
        window, tap = np.arange(counts[axis]), np.arange(windows.size[axis])
        place = windows.stride[axis] * window[:, None] + windows.dilation[axis] * tap - low
        shape = [1] * inside.ndim
        shape[axis], shape[len(counts) + axis] = place.shape
        inside &= ((place >= 0) & (place < n)).reshape(shape)
    return inside.reshape(*counts, -1)
