"""Moments of the initialisers, each with the standard error of its estimate."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from table import INITIALIZERS

from jaxnn import Dense, Glorot, He, LeCun, Normal, Uniform, Zeros

SHAPE = (200, 300)
FORMS = ["truncated_normal", "normal", "uniform"]


@pytest.mark.parametrize(
    ("initializer", "mean", "variance"),
    [
        (Zeros(), 0.0, 0.0),
        (Normal(), 0.0, 1.0),
        (Normal(0.1), 0.0, 0.01),
        (Uniform(), 0.0, 0.2**2 / 12),
        (Uniform(-2.0, 1.0), -0.5, 3**2 / 12),
        *((Glorot(form), 0.0, 2 / 500) for form in FORMS),
        *((He(form), 0.0, 2 / 200) for form in FORMS),
        *((LeCun(form), 0.0, 1 / 200) for form in FORMS),
    ],
    ids=str,
)
def test_moments(initializer, mean, variance):
    """60,000 numbers: means to 5 standard errors, variances to 3 % (5 standard errors of a normal one)."""
    w = initializer(jax.random.key(1), SHAPE, jnp.float32)
    assert (w.shape, w.dtype) == (SHAPE, jnp.float32)
    assert abs(float(jnp.mean(w)) - mean) <= 5 * np.sqrt(variance / w.size)
    np.testing.assert_allclose(float(jnp.var(w)), variance, rtol=0.03)


@pytest.mark.parametrize("initializer", INITIALIZERS, ids=str)
def test_one_key_one_draw_in_any_dtype(initializer):
    draw = jax.jit(initializer, static_argnums=(1, 2))
    key = jax.random.key(2)
    assert draw(key, (3, 2), jnp.bfloat16).dtype == jnp.bfloat16
    np.testing.assert_array_equal(draw(key, (3, 2), jnp.float32), draw(key, (3, 2), jnp.float32))
    if initializer != Zeros():
        assert not np.array_equal(draw(key, (3, 2), jnp.float32), draw(jax.random.key(3), (3, 2), jnp.float32))


def test_uniform_stays_within_its_bounds():
    w = Uniform(-2.0, 1.0)(jax.random.key(0), (10_000,), jnp.float32)
    assert -2 <= w.min() < -1.9
    assert 0.9 < w.max() <= 1


def test_those_of_jax_serve_too():
    params, _ = Dense(3, weight_init=jax.nn.initializers.orthogonal()).init(jax.random.key(0), (3,))
    np.testing.assert_allclose(params.weight @ params.weight.T, np.eye(3), atol=1e-6)


def test_an_unknown_distribution_is_refused():
    with pytest.raises(ValueError, match="laplace"):
        He("laplace")(jax.random.key(0), (2, 2), jnp.float32)
