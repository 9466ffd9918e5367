"""NumPy twins of the normalisations: forward by the definition, backward by the chain rule through mean and variance.

Shapes: x (B, ..., N); a row is what the last axis holds.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jaxnn.reference.layers import NO_MASKS, Backward, Forward, Masks


class BatchNormParams(NamedTuple):
    scale: np.ndarray
    bias: np.ndarray


class BatchNormState(NamedTuple):
    mean: np.ndarray
    variance: np.ndarray


@dataclass(frozen=True)
class BatchNorm:
    """y = scale (x - mu) / sqrt(var + epsilon) + bias, with mu and var of the rows in training, running in evaluation.

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


def _rows(x: np.ndarray) -> np.ndarray:
    """All axes but the last as one."""
    return x.reshape(-1, x.shape[-1])
