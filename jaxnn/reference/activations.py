"""NumPy twins of the activation functions: the value and the derivative by their definitions, for all of x at once.

The protocol is that of layers.py.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from jaxnn.reference.arrays import Tree
from jaxnn.reference.layers import NO_MASKS, Backward, Forward, Masks


class PReLUParams(NamedTuple):
    slope: np.ndarray


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
        y = _sigmoid(x)
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
class PReLU:
    """y = x where x > 0, slope x where x <= 0;  dy/dx = 1 and slope there, dy/dslope = x where x <= 0.

    One slope for each feature, or one for all, as params have it.
    """

    def forward(
        self, params: PReLUParams, state: Tree, x: np.ndarray, *, masks: Masks = NO_MASKS, train: bool = False
    ) -> Forward:
        return Forward(np.where(x <= 0, params.slope * x, x), state, x)

    def backward(self, params: PReLUParams, cache: np.ndarray, dy: np.ndarray) -> Backward:
        x = cache
        dslopes = np.zeros_like(x)
        dslopes[x <= 0] = x[x <= 0] * dy[x <= 0]
        while dslopes.ndim > params.slope.ndim:
            dslopes = dslopes.sum(axis=0)
        return Backward(PReLUParams(dslopes), np.where(x <= 0, params.slope * dy, dy))


@dataclass(frozen=True)
class ELU:
    """y = x where x > 0, alpha (e^x - 1) where x <= 0;  dy/dx = 1 and alpha e^x there."""

    alpha: float = 1.0

    def forward(
        self, params: Tree, state: Tree, x: np.ndarray, *, masks: Masks = NO_MASKS, train: bool = False
    ) -> Forward:
        y = x.copy()
        y[x <= 0] = self.alpha * (np.exp(x[x <= 0]) - 1)
        return Forward(y, state, x)

    def backward(self, params: Tree, cache: np.ndarray, dy: np.ndarray) -> Backward:
        x, dx = cache, dy.copy()
        dx[x <= 0] *= self.alpha * np.exp(x[x <= 0])
        return Backward((), dx)


@dataclass(frozen=True)
class Softplus:
    """y = log(1 + e^x) = log(e^0 + e^x);  dy/dx = e^x / (1 + e^x) = 1 / (1 + e^-x)."""

    def forward(
        self, params: Tree, state: Tree, x: np.ndarray, *, masks: Masks = NO_MASKS, train: bool = False
    ) -> Forward:
        with np.errstate(invalid="ignore"):  # NumPy warns of a NaN in x
            return Forward(np.logaddexp(0, x), state, x)

    def backward(self, params: Tree, cache: np.ndarray, dy: np.ndarray) -> Backward:
        return Backward((), dy * _sigmoid(cache))


@dataclass(frozen=True)
class SiLU:
    """y = x s, s = 1 / (1 + e^-x);  dy/dx = s + x s (1 - s)."""

    def forward(
        self, params: Tree, state: Tree, x: np.ndarray, *, masks: Masks = NO_MASKS, train: bool = False
    ) -> Forward:
        return Forward(_gated(_sigmoid(x), x), state, x)

    def backward(self, params: Tree, cache: np.ndarray, dy: np.ndarray) -> Backward:
        x, s = cache, _sigmoid(cache)
        return Backward((), dy * _slope(s, x, s * (1 - s)))


@dataclass(frozen=True)
class GELU:
    """y = x Phi(x);  dy/dx = Phi + x Phi'.

    Phi(x) = (1 + erf(x / sqrt 2)) / 2, Phi' = e^(-x^2 / 2) / sqrt(2 pi);  or, approximately, with
    u = sqrt(2 / pi) (x + 0.044715 x^3):  Phi = (1 + tanh u) / 2, Phi' = (1 - tanh^2 u) u' / 2.
    """

    approximate: bool = True

    def forward(
        self, params: Tree, state: Tree, x: np.ndarray, *, masks: Masks = NO_MASKS, train: bool = False
    ) -> Forward:
        return Forward(_gated(self._phi(x)[0], x), state, x)

    def backward(self, params: Tree, cache: np.ndarray, dy: np.ndarray) -> Backward:
        phi, dphi = self._phi(cache)
        return Backward((), dy * _slope(phi, cache, dphi))

    def _phi(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if not self.approximate:
            erf = np.array([math.erf(z) for z in (x / math.sqrt(2)).ravel()]).reshape(x.shape)
            return (1 + erf) / 2, np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
        t = np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
        du = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x**2)
        with np.errstate(invalid="ignore"):  # an infinite u' times 0, which `_slope` passes over
            return (1 + t) / 2, (1 - t**2) * du / 2


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


def _sigmoid(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # e^-x = inf gives 0, which is right
        return 1 / (1 + np.exp(-x))


def _gated(gate: np.ndarray, x: np.ndarray) -> np.ndarray:
    """x g(x); the limit at -infinity is 0."""
    with np.errstate(invalid="ignore"):
        return np.where(x == -np.inf, 0, x * gate)


def _slope(gate: np.ndarray, x: np.ndarray, dgate: np.ndarray) -> np.ndarray:
    """(x g)' = g + x g'; the limits at +-infinity are those of g."""
    with np.errstate(invalid="ignore"):
        return np.where(np.isinf(x), gate, gate + x * dgate)
