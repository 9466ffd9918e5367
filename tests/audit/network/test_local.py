"""Every node's rule is judged with the right error term, whatever the others do."""

import jax
import jax.numpy as jnp
import numpy as np
from gradients import error

import jaxnn
from jaxnn.audit.network.local import WithArguments, local_rules, with_arguments

BLOCK = jaxnn.Serial(jaxnn.Dense(3), jaxnn.Dropout(0.2), jaxnn.Tanh())
BRANCHES = jaxnn.Branches(jaxnn.Residual(jaxnn.Tanh()), jaxnn.Tanh(), merge="concatenate")
NET = jaxnn.Serial(jaxnn.Rescale(0.1), jaxnn.Repeat(BLOCK, 2), jaxnn.Remat(BRANCHES), jaxnn.Dense(2))


def rules_of(net, x, key=None):
    params, state = net.init(jax.random.key(0), x.shape[1:])
    whole = with_arguments(net)
    y, _, cache = whole.forward(params, state, x, key=key, train=True)
    return local_rules(whole, params, cache, jnp.ones_like(y)), params


def test_every_node_is_there_and_right(x64):
    rules, _ = rules_of(NET, np.random.default_rng(0).normal(size=(4, 3)), jax.random.key(1))
    paths = ["", "[0]", "[1]", "[1].inner", "[1].inner[0]", "[1].inner[1]", "[1].inner[2]", "[2]", "[2].inner"]
    branches = ["[0]", "[0].inner", "[1]"]
    assert list(rules) == paths + [f"[2].inner{end}" for end in branches] + ["[3]"]
    for rule in rules.values():
        truth, sizes, spreads = rule.truth
        scale = jax.tree.map(lambda size, leaf: size + jnp.max(jnp.abs(leaf), initial=0), sizes, truth)
        assert error(tuple(rule.by_hand), tuple(rule.by_machine), tuple(scale)) <= 1e-13
        assert all(np.all((spread >= 0) & (spread < 1e-12)) for spread in jax.tree.leaves(spreads))
    assert rules["[1].inner[0]"].dy.shape == (2, 4, 3)


def test_a_wrong_rule_spoils_no_other(x64):
    class Doubled(jaxnn.Dense):
        def backward(self, params, cache, dy):
            dparams, dx = super().backward(params, cache, dy)
            return jaxnn.Backward(dparams, 2 * dx)

    rules, _ = rules_of(jaxnn.Serial(jaxnn.Dense(3), Doubled(3), jaxnn.Dense(2)), np.ones((4, 3)))
    ratio = rules["[1]"].by_hand.dx / rules["[1]"].truth.value.dx
    np.testing.assert_allclose(ratio, 2)
    assert error(rules["[0]"].by_hand.dparams, rules["[0]"].truth.value.dparams) <= 1e-14


def test_a_layer_with_arguments_is_the_layer(x64):
    layer = WithArguments(jaxnn.BatchNorm())
    params, state = layer.init(jax.random.key(0), (3,))
    x = np.random.default_rng(0).normal(size=(4, 3))
    y, _, cache = layer.forward(params, state, x, train=True)
    right = jaxnn.BatchNorm().forward(params, state, x, train=True)
    assert error(y, right.y) == 0
    assert error(layer.backward(params, cache, y), layer.layer.backward(params, right.cache, y)) == 0
    assert layer.couples_batch
    assert layer.output_shape((3,)) == (3,)
