"""Penalties: value and gradient, and which params they are for."""

from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradients import SAME, error, normal_like
from outsiders import Mixture, Scale
from table import PENALTIES

import jaxnn
from jaxnn import BatchNorm, Dense, Repeat, Residual, Serial, decay_mask, l1, l2, weight_mask
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


# Which params: by name, as a tree says, as a layer says, as a mask says; and never none in silence.


class Kernel(NamedTuple):
    """Params of somebody's, that say which of them decay."""

    kernel: Any
    weight: Any

    decays = ("kernel",)


def test_a_tree_says_which_of_it_decays():
    assert weight_mask({"weight": 1.0, "bias": 2.0}) == {"weight": True, "bias": False}
    assert weight_mask((Kernel(1.0, 2.0), {"weight": Kernel({"deep": 3.0}, 4.0)})) == (
        Kernel(True, False),
        {"weight": Kernel({"deep": False}, False)},
    )


def test_a_layer_says_which_of_its_params_decay():
    """Names hold for the layer that says them, and inside of a network that holds it."""
    net = Serial(Mixture(Scale(), Dense(4)), Dense(2))
    params = net.init(jax.random.key(0), (4,)).params
    assert decay_mask(net)(params) == (
        {"a": {"factor": True, "weight": False}, "b": (True, False), "gate": False},
        (True, False),
    )
    assert hash(decay_mask(net)) == hash(decay_mask(Serial(*net.layers)))


@pytest.mark.parametrize(
    ("update", "penalty"),
    [
        (jaxnn.gradient_descent(0.1), l2(0.5)),
        (jaxnn.chain(jaxnn.weight_decay(0.5), jaxnn.gradient_descent(0.1)), None),
    ],
)
@pytest.mark.parametrize("gradient", [jaxnn.backprop, jaxnn.autodiff, jaxnn.mixed(jaxnn.backprop, "float64")])
def test_in_a_loop_what_the_layers_say_holds(x64, update, penalty, gradient):
    """On data without a slope, the factor shrinks by 1 - 0.1 x 0.5 a step, and what is called weight stays."""
    net, data = Scale(), (np.zeros((4, 3)), np.zeros((4, 3)))
    run, _ = jaxnn.bgd(
        net, jaxnn.HalfSquaredError(), data, key=jax.random.key(0), epochs=2, update=update, penalty=penalty,
        gradient=gradient, metric=None,
    )  # fmt: skip
    np.testing.assert_allclose(run.params["factor"], 0.95**2, rtol=1e-14)
    np.testing.assert_array_equal(run.params["weight"], 0)


RULES = [jaxnn.adamw(0.1), jaxnn.weight_decay(0.1), jaxnn.proximal_l1(0.1, 0.1)]


@pytest.mark.parametrize("owner", [l1(0.1), l2(0.1), *RULES], ids=lambda owner: type(owner).__name__)
def test_what_matches_nothing_is_refused(owner):
    tree = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    use = owner.value if hasattr(owner, "value") else lambda tree: owner.update(tree, owner.init(tree), tree)
    name = type(owner).__name__
    with pytest.raises(
        ValueError, match=rf"{name}: none of the params is a weight.*\['bias'\], \['kernel'\]: pass mask="
    ):
        use(tree)
    masked = replace(owner, mask=lambda tree: {"kernel": True, "bias": False})
    chosen = masked.value if hasattr(masked, "value") else lambda tree: masked.update(tree, masked.init(tree), tree)
    chosen(tree)
    assert masked.of_network(Dense(2)) is masked
