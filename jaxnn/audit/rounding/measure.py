"""How far apart two tensors are, and how far rounding alone may put them.

The error of a tensor a against b is

    error(a, b) = max |a - b| / max(max |b|, s)

where s is the size of the terms that were summed into b, the size that rounding acts on: for a bias before batch
normalisation b is 0 and says nothing. Every entry of a cotangent is a sum of n terms J_ij dy_i, one for each entry of
dy, so n is the size of dy and s is sqrt(max_j sum_i (J_ij dy_i)^2): what the sum would be if nothing cancelled.

Tolerances are bounds, not constants. A sum of n terms, each rounded to unit roundoff u, errs by at most
gamma_n = n u / (1 - n u) of its terms' absolute sum, the *hard* bound, and, if roundings are independent and of mean
zero, by at most about lambda sqrt(n) u, the *probable* one, but for a chance of 2 exp(-lambda^2 / 2) each (Higham and
Mary 2019, theorem 2.4). lambda is chosen so that the chance of a false alarm anywhere in a tensor is one in a billion.
"""

import math
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

CHANCE = 1e-9
# Factors that every entry shares (1/B, a rate, a scale) err alike in all of them, so no average helps: the scale of a
# tensor may be off by this many roundings.
SHARED_ROUNDINGS = 8
TINY = float(np.finfo(np.float64).smallest_subnormal)  # to divide by what may be 0


class Bound(NamedTuple):
    """A tolerance and where it comes from."""

    value: float
    origin: str


def unit_roundoff(dtype: Any) -> float:
    """Half the distance from 1 to the next number: 1.1e-16 in float64, 6.0e-8 in float32, 3.9e-3 in bfloat16."""
    return float(jnp.finfo(dtype).eps) / 2


def confidence(n_entries: int) -> float:
    """lambda, such that n entries all keep to their probable bound but for a chance of 1e-9."""
    return math.sqrt(2 * math.log(2 * max(n_entries, 1) / CHANCE))


def rounding_bound(n_terms: int, n_entries: int, dtype: Any) -> Bound:
    """How far two ways of summing n terms may be apart: the probable bound, with the hard one as ceiling.

    >>> rounding_bound(10_000, 100, np.float32)
    Bound(value=4.3e-05, origin='lambda sqrt(n) u, n = 10000 + 8, lambda = 7.2, u = 6.0e-08')
    """
    u, n = unit_roundoff(dtype), n_terms + SHARED_ROUNDINGS
    factor = confidence(n_entries)
    probable = factor * math.sqrt(n) * u
    hard = n * u / (1 - n * u) if n * u < 1 else math.inf
    if hard < probable:
        return Bound(_short(hard), f"n u / (1 - n u), n = {n_terms} + {SHARED_ROUNDINGS}, u = {u:.1e}")
    origin = f"lambda sqrt(n) u, n = {n_terms} + {SHARED_ROUNDINGS}, lambda = {factor:.1f}, u = {u:.1e}"
    return Bound(_short(probable), origin)


def scale_bound(truth: np.ndarray, size: float, n_terms: int, dtype: Any) -> Bound:
    """How far the scale <g, truth> / <truth, truth> may be from 1 by rounding.

    Entries err independently by at most sqrt(n) u s, so their projection on truth by that over |truth|_2; what all
    entries share adds its own roundings. It resolves 1e-7 in float32 where single entries resolve 1e-4.
    """
    u, factor = unit_roundoff(dtype), confidence(1)
    length = float(np.linalg.norm(truth))
    entries = math.sqrt(n_terms + SHARED_ROUNDINGS) * max(size, _largest(truth)) / length if length else math.inf
    value = factor * u * (entries + math.sqrt(SHARED_ROUNDINGS))
    return Bound(_short(value), f"lambda u (sqrt(n) s / |truth| + sqrt({SHARED_ROUNDINGS})), n = {n_terms}")


class Terms(NamedTuple):
    """What was summed into a tensor: how large the terms are, how many roundings they went through, and how far the
    tensor goes when all of float64 is rounded otherwise (0 where nobody looked).
    """

    size: float = 0.0
    n: int = 1
    spread: float = 0.0


def unexplained(tensor: np.ndarray, machine: np.ndarray, truth: np.ndarray, terms: Terms, dtype: Any) -> str:
    """The bound that a tensor breaks, in error or in scale, and where it comes from; "" where rounding explains it.

    Twice the error of `machine`, the same tensor by other means in the same precision, is allowed beside the bound, and
    lambda times what rounding does at this point.
    """
    bound, of_scale = rounding_bound(terms.n, truth.size, dtype), scale_bound(truth, terms.size, terms.n, dtype)
    spread = terms.spread * unit_roundoff(dtype) / unit_roundoff(np.float64)
    size, length = max(_largest(truth), terms.size, TINY), max(float(np.linalg.norm(truth)), TINY)
    also = f" + lambda {spread:.1e}, the spread" if spread else ""

    off, off_machine = (error(g, truth, terms.size) for g in (tensor, machine))
    allowed = bound.value + confidence(truth.size) * spread / size
    if not off <= 2 * off_machine + allowed:
        beside = "twice the automatic one plus " if off_machine else ""
        return f"error above {beside}{allowed:.1e} = {bound.origin}{also}"

    factor, factor_machine = (scale_factor(g, truth) for g in (tensor, machine))
    allowed = of_scale.value + confidence(1) * math.sqrt(truth.size) * spread / length
    if abs(factor - 1) > 2 * abs(factor_machine - 1) + allowed:
        return f"scale off by more than {allowed:.1e} = {of_scale.origin}{also}"
    return ""


def error(tensor: np.ndarray, truth: np.ndarray, size: float = 0.0) -> float:
    """max |tensor - truth| / max(max |truth|, size); 0 / 0 is 0.

    NaN where one of them has a NaN or an infinity and the other doesn't have the same.
    """
    if tensor.shape != truth.shape:
        return math.nan
    a, b = np.asarray(tensor, np.float64), np.asarray(truth, np.float64)
    finite = np.isfinite(b)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True) or not np.isfinite(a[finite]).all():
        return math.nan
    difference = _largest(a[finite] - b[finite])
    return 0.0 if difference == 0 else difference / max(_largest(b[finite]), size, TINY)


def scale_factor(tensor: np.ndarray, truth: np.ndarray) -> float:
    """<tensor, truth> / <truth, truth>: 1, or the factor that the tensor is wrong by. NaN where truth is 0."""
    a, b = _unit(tensor, truth)
    squares = float(np.sum(b * b))
    return float(np.sum(a * b)) / squares if squares else math.nan


def cosine(tensor: np.ndarray, truth: np.ndarray) -> float:
    """<tensor, truth> / (|tensor| |truth|): 1 if they point the same way. NaN where one is 0."""
    a, b = _unit(tensor, truth)
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.sum(a * b)) / lengths if lengths else math.nan


def ulp_distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """How many numbers of their dtype lie between a and b, entry by entry: 0 for equal bits, and for 0 and -0.

    >>> ulp_distance(np.float32([1.0, 1.0, 0.0]), np.float32([1.0, 1.0000001, -0.0]))
    array([0., 1., 0.])
    """
    return np.abs(_order(a) - _order(b)).astype(np.float64)


def _order(x: np.ndarray) -> np.ndarray:
    """Floating numbers as integers in the same order, whose neighbours are neighbours."""
    integer = np.dtype(f"int{8 * x.dtype.itemsize}")
    bits = np.ascontiguousarray(x).view(integer).astype(np.longdouble)
    return np.where(bits < 0, np.longdouble(np.iinfo(integer).min) - bits, bits)


def _unit(tensor: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both in float64, divided by truth's largest entry, so that squares neither overflow nor vanish."""
    a, b = np.asarray(tensor, np.float64).ravel(), np.asarray(truth, np.float64).ravel()
    if a.shape != b.shape:
        return np.full(1, math.nan), np.ones(1)
    largest = _largest(b)
    return (a / largest, b / largest) if largest else (a, b)


def apart(a: Any, b: Any) -> float:
    """max |a - b|; NaN where one is."""
    return _largest(np.asarray(a, np.float64) - np.asarray(b, np.float64))


def _largest(x: np.ndarray) -> float:
    return float(np.max(np.abs(np.asarray(x, np.float64)), initial=0.0))


def _short(value: float) -> float:
    """Two digits: a tolerance has no more."""
    return float(f"{value:.2g}")
