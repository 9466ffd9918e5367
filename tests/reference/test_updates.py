"""Update rules of the reference by hand, and jaxnn's against them over twenty steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn
from jaxnn.reference import twin, updates
from jaxnn.reference.layers import DenseParams
from jaxnn.training import schedules

pytestmark = pytest.mark.usefixtures("x64")

NET = jaxnn.Serial(jaxnn.Dense(3), jaxnn.BatchNorm(), jaxnn.Repeat(jaxnn.Dense(3), 2), jaxnn.Dense(2, bias=False))
RATES = [0.1, schedules.cosine(0.3, 15, warmup=3), schedules.step_decay(jnp.asarray(0.5), 4)]
RULES = [
    *[jaxnn.gradient_descent(rate) for rate in RATES],
    *[jaxnn.momentum(rate, 0.8) for rate in RATES],
    *[jaxnn.nesterov(rate) for rate in RATES],
    *[jaxnn.adam(rate) for rate in RATES],
    *[jaxnn.adamw(rate, b1=0.8, b2=0.95, weight_decay=0.2) for rate in RATES],
    jaxnn.weight_decay(0.3),
    jaxnn.clip_by_value(0.7),
    jaxnn.clip_by_norm(2.0),
    jaxnn.clip_by_global_norm(3.0),
    jaxnn.clip_by_global_norm(1e3),
    *[jaxnn.chain(jaxnn.gradient_descent(rate), jaxnn.proximal_l1(rate, 0.4)) for rate in RATES],
    jaxnn.chain(jaxnn.weight_decay(0.1), jaxnn.clip_by_norm(1.5), jaxnn.chain(jaxnn.momentum(RATES[1]))),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_twenty_steps_of_jaxnn_match_its_twin(rule, rng, drawn, agree):
    params, _ = drawn(NET, (4,))
    ours = jax.tree.map(jnp.asarray, params)
    state, our_state = twin(rule).init(params), rule.init(ours)
    for _ in range(20):
        grads = jax.tree.map(lambda p: p + rng.standard_normal(p.shape), params)
        change, state = twin(rule).update(grads, state, params)
        our_change, our_state = rule.update(jax.tree.map(jnp.asarray, grads), our_state, ours)
        agree(our_change, change)
        params = updates.apply_updates(params, change)
        ours = jaxnn.apply_updates(ours, our_change)
    agree(ours, params)
    if hasattr(state, "velocity"):
        agree((our_state.velocity, our_state.second_moment), (state.velocity, state.second_moment))


def test_no_gradient_is_clipped_without_dividing_by_its_norm(agree):
    grads = DenseParams(np.zeros((2, 2)), np.zeros(2))
    for rule in (updates.clip_by_norm(1.0), updates.clip_by_global_norm(0.0)):
        agree(rule.update(grads, rule.init(grads))[0], grads)


def test_by_hand():
    params = DenseParams(np.array([2.0]), np.array([2.0]))
    grads = DenseParams(np.array([3.0]), np.array([-4.0]))

    def steps(rule, n=2):
        state = rule.init(params)
        taken = []
        for _ in range(n):
            change, state = rule.update(grads, state, params)
            taken.append([*change.weight.tolist(), *change.bias.tolist()])
        return taken

    assert steps(updates.gradient_descent(0.5)) == [[-1.5, 2.0], [-1.5, 2.0]]
    assert steps(updates.momentum(0.5, 0.5)) == [[-1.5, 2.0], [-2.25, 3.0]]
    assert steps(updates.nesterov(0.5, 0.5)) == [[-2.25, 3.0], [-2.625, 3.5]]
    assert np.allclose(steps(updates.adam(0.5)), [[-0.5, 0.5], [-0.5, 0.5]])  # the sign of g, while g stays the same
    assert np.allclose(steps(updates.adamw(0.5, weight_decay=0.1)), [[-0.6, 0.5], [-0.6, 0.5]])
    assert steps(updates.weight_decay(0.5), 1) == [[4.0, -4.0]]
    assert steps(updates.clip_by_value(3.5), 1) == [[3.0, -3.5]]
    assert steps(updates.clip_by_norm(3.0), 1) == [[3.0, -3.0]]
    assert steps(updates.clip_by_global_norm(2.5), 1) == [[1.5, -2.0]]
    assert steps(updates.chain(updates.clip_by_value(1.0), updates.gradient_descent(2.0)), 1) == [[-2.0, 2.0]]
