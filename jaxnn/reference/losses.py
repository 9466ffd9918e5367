"""NumPy twins of the losses: forward(y, target) -> values (B,), cache; backward(cache, weights (B,)) -> dy."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np


class LossForward(NamedTuple):
    values: np.ndarray
    cache: Any


@dataclass(frozen=True)
class HalfSquaredError:
    """l = 1/2 sum_k (t_k - y_k)^2;  dl/dy_k = -(t_k - y_k)."""

    def forward(self, y: np.ndarray, target: np.ndarray) -> LossForward:
        return LossForward(_each(y, (target - y) ** 2 / 2), (y, target))

    def backward(self, cache: tuple, weights: np.ndarray) -> np.ndarray:
        y, target = cache
        return _column(weights, y) * -(target - y)


@dataclass(frozen=True)
class AbsoluteError:
    """l = sum_k |t_k - y_k|;  dl/dy_k = -1 where y_k < t_k, 1 where y_k > t_k, 0 where they are equal."""

    def forward(self, y: np.ndarray, target: np.ndarray) -> LossForward:
        return LossForward(_each(y, np.abs(target - y)), (y, target))

    def backward(self, cache: tuple, weights: np.ndarray) -> np.ndarray:
        y, target = cache
        slopes = np.zeros_like(y)
        slopes[y < target] = -1
        slopes[y > target] = 1
        slopes[np.isnan(y)] = np.nan
        return _column(weights, y) * slopes


@dataclass(frozen=True)
class Huber:
    """l = sum_k h(r_k), r = y - t, with h(r) = r^2 / 2 up to delta, and its tangent beyond.

    h(r) = delta^2 / 2 + delta (|r| - delta) where |r| > delta;  dl/dy_k = r_k, and delta sign(r_k) there.
    """

    delta: float = 1.0

    def forward(self, y: np.ndarray, target: np.ndarray) -> LossForward:
        r, delta = y - target, self.delta
        h = np.zeros_like(r)
        near = ~(np.abs(r) > delta)
        h[near] = r[near] ** 2 / 2
        h[~near] = delta**2 / 2 + delta * (np.abs(r[~near]) - delta)
        return LossForward(_each(y, h), r)

    def backward(self, cache: np.ndarray, weights: np.ndarray) -> np.ndarray:
        r = cache
        return _column(weights, r) * np.where(np.abs(r) > self.delta, self.delta * np.sign(r), r)


@dataclass(frozen=True)
class SoftmaxCrossEntropy:
    """l = -sum_k t_k log p_k, with log p_k = z_k - log sum_j e^z_j.

    dl/dlog p_k = -t_k, where z_k reaches log p_k itself, and every log p_j through the sum, whose derivative is p_k:
        dl/dz_k = -t_k - p_k sum_j (-t_j)
    A target is a label (B,) or a distribution (B, K); smoothing s makes t_k into t_k (1 - s) + s/K sum_j t_j.
    """

    label_smoothing: float = 0.0

    def forward(self, y: np.ndarray, target: np.ndarray) -> LossForward:
        log_p = y - np.logaddexp.reduce(y, axis=-1, keepdims=True)
        t = _one_hot(target, y) if target.ndim == 1 else target
        total = t.sum(axis=-1, keepdims=True)
        t = t * (1 - self.label_smoothing) + self.label_smoothing / y.shape[-1] * total
        values = -(t * np.where(t == 0, 0, log_p)).sum(axis=-1)  # 0 log 0 = 0
        return LossForward(values, (np.exp(log_p), t))

    def backward(self, cache: tuple, weights: np.ndarray) -> np.ndarray:
        p, t = cache
        dlog_p = -t
        return _column(weights, p) * (dlog_p - p * dlog_p.sum(axis=-1, keepdims=True))


@dataclass(frozen=True)
class SigmoidCrossEntropy:
    """l = -sum_k (t_k log p_k + (1 - t_k) log(1 - p_k)), with p = 1 / (1 + e^-z) and 1 - p = 1 / (1 + e^z).

    dlog p/dz = 1 - p and dlog(1 - p)/dz = -p:  dl/dz = -(t (1 - p) - (1 - t) p).
    A target has z's shape or is a label (B,); smoothing s makes t into t (1 - s) + s/2.
    """

    label_smoothing: float = 0.0

    def forward(self, y: np.ndarray, target: np.ndarray) -> LossForward:
        log_p, log_not_p = -np.logaddexp(0, -y), -np.logaddexp(0, y)
        t = _one_hot(target, y) if target.ndim == 1 else target.astype(y.dtype)
        t = t * (1 - self.label_smoothing) + self.label_smoothing / 2
        return LossForward(_each(y, -(t * log_p + (1 - t) * log_not_p)), (np.exp(log_p), np.exp(log_not_p), t))

    def backward(self, cache: tuple, weights: np.ndarray) -> np.ndarray:
        p, not_p, t = cache
        return _column(weights, p) * -(t * not_p - (1 - t) * p)


def _each(y: np.ndarray, terms: np.ndarray) -> np.ndarray:
    """One sum for each example."""
    return terms.reshape(len(y), -1).sum(axis=1)


def _column(weights: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(B,) as (B, 1, ...)."""
    return weights.reshape(-1, *[1] * (y.ndim - 1))


def _one_hot(labels: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Row b is 1 at labels[b] and 0 elsewhere; all 0 if that isn't a class."""
    return (labels[:, None] == np.arange(y.shape[-1])).astype(y.dtype)
