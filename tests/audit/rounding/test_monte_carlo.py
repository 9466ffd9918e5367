"""Rounding otherwise stays within what rounding does, shows what is badly conditioned, and crosses no kink."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from jaxnn.audit.rounding.measure import unit_roundoff
from jaxnn.audit.rounding.monte_carlo import is_exact, moved, rounded_otherwise

X = np.random.default_rng(0).normal(size=1000)
DTYPES = [np.float64, np.float32, np.float16, ml_dtypes.bfloat16]


def spread(f, *arguments, draws=8):
    there = [np.asarray(rounded_otherwise(f)(draw, 1, *arguments)) for draw in range(draws)]
    return max(float(np.max(np.abs(each - np.asarray(f(*arguments))))) for each in there)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_number_goes_to_a_neighbour_up_or_down(dtype):
    x = jnp.asarray(X, dtype)
    there = [np.asarray(moved(x, draw, 1), np.float64) for draw in range(8)]
    relative = np.stack(there) / np.asarray(x, np.float64) - 1
    u = unit_roundoff(dtype)
    assert np.all(np.abs(relative) > 0.9 * u)
    assert np.all(np.abs(relative) < 2.1 * u)
    up = np.mean(relative > 0, axis=1)
    assert np.all((up > 0.3) & (up < 0.7)), up
    if dtype == np.float64:  # draws are independent of one another
        correlations = np.corrcoef(np.sign(relative)) - np.eye(8)
        assert np.max(np.abs(correlations)) < 0.2
    np.testing.assert_array_equal(moved(x, 3, 0), x)


@pytest.mark.usefixtures("x64")
def test_equal_numbers_go_together_and_exact_ones_stay():
    x = jnp.asarray([0.1, 0.1, 0.1, 0.0, 1.0, -0.5, 3.0])
    np.testing.assert_array_equal(is_exact(x), [False] * 3 + [True] * 4)
    there = rounded_otherwise(lambda x: x[::-1])(5, 1, x)[::-1]
    assert there[0] == there[1] == there[2] != x[0]
    np.testing.assert_array_equal(there[3:], x[3:])
    integers = jnp.arange(3)
    assert moved(integers, 0, 1) is integers


@pytest.mark.usefixtures("x64")
def test_equal_numbers_stay_equal_in_a_compiled_program_too():
    """A product with 1 + 2u would be contracted with the difference to one operation, which rounds once."""
    x = jnp.asarray(X)
    apart = jax.jit(lambda x, y: moved(x, 0, 1) - moved(y, 0, 1))(x, x)
    np.testing.assert_array_equal(apart, 0)
    tied = jax.jit(jax.grad(lambda x, y: jnp.sum(jnp.logaddexp(x, y))))
    assert spread(tied, x, x) < 1e-15


@pytest.mark.usefixtures("x64")
def test_what_has_no_neighbour_stays():
    special = jnp.asarray([0.0, -0.0, jnp.inf, -jnp.inf, jnp.nan])
    np.testing.assert_array_equal(moved(special, 1, 1), special)


@pytest.mark.usefixtures("x64")
def test_ties_and_edges_are_not_crossed():
    x = jnp.asarray([0.3, 0.3, 0.1])
    assert spread(jax.grad(lambda x: jnp.max(x * 1.7)), x) < 1e-15
    assert spread(jax.grad(lambda x: jnp.sum(jnp.clip(x, 0.0, 1.0))), jnp.asarray([0.0, 1.0, 0.4])) < 1e-15


@pytest.mark.usefixtures("x64")
def test_it_says_how_badly_a_point_is_conditioned():
    """A sum whose terms cancel knows u times its terms; one in a scan too; a well conditioned one 100 times better."""
    x = jnp.asarray(X)
    cancelling = lambda x: jnp.sum(x) - jnp.sum(x[::-1])  # noqa: E731
    scanned = lambda x: jax.lax.scan(lambda s, a: (jnp.sin(s + a) - s, s), jnp.zeros(()), x)[0]  # noqa: E731
    assert 1e-16 < spread(cancelling, 1e3 * x) < 1e-10
    assert 1e-17 < spread(scanned, x) < 1e-10
    assert spread(lambda x: 1 - jnp.tanh(x), jnp.asarray([8.1])) > 1e-17
    assert spread(lambda x: jnp.sum(jnp.abs(x)), x) < 1e-12


def test_it_goes_through_jit_vmap_and_rules():
    f = lambda x: jax.nn.silu(x).sum()  # noqa: E731
    x = jnp.asarray(X[:12].reshape(3, 4), jnp.float32)
    alone = [rounded_otherwise(f)(2, 1, row) for row in x]
    together = jax.jit(jax.vmap(lambda row: rounded_otherwise(f)(2, 1, row)))(x)
    np.testing.assert_allclose(together, alone, rtol=1e-6)
