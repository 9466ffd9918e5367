"""Data is checked on the host, once, before the first step: each mistake has one clear error."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import Dense, HalfSquaredError, SigmoidCrossEntropy, SoftmaxCrossEntropy, bgd, gradient_descent
from jaxnn.training.examples import Examples, checked, features

NET, LOSS = Dense(10), SoftmaxCrossEntropy()
X, LABELS = np.linspace(0, 1, 12, dtype=np.float32).reshape(4, 3), np.array([0, 9, 3, 3])


@pytest.mark.parametrize("make", [np.asarray, jnp.asarray, lambda a: a.tolist()], ids=["numpy", "jax", "list"])
def test_good_data_is_put_on_the_device(make):
    found = checked((make(X), make(LABELS)), NET, LOSS)
    assert isinstance(found, Examples)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(found))
    assert (found.n, found.weights) == (4, None)
    np.testing.assert_array_equal(found.x, X)
    assert found.x.dtype == jnp.float32
    assert checked(found, NET, LOSS) is found


@pytest.mark.parametrize("x", [np.zeros((4, 0)), np.zeros((4, 2, 0, 3))])
def test_what_has_nothing_in_it_is_refused(x):
    with pytest.raises(ValueError, match=r"data: x has nothing in it, its shape is \(4, .*0.*\): no axis"):
        checked((x, LABELS), NET, LOSS)
    with pytest.raises(ValueError, match="x: x has nothing in it"):
        features(x)


def test_images_stay_bytes():
    x = np.zeros((4, 3), np.uint8)
    assert checked((x, LABELS), NET, LOSS).x.dtype == jnp.uint8
    assert features(x).dtype == jnp.uint8


def test_weights_and_indices():
    found = checked((X, LABELS, np.array([1.0, 2.0, 0.0, 0.5])), NET, LOSS)
    some = found.at(jnp.array([3, 0]))
    np.testing.assert_array_equal(some.x, X[[3, 0]])
    np.testing.assert_array_equal(some.target, [3, 0])
    np.testing.assert_allclose(some.weights, np.array([0.5, 1.0]) / 0.875, rtol=1e-7)  # their mean is 1


def with_entry(array, index, value):
    changed = np.array(array, dtype=np.result_type(array, type(value)))
    changed[index] = value
    return changed


@pytest.mark.parametrize("make", [np.asarray, jnp.asarray], ids=["numpy", "jax"])
@pytest.mark.parametrize(
    ("x", "target", "kind", "words"),
    [
        (
            with_entry(X, (2, 1), np.nan),
            LABELS,
            ValueError,
            r"training set: x has NaN .* in 1 of 4 .*example 2\)",
        ),
        (with_entry(X, (0, 0), -np.inf), LABELS, ValueError, "x has NaN or infinite numbers in 1 of 4"),
        (
            X,
            with_entry(LABELS, 1, -1),
            ValueError,
            "training set: labels should be 0 to 9.*10 classes apart, got -1 to 3",
        ),
        (X, with_entry(LABELS, 1, 10), ValueError, "labels should be 0 to 9.*got 0 to 10: count classes from 0"),
        (X, LABELS.astype(np.float32), TypeError, "labels.*got float32.*astype"),
        (X, LABELS[:, None], TypeError, "integer labels"),
        (X, LABELS[:3], ValueError, "x and target have different lengths, 4 and 3"),
        (X[:0], LABELS[:0], ValueError, "training set: the set is empty"),
        (X[0, 0], LABELS, ValueError, "x should have a leading axis of examples, got a single number"),
    ],
)
def test_bad_data(make, x, target, kind, words):
    with pytest.raises(kind, match=words):
        checked((make(x), make(target)), NET, LOSS, name="training set")


@pytest.mark.parametrize(
    ("data", "kind", "words"),
    [
        (X, TypeError, r"should be \(x, target\) or \(x, target, weights\), got a ndarray"),
        ((X,), TypeError, "got a tuple of 1"),
        ({"x": X}, TypeError, "got a dict"),
        ((X, np.array(["a", "b", "c", "d"])), TypeError, "target should hold numbers, got dtype <U1"),
        (([[1.0], [1.0, 2.0]], [0, 1]), TypeError, "x should be an array, got a list: .*inhomogeneous"),
        ((X, LABELS, np.ones(3)), ValueError, r"weights should be one number per example, \(4,\), got \(3,\)"),
        ((X, LABELS, np.ones(4, int)), TypeError, "weights should be floating"),
        ((X, LABELS, np.array([1.0, -1.0, 1.0, 1.0])), ValueError, "weights should not be negative"),
        ((X, LABELS, np.zeros(4)), ValueError, "not sum to 0"),
        ((X, LABELS, np.array([1.0, np.nan, 1.0, 1.0])), ValueError, "weights has NaN or infinite"),
    ],
)
def test_bad_containers_and_weights(data, kind, words):
    with pytest.raises(kind, match=words):
        checked(data, NET, LOSS)


def test_targets_of_other_losses():
    with pytest.raises(ValueError, match=r"target has NaN or infinite.*in 2 of 4"):
        checked((X, with_entry(np.ones((4, 10)), slice(2), np.inf)), NET, HalfSquaredError())
    with pytest.raises(ValueError, match="labels should be 0 to 1"):
        checked((X, with_entry(np.ones((4, 10), int), (0, 0), 2)), NET, SigmoidCrossEntropy())
    with pytest.raises(ValueError, match=r"one example should have the shape \(5,\), as in training, got \(3,\)"):
        checked((X, LABELS), NET, LOSS, shape=(5,))


def test_errors_never_print_numbers_of_the_data():
    secret = np.full((4, 3), 123.456)
    for data in ((with_entry(secret, (0, 0), np.nan), LABELS), (secret, LABELS[:2]), secret):
        with pytest.raises((TypeError, ValueError)) as caught:
            checked(data, NET, LOSS)
        assert "123.4" not in str(caught.value)


def test_tracers_pass_unseen_but_not_unshaped():
    checked_inside = jax.jit(lambda x, target: checked((x, target), NET, LOSS))
    checked_inside(jnp.full((4, 3), jnp.nan), jnp.array([-1, 10, 0, 0]))
    with pytest.raises(TypeError, match="integer labels"):
        checked_inside(X, X)


def test_features():
    np.testing.assert_array_equal(features(X), X)
    with pytest.raises(ValueError, match="x has NaN or infinite"):
        features(with_entry(X, (1, 1), np.nan))
    with pytest.raises(ValueError, match="the set is empty"):
        features(X[:0])


def test_data_closed_over_by_a_users_jit_is_checked_as_concrete():
    """Arrays that a compiled function closes over have values, and what is computed of them there mustn't be traced."""
    net, loss = Dense(3), LOSS
    x, weights = jnp.ones((6, 4)), jnp.ones(6)
    given = {"key": jax.random.key(0), "epochs": 1, "update": gradient_descent(0.1), "metric": None}

    def trained(data):
        return jax.eval_shape(jax.jit(lambda: bgd(net, loss, data, **given)[0].params))

    labels = jnp.array([0, 1, 2, 0, 1, 2])
    assert trained((x, labels, weights)).weight.shape == (4, 3)
    with pytest.raises(ValueError, match="NaN or infinite numbers in 1 of 6"):
        trained((x.at[2, 1].set(jnp.nan), labels, weights))
    with pytest.raises(ValueError, match="labels should be 0 to 2"):
        trained((x, labels + 1, weights))


# What a cast to the device's type would change.


@pytest.mark.parametrize(
    ("x", "target", "words"),
    [
        (X, np.array([0, 1, 2**32, 1]), "target holds 4294967296, and the integers that JAX has here, int32, end at"),
        (X, np.array([0, 1, 1 - 2**32, 1]), "target holds -4294967295.*end at -2147483648"),
        (X, np.array([0, 1, 2**63, 1], np.uint64), "target holds 9223372036854775808"),
        (np.array([[1_700_000_000_000] * 3] * 4), LABELS, r"x holds 1700000000000.*\.astype\(np.float32\)"),
        (np.ma.masked_array(X, mask=X.max() - 1e-6 < X), LABELS, r"x has 1 masked entries.*\.filled\(value\)"),
        (X, np.ma.masked_array(LABELS, mask=[0, 0, 1, 0]), "target has 1 masked entries"),
    ],
)
def test_what_a_cast_would_change_is_refused(x, target, words):
    with pytest.raises(ValueError, match=words):
        checked((x, target), NET, LOSS)


def test_what_a_cast_leaves_is_taken():
    """Integers of 64 bits that fit, an array without masked entries, and bfloat16 from the host."""
    found = checked((np.ma.masked_array(X, mask=np.zeros(X.shape)), LABELS.astype(np.uint64)), NET, LOSS)
    np.testing.assert_array_equal(found.x, X)
    np.testing.assert_array_equal(found.target, LABELS)
    assert checked((np.asarray(jnp.asarray(X, jnp.bfloat16)), LABELS), NET, LOSS).x.dtype == jnp.bfloat16
    with jax.enable_x64(True):
        assert features(np.array([[2**40]])).dtype == jnp.int64


@pytest.mark.parametrize(
    ("loss", "row", "words"),
    [
        (SoftmaxCrossEntropy(), [0.5, -0.5, 1.0], "be a distribution"),
        (SoftmaxCrossEntropy(), [2.0, 2.0, 1.0], r"those of 1 of 4 examples aren't \(the first is example 2\)"),
        (SigmoidCrossEntropy(), [0.0, 1.5, 0.0], r"be in \[0, 1\].*example 2.*HalfSquaredError"),
        (SigmoidCrossEntropy(), [0.0, -0.1, 0.0], r"be in \[0, 1\]"),
    ],
)
@pytest.mark.parametrize("make", [np.asarray, jnp.asarray], ids=["numpy", "jax"])
def test_targets_that_are_no_distribution(make, loss, row, words):
    """In any type: a row that sums to 1 but for rounding is one, and so is a masked one of zeros."""
    net = Dense(3)
    target = np.random.default_rng(0).dirichlet(np.ones(3), 4).astype(np.float32)
    target[0] = 0
    for dtype in (np.float32, jnp.bfloat16):
        checked((X, make(target.astype(dtype))), net, loss)
    target[2] = row
    with pytest.raises(ValueError, match=words):
        checked((X, make(target)), net, loss)
