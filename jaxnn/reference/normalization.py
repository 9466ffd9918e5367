"""NumPy twins of the normalisations: forward by the definition, set by set; backward by the chain rule.

A set is what is normalised together: in LayerNorm the last axes of an example, in GroupNorm a group of its channels, in
RMSNorm a row; in BatchNorm one feature's values in all rows. A row is what the last axis holds.

Within an example backward uses a set's Jacobian: n numbers x with s = 1 / sqrt(var + epsilon), x^ = (x - mu) s have
    dmu/dx_j = 1/n        dvar/dx_j = 2/n (x_j - mu)        ds/dx_j = -1/2 s^3 dvar/dx_j
    dx^_i/dx_j = s (1[i = j] - dmu/dx_j) + (x_i - mu) ds/dx_j
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from jaxnn.reference.arrays import Tree
from jaxnn.reference.layers import NO_MASKS, Backward, Forward, Masks


class BatchNormParams(NamedTuple):
    scale: np.ndarray
    bias: np.ndarray


class NormParams(NamedTuple):
    scale: np.ndarray | None
    bias: np.ndarray | None


class BatchNormState(NamedTuple):
    mean: np.ndarray
    variance: np.ndarray


@dataclass(frozen=True)
class BatchNorm:
    """y = scale (x - mu) / sqrt(var + epsilon) + bias; mu and var are the rows' in training, running in evaluation.

    Backward, with x^ = (x - mu) / sqrt(var + epsilon), dx^ = scale dy, and R rows (Ioffe and Szegedy 2015, section 3):
        dbias = sum dy        dscale = sum dy x^
        dvar  = sum dx^ (x - mu) (-1/2) (var + epsilon)^(-3/2)
        dmu   = sum dx^ (-1 / sqrt(var + epsilon)) + dvar sum -2 (x - mu) / R
        dx    = dx^ / sqrt(var + epsilon) + dvar 2 (x - mu) / R + dmu / R
    """

    momentum: float = 0.9
    epsilon: float = 1e-5

    def forward(
        self,
        params: BatchNormParams,
        state: BatchNormState,
        x: np.ndarray,
        *,
        masks: Masks = NO_MASKS,
        train: bool = False,
    ) -> Forward:
        rows = _rows(x)
        mean, variance = state.mean, state.variance
        if train:
            mean, variance = rows.mean(axis=0), rows.var(axis=0)
            unbiased = rows.var(axis=0, ddof=1)
            state = BatchNormState(
                self.momentum * state.mean + (1 - self.momentum) * mean,
                self.momentum * state.variance + (1 - self.momentum) * unbiased,
            )
        y = params.scale * (x - mean) / np.sqrt(variance + self.epsilon) + params.bias
        return Forward(y, state, (x, mean, variance, train))

    def backward(self, params: BatchNormParams, cache: tuple, dy: np.ndarray) -> Backward:
        x, mean, variance, train = cache
        centred, dy_rows, n_rows = _rows(x) - mean, _rows(dy), len(_rows(x))
        std = np.sqrt(variance + self.epsilon)
        dparams = BatchNormParams(scale=(dy_rows * centred / std).sum(axis=0), bias=dy_rows.sum(axis=0))
        dnormalized = params.scale * dy_rows
        dx = dnormalized / std
        if train:
            dvariance = (dnormalized * centred * (-1 / 2) * std**-3).sum(axis=0)
            dmean = (-dnormalized / std).sum(axis=0) + dvariance * (-2 * centred / n_rows).sum(axis=0)
            dx = dx + dvariance * 2 * centred / n_rows + dmean / n_rows
        return Backward(dparams, dx.reshape(x.shape))


class _SetBySet:
    """Forward and backward from `sets`, the place of each set in x, and one set's `normalized` and `jacobian`."""

    def forward(
        self: Any, params: NormParams, state: Tree, x: np.ndarray, *, masks: Masks = NO_MASKS, train: bool = False
    ) -> Forward:
        normalized = np.zeros_like(x)
        for place in self.sets(x):
            normalized[place] = self.normalized(x[place])
        y = normalized if params.scale is None else params.scale * normalized
        return Forward(y if params.bias is None else y + params.bias, state, (x, normalized))

    def backward(self: Any, params: NormParams, cache: Any, dy: np.ndarray) -> Backward:
        x, normalized = cache
        dscale = None if params.scale is None else _summed(dy * normalized, params.scale)
        dbias = None if params.bias is None else _summed(dy, params.bias)
        dnormalized = dy if params.scale is None else params.scale * dy
        dx = np.zeros_like(x)
        for place in self.sets(x):
            jacobian = self.jacobian(x[place].ravel())  # [i, j]
            dx[place] = (dnormalized[place].ravel() @ jacobian).reshape(x[place].shape)
        return Backward(NormParams(dscale, dbias), dx)


@dataclass(frozen=True)
class LayerNorm(_SetBySet):
    """y = scale (x - mu) / sqrt(var + epsilon) + bias, with mu and var of the last n_axes axes of each example."""

    n_axes: int = 1
    epsilon: float = 1e-5

    def sets(self, x: np.ndarray) -> Iterator[Any]:
        """Where each set lies in x."""
        yield from np.ndindex(x.shape[: -self.n_axes])

    def normalized(self, x: np.ndarray) -> np.ndarray:
        return (x - x.mean()) / np.sqrt(x.var() + self.epsilon)

    def jacobian(self, x: np.ndarray) -> np.ndarray:
        n, centred, s = x.size, x - x.mean(), 1 / np.sqrt(x.var() + self.epsilon)
        dvariance = 2 / n * centred
        ds = -1 / 2 * s**3 * dvariance
        return s * (np.eye(n) - 1 / n) + np.outer(centred, ds)


@dataclass(frozen=True)
class GroupNorm(_SetBySet):
    """y = scale (x - mu) / sqrt(var + epsilon) + bias, with mu and var of each example and group of channels."""

    groups: int
    epsilon: float = 1e-5

    def sets(self, x: np.ndarray) -> Iterator[Any]:
        size = x.shape[-1] // self.groups
        for b in range(len(x)):
            for start in range(0, x.shape[-1], size):
                yield (b, ..., slice(start, start + size))

    normalized = LayerNorm.normalized
    jacobian = LayerNorm.jacobian


@dataclass(frozen=True)
class RMSNorm(_SetBySet):
    """y = scale x / sqrt(mean x^2 + epsilon) in each row;  with s the root's inverse, ds/dx_j = -1/2 s^3 2/n x_j."""

    epsilon: float = 1e-6

    def sets(self, x: np.ndarray) -> Iterator[Any]:
        yield from np.ndindex(x.shape[:-1])

    def normalized(self, x: np.ndarray) -> np.ndarray:
        return x / np.sqrt((x**2).mean() + self.epsilon)

    def jacobian(self, x: np.ndarray) -> np.ndarray:
        s = 1 / np.sqrt((x**2).mean() + self.epsilon)
        ds = -1 / 2 * s**3 * 2 / x.size * x
        return s * np.eye(x.size) + np.outer(x, ds)


def _summed(x: np.ndarray, param: np.ndarray) -> np.ndarray:
    """The sum over all axes but the parameter's."""
    return x.reshape(-1, *param.shape).sum(axis=0)


def _rows(x: np.ndarray) -> np.ndarray:
    """All axes but the last as one."""
    return x.reshape(-1, x.shape[-1])
