"""Penalties: value and gradient, on the fields named `weight` alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradients import SAME, error, normal_like
from table import PENALTIES

from jaxnn import BatchNorm, Dense, Repeat, Residual, Serial, l1, l2, weight_mask
from jaxnn.objective.penalties import penalty_gradient, penalty_value

NET = Serial(Dense(3), BatchNorm(), Repeat(Residual(Dense(3)), 2), Dense(2, bias=False))


@pytest.fixture
def params(x64):
    return normal_like(NET.init(jax.random.key(0), (4,)).params, seed=0)


def test_weight_mask_goes_by_name(params):
    """Inside Repeat a bias is a matrix, and still no weight; scale and bias of BatchNorm are none either."""
    mask = weight_mask(params)
    assert params[2].inner.inner.bias.shape == (2, 3)
    assert mask[2].inner.inner == (True, False)
    assert mask[0] == (True, False)
    assert mask[1] == (False, False)
    assert (mask[3].weight, mask[3].bias) == (True, None)


@pytest.mark.parametrize("penalty", PENALTIES, ids=str)
def test_gradient_is_that_of_jax(params, penalty):
    gradient = penalty_gradient(penalty, params)
    assert error(gradient, jax.grad(lambda params: penalty_value(penalty, params))(params)) <= SAME
    for is_weight, leaf in zip(jax.tree.leaves(weight_mask(params)), jax.tree.leaves(gradient), strict=True):
        assert is_weight or not np.any(leaf)


def test_values(params):
    weights = [params[0].weight, params[2].inner.inner.weight, params[3].weight]
    squares, sizes = sum(float(jnp.sum(w**2)) for w in weights), sum(float(jnp.sum(jnp.abs(w))) for w in weights)
    np.testing.assert_allclose(l2(0.3).value(params), 0.15 * squares, rtol=1e-14)
    np.testing.assert_allclose(l1(0.3).value(params), 0.3 * sizes, rtol=1e-14)
    np.testing.assert_allclose(penalty_value((l1(0.3), l2(0.3)), params), 0.15 * squares + 0.3 * sizes, rtol=1e-14)
    assert penalty_value(None, params) == penalty_value((), params) == 0
    assert l2(0.1).value(()) == 0
    assert not any(jax.tree.leaves(jax.tree.map(np.any, penalty_gradient(None, params))))


def test_l1_at_zero(x64):
    """sign(0) = 0, by hand and by machine, for both zeros; NaN stays NaN."""
    layer = Dense(3, bias=False)
    params = layer.init(jax.random.key(0), (1,)).params._replace(weight=jnp.array([[0.0, -0.0, 2.0]]))
    assert error(l1(0.5).gradient(params), jax.grad(l1(0.5).value)(params)) == 0
    np.testing.assert_array_equal(l1(0.5).gradient(params).weight, [[0, 0, 0.5]])
    assert jnp.isnan(l1(0.5).gradient(params._replace(weight=jnp.full((1, 1), jnp.nan))).weight).all()


def test_strength_is_a_leaf(params, compilations):
    value = jax.jit(penalty_value)
    strengths = [jnp.asarray(s) for s in (0.1, 0.2, 0.3)]
    first = value(l2(strengths[0]), params)
    with compilations.none():
        second = value(l2(strengths[1]), params)
    np.testing.assert_allclose(second, 2 * first, rtol=1e-14)
    grid = jax.vmap(lambda penalty: penalty.value(params))(l2(jnp.stack(strengths)))
    np.testing.assert_allclose(grid, float(first) * np.array([1, 2, 3]), rtol=1e-13)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_gradients_keep_the_dtype(dtype):
    params = NET.init(jax.random.key(0), (4,), dtype).params
    for penalty in PENALTIES:
        assert {leaf.dtype.name for leaf in jax.tree.leaves(penalty_gradient(penalty, params))} == {dtype}
