"""Mixed precision: what has which type, that it is the gradient of the short network, and that it trains."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from outsiders import FromIntegers, Mixture

import jaxnn
from jaxnn import (
    BatchNorm,
    Conv2D,
    Dense,
    Flatten,
    HalfSquaredError,
    MaxPool,
    ReLU,
    Rescale,
    Serial,
    SoftmaxCrossEntropy,
    adam,
    autodiff,
    backprop,
    l2,
    mixed,
)

NET = Serial(Dense(6), BatchNorm(), ReLU(), Dense(3))
LOSS = SoftmaxCrossEntropy()


def point(net=NET, shape=(4,), n=8):
    params, state = net.init(jax.random.key(0), shape)
    return params, state, jax.random.normal(jax.random.key(1), (n, *shape)), jnp.arange(n) % 3


@pytest.mark.parametrize("gradient", [backprop, autodiff])
@pytest.mark.parametrize("compute", ["bfloat16", "float16"])
def test_what_accumulates_has_the_type_of_the_params(gradient, compute):
    params, state, x, t = point()
    result = jax.jit(mixed(gradient, compute)(NET, LOSS, l2(0.1)))(params, state, x, t)
    assert {leaf.dtype for leaf in jax.tree.leaves(result[:5])} == {jnp.dtype("float32")}
    assert result.outputs.dtype == result.dx.dtype == jnp.float32


@pytest.mark.parametrize("compute", ["bfloat16", "float16"])
def test_both_gradients_are_near_the_whole_one(compute):
    """Within a few roundings of the type, by the size of each tensor: 30 u is what 8 layers of sums leave."""
    params, state, x, t = point()
    truth = backprop(NET, LOSS)(params, state, x, t)
    for gradient in (backprop, autodiff):
        found = mixed(gradient, compute)(NET, LOSS)(params, state, x, t)
        for name in ("value", "outputs", "dx"):
            assert apart(getattr(found, name), getattr(truth, name)) <= 30 * float(jnp.finfo(compute).eps) / 2
        # A bias before BatchNorm has no gradient, so the tensors are measured by the largest of them.
        size = max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(truth.grads))
        for mine, right in zip(jax.tree.leaves(found.grads), jax.tree.leaves(truth.grads), strict=True):
            assert jnp.max(jnp.abs(mine - right)) <= 30 * float(jnp.finfo(compute).eps) / 2 * size


def apart(a, b):
    return float(jnp.max(jnp.abs(a - b)) / jnp.max(jnp.abs(b)))


def test_the_network_itself_works_in_the_short_type():
    params, state, x, t = point(Serial(Dense(3)))
    jaxpr = str(jax.make_jaxpr(mixed()(Serial(Dense(3)), LOSS))(params, state, x, t))
    assert "bf16[8,3]" in jaxpr
    assert "dot_general" in jaxpr
    dots = [line for line in jaxpr.splitlines() if "dot_general" in line]
    assert dots
    assert all(":bf16" in line for line in dots)


def test_the_penalty_is_that_of_the_whole_params():
    params, state, x, t = point(Serial(Dense(3)))
    found = mixed()(Serial(Dense(3)), LOSS, l2(0.5))(params, state, x, t)
    plain = mixed()(Serial(Dense(3)), LOSS)(params, state, x, t)
    assert found.penalty == l2(0.5).value(params)
    np.testing.assert_array_equal(found.grads[0].weight, plain.grads[0].weight + 0.5 * params[0].weight)
    assert found.value == found.loss + found.penalty


def test_integers_become_the_short_type():
    net = Serial(Rescale(1 / 255), Flatten(), Dense(3))
    params, state = net.init(jax.random.key(0), (2, 2))
    x = jnp.arange(16, dtype=jnp.uint8).reshape(4, 2, 2)
    found = mixed()(net, LOSS)(params, state, x, jnp.arange(4) % 3)
    assert found.dx is None
    assert found.grads[2].weight.dtype == jnp.float32


def test_integers_become_it_inside_of_a_foreign_combinator_too():
    net = Serial(Mixture(FromIntegers(), Rescale(0.5)), Dense(3))
    params, state = net.init(jax.random.key(0), (4,))
    x = jnp.arange(16, dtype=jnp.uint8).reshape(4, 4)
    gradient = mixed()(net, LOSS, observe=lambda node: getattr(node.cache, "x", None))
    result = gradient(params, state, x, jnp.arange(4) % 3)
    assert result.notes["[1]"].dtype == jnp.bfloat16
    assert result.grads[0]["gate"].dtype == result.grads[1].weight.dtype == jnp.float32


def test_in_a_loop_weights_move_by_less_than_a_short_number_resolves():
    """A thousand steps of 1e-4: the params hold them all, though each pass sees them rounded."""
    x, t = jnp.ones((1, 1)), jnp.zeros((1, 1))
    net = Serial(Dense(1, bias=False))
    rule = jaxnn.gradient_descent(1e-4)
    run = jaxnn.start(net, (1,), key=jax.random.key(0), update=rule)
    run = run._replace(params=jax.tree.map(jnp.ones_like, run.params))
    options = {"epochs": 1000, "update": rule, "metric": None, "gradient": mixed(), "run": run}
    run, _ = jaxnn.bgd(net, HalfSquaredError(), (x, t), **options)
    # w <- w (1 - 1e-4) a thousand times is e^-0.1; the pass sees w to u = 2^-9.
    np.testing.assert_allclose(run.params[0].weight[0, 0], np.exp(-0.1), rtol=2**-9 * 0.1 + 1e-5)


def test_a_small_cnn_learns_in_it():
    rng = np.random.default_rng(0)
    t = rng.integers(0, 2, size=64)
    x = rng.normal(size=(64, 6, 6, 1)).astype(np.float32)
    x[t == 1, :3] += 2
    net = Serial(Conv2D(4), BatchNorm(), MaxPool(2), ReLU(), Flatten(), Dense(2))
    options = {"key": jax.random.key(0), "epochs": 15, "batch_size": 16, "update": adam(0.01)}
    run, history = jaxnn.mbgd(net, LOSS, (x, t), gradient=mixed(), **options)
    assert history.metric[-1] > 0.95
    assert {leaf.dtype for leaf in jax.tree.leaves((run.params, run.state))} == {jnp.dtype("float32")}


def test_it_is_a_value():
    assert mixed(backprop, jnp.bfloat16) == mixed()
    assert hash(mixed(backprop, jnp.bfloat16)) == hash(mixed())
    with pytest.raises(TypeError, match="should be a floating type such as bfloat16, got int8"):
        mixed(backprop, "int8")
