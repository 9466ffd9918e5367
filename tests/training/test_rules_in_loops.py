"""Rules and their numbers as somebody gives them: what is refused where it enters, what of optax runs in a loop."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_runs import LOSS, NET, examples, train

import jaxnn

# What a number may be, and what a loop can't run.


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: jaxnn.gradient_descent(float("nan")), r"learning_rate should be in \[0, inf\), got nan"),
        (lambda: jaxnn.momentum(0.1, 1.0), r"momentum should be in \[0, 1\), got 1.0"),
        (lambda: jaxnn.adam(0.1, b2=2), r"adam: b2 should be in \[0, 1\), got 2"),
        (lambda: jaxnn.adam(0.1, epsilon=0), r"epsilon should be in \(0, inf\)"),
        (lambda: jaxnn.adamw(np.array([0.1, -0.1])), r"learning_rate should be in \[0, inf\)"),
        (lambda: jaxnn.clip_by_global_norm(0.0), r"limit should be in \(0, inf\]"),
        (lambda: jaxnn.clip_by_value(jnp.array(-1.0)), r"limit should be in"),
        (lambda: jaxnn.weight_decay(np.nan), "weight_decay: rate should be in"),
        (lambda: jaxnn.proximal_l1(0.1, np.inf), "strength should be in"),
        (lambda: jaxnn.l2(-1.0), "l2: strength should be in"),
        (lambda: jaxnn.early_stopping(0), r"patience should be in \[1, inf\), got 0"),
        (lambda: jaxnn.schedules.cosine(0.1, 0), r"steps should be in \(0, inf\)"),
        (lambda: jaxnn.schedules.step_decay(0.1, 5, -0.1), r"factor should be in"),
        (lambda: jaxnn.chain(), "give at least one rule"),
    ],
)
def test_numbers_out_of_range(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_a_list_or_a_string_is_no_number():
    for value in ("0.1", [0.1, 0.2]):
        with pytest.raises(TypeError, match=r"learning_rate should be a number in .* or an array of them"):
            jaxnn.adam(value)


def test_what_jax_puts_into_a_rule_is_not_checked():
    """Structures hold other things than numbers, and a tracer has no value."""
    assert jax.tree.map(lambda _: "leaf", jaxnn.adam(0.1)).b1 == "leaf"
    assert jax.jit(lambda rate: jaxnn.momentum(rate).learning_rate)(-1.0) == -1


# optax's rules with extra arguments.


@pytest.mark.parametrize(
    "make",
    [
        lambda: optax.chain(optax.sgd(0.1), optax.contrib.reduce_on_plateau()),
        lambda: optax.polyak_sgd(),
        lambda: optax.lbfgs(),
        lambda: optax.MultiSteps(optax.adam(0.01), 2),
        lambda: jaxnn.chain(jaxnn.clip_by_global_norm(1.0), optax.polyak_sgd()),
    ],
    ids=["plateau", "polyak", "lbfgs", "MultiSteps", "our chain"],
)
def test_rules_that_ask_for_the_objective(make):
    """`value` is the objective where the step begins, penalty included: as in a loop by hand."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        rule, penalty = make(), jaxnn.l2(0.1)
        run, _ = train(loop=jaxnn.bgd, update=rule, penalty=penalty, epochs=2)
        begin = jaxnn.start(NET, (2,), key=jax.random.key(0), update=rule)
        params, state = begin.params, rule.init(begin.params)
        x, labels = map(jnp.asarray, examples())
        objective = jax.jit(jaxnn.backprop(NET, LOSS, penalty))

        def value(params):
            return objective(params, begin.state, x.astype(jnp.float32), labels).value

        for _ in range(2):
            result = objective(params, begin.state, x.astype(jnp.float32), labels)
            extra = {"value": result.value, "grad": result.grads, "value_fn": value}
            updates, state = rule.update(result.grads, state, params, **extra)
            params = jaxnn.apply_updates(params, updates)
    for got, right in zip(jax.tree.leaves(run.params), jax.tree.leaves(params), strict=True):
        np.testing.assert_allclose(got, right, rtol=1e-4, atol=1e-6)


def test_a_rule_that_needs_what_a_loop_has_not():
    with pytest.raises(TypeError, match=r"update fails on this network's params.*fast.*needs a loop of your own"):
        train(update=optax.lookahead(optax.sgd(0.1), 5, 0.5))
