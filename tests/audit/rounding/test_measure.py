"""The measure of error, and the bounds that tolerances come from."""

import math

import ml_dtypes
import numpy as np
import pytest

from jaxnn.audit.rounding.measure import (
    cosine,
    error,
    rounding_bound,
    scale_bound,
    scale_factor,
    ulp_distance,
    unit_roundoff,
)


def test_error_is_relative_to_the_larger_of_truth_and_terms():
    assert error(np.array([1.0, 2.5]), np.array([1.0, 2.0])) == 0.25
    assert error(np.array([1.0, 2.5]), np.array([1.0, 2.0]), size=5.0) == 0.1
    assert error(np.zeros(2), np.zeros(2)) == 0
    assert error(np.zeros(0), np.zeros(0)) == 0


@pytest.mark.parametrize(("a", "b"), [(math.nan, 1.0), (1.0, math.nan), (math.inf, 1.0), (math.inf, -math.inf)])
def test_nan_and_infinity_belong_where_they_are(a, b):
    assert math.isnan(error(np.array([a, 0.0]), np.array([b, 0.0])))
    assert error(np.array([math.nan, math.inf, 1.0]), np.array([math.nan, math.inf, 1.0])) == 0
    assert math.isnan(error(np.zeros(2), np.zeros(3)))


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
def test_ulps_count_the_numbers_between(dtype):
    one = np.ones(3, dtype)
    step = np.array(2 * unit_roundoff(dtype), dtype)
    assert ulp_distance(one, one + step).tolist() == [1, 1, 1]
    assert ulp_distance(np.array([0.0], dtype), np.array([-0.0], dtype)).tolist() == [0]
    tiny = np.finfo(np.float64).smallest_subnormal if dtype == np.float64 else None
    if tiny is not None:
        assert ulp_distance(np.array([tiny]), np.array([-tiny])).tolist() == [2]


def test_scale_and_cosine():
    truth = np.array([3.0, -4.0])
    assert scale_factor(1.001 * truth, truth) == pytest.approx(1.001, rel=1e-15)
    assert cosine(-2 * truth, truth) == pytest.approx(-1)
    assert cosine(np.array([4.0, 3.0]), truth) == 0
    assert math.isnan(scale_factor(truth, 0 * truth))
    assert scale_factor(1e-200 * truth, 1e-200 * truth) == 1  # no underflow of squares


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [2, 30, 1000, 30_000])
def test_sums_keep_to_their_bound(dtype, n):
    """Two orders of a sum, 200 entries at once: never above the bound, which isn't above a thousand times the error."""
    rng = np.random.default_rng(n)
    terms = rng.normal(size=(200, n)).astype(dtype)
    truth = terms.astype(np.longdouble).sum(axis=1).astype(np.float64)
    backwards = np.add.accumulate(terms[:, ::-1], axis=1)[:, -1]
    size = float(np.sqrt(np.square(terms.astype(np.float64)).sum(axis=1).max()))
    bound = rounding_bound(n, 200, dtype).value
    off = error(backwards, truth, size)
    assert off <= bound <= 1000 * max(off, unit_roundoff(dtype))


def test_the_hard_bound_is_the_ceiling():
    assert rounding_bound(1, 1, np.float64).origin.startswith("n u /")
    assert rounding_bound(10_000, 1, np.float64).origin.startswith("lambda")
    assert rounding_bound(10**6, 1, ml_dtypes.bfloat16).value < 100


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_scale_resolves_what_entries_do_not(dtype):
    """4096 terms an entry: an error of 0.1 % is far above the scale's bound, in float32 too."""
    rng = np.random.default_rng(0)
    x, dy = rng.normal(size=(4096, 100)).astype(dtype), rng.normal(size=(4096, 50)).astype(dtype)
    truth = x.astype(np.float64).T @ dy.astype(np.float64)
    bound = scale_bound(truth, 64.0, 4096, dtype)
    assert abs(scale_factor(x.T @ dy, truth) - 1) <= bound.value < 1e-4
    assert abs(scale_factor(x.T @ dy * dtype(1.001), truth) - 1) > 10 * bound.value
