"""BatchNorm: its statistics, which of them run, its two modes, and the batch it can't take."""

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import BatchNorm
from jaxnn.layers import BatchNormParams, BatchNormState


def made(n=3, **fields):
    layer = BatchNorm(**fields)
    return layer, *layer.init(jax.random.key(0), (n,))


def test_outputs_have_mean_0_and_variance_1(x64):
    layer, params, state = made(epsilon=0.0)
    x = 3 * jax.random.normal(jax.random.key(0), (7, 2, 3)) - 5
    y = layer.forward(params, state, x, train=True).y
    np.testing.assert_allclose(jnp.mean(y, axis=(0, 1)), np.zeros(3), atol=1e-14)
    np.testing.assert_allclose(jnp.var(y, axis=(0, 1)), np.ones(3), rtol=1e-13)


def test_what_runs_is_the_unbiased_variance(x64):
    layer, params, state = made(momentum=0.75)
    x = jax.random.normal(jax.random.key(0), (5, 3))
    _, new, _ = layer.forward(params, state, x, train=True)
    np.testing.assert_allclose(new.mean, 0.25 * np.mean(x, axis=0), rtol=1e-13)
    np.testing.assert_allclose(new.variance, 0.75 + 0.25 * np.var(x, axis=0, ddof=1), rtol=1e-13)


def test_evaluation_uses_what_ran_and_changes_nothing(x64):
    layer = BatchNorm(epsilon=0.5)
    params = BatchNormParams(jnp.array([2.0, 3.0]), jnp.array([0.1, 0.2]))
    state = BatchNormState(jnp.array([1.0, -1.0]), jnp.array([0.25, 1.5]))
    x = jnp.array([[1.0, 2.0]])
    y, new, cache = layer.forward(params, state, x)
    np.testing.assert_allclose(y, [[0.1, 0.2 + 3 * 3 / np.sqrt(2)]], rtol=1e-14)
    assert new is state
    np.testing.assert_allclose(
        layer.backward(params, cache, jnp.ones((1, 2))).dx, [[2 / np.sqrt(0.75), 3 / np.sqrt(2)]], rtol=1e-14
    )


def test_forward_is_that_of_flax_but_for_the_variance_that_runs(x64):
    layer, params, state = made()
    x = jax.random.normal(jax.random.key(0), (6, 3))
    theirs = flax.linen.BatchNorm(use_running_average=False, momentum=0.9, epsilon=1e-5, use_fast_variance=False)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        variables = theirs.init(jax.random.key(0), x)
        y, changed = theirs.apply(variables, x, mutable=["batch_stats"])
    ours, new, _ = layer.forward(params, state, x, train=True)
    np.testing.assert_allclose(ours, y, rtol=1e-12)
    np.testing.assert_allclose(new.mean, changed["batch_stats"]["mean"], rtol=1e-12)
    unbiased = (changed["batch_stats"]["var"] - 0.9) * 6 / 5 + 0.9
    np.testing.assert_allclose(new.variance, unbiased, rtol=1e-7)  # Flax keeps its running statistics in float32


def test_a_constant_dy_moves_nothing(x64):
    """y has mean 0 whatever x is, so dx of an equal dy is 0; and so is that of dy = x^, but for epsilon."""
    layer, params, state = made(epsilon=1e-12)
    x = jax.random.normal(jax.random.key(0), (6, 3))
    y, _, cache = layer.forward(params, state, x, train=True)
    for dy in (jnp.ones_like(y), y):
        np.testing.assert_allclose(layer.backward(params, cache, dy).dx, np.zeros((6, 3)), atol=1e-11)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_zero_variance_makes_no_nan(dtype):
    with jax.enable_x64(dtype == "float64"):
        layer, params, state = made()
        x, dy = jnp.full((4, 3), 2.0), jax.random.normal(jax.random.key(0), (4, 3))

        def forward(x):
            return layer.forward(params, state, x, train=True)

        y, new, cache = forward(x)
        dx = layer.backward(params, cache, dy).dx
        truth = jax.vjp(lambda x: forward(x).y, x)[1](dy)[0]
        assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves((y, new, dx)))
        np.testing.assert_array_equal(y, np.zeros((4, 3)))
        np.testing.assert_allclose(dx, truth, rtol=1e-4)


def test_errors():
    layer, params, state = made()
    with pytest.raises(ValueError, match=r"training needs at least two rows, got 1.*ragged"):
        layer.forward(params, state, jnp.ones((1, 3)), train=True)
    layer.forward(params, state, jnp.ones((1, 3)))
    layer.forward(params, state, jnp.ones((1, 2, 3)), train=True)
    with pytest.raises(ValueError, match="the last axis of x should have 3 features"):
        layer.forward(params, state, jnp.ones((2, 4)), train=True)
    with pytest.raises(TypeError, match="x should be floating"):
        layer.forward(params, state, jnp.ones((2, 3), jnp.uint8), train=True)
    with pytest.raises(ValueError, match="at least one axis"):
        layer.init(jax.random.key(0), ())
