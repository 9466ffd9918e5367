"""NumPy twins of the combinators: plain loops. Params, state and masks as in jaxnn and in layers.py."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from jaxnn.reference.arrays import Tree, map_tree
from jaxnn.reference.layers import NO_MASKS, Backward, Forward, Masks


class Inner(NamedTuple):
    inner: Tree


@dataclass(frozen=True, init=False)
class Serial:
    """y = f_n(... f_1(x)): dy passes through the layers' backwards from the last to the first."""

    layers: tuple

    def __init__(self, *layers: Any) -> None:
        object.__setattr__(self, "layers", layers)

    def forward(
        self, params: tuple, state: tuple, x: np.ndarray, *, masks: Masks = NO_MASKS, train: bool = False
    ) -> Forward:
        states, caches = [], []
        for layer, layer_params, layer_state in zip(self.layers, params, state, strict=True):
            x, new_state, cache = layer.forward(layer_params, layer_state, x, masks=masks, train=train)
            states.append(new_state)
            caches.append(cache)
        return Forward(x, tuple(states), caches)

    def backward(self, params: tuple, cache: list, dy: np.ndarray) -> Backward:
        dparams = [()] * len(self.layers)
        for i in reversed(range(len(self.layers))):
            dparams[i], dy = self.layers[i].backward(params[i], cache[i], dy)
        return Backward(tuple(dparams), dy)


@dataclass(frozen=True, init=False)
class Branches:
    """y = f_1(x) + ... + f_n(x), or all f_i(x) side by side: each gets all of dy, or its part, and the dx are added."""

    layers: tuple
    merge: str = "sum"

    def __init__(self, *layers: Any, merge: str = "sum") -> None:
        object.__setattr__(self, "layers", layers)
        object.__setattr__(self, "merge", merge)

    def forward(
        self, params: tuple, state: tuple, x: np.ndarray, *, masks: Masks = NO_MASKS, train: bool = False
    ) -> Forward:
        ys, states, caches = [], [], []
        for layer, layer_params, layer_state in zip(self.layers, params, state, strict=True):
            y, new_state, cache = layer.forward(layer_params, layer_state, x, masks=masks, train=train)
            ys.append(y)
            states.append(new_state)
            caches.append((cache, y.shape[-1]))
        y = np.concatenate(ys, axis=-1) if self.merge == "concatenate" else np.sum(ys, axis=0)
        return Forward(y, tuple(states), caches)

    def backward(self, params: tuple, cache: list, dy: np.ndarray) -> Backward:
        dparams, dx, begin = [], None, 0
        for layer, layer_params, (layer_cache, width) in zip(self.layers, params, cache, strict=True):
            layer_dy = dy[..., begin : begin + width] if self.merge == "concatenate" else dy
            begin += width
            layer_dparams, layer_dx = layer.backward(layer_params, layer_cache, layer_dy)
            dparams.append(layer_dparams)
            if layer_dx is not None:
                dx = layer_dx if dx is None else dx + layer_dx
        return Backward(tuple(dparams), dx)


@dataclass(frozen=True)
class Residual:
    """y = x + scale f(x): dy goes both ways, and its parts are added."""

    inner: Any
    scale: float = 1.0

    def forward(
        self, params: Inner, state: Inner, x: np.ndarray, *, masks: Masks = NO_MASKS, train: bool = False
    ) -> Forward:
        f, new_state, cache = self.inner.forward(params.inner, state.inner, x, masks=masks, train=train)
        return Forward(x + self.scale * f, Inner(new_state), cache)

    def backward(self, params: Inner, cache: Any, dy: np.ndarray) -> Backward:
        dinner, dx = self.inner.backward(params.inner, cache, self.scale * dy)
        return Backward(Inner(dinner), dy + dx)


@dataclass(frozen=True)
class Repeat:
    """y = f(... f(x)), n times, each with its own slice of params and state along their first axis."""

    inner: Any
    n: int

    def forward(
        self, params: Inner, state: Inner, x: np.ndarray, *, masks: Masks = NO_MASKS, train: bool = False
    ) -> Forward:
        states, caches = [], []
        for depth in range(self.n):
            own_params, own_state = _slice(params.inner, depth), _slice(state.inner, depth)
            x, new_state, cache = self.inner.forward(own_params, own_state, x, masks=masks, train=train)
            states.append(new_state)
            caches.append(cache)
        return Forward(x, Inner(_stacked(states)), caches)

    def backward(self, params: Inner, cache: list, dy: np.ndarray) -> Backward:
        dparams = [()] * self.n
        for depth in reversed(range(self.n)):
            dparams[depth], dy = self.inner.backward(_slice(params.inner, depth), cache[depth], dy)
        return Backward(Inner(_stacked(dparams)), dy)


@dataclass(frozen=True)
class Remat:
    """y = f(x). It keeps f's cache: the memory that jaxnn saves by computing it again must not change the numbers."""

    inner: Any

    def forward(
        self, params: Inner, state: Inner, x: np.ndarray, *, masks: Masks = NO_MASKS, train: bool = False
    ) -> Forward:
        y, new_state, cache = self.inner.forward(params.inner, state.inner, x, masks=masks, train=train)
        return Forward(y, Inner(new_state), cache)

    def backward(self, params: Inner, cache: Any, dy: np.ndarray) -> Backward:
        dinner, dx = self.inner.backward(params.inner, cache, dy)
        return Backward(Inner(dinner), dx)


def _slice(tree: Tree, depth: int) -> Tree:
    return map_tree(lambda leaf: leaf[depth], tree)


def _stacked(trees: list[Tree]) -> Tree:
    return map_tree(lambda *leaves: np.stack(leaves), *trees)
