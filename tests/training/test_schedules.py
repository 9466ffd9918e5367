"""Schedules against their formulas, and against optax's where they coincide."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from table import SCHEDULES

from jaxnn import gradient_descent
from jaxnn.training import schedules

STEPS = range(20)


@pytest.mark.parametrize("case", SCHEDULES, ids=str)
def test_formula_after_a_linear_warm_up(x64, case):
    """The decay counts its own steps from the end of the warm-up."""
    rise = case.schedule.warmup
    expected = [0.3 * (t + 1) / rise if t < rise else case.rate(t - rise) for t in STEPS]
    found = jax.jit(jax.vmap(case.schedule))(jnp.arange(20))
    np.testing.assert_allclose(found, expected, rtol=1e-13)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (schedules.constant(0.3), optax.constant_schedule(0.3)),
        (schedules.step_decay(0.3, 5, 0.5), optax.exponential_decay(0.3, 5, 0.5, staircase=True)),
        (schedules.exponential(0.3, 5, 0.5), optax.exponential_decay(0.3, 5, 0.5)),
        (schedules.cosine(0.3, 10, 0.1), optax.cosine_decay_schedule(0.3, 10, 0.1)),
    ],
    ids=["constant", "step_decay", "exponential", "cosine"],
)
def test_as_in_optax(x64, ours, theirs):
    found = jax.jit(jax.vmap(ours))(jnp.arange(20))
    with jax.numpy_dtype_promotion("standard"):
        truth = [jax.jit(theirs)(jnp.asarray(t)) for t in STEPS]
    np.testing.assert_allclose(found, truth, rtol=1e-6)  # optax's is float32


@pytest.mark.parametrize("case", SCHEDULES, ids=str)
def test_numbers_are_leaves(case, compilations):
    rate = jax.jit(lambda schedule, step: schedule(step))
    as_floats = jax.tree.map(float, case.schedule)
    halved = jax.tree.map(lambda number: number / 2, as_floats)
    steps = [jnp.asarray(step) for step in (3, 17)]
    rate(as_floats, steps[0])
    with compilations.none():
        rate(halved, steps[0])
        rate(as_floats, steps[1])
    assert rate(as_floats, steps[0]).dtype == jnp.float32


def test_a_rule_counts_the_steps():
    rule = gradient_descent(schedules.step_decay(1.0, 2, 0.5))
    state, rates = rule.init(jnp.ones(())), []
    for _ in range(6):
        update, state = rule.update(jnp.ones(()), state)
        rates.append(-float(update))
    assert rates == [1, 1, 0.5, 0.5, 0.25, 0.25]
