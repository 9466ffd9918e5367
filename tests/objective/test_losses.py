"""Values, special targets, extremes and errors of the losses; their gradients are in test_laws.py too."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from gradients import SAME, error

from jaxnn import AbsoluteError, HalfSquaredError, Huber, Loss, SigmoidCrossEntropy, SoftmaxCrossEntropy
from jaxnn.objective.losses import n_classes

SOFTMAX, SIGMOID, SQUARES, ABSOLUTE = SoftmaxCrossEntropy(), SigmoidCrossEntropy(), HalfSquaredError(), AbsoluteError()
NUMBERS = [SQUARES, ABSOLUTE, Huber(), Huber(0.3)]
LOSSES = [*NUMBERS, SOFTMAX, SoftmaxCrossEntropy(0.1), SIGMOID, SigmoidCrossEntropy(0.1)]


def by_hand(loss, y, target, weights=None):
    weights = jnp.ones(y.shape[0], y.dtype) if weights is None else weights
    return loss.backward(loss.forward(y, target).cache, weights)


def by_machine(loss, y, target, weights=None):
    def weighted(y):
        values = loss.forward(y, target).values
        return jnp.sum(values if weights is None else weights.astype(values.dtype) * values)

    return jax.grad(weighted)(y)


def logits(k=4, batch=5):
    return 3 * jax.random.normal(jax.random.key(0), (batch, k))


def test_they_are_losses():
    assert all(isinstance(loss, Loss) for loss in LOSSES)


def test_values_are_those_of_optax(x64):
    z, labels = logits(), jnp.array([0, 3, 1, 1, 2])
    soft = jax.nn.softmax(logits(4, 6)[1:])
    with jax.numpy_dtype_promotion("standard"):
        pairs = [
            (SQUARES.forward(z, soft).values, jnp.sum(optax.l2_loss(z, soft), axis=1)),
            (ABSOLUTE.forward(z, soft).values, jnp.sum(jnp.abs(z - soft), axis=1)),
            (Huber().forward(z, soft).values, jnp.sum(optax.huber_loss(z, soft), axis=1)),
            (Huber(0.3).forward(z, soft).values, jnp.sum(optax.huber_loss(z, soft, delta=0.3), axis=1)),
            (SOFTMAX.forward(z, labels).values, optax.softmax_cross_entropy_with_integer_labels(z, labels)),
            (SOFTMAX.forward(z, soft).values, optax.softmax_cross_entropy(z, soft)),
            (
                SoftmaxCrossEntropy(0.1).forward(z, labels).values,
                optax.softmax_cross_entropy(z, optax.smooth_labels(jax.nn.one_hot(labels, 4), 0.1)),
            ),
            (SIGMOID.forward(z, soft).values, jnp.sum(optax.sigmoid_binary_cross_entropy(z, soft), axis=1)),
        ]
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours, theirs, rtol=1e-14, atol=1e-15)  # a small value is a difference of logits


@pytest.mark.parametrize("loss", [SOFTMAX, SoftmaxCrossEntropy(0.2), SIGMOID, SigmoidCrossEntropy(0.2)], ids=str)
@pytest.mark.parametrize("dtype", ["int32", "uint8"])
def test_labels_stand_for_one_hot_vectors(x64, loss, dtype):
    z, labels = logits(), jnp.array([0, 3, 1, 1, 2], dtype)
    one_hot = jax.nn.one_hot(labels, 4)
    np.testing.assert_array_equal(loss.forward(z, labels).values, loss.forward(z, one_hot).values)
    np.testing.assert_array_equal(by_hand(loss, z, labels), by_hand(loss, z, one_hot))


def test_softmax_gradient_of_targets_that_do_not_sum_to_one(x64):
    """p sum(t) - t: a masked row has the gradient 0, not p."""
    z = logits(3, 3)
    target = jnp.array([[0.0, 0.0, 0.0], [2.0, 0.5, 0.0], [1.0, 0.0, 0.0]])
    dz = by_hand(SOFTMAX, z, target)
    assert error(dz, by_machine(SOFTMAX, z, target)) <= SAME
    assert not np.any(dz[0])
    np.testing.assert_allclose(dz[1], 2.5 * jax.nn.softmax(z[1]) - target[1], rtol=1e-12)


# Losses of numbers.


def test_absolute_error_by_hand():
    """And 0 where y = t, also by machine."""
    y, target = jnp.array([[1.0, -2.0], [3.0, 0.0]]), jnp.array([[4.0, -2.0], [1.0, -0.5]])
    weights = jnp.array([2.0, 10.0])
    np.testing.assert_array_equal(ABSOLUTE.forward(y, target).values, [3.0, 2.5])
    for rule in (by_hand, by_machine):
        np.testing.assert_array_equal(rule(ABSOLUTE, y, target, weights), [[-2.0, 0.0], [10.0, 10.0]])


def test_huber_by_hand():
    """delta = 2: inside, at the edge, outside; the slope goes on as it is at the edge, by machine too."""
    y, target = jnp.array([[1.0, 2.0, -2.0, 5.0, -7.0]]), jnp.zeros((1, 5))
    values, cache = Huber(2.0).forward(y, target)
    assert values == 0.5 + 2 + 2 + (2 * 5 - 2) + (2 * 7 - 2)
    for rule in (by_hand, by_machine):
        np.testing.assert_array_equal(rule(Huber(2.0), y, target, jnp.array([3.0])), [[3.0, 6.0, -6.0, 6.0, -6.0]])
    np.testing.assert_array_equal(cache.residual, [[1.0, 2.0, -2.0, 2.0, -2.0]])


def test_huber_lies_between_its_two_relatives(x64):
    """Far inside it is half the squared error, and far outside delta times the absolute one, but for a constant."""
    y, target = logits(), jnp.zeros((5, 4))
    wide, narrow = Huber(1e3).forward(y, target), Huber(1e-9).forward(y, target)
    np.testing.assert_allclose(wide.values, SQUARES.forward(y, target).values, rtol=1e-14)
    np.testing.assert_allclose(narrow.values / 1e-9, ABSOLUTE.forward(y, target).values, rtol=1e-8)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_absolute_error_keeps_one_byte_a_number_and_the_dtype(dtype):
    """dy has y's dtype, whatever that of the weights."""
    with jax.enable_x64(dtype == "float64"):
        y = jnp.array([[1.0, jnp.nan, -jnp.inf], [0.0, -1.0, jnp.inf]], dtype)
        cache = ABSOLUTE.forward(y, jnp.zeros((2, 3), dtype)).cache
        (sign,) = jax.tree.leaves(cache)
        assert (sign.shape, sign.dtype) == (y.shape, jnp.int8)
        dy = jax.jit(ABSOLUTE.backward)(cache, jnp.ones(2, jnp.float32))
        assert dy.dtype == dtype
        np.testing.assert_array_equal(dy.astype(float), [[1.0, np.nan, -1.0], [0.0, -1.0, 1.0]])


@pytest.mark.parametrize("loss", [ABSOLUTE, Huber()], ids=str)
def test_an_outlier_does_not_overflow(loss):
    """At 1e30 in float32, where a square is infinite."""
    y, target = jnp.array([[1e30, -1e30]]), jnp.zeros((1, 2))
    np.testing.assert_allclose(loss.forward(y, target).values, [2e30], rtol=1e-6)
    np.testing.assert_array_equal(by_hand(loss, y, target), [[1.0, -1.0]])


@pytest.mark.parametrize("delta", [0.0, -1.0, float("inf"), float("nan")])
def test_huber_needs_a_positive_delta(delta):
    with pytest.raises(ValueError, match=r"Huber: delta should be in \(0, inf\), got "):
        Huber(delta)


def test_a_class_masked_by_minus_infinity_adds_nothing(x64):
    z = jnp.array([[1.0, -jnp.inf, 2.0], [-jnp.inf, -jnp.inf, 0.5]])
    target = jnp.array([0, 2])
    values, dz = SOFTMAX.forward(z, target).values, by_hand(SOFTMAX, z, target)
    np.testing.assert_allclose(values, [np.log1p(np.e), 0.0], rtol=1e-15)
    np.testing.assert_allclose(dz, [[1 / (1 + np.e) - 1, 0, np.e / (1 + np.e)], [0, 0, 0]], atol=1e-16)
    # The true class at -inf: an infinite loss, and the gradient that pushes it up.
    worst = SOFTMAX.forward(z, jnp.array([1, 2]))
    assert worst.values[0] == jnp.inf
    np.testing.assert_allclose(by_hand(SOFTMAX, z, jnp.array([1, 2]))[0], [1 / (1 + np.e), -1, np.e / (1 + np.e)])


def test_labels_that_are_no_class_act_as_a_masked_row():
    """In a compiled program they can't be refused; the loops refuse them on the host."""
    dz = jax.jit(lambda z: by_hand(SOFTMAX, z, jnp.array([-1, 4, 10, 2, 0])))(logits())
    assert not np.any(dz[:3])
    assert np.all(dz[3:] != 0)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_extremes_make_no_nan(loss, dtype):
    """Logits of +-1e4: no overflow in values or gradients, and no NaN where `jax.grad` has none."""
    with jax.enable_x64(dtype == "float64"):
        z = jnp.array([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4], [1e4, 1e4, 1e4]], dtype)
        target = jnp.asarray(np.eye(3)[[0, 0, 2]], dtype)
        values, dz, truth = jax.jit(
            lambda *data: (loss.forward(*data).values, by_hand(loss, *data), by_machine(loss, *data))
        )(z, target)
    assert bool(jnp.isfinite(values).all())
    assert bool(jnp.isfinite(dz).all())
    np.testing.assert_allclose(dz.astype(float), truth.astype(float), atol=2e-2 if dtype == "bfloat16" else 1e-6)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_nan_is_not_swallowed(loss):
    z, target = jnp.array([[jnp.nan, 1.0], [0.5, 1.0]]), jnp.eye(2)
    values, dz = loss.forward(z, target).values, by_hand(loss, z, target)
    np.testing.assert_array_equal(jnp.isnan(values), [True, False])
    assert jnp.isnan(dz[0, 0])
    assert not jnp.isnan(dz[1]).any()


def test_weights_take_each_row_for_itself():
    y, target = logits(2, 3), jnp.zeros((3, 2))
    np.testing.assert_array_equal(by_hand(SQUARES, y, target, jnp.array([0.0, 1.0, 2.0]))[2], 2 * y[2])


def test_sigmoid_and_softmax_agree_on_two_classes(x64):
    """p = sigmoid(z) is the softmax of (0, z)."""
    z, yes = logits(1, 4), jnp.array([0, 1, 1, 0])
    two = jnp.concatenate([jnp.zeros_like(z), z], axis=1)
    np.testing.assert_allclose(SIGMOID.forward(z, yes[:, None]).values, SOFTMAX.forward(two, yes).values, rtol=1e-13)


@pytest.mark.parametrize(
    ("loss", "target", "shape", "kind", "words"),
    [
        (
            SQUARES,
            np.zeros((5, 3)),
            (4,),
            ValueError,
            r"targets should be of the outputs' shape \(B, 4\), got \(5, 3\)",
        ),
        (SQUARES, np.zeros(5, int), (4,), ValueError, "one-hot with jax.nn.one_hot"),
        (SQUARES, np.zeros((5, 4), int), (4,), TypeError, "targets should be floating.*int...*astype"),
        (ABSOLUTE, np.zeros((5, 3)), (4,), ValueError, r"AbsoluteError\(\): targets should be of the outputs' shape"),
        (Huber(0.3), np.zeros((5, 4), int), (4,), TypeError, r"Huber\(0.3\): targets should be floating"),
        (
            SOFTMAX,
            np.zeros(5),
            (4,),
            TypeError,
            r"integer labels \(B,\) or floating distributions \(B, 4\), got float..",
        ),
        (SOFTMAX, np.zeros((5, 4), int), (4,), TypeError, "got int.."),
        (SOFTMAX, np.zeros((5, 3)), (4,), TypeError, r"of shape \(5, 3\)"),
        (SOFTMAX, np.zeros((5, 1), int), (4,), TypeError, r"of shape \(5, 1\)"),
        (SOFTMAX, np.zeros(5, bool), (4,), TypeError, "got bool"),
        (
            SOFTMAX,
            np.zeros(5, int),
            (1,),
            ValueError,
            "K at least 2.*end the network with Dense.*take SigmoidCrossEntropy.. for yes and no",
        ),
        (SOFTMAX, np.zeros(5, int), (2, 3), ValueError, "K at least 2"),
        (SIGMOID, np.zeros((5, 3)), (4,), ValueError, "outputs' shape"),
        (SIGMOID, np.zeros(5, int), (1,), ValueError, r"with one output.*\(B, 1\), got \(5,\): reshape"),
        (SIGMOID, np.zeros(5), (4,), TypeError, "integer labels"),
    ],
)
def test_targets_that_are_refused(loss, target, shape, kind, words):
    """On the host by `check`, and at trace time by `forward`."""
    with pytest.raises(kind, match=words):
        loss.check(target, shape)
    with pytest.raises(kind, match=words):
        jax.eval_shape(lambda target: loss.forward(jnp.zeros((5, *shape)), target), jnp.asarray(target))


def test_check_validates_and_n_classes_counts():
    assert SOFTMAX.check(np.zeros(5, np.uint8), (10,)) is None
    assert n_classes(SOFTMAX, np.zeros(5, np.uint8), (10,)) == 10
    assert n_classes(SOFTMAX, np.zeros((5, 10)), (10,)) is None
    assert n_classes(SIGMOID, np.zeros(5, int), (10,)) == 10
    assert n_classes(SIGMOID, np.zeros((5, 10), int), (10,)) == 2
    assert n_classes(SIGMOID, np.zeros((5, 10)), (10,)) is None
    assert n_classes(SQUARES, np.zeros((5, 10)), (10,)) is None


def test_integer_outputs_are_refused():
    with pytest.raises(TypeError, match="x should be floating, got int32"):
        SOFTMAX.forward(jnp.zeros((2, 3), jnp.int32), jnp.array([0, 1]))


@pytest.mark.parametrize("loss", [SoftmaxCrossEntropy, SigmoidCrossEntropy])
@pytest.mark.parametrize("smoothing", [-0.1, 1.0, float("nan")])
def test_smoothing_is_a_fraction(loss, smoothing):
    with pytest.raises(ValueError, match=r"label_smoothing should be in \[0, 1\)"):
        loss(smoothing)
