"""A survey's value is the rule's, its size that of the terms, its spread what rounding does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.audit.rounding.survey import N_PROBES, signs, sizes, surveyed

pytestmark = pytest.mark.usefixtures("x64")
RNG = np.random.default_rng(0)
X, DY = RNG.normal(size=(40, 3)), RNG.normal(size=(40, 2))


def rule(x, dy):
    return {"dw": x.T @ dy, "db": jnp.sum(dy - jnp.mean(dy, axis=0, keepdims=True), axis=0)}


def test_value_size_and_spread():
    survey = jax.jit(lambda x, dy: surveyed(rule, (x,), dy))(X, DY)
    np.testing.assert_allclose(survey.value["dw"], X.T @ DY, rtol=1e-14)
    squares = jnp.square(X).T @ jnp.square(DY)  # of the terms x_r dy_r
    np.testing.assert_allclose(survey.size["dw"] ** 2 / squares, 1, atol=0.9)
    assert np.all((survey.spread["dw"] > 1e-17) & (survey.spread["dw"] < 1e-13))
    # What cancels has no size of its own, and its rounding is that of what cancels.
    assert np.max(survey.size["db"]) < 1e-13
    assert np.all((survey.spread["db"] > 1e-17) & (survey.spread["db"] < 1e-13))


def test_sizes_are_the_largest_of_a_survey():
    survey = surveyed(rule, (X,), DY)
    largest = jax.tree.map(jnp.max, survey.size)
    for name, size in sizes(lambda dy: rule(X, dy), DY).items():
        np.testing.assert_allclose(size, largest[name], rtol=0.5 if name == "dw" else 10)


def test_signs_are_fair_and_differ_from_draw_to_draw():
    drawn = np.stack([signs(jnp.zeros((50, 40)), draw) for draw in range(1, 1 + N_PROBES)])
    assert set(np.unique(drawn)) == {-1.0, 1.0}
    flat = drawn.reshape(N_PROBES, -1)
    assert np.all(np.abs(flat.mean(axis=1)) < 0.1)
    assert np.max(np.abs(np.corrcoef(flat) - np.eye(N_PROBES))) < 0.15
