"""NumPy twins of the layers: forward by the definition, backward by the chain rule as a textbook writes it.

They have the protocol of jaxnn, with one difference: what is random is an argument. `masks` is an iterator, from which
each Dropout that drops takes the next mask, in forward order. Arguments aren't checked.

Shapes: x (B, ...); a row is what the last axis holds.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from jaxnn.reference.arrays import Tree

Masks = Iterator[np.ndarray]
NO_MASKS: Masks = iter(())


class Forward(NamedTuple):
    y: Tree
    state: Tree
    cache: Any


class Backward(NamedTuple):
    dparams: Tree
    dx: Tree


class DenseParams(NamedTuple):
    weight: np.ndarray
    bias: np.ndarray | None


@dataclass(frozen=True)
class Dense:
    """y = x W + b;  dW = sum over rows of x^T dy,  db = sum over rows of dy,  dx = dy W^T."""

    n_out: int

    def forward(
        self, params: DenseParams, state: Tree, x: np.ndarray, *, masks: Masks = NO_MASKS, train: bool = False
    ) -> Forward:
        y = x @ params.weight
        if params.bias is not None:
            y += params.bias
        return Forward(y, state, x)

    def backward(self, params: DenseParams, cache: np.ndarray, dy: np.ndarray) -> Backward:
        x_rows, dy_rows = _rows(cache), _rows(dy)
        dbias = None if params.bias is None else dy_rows.sum(axis=0)
        return Backward(DenseParams(x_rows.T @ dy_rows, dbias), dy @ params.weight.T)


@dataclass(frozen=True)
class Rescale:
    """y = scale x + shift;  dx = scale dy. Where x is integer, dx is None and y is in `dtype`; None is float64."""

    scale: float = 1.0
    shift: float = 0.0
    dtype: Any = None

    def forward(
        self, params: Tree, state: Tree, x: np.ndarray, *, masks: Masks = NO_MASKS, train: bool = False
    ) -> Forward:
        floating = np.issubdtype(x.dtype, np.floating)
        real = x if floating else x.astype(self.dtype or np.float64)
        return Forward(self.scale * real + self.shift, state, floating)

    def backward(self, params: Tree, cache: bool, dy: np.ndarray) -> Backward:
        return Backward((), self.scale * dy if cache else None)


@dataclass(frozen=True)
class Reshape:
    """y = x with each example in another shape;  dx = dy in the old one."""

    shape: tuple[int, ...]

    def forward(
        self, params: Tree, state: Tree, x: np.ndarray, *, masks: Masks = NO_MASKS, train: bool = False
    ) -> Forward:
        return Forward(x.reshape(len(x), *self.shape), state, x.shape)

    def backward(self, params: Tree, cache: tuple, dy: np.ndarray | None) -> Backward:
        return Backward((), None if dy is None else dy.reshape(cache))


def Flatten() -> Reshape:
    """Each example as one vector."""
    return Reshape((-1,))


@dataclass(frozen=True)
class Dropout:
    """Training: y = keep x / (1 - rate), keep a mask of x's shape;  dx = keep dy / (1 - rate). Evaluation: y = x."""

    rate: float = 0.5

    def forward(
        self, params: Tree, state: Tree, x: np.ndarray, *, masks: Masks = NO_MASKS, train: bool = False
    ) -> Forward:
        if not train or self.rate == 0:
            return Forward(x, state, 1)
        factor = next(masks).astype(x.dtype) / (1 - self.rate)
        return Forward(factor * x, state, factor)

    def backward(self, params: Tree, cache: np.ndarray | int, dy: np.ndarray) -> Backward:
        return Backward((), cache * dy)


def _rows(x: np.ndarray) -> np.ndarray:
    """All axes but the last as one."""
    return x.reshape(-1, x.shape[-1])
