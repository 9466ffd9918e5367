"""What a wrong gradient looks like: the factor, the transposition or the missing term that its numbers betray."""

import math
from typing import Any

import numpy as np

# How well a pattern must fit to be named: far looser than rounding, far tighter than chance.
FITS = 1e-4
NONE = "no simple one"


@np.errstate(all="ignore")  # huge numbers are among what may be wrong
def likely_pattern(wrong: Any, truth: Any, n_rows: int = 1, noise: float = 0.0) -> str:
    """The likeliest way in which one tensor came to differ from another, in a few words.

    n_rows is B, for means that should be sums; noise is how far rounding alone puts an entry. Shapes, NaN and zeros are
    looked at first, then whether the whole is a multiple, then whether its entries stand in another order, then what is
    missing.

    >>> truth = np.arange(6.0).reshape(2, 3) - 2.5
    >>> likely_pattern(-truth, truth), likely_pattern(1.001 * truth, truth), likely_pattern(truth / 8, truth, n_rows=8)
    ('the sign: times -1', 'a factor: times 1.001', 'a factor: times 0.125, 1/B: a mean where a sum belongs')
    """
    if wrong is None or truth is None:
        return "missing: None where there is a gradient" if wrong is None else "a gradient where there should be None"
    a, b = np.asarray(wrong, np.float64), np.asarray(truth, np.float64)
    if a.shape != b.shape:
        return _shapes(a, b)
    if not np.isfinite(a[np.isfinite(b)]).all():
        return f"{int(np.sum(~np.isfinite(a) & np.isfinite(b)))} of {a.size} entries are NaN or infinite"
    a, b = np.where(np.isfinite(b), a, 0), np.where(np.isfinite(b), b, 0)
    if not a.any():
        return "zero"
    if not b.any():
        return "not zero, where the truth is"
    noise = noise if noise < 0.1 * np.max(np.abs(a - b)) else 0.0  # or anything would be a multiple
    return _multiple(a, b, n_rows, noise) or _rearranged(a, b) or _some_entries(a, b) or _missing_term(a, b) or NONE


def _shapes(a: np.ndarray, b: np.ndarray) -> str:
    if a.ndim > b.ndim and a.shape[a.ndim - b.ndim :] == b.shape:
        return f"unsummed: shape {a.shape} for {b.shape}"
    if a.T.shape == b.shape:
        return "transposed: " + f"shape {a.shape} for {b.shape}"
    return f"shape {a.shape} for {b.shape}"


def _multiple(a: np.ndarray, b: np.ndarray, n_rows: int, noise: float = 0.0) -> str:
    if not b.any():
        return ""
    factor = float(np.sum(a * b) / np.sum(b * b))
    # A small factor off 1 fits only if the rest is small beside what it explains.
    if not _same(a, factor * b, min(np.max(np.abs(a)), np.max(np.abs(a - b))), noise):
        return ""
    for known, words in ((-1, "the sign: times -1"), (2, "a factor: times 2"), (0.5, "a factor: times 1/2")):
        if math.isclose(factor, known, rel_tol=FITS):
            return words
    words = f"a factor: times {factor:.6g}"
    names = {n_rows: "B: a sum where a mean belongs", 1 / n_rows: "1/B: a mean where a sum belongs"}
    names |= {n_rows / (n_rows + 1): "B / (B + 1): one row too many", n_rows / max(n_rows - 1, 1): "B / (B - 1)"}
    for known, name in names.items():
        if n_rows > 1 and math.isclose(factor, known, rel_tol=FITS):
            return f"{words}, {name}"
    return words


def _rearranged(a: np.ndarray, b: np.ndarray) -> str:
    if a.ndim == 2:
        if a.shape[0] == a.shape[1] and _same(a, b.T):
            return "transposed"
        if _same(a, b.T.reshape(a.shape)) or _same(a.T.reshape(a.shape), b):
            return "transposed before it was reshaped"
    for axis in range(a.ndim):
        if a.shape[axis] > 1:
            if _same(a, np.flip(b, axis)):
                return f"reversed along axis {axis}"
            for shift in (1, -1):
                if _same(a, np.roll(b, shift, axis)):
                    return f"shifted by {shift} along axis {axis}"
    return ""


def _some_entries(a: np.ndarray, b: np.ndarray) -> str:
    """Most entries right, and those that are wrong by one simple rule."""
    different = np.abs(a - b) > FITS * np.max(np.abs(b))
    n_different = int(different.sum())
    if not 0 < n_different <= a.size / 2:
        return ""
    words = f"{n_different} of {a.size} entries"
    here = tuple(np.unique(index) for index in np.nonzero(different))
    for axis, indices in enumerate(here):
        if a.ndim > 1 and len(indices) == 1 and a.shape[axis] > 1:
            words += f", all at index {indices[0]} of axis {axis}"
    inner = _multiple(a[different], b[different], 1)
    return f"{words}: {'zero' if not a[different].any() else inner or 'no simple factor'}"


def _missing_term(a: np.ndarray, b: np.ndarray) -> str:
    """What is left of the truth is the same along an axis: a mean's or a bias's path."""
    rest = b - a
    for axis in range(a.ndim):
        if a.shape[axis] > 1 and _same(rest, np.broadcast_to(rest.mean(axis, keepdims=True), rest.shape)):
            return f"a dropped term: the difference is the same all along axis {axis}"
    cosine = float(np.sum(a * b) / (np.linalg.norm(a) * np.linalg.norm(b)))
    return f"a dropped or a wrong term: cosine {cosine:.3f}" if cosine > 0 else ""


def _same(a: np.ndarray, b: np.ndarray, within: float | None = None, noise: float = 0.0) -> bool:
    size = np.max(np.abs(b)) if within is None else within
    return a.shape == b.shape and bool(np.max(np.abs(a - b)) <= FITS * size + noise)
