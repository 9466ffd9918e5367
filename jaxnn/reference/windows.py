"""NumPy twins of the layers that slide a window: one loop over the windows, one over the places in a window.

x is (B, L, C) or (B, H, W, C); the code is written for any number of spatial axes. Where a window reaches over the
edge of x, it sees zeros, or, in pooling, nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from jaxnn.reference.arrays import Tree
from jaxnn.reference.layers import NO_MASKS, Backward, Forward, Masks

Place = tuple[int, ...]


class ConvParams(NamedTuple):
    weight: np.ndarray
    bias: np.ndarray | None


class LocallyConnectedParams(NamedTuple):
    weight: np.ndarray
    bias: np.ndarray | None


class Windows:
    """Where the windows lie: `size`, `stride`, `dilation` and (low, high) `pads` of each axis."""

    def __init__(self, layer: Any, spatial: Place) -> None:
        n_axes = len(spatial)
        self.size, self.stride, self.dilation = (
            value if isinstance(value, tuple) else (value,) * n_axes
            for value in (layer.window, layer.window if layer.stride is None else layer.stride, layer.dilation)
        )
        self.spatial = spatial
        self.pads = [self._pad(layer.padding, axis) for axis in range(n_axes)]
        self.counts = tuple(
            (spatial[a] + sum(self.pads[a]) - self._span(a)) // self.stride[a] + 1 for a in range(n_axes)
        )

    def _span(self, axis: int) -> int:
        return self.dilation[axis] * (self.size[axis] - 1) + 1

    def _pad(self, padding: Any, axis: int) -> tuple[int, int]:
        if padding == "VALID":
            return 0, 0
        if isinstance(padding, int):
            return padding, padding
        if isinstance(padding, tuple):
            return padding[axis]
        windows = -(-self.spatial[axis] // self.stride[axis])  # SAME: one for each stride, the last may be partial
        both = max((windows - 1) * self.stride[axis] + self._span(axis) - self.spatial[axis], 0)
        return both // 2, both - both // 2

    def __iter__(self) -> Iterator[Place]:
        """Every window."""
        return product(*map(range, self.counts))

    def taps(self, window: Place) -> Iterator[tuple[Place, Place]]:
        """(place in the window, place in x) of every place in a window that is inside x."""
        for tap in product(*map(range, self.size)):
            place = tuple(
                s * i + d * u - low
                for s, i, d, u, (low, _) in zip(self.stride, window, self.dilation, tap, self.pads, strict=True)
            )
            if all(0 <= p < n for p, n in zip(place, self.spatial, strict=True)):
                yield tap, place


@dataclass(frozen=True)
class _Conv:
    n_out: int
    window: Any = 3
    stride: Any = 1
    padding: Any = "SAME"
    dilation: Any = 1
    groups: int = 1

    def forward(
        self, params: ConvParams, state: Tree, x: np.ndarray, *, masks: Masks = NO_MASKS, train: bool = False
    ) -> Forward:
        windows = Windows(self, x.shape[1:-1])
        y = np.zeros((len(x), *windows.counts, self.n_out), np.result_type(x, params.weight))
        for window in windows:
            for tap, place in windows.taps(window):
                for inputs, outputs in self._meetings(x.shape[-1]):
                    y[:, *window, outputs] += x[:, *place, inputs] @ params.weight[*tap][:, outputs]
        if params.bias is not None:
            y += params.bias
        return Forward(y, state, x)

    def backward(self, params: ConvParams, cache: np.ndarray, dy: np.ndarray) -> Backward:
        x, windows = cache, Windows(self, cache.shape[1:-1])
        dweight, dx = np.zeros_like(params.weight), np.zeros_like(x)
        for window in windows:
            for tap, place in windows.taps(window):
                for inputs, outputs in self._meetings(x.shape[-1]):
                    dweight[*tap][:, outputs] += x[:, *place, inputs].T @ dy[:, *window, outputs]
                    dx[:, *place, inputs] += dy[:, *window, outputs] @ params.weight[*tap][:, outputs].T
        dbias = None if params.bias is None else dy.reshape(-1, self.n_out).sum(axis=0)
        return Backward(ConvParams(dweight, dbias), dx)

    def _meetings(self, n_in: int) -> Iterator[tuple[slice, slice]]:
        """The channels and the outputs of each group: these outputs see only these channels."""
        n_inputs, n_outputs = n_in // self.groups, self.n_out // self.groups
        for g in range(self.groups):
            yield slice(g * n_inputs, (g + 1) * n_inputs), slice(g * n_outputs, (g + 1) * n_outputs)


class Conv1D(_Conv):
    """y[i] = sum of x[place] W[tap] over the taps of window i, plus bias;  dW[tap] and dx[place] are sums over i."""


class Conv2D(_Conv):
    """As `Conv1D`, with windows over an image."""


@dataclass(frozen=True)
class _LocallyConnected:
    n_out: int
    window: Any = 3
    stride: Any = 1
    padding: Any = "SAME"
    dilation: Any = 1

    def forward(
        self,
        params: LocallyConnectedParams,
        state: Tree,
        x: np.ndarray,
        *,
        masks: Masks = NO_MASKS,
        train: bool = False,
    ) -> Forward:
        windows = Windows(self, x.shape[1:-1])
        y = np.zeros((len(x), *windows.counts, self.n_out), np.result_type(x, params.weight))
        for window in windows:
            for tap, place in windows.taps(window):
                y[:, *window] += x[:, *place] @ params.weight[*window, *tap]
        if params.bias is not None:
            y += params.bias
        return Forward(y, state, x)

    def backward(self, params: LocallyConnectedParams, cache: np.ndarray, dy: np.ndarray) -> Backward:
        x, windows = cache, Windows(self, cache.shape[1:-1])
        dweight, dx = np.zeros_like(params.weight), np.zeros_like(x)
        for window in windows:
            for tap, place in windows.taps(window):
                dweight[*window, *tap] = x[:, *place].T @ dy[:, *window]
                dx[:, *place] += dy[:, *window] @ params.weight[*window, *tap].T
        return Backward(LocallyConnectedParams(dweight, None if params.bias is None else dy.sum(axis=0)), dx)


class LocallyConnected1D(_LocallyConnected):
    """As `Conv1D`, but each window has its own weight and bias: dW of a window is its own product, without a sum."""


class LocallyConnected2D(_LocallyConnected):
    """As `LocallyConnected1D`, with windows over an image."""


@dataclass(frozen=True)
class MaxPool:
    """y[i] = the largest x in window i, channel by channel;  dx is dy[i] at the first place that has it."""

    window: Any = 2
    stride: Any = None
    padding: Any = "VALID"
    dilation: Any = 1

    def forward(
        self, params: Tree, state: Tree, x: np.ndarray, *, masks: Masks = NO_MASKS, train: bool = False
    ) -> Forward:
        windows = Windows(self, x.shape[1:-1])
        y = np.zeros((len(x), *windows.counts, x.shape[-1]), x.dtype)
        winners: dict[Any, Place] = {}
        for window in windows:
            for b, c in product(range(len(x)), range(x.shape[-1])):
                places = [place for _, place in windows.taps(window)]
                values = [x[b, *place, c] for place in places]
                best = int(np.argmax(values))  # the first of equals, and of NaNs
                y[b, *window, c], winners[b, *window, c] = values[best], places[best]
        return Forward(y, state, (x.shape, winners))

    def backward(self, params: Tree, cache: tuple, dy: np.ndarray) -> Backward:
        shape, winners = cache
        dx = np.zeros(shape, dy.dtype)
        for (b, *window, c), place in winners.items():
            dx[b, *place, c] += dy[b, *window, c]
        return Backward((), dx)


@dataclass(frozen=True)
class AvgPool:
    """y[i] = the mean of x in window i, padding's zeros counted or not;  dx is dy[i] / count at each of its places."""

    window: Any = 2
    stride: Any = None
    padding: Any = "VALID"
    count_include_pad: bool = True
    dilation: Any = 1

    def forward(
        self, params: Tree, state: Tree, x: np.ndarray, *, masks: Masks = NO_MASKS, train: bool = False
    ) -> Forward:
        windows = Windows(self, x.shape[1:-1])
        y = np.zeros((len(x), *windows.counts, x.shape[-1]), x.dtype)
        for window in windows:
            for _, place in windows.taps(window):
                y[:, *window] += x[:, *place] / self._count(windows, window)
        return Forward(y, state, x.shape)

    def backward(self, params: Tree, cache: tuple, dy: np.ndarray) -> Backward:
        dx, windows = np.zeros(cache, dy.dtype), Windows(self, cache[1:-1])
        for window in windows:
            for _, place in windows.taps(window):
                dx[:, *place] += dy[:, *window] / self._count(windows, window)
        return Backward((), dx)

    def _count(self, windows: Windows, window: Place) -> int:
        return int(np.prod(windows.size)) if self.count_include_pad else len(list(windows.taps(window)))


@dataclass(frozen=True)
class GlobalAvgPool:
    """y = the mean of x over all its places, channel by channel;  dx = dy / n everywhere."""

    def forward(
        self, params: Tree, state: Tree, x: np.ndarray, *, masks: Masks = NO_MASKS, train: bool = False
    ) -> Forward:
        return Forward(x.mean(axis=tuple(range(1, x.ndim - 1))), state, x.shape)

    def backward(self, params: Tree, cache: tuple, dy: np.ndarray) -> Backward:
        n_places = int(np.prod(cache[1:-1]))
        share = dy.reshape(len(dy), *[1] * (len(cache) - 2), -1) / n_places
        return Backward((), np.broadcast_to(share, cache).copy())
