"""Moments of the initialisers, each with the standard error of its estimate."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from table import INITIALIZERS

from jaxnn import Dense, Glorot, He, LeCun, Normal, Orthogonal, Repeat, Uniform, Zeros

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


@pytest.mark.parametrize(("shape", "gain"), [((4, 4), 1.0), ((5, 3), 2.0), ((3, 5), 0.5), ((1, 1), 1.0), ((1, 6), 1.0)])
def test_orthogonal_has_orthonormal_rows_or_columns(shape, gain):
    """Whichever are fewer, times the gain."""
    w = np.asarray(Orthogonal(gain)(jax.random.key(0), shape, jnp.float32))
    squares = w.T @ w if shape[0] >= shape[1] else w @ w.T
    np.testing.assert_allclose(squares, gain**2 * np.eye(min(shape)), atol=1e-6)


def test_orthogonal_filters_of_a_kernel():
    """Of (3, 3, 2, 4) all but the last axis are one: four filters of 18 numbers; as jax.nn.initializers has them."""
    kernel = Orthogonal()(jax.random.key(0), (3, 3, 2, 4), jnp.float32)
    filters = np.asarray(kernel).reshape(18, 4)
    np.testing.assert_allclose(filters.T @ filters, np.eye(4), atol=1e-6)
    of_jax = jax.nn.initializers.orthogonal()(jax.random.key(0), (3, 3, 2, 4), jnp.float32)
    np.testing.assert_array_equal(kernel, of_jax)


def test_orthogonal_is_drawn_evenly():
    """Of 2 x 2 matrices half have the determinant 1 and half -1, and each entry the mean 0: to 5 standard errors."""
    keys = jax.random.split(jax.random.key(0), 1000)
    drawn = jax.vmap(lambda key: Orthogonal()(key, (2, 2), jnp.float32))(keys)
    np.testing.assert_allclose(np.abs(np.linalg.det(drawn)), 1, atol=1e-5)
    assert abs(np.mean(np.linalg.det(drawn))) <= 5 / np.sqrt(1000)
    assert np.all(np.abs(np.mean(drawn, axis=0)) <= 5 * np.sqrt(1 / 2 / 1000))


def test_orthogonal_in_every_dtype_and_depth():
    """Short dtypes round what float32 draws; under Repeat each depth has a matrix of its own."""
    single, short = (Orthogonal()(jax.random.key(0), (3, 3), dtype) for dtype in (jnp.float32, jnp.bfloat16))
    np.testing.assert_array_equal(short, single.astype(jnp.bfloat16))
    with jax.enable_x64(True):
        w = np.asarray(Orthogonal()(jax.random.key(0), (3, 3), jnp.float64))
        np.testing.assert_allclose(w.T @ w, np.eye(3), atol=1e-14)
    params, _ = Repeat(Dense(3, Orthogonal()), 2).init(jax.random.key(0), (3,))
    for w in params.inner.weight:
        np.testing.assert_allclose(w.T @ w, np.eye(3), atol=1e-6)
    assert np.any(params.inner.weight[0] != params.inner.weight[1])


def test_orthogonal_is_not_for_biases():
    with pytest.raises(ValueError, match=r"Orthogonal\(\): needs two axes or more, got the shape \(3,\): take Zeros"):
        Dense(3, bias_init=Orthogonal()).init(jax.random.key(0), (2,))


def test_those_of_jax_serve_too():
    params, _ = Dense(3, weight_init=jax.nn.initializers.orthogonal()).init(jax.random.key(0), (3,))
    np.testing.assert_allclose(params.weight @ params.weight.T, np.eye(3), atol=1e-6)


def test_an_unknown_distribution_is_refused():
    with pytest.raises(ValueError, match="laplace"):
        He("laplace")(jax.random.key(0), (2, 2), jnp.float32)
