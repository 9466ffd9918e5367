"""NumPy twins of the layers: forward by the definition, backward by the chain rule as a textbook writes it.

They have the protocol of jaxnn, with one difference: chance is an argument. `masks` is an iterator, and each Dropout
that drops takes its next mask from it, in forward order. Arguments aren't checked.

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
    """y = scale x + shift;  dx = scale dy, None where x is of integers, which become `dtype`."""

    scale: float = 1.0
    shift: float = 0.0
    dtype: type = np.float64

    def forward(
        self, params: Tree, state: Tree, x: np.ndarray, *, masks: Masks = NO_MASKS, train: bool = False
    ) -> Forward:
        floating = np.issubdtype(x.dtype, np.floating)
        real = x if floating else x.astype(self.dtype)
        return Forward(self.scale * real + self.shift, state, floating)

    def backward(self, params: Tree, cache: bool, dy: np.ndarray) -> Backward:
        return Backward((), self.scale * dy if cache else None)


@dataclass(frozen=True)
class Identity:
    """y = x;  dx = dy."""

    def forward(
        self, params: Tree, state: Tree, x: np.ndarray, *, masks: Masks = NO_MASKS, train: bool = False
    ) -> Forward:
        return Forward(x, state, ())

    def backward(self, params: Tree, cache: Any, dy: np.ndarray) -> Backward:
        return Backward((), dy)


@dataclass(frozen=True)
class Sigmoid:
    """y = 1 / (1 + e^-x);  dy/dx = y (1 - y)."""

    def forward(
        self, params: Tree, state: Tree, x: np.ndarray, *, masks: Masks = NO_MASKS, train: bool = False
    ) -> Forward:
        with np.errstate(over="ignore"):  # e^-x = inf gives y = 0, which is right
            y = 1 / (1 + np.exp(-x))
        return Forward(y, state, y)

    def backward(self, params: Tree, cache: np.ndarray, dy: np.ndarray) -> Backward:
        return Backward((), dy * cache * (1 - cache))


@dataclass(frozen=True)
class Tanh:
    """y = tanh x;  dy/dx = 1 - y^2."""

    def forward(
        self, params: Tree, state: Tree, x: np.ndarray, *, masks: Masks = NO_MASKS, train: bool = False
    ) -> Forward:
        y = np.tanh(x)
        return Forward(y, state, y)

    def backward(self, params: Tree, cache: np.ndarray, dy: np.ndarray) -> Backward:
        return Backward((), dy * (1 - cache**2))


@dataclass(frozen=True)
class ReLU:
    """y = max(x, 0);  dy/dx = 1 where x > 0, 0 where x <= 0."""

    def forward(
        self, params: Tree, state: Tree, x: np.ndarray, *, masks: Masks = NO_MASKS, train: bool = False
    ) -> Forward:
        return Forward(np.maximum(x, 0), state, x)

    def backward(self, params: Tree, cache: np.ndarray, dy: np.ndarray) -> Backward:
        return Backward((), np.where(cache <= 0, 0, dy))


@dataclass(frozen=True)
class LeakyReLU:
    """y = x where x > 0, slope x where x <= 0;  dy/dx = 1 and slope there."""

    slope: float = 0.01

    def forward(
        self, params: Tree, state: Tree, x: np.ndarray, *, masks: Masks = NO_MASKS, train: bool = False
    ) -> Forward:
        return Forward(np.where(x <= 0, self.slope * x, x), state, x)

    def backward(self, params: Tree, cache: np.ndarray, dy: np.ndarray) -> Backward:
        return Backward((), np.where(cache <= 0, self.slope * dy, dy))


@dataclass(frozen=True)
class Softmax:
    """y_j = e^x_j / sum_k e^x_k in each row;  dy_j/dx_k = y_j (1[j = k] - y_k), a matrix for each row."""

    def forward(
        self, params: Tree, state: Tree, x: np.ndarray, *, masks: Masks = NO_MASKS, train: bool = False
    ) -> Forward:
        exponentials = np.exp(x - x.max(axis=-1, keepdims=True))  # the shift cancels
        y = exponentials / exponentials.sum(axis=-1, keepdims=True)
        return Forward(y, state, y)

    def backward(self, params: Tree, cache: np.ndarray, dy: np.ndarray) -> Backward:
        y = cache
        jacobian = y[..., :, None] * (np.eye(y.shape[-1], dtype=y.dtype) - y[..., None, :])  # [..., j, k]
        return Backward((), np.einsum("...j,...jk->...k", dy, jacobian))


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
