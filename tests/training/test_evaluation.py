"""Outputs, loss and metric in evaluation mode: chunks change nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradients import SAME, error, normal_like

import jaxnn
from jaxnn import (
    BatchNorm,
    Dense,
    Dropout,
    Evaluation,
    HalfSquaredError,
    Serial,
    SigmoidCrossEntropy,
    SoftmaxCrossEntropy,
    accuracy,
    gradient_descent,
)

NET, LOSS = Serial(Dense(4), BatchNorm(), Dropout(0.5), Dense(3)), SoftmaxCrossEntropy()


@pytest.fixture
def given(x64, key):
    params, state = NET.init(key, (2,))
    return normal_like(params, 0), state, jax.random.normal(key, (10, 2)), jnp.arange(10) % 3


@pytest.mark.parametrize("chunk_size", [1, 3, 5, 9, 10, 11])
def test_predict_is_forward_in_evaluation(given, chunk_size):
    params, state, x, _ = given
    outputs = jaxnn.predict(NET, params, state, x, chunk_size=chunk_size)
    assert error(outputs, NET.forward(params, state, x).y) <= SAME


@pytest.mark.parametrize("chunk_size", [1, 4, 1024])
@pytest.mark.parametrize("weighted", [False, True])
def test_evaluate_takes_weighted_means(given, chunk_size, weighted):
    params, state, x, target = given
    weights = jnp.arange(10.0) if weighted else None
    found = jaxnn.evaluate(NET, LOSS, params, state, (x, target, weights)[: 2 + weighted], chunk_size=chunk_size)
    y = NET.forward(params, state, x).y
    values, right = LOSS.forward(y, target).values, jnp.argmax(y, axis=1) == target
    np.testing.assert_allclose(found.loss, np.average(values, weights=weights), rtol=1e-13)
    np.testing.assert_allclose(found.metric, np.average(right, weights=weights), rtol=1e-13)


def test_metrics(given):
    params, state, x, target = given
    one_hot = jax.nn.one_hot(target, 3)
    data = (x, one_hot)
    assert jaxnn.evaluate(NET, HalfSquaredError(), params, state, data, metric=None).metric is None
    of_labels, of_one_hot = (jaxnn.evaluate(NET, LOSS, params, state, (x, t)) for t in (target, one_hot))
    np.testing.assert_allclose(of_one_hot, of_labels, rtol=1e-14)

    def first_output(outputs, target):
        return outputs[:, 0]

    expected = np.mean(NET.forward(params, state, x).y[:, 0])
    found = jaxnn.evaluate(NET, LOSS, params, state, data, metric=first_output)
    assert isinstance(found, Evaluation)
    np.testing.assert_allclose(found.metric, expected, rtol=1e-13)


def test_accuracy():
    outputs = jnp.array([[0.1, 0.9], [0.8, 0.2], [0.5, 0.5]])
    np.testing.assert_array_equal(accuracy(outputs, jnp.array([1, 1, 0], jnp.uint8)), [1, 0, 1])
    np.testing.assert_array_equal(accuracy(outputs, jnp.array([[0.3, 0.7], [0.1, 0.9], [1.0, 0.0]])), [1, 0, 1])
    for bad in (jnp.ones(3), jnp.ones((3, 2, 2))):
        with pytest.raises(ValueError, match=r"accuracy compares classes.*pass metric=None"):
            accuracy(bad, jnp.zeros(3, int))
    logits = jnp.array([[3.0], [-1.0], [0.5], [jnp.nan]])  # of yes against no
    for target in (jnp.array([1, 1, 0, 1]), jnp.array([[1], [1], [0], [1]]), jnp.array([[0.9], [0.8], [0.0], [1.0]])):
        np.testing.assert_array_equal(accuracy(logits, target), [1, 0, 0, 0])
    with pytest.raises(ValueError, match="targets of one output should be"):
        accuracy(logits, jnp.zeros((4, 2)))


@pytest.mark.parametrize(
    ("loss", "target", "n_out", "has_one"),
    [
        (SoftmaxCrossEntropy(), np.arange(4) % 2, 2, True),
        (SoftmaxCrossEntropy(), np.full((4, 2), 0.5), 2, True),
        (SigmoidCrossEntropy(), (np.arange(4) % 2)[:, None], 1, True),
        (SigmoidCrossEntropy(), (np.arange(4) % 2.0)[:, None], 1, True),
        (SigmoidCrossEntropy(), np.full((4, 1), 0.3), 1, False),
        (SigmoidCrossEntropy(), np.eye(3)[np.arange(4) % 3], 3, True),
        (SigmoidCrossEntropy(), np.array([[1, 1, 0], [0, 0, 0], [0, 1, 0], [1, 0, 0]]), 3, False),
        (SigmoidCrossEntropy(), np.full((4, 3), 0.7), 3, False),
        (HalfSquaredError(), np.eye(2)[np.arange(4) % 2], 2, True),
        (HalfSquaredError(), np.ones((4, 2)), 2, False),
        (HalfSquaredError(), (np.arange(4) % 2.0)[:, None], 1, False),
    ],
)
def test_accuracy_where_targets_are_classes(loss, target, n_out, has_one, key):
    """Without a word about metrics, in a loop, in an evaluation and in an ensemble; quantities have none."""
    net, data = Dense(n_out), (np.ones((4, 2)), target)
    given = {"epochs": 1, "update": gradient_descent(0.1)}
    run, history = jaxnn.bgd(net, loss, data, key=key, **given)
    assert (history.metric is not None) == has_one
    assert (jaxnn.evaluate(net, loss, run.params, run.state, data).metric is not None) == has_one
    _, history = jaxnn.ensemble(jaxnn.bgd, net, loss, data, keys=jax.random.split(key, 2), **given)
    assert (history.metric is not None) == has_one
    with pytest.raises(ValueError, match="metric should be a function.*got 'accuracy'"):
        jaxnn.bgd(net, loss, data, key=key, metric="accuracy", **given)


def test_images_of_bytes(key):
    net = Serial(jaxnn.Rescale(1 / 255), jaxnn.Flatten(), Dense(3))
    params, state = net.init(key, (2, 2))
    x = np.arange(28, dtype=np.uint8).reshape(7, 2, 2)
    outputs = jaxnn.predict(net, params, state, x, chunk_size=3)
    assert (outputs.shape, outputs.dtype) == ((7, 3), jnp.float32)


def test_a_second_call_compiles_nothing(given, compilations):
    params, state, x, target = given
    jaxnn.evaluate(NET, LOSS, params, state, (x, target))
    other = jax.tree.map(lambda leaf: leaf + 1, params)
    with compilations.none():
        jaxnn.evaluate(NET, LOSS, other, state, (x, target))


def test_bad_input(given):
    params, state, x, target = given
    with pytest.raises(ValueError, match="the last axis of x should have 2 features"):
        jaxnn.predict(NET, params, state, np.ones((4, 3)))
    with pytest.raises(ValueError, match="the set is empty"):
        jaxnn.predict(NET, params, state, x[:0])
    with pytest.raises(ValueError, match="x has NaN or infinite"):
        jaxnn.predict(NET, params, state, x.at[0, 0].set(jnp.nan))
    with pytest.raises(ValueError, match="labels should be 0 to 2"):
        jaxnn.evaluate(NET, LOSS, params, state, (x, target + 1))
    with pytest.raises(ValueError, match="different lengths"):
        jaxnn.evaluate(NET, LOSS, params, state, (x, target[1:]))
