"""Training in bfloat16 and float16: what accumulates, counts or corrects is float32 at least, and the values are right.

The truth is NumPy's, in float64, of the numbers that the short type holds.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_digits
from table import PENALTIES, RULES

import jaxnn
from jaxnn.objective.penalties import penalty_gradient, penalty_value

TYPES = ["bfloat16", "float16"]
LOSS = jaxnn.HalfSquaredError()


def numbers(tree):
    return [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(tree)]


def params_and_gradients(dtype):
    """A network's params, and gradients of three steps, with entries of 0; numbers of the dtype."""
    rng = np.random.default_rng(0)
    params, _ = jaxnn.Serial(jaxnn.Dense(3), jaxnn.Dense(2)).init(jax.random.key(0), (4,), dtype)

    def drawn(leaf):
        return jnp.asarray(rng.normal(size=leaf.shape) * (rng.uniform(size=leaf.shape) > 0.3), dtype)

    return jax.tree.map(drawn, params), [jax.tree.map(drawn, params) for _ in range(3)]


@pytest.mark.parametrize("dtype", TYPES)
def test_every_rule_does_in_a_short_type_what_it_does_in_float64(dtype):
    """Three steps. An update is rounded once more at each of the chain's links, and is as wrong as the number it is
    made of at the most: three roundings of the largest entry.
    """
    params, gradients = params_and_gradients(dtype)

    def steps(rule, params, gradients):
        state, updates = rule.init(params), None
        for grads in gradients:
            updates, state = rule.update(grads, state, params)
        return updates, state

    def in_float64(tree):
        return jax.tree.map(lambda leaf: leaf.astype(jnp.float64), tree)

    wrong = []
    for case in RULES:
        updates, state = jax.jit(steps)(case.rule, params, gradients)
        with jax.enable_x64(True):
            truth, _ = jax.jit(steps)(case.rule, in_float64(params), in_float64(gradients))
        short = {leaf.dtype.name for leaf in jax.tree.leaves(state)} & set(TYPES)
        unit = float(jnp.finfo(dtype).eps) / 2
        off = max(
            np.max(np.abs(a - b)) / max(np.max(np.abs(b)), 1)
            for a, b in zip(numbers(updates), numbers(truth), strict=True)
        )
        kept = all(leaf.dtype == dtype for leaf in jax.tree.leaves(updates))
        if short or not kept or not off <= 3 * unit:
            wrong.append((str(case), short, off / unit))
    assert wrong == []


@pytest.mark.parametrize("dtype", TYPES)
def test_adams_constants_are_not_rounded(dtype):
    """A gradient of 0 moves nothing, and the first step along any other is -eta sign(g)."""
    for gradient in (0.0, 1e-3, -0.25):
        for rule in (jaxnn.adam(0.1), jaxnn.adamw(0.1, weight_decay=0.0)):
            w = {"w": jnp.ones(3, dtype)}
            updates, _ = rule.update({"w": jnp.full(3, gradient, dtype)}, rule.init(w), w)
            np.testing.assert_allclose(np.asarray(updates["w"], float), -0.1 * np.sign(gradient), rtol=0.01)


def test_moments_have_a_dtype_of_their_own():
    params = {"w": jnp.ones(3, jnp.bfloat16)}
    assert {leaf.dtype.name for leaf in jax.tree.leaves(jaxnn.adam(0.1).init(params))} == {"int32", "float32"}
    all_of_them = lambda params: {"w": True}  # noqa: E731
    for rule in (jaxnn.momentum, partial(jaxnn.adamw, mask=all_of_them)):
        rule = rule(0.1, moment_dtype="bfloat16")
        state = rule.init(params)
        _, after = rule.update(params, state, params)
        kinds = [leaf.dtype.name for leaf in jax.tree.leaves(state)]
        assert "bfloat16" in kinds
        assert kinds == [leaf.dtype.name for leaf in jax.tree.leaves(after)]


@pytest.mark.parametrize("dtype", TYPES)
def test_penalties_are_sums_in_float32(dtype):
    """80,000 weights of 1: in float16 their sum is infinite, in bfloat16 it ends at 256."""
    params = {"weight": jnp.ones((400, 200), dtype), "bias": jnp.ones(3, dtype)}
    for penalty in PENALTIES[:2]:
        strength = float(penalty.strength)
        right = strength * 80_000 * (0.5 if isinstance(penalty, jaxnn.l2) else 1)
        np.testing.assert_allclose(penalty_value(penalty, params), right, rtol=1e-6)
        gradient = penalty_gradient(penalty, params)
        assert gradient["weight"].dtype == dtype
        np.testing.assert_allclose(np.asarray(gradient["weight"], float), strength, rtol=float(jnp.finfo(dtype).eps))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("chunk_size", [None, 1000])
def test_sums_over_many_examples(dtype, chunk_size):
    """72,000 examples are no float16, and a sum over chunks in bfloat16 stops growing."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(72_000, 4)) + 1, dtype)
    t = jnp.asarray(np.asarray(x, float) @ np.ones((4, 1)), dtype)
    rule, net = jaxnn.gradient_descent(1.0), jaxnn.Dense(1)
    run = jaxnn.start(net, (4,), key=jax.random.key(0), update=rule, dtype=dtype)
    run = run._replace(params=jax.tree.map(jnp.zeros_like, run.params))
    given = {"update": rule, "epochs": 1, "chunk_size": chunk_size}
    run, history = jaxnn.bgd(net, LOSS, (x, t, np.ones(72_000)), run=run, **given)
    x64, t64 = np.asarray(x, float), np.asarray(t, float)
    eps = float(jnp.finfo(dtype).eps)
    assert history.loss.dtype == jnp.float32
    np.testing.assert_allclose(history.loss[0], np.mean(t64**2) / 2, rtol=1e-5)
    right = np.append((x64 * t64).mean(axis=0), t64.mean())  # from zeros a step of rate 1 is minus the gradient
    found = np.concatenate([leaf.ravel() for leaf in numbers(run.params)])
    np.testing.assert_allclose(found, right, atol=2 * eps * np.abs(right).max())
    # That step's loss, of another place, and weighted: 1/2 of the squares of what is left.
    left = t64 - x64 @ found[:4, None] - found[4]
    measured = jaxnn.evaluate(net, LOSS, run.params, run.state, (x, t, np.ones(72_000)), metric=None)
    np.testing.assert_allclose(measured.loss, np.mean(left**2) / 2, rtol=2 * eps)


def test_running_statistics_reach_what_they_average():
    """In bfloat16 a mean that moves by a tenth of what is missing would end at 75 of 100."""
    net = jaxnn.BatchNorm(0.99)
    params, state = net.init(jax.random.key(0), (1,), jnp.bfloat16)
    x = jnp.asarray([[96.0], [104.0]], jnp.bfloat16)
    moved = lambda i, state: net.forward(params, state, x, train=True).state  # noqa: E731
    state = jax.jit(lambda state: jax.lax.fori_loop(0, 600, moved, state))(state)
    np.testing.assert_allclose(state.mean, 100 * (1 - 0.99**600), rtol=1e-4)


def test_rescaled_integers_may_be_larger_than_float16():
    y = jaxnn.Rescale(1 / 65_535, dtype="float16").forward((), (), jnp.array([[0, 65_535]], jnp.uint16)).y
    np.testing.assert_array_equal(y, np.array([[0, 1]], np.float16))


def test_a_recurrent_gradient_is_a_sum_over_time_in_float32():
    """From 2,000 equal steps: in bfloat16 a sum of ones ends at 256."""
    net = jaxnn.Recurrent(jaxnn.TanhCell(1))
    params, state = net.init(jax.random.key(0), (2000, 1), jnp.bfloat16)
    params = jax.tree.map(jnp.zeros_like, params)  # so that y is 0 and its slope 1, at every step
    x = jnp.ones((1, 2000, 1), jnp.bfloat16)

    @jax.jit
    def gradient(params):
        y, _, cache = net.forward(params, state, x)
        return net.backward(params, cache, jnp.ones_like(y)).dparams.inner.input

    assert [float(leaf.ravel()[0]) for leaf in gradient(params)] == [2000, 2000]


def test_pooling_adds_in_float32():
    """A window of 100 times 1/3, and a place that 100 windows see."""
    net, x = jaxnn.AvgPool(100, stride=1, padding=99), jnp.full((1, 100, 1), 1 / 3, jnp.bfloat16)

    @jax.jit
    def both(x):
        y, _, cache = net.forward((), (), x)
        return y[:, 99], net.backward((), cache, jnp.full_like(y, 1 / 3)).dx

    mean, dx = both(x)
    np.testing.assert_array_equal(mean, x[:, 0])
    np.testing.assert_array_equal(dx, x)


@pytest.mark.parametrize(
    ("rule", "dtype"),
    [(jaxnn.adam(1e-3), "bfloat16"), (jaxnn.momentum(0.03), "float16"), (jaxnn.gradient_descent(0.03), "bfloat16")],
    ids=["adam", "momentum", "plain"],
)
def test_digits_are_learned_as_in_float32(rule, dtype):
    """Within a point, of 397 examples that weren't trained on: four of them."""
    x, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x, labels = x[order] / 16, labels[order]
    net, loss = jaxnn.Serial(jaxnn.Dense(64), jaxnn.ReLU(), jaxnn.Dense(10)), jaxnn.SoftmaxCrossEntropy()
    first, right = jaxnn.start(net, (64,), key=jax.random.key(0), update=rule), {}
    for each in (dtype, "float32"):
        data = jnp.asarray(x[:1400], each), labels[:1400]
        run = jaxnn.start(net, (64,), key=jax.random.key(0), update=rule, dtype=each)
        run = run._replace(params=jax.tree.map(lambda leaf, kind: leaf.astype(kind.dtype), first.params, run.params))
        run, _ = jaxnn.mbgd(net, loss, data, run=run, epochs=20, batch_size=32, update=rule)
        held_out = jnp.asarray(x[1400:], each), labels[1400:]
        right[each] = float(jaxnn.evaluate(net, loss, run.params, run.state, held_out).metric)
    assert right["float32"] > 0.95
    assert right[dtype] >= right["float32"] - 0.01
