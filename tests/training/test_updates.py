"""Update rules against optax, against their formulas, and as trees of numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from gradients import SAME, error, normal_like
from table import RULES

import jaxnn
from jaxnn import (
    Dense,
    DenseParams,
    Repeat,
    Serial,
    adam,
    adamw,
    apply_updates,
    chain,
    clip_by_global_norm,
    clip_by_norm,
    clip_by_value,
    gradient_descent,
    l2,
    momentum,
    proximal_l1,
    weight_decay,
)

NET = Serial(Dense(3), Repeat(Dense(3), 2))
N_STEPS = 20

every_rule = pytest.mark.parametrize("case", RULES, ids=str)


def made(dtype=None):
    """Params, and gradients for each step, large ones among them."""
    made = jax.eval_shape(lambda key: NET.init(key, (2,), dtype), jax.random.key(0))
    params = normal_like(made.params, seed=0)
    return params, [normal_like(params, seed=1 + t) for t in range(N_STEPS)]


def trajectory(rule, params, all_grads):
    """The params after each step, in a loop that is optax's own."""

    @jax.jit
    def step(params, state, grads):
        updates, state = rule.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    state, met = rule.init(params), []
    for grads in all_grads:
        params, state = step(params, state, grads)
        met.append(params)
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *met)


@pytest.mark.parametrize("case", [case for case in RULES if case.equivalent is not None], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_twenty_steps_as_in_optax(case, dtype):
    """float64: 1e-12, but 1e-6 with a schedule, whose rate optax takes in float32. float32: 20 roundings, 2e-6."""
    with jax.enable_x64(dtype == "float64"), jax.numpy_dtype_promotion("standard"):
        ours, theirs = (trajectory(rule, *made()) for rule in (case.rule, case.equivalent))
        scheduled = callable(getattr(case.rule, "learning_rate", None))
        tolerance = 2e-6 if dtype == "float32" or scheduled else SAME
        assert error(ours, theirs) <= tolerance


@every_rule
def test_our_two_ways_to_apply_agree(case):
    params, (grads, *_) = made()
    updates, _ = jax.jit(case.rule.update)(grads, case.rule.init(params), params)
    assert error(apply_updates(params, updates), optax.apply_updates(params, updates)) == 0


@every_rule
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_dtypes_stay(case, dtype):
    """float32 numbers in a rule move bfloat16 params; the state keeps its form, as a loop's carry must."""
    params, (grads, *_) = made(dtype)
    spec = lambda tree: jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)  # noqa: E731
    state = jax.eval_shape(case.rule.init, params)
    updates, new = jax.eval_shape(case.rule.update, grads, state, params)
    assert spec(updates) == spec(params)
    assert spec(new) == spec(state)


@every_rule
def test_numbers_are_leaves(case, compilations):
    """A new number compiles nothing."""
    params, (grads, *_) = made()
    state = case.rule.init(params)
    update = jax.jit(lambda rule, grads, state, params: rule.update(grads, state, params))
    rule = jax.tree.map(float, case.rule)
    halved = jax.tree.map(lambda number: number / 2, rule)
    before = update(rule, grads, state, params)
    with compilations.none():
        after = update(halved, grads, state, params)
    assert jax.tree.structure(before) == jax.tree.structure(after)


@every_rule
def test_vmap_takes_a_grid(x64, case):
    params, (grads, *_) = made()
    factors = jnp.array([0.5, 1.0, 2.0])
    grid = jax.tree.map(lambda number: number * factors, case.rule)
    state = case.rule.init(params)
    update = jax.jit(lambda rule: rule.update(grads, state, params)[0])
    together = jax.vmap(update)(grid)
    for i, factor in enumerate((0.5, 1.0, 2.0)):
        alone = update(jax.tree.map(lambda number, factor=factor: number * factor, case.rule))
        assert error(jax.tree.map(lambda leaf, i=i: leaf[i], together), alone) <= SAME


@every_rule
def test_a_rule_is_a_value_and_prints_as_it_was_written(case):
    names = vars(jaxnn) | {name: getattr(jaxnn.schedules, name) for name in ("exponential", "cosine")}
    assert eval(repr(case.rule), names) == case.rule
    assert hash(case.rule) == hash(eval(repr(case.rule), names))
    assert case.rule != gradient_descent(99.0)


# By formula.


def test_each_tensor_is_clipped_by_its_own_norm(x64):
    grads = {"long": jnp.array([3.0, 4.0]), "short": jnp.array([[0.3]]), "none": jnp.zeros(2)}
    clipped, _ = clip_by_norm(1.0).update(grads, clip_by_norm(1.0).init(grads))
    truth = {"long": jnp.array([0.6, 0.8]), "short": jnp.array([[0.3]]), "none": jnp.zeros(2)}
    assert error(clipped, truth) <= SAME


def test_the_global_norm_keeps_the_direction(x64):
    grads = {"a": jnp.array([3.0, 0.0]), "b": jnp.array([[4.0]])}
    clipped, _ = clip_by_global_norm(1.0).update(grads, clip_by_global_norm(1.0).init(grads))
    assert error(clipped, {"a": jnp.array([0.6, 0.0]), "b": jnp.array([[0.8]])}) <= SAME


@pytest.mark.parametrize("rule", [clip_by_value(1.0), clip_by_norm(1.0), clip_by_global_norm(1.0)], ids=str)
def test_clipping_lets_nan_be_seen_and_zeros_be(rule):
    clip = lambda *g: rule.update(jnp.array(g), rule.init(()))[0]  # noqa: E731
    np.testing.assert_array_equal(clip(0.0, -0.0), [0.0, 0.0])
    assert jnp.isnan(clip(jnp.nan, 1.0)).any()
    assert jnp.isfinite(clip(1e18, -1e18)).all()


def test_weight_decay_before_descent_is_the_l2_penalty(x64):
    params, (grads, *_) = made()
    decayed = chain(weight_decay(0.3), gradient_descent(0.1))
    ours, _ = decayed.update(grads, decayed.init(params), params)
    penalised = jax.tree.map(jnp.add, grads, l2(0.3).gradient(params))
    assert error(ours, gradient_descent(0.1).update(penalised, gradient_descent(0.1).init(params))[0]) <= SAME


def test_the_proximal_step_gives_exact_zeros(x64):
    """To each weight by hand, S(w + u); on 1000 random ones, zero wherever |w + u| <= eta lambda; biases stay."""
    params = DenseParams(jnp.array([[1.0, -1.0, 0.05, 0.3]]), jnp.array([0.01]))
    updates = DenseParams(jnp.array([[-0.5, 0.5, 0.0, -0.35]]), jnp.array([0.0]))
    rule = proximal_l1(0.5, 0.2)
    new = apply_updates(params, rule.update(updates, rule.init(params), params)[0])
    np.testing.assert_allclose(new.weight, [[0.4, -0.4, 0, 0]], rtol=0, atol=1e-15)
    assert new.bias == 0.01
    w, u = (jax.random.normal(key, (1, 1000)) for key in jax.random.split(jax.random.key(0)))
    params, updates = (DenseParams(each, jnp.zeros(1)) for each in (w, u))
    new = apply_updates(params, rule.update(updates, rule.init(params), params)[0])
    np.testing.assert_array_equal(new.weight == 0, jnp.abs(w + u) <= 0.1)
    with pytest.raises(ValueError, match="proximal_l1 needs the params"):
        rule.update(updates, rule.init(params))


def test_adamw_leaves_biases_alone(x64):
    """optax.adamw, without its mask, does not."""
    params, (grads, *_) = made()
    step = lambda rule: rule.update(grads, rule.init(params), params)[0]  # noqa: E731
    plain, decayed = step(adam(0.1)), step(adamw(0.1, weight_decay=0.5))
    assert error(decayed[0].bias, plain[0].bias) == 0
    assert error(decayed[1].inner.bias, plain[1].inner.bias) == 0
    assert error(decayed[0].weight, plain[0].weight - 0.05 * params[0].weight) <= SAME
    with jax.numpy_dtype_promotion("standard"):
        assert np.any(step(optax.adamw(0.1, weight_decay=0.5))[0].bias != plain[0].bias)


def test_the_first_step_of_adam_has_the_size_of_the_rate(x64):
    update, _ = adam(0.1).update(jnp.array([1e-3, -5.0]), adam(0.1).init(jnp.zeros(2)))
    np.testing.assert_allclose(update, [-0.1, 0.1], rtol=1e-4)


def test_momentum_by_hand(x64):
    rule, state, updates = momentum(0.1, 0.5), momentum(0.1, 0.5).init(jnp.zeros(())), []
    for g in (1.0, 2.0, -1.0):
        update, state = rule.update(jnp.asarray(g), state)
        updates.append(float(update))
    np.testing.assert_allclose(updates, [-0.1, -0.25, -0.025], rtol=1e-12)


def test_a_rate_may_be_any_function_of_the_step():
    rule = gradient_descent(lambda step: 1.0 / (1 + step.astype(float)))
    state = rule.init(jnp.zeros(()))
    first, state = rule.update(jnp.ones(()), state)
    second, _ = rule.update(jnp.ones(()), state)
    assert (float(first), float(second)) == (-1.0, -0.5)


@pytest.mark.parametrize("rule", [weight_decay(0.1), adamw(0.1)], ids=str)
def test_decay_needs_the_params(rule):
    params, (grads, *_) = made()
    with pytest.raises(ValueError, match=f"{type(rule).__name__}: decay needs the params: call update"):
        rule.update(grads, rule.init(params))
