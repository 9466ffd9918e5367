"""Losses of the reference: against finite differences and printed numbers, and jaxnn's against them."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import AbsoluteError, HalfSquaredError, Huber, SigmoidCrossEntropy, SoftmaxCrossEntropy
from jaxnn.reference import twin

pytestmark = pytest.mark.usefixtures("x64")

B, K = 5, 4
LABELS = np.array([0, 3, 1, 1, 2])
SOFT = np.random.default_rng(1).dirichlet(np.ones(K), B)
MASKED = SOFT * np.array([1.0, 0.0, 2.0, 1.0, 0.5])[:, None]  # a row of zeros, and rows that don't sum to 1
NUMBERS = [AbsoluteError(), Huber(), Huber(0.3)]
LOSSES = [
    (HalfSquaredError(), (), SOFT[:, 0]),
    (HalfSquaredError(), (K,), SOFT),
    (HalfSquaredError(), (2, 2), SOFT.reshape(B, 2, 2)),
    *[(loss, (), SOFT[:, 0]) for loss in NUMBERS],
    *[(loss, (2, 2), SOFT.reshape(B, 2, 2)) for loss in NUMBERS],
    *[(SoftmaxCrossEntropy(s), (K,), t) for s in (0.0, 0.1) for t in (LABELS, np.eye(K)[LABELS], SOFT, MASKED)],
    (SoftmaxCrossEntropy(), (K,), np.array([-1, K, 0, 1, 2])),  # what isn't a class is a masked row
    *[(SigmoidCrossEntropy(s), (K,), t) for s in (0.0, 0.1) for t in (LABELS, np.eye(K, dtype=int)[LABELS], SOFT)],
    (SigmoidCrossEntropy(), (1,), SOFT[:, :1]),
    (SigmoidCrossEntropy(), (2, 2), SOFT.reshape(B, 2, 2)),
]
IDS = [f"{loss}-{i}" for i, (loss, _, _) in enumerate(LOSSES)]


@pytest.mark.parametrize(("loss", "shape", "target"), LOSSES, ids=IDS)
def test_backward_is_the_derivative_of_forward(loss, shape, target, rng, numeric_gradient, agree):
    y, weights = rng.standard_normal((B, *shape)), rng.uniform(0, 1, B)
    dy = twin(loss).backward(twin(loss).forward(y, target).cache, weights)
    agree(dy, numeric_gradient(lambda: weights @ twin(loss).forward(y, target).values, y), 1e-9, scale=1.0)


@pytest.mark.parametrize(("loss", "shape", "target"), LOSSES, ids=IDS)
def test_jaxnn_matches_its_twin(loss, shape, target, rng, agree):
    y, weights = 3 * rng.standard_normal((B, *shape)), rng.uniform(0, 1, B)
    values, cache = loss.forward(jnp.asarray(y), jnp.asarray(target))
    expected = twin(loss).forward(y, target)
    agree(values, expected.values)
    agree(loss.backward(cache, jnp.asarray(weights)), twin(loss).backward(expected.cache, weights))


@pytest.mark.parametrize("loss", [SoftmaxCrossEntropy(), SigmoidCrossEntropy()], ids=str)
def test_huge_logits_are_treated_alike(loss, agree):
    y = np.array([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4], [800.0, 0.0, -800.0]])
    target = np.array([1, 0, 0])
    values, cache = loss.forward(jnp.asarray(y), jnp.asarray(target))
    expected = twin(loss).forward(y, target)
    agree(values, expected.values)
    agree(loss.backward(cache, jnp.ones(3)), twin(loss).backward(expected.cache, np.ones(3)))


@pytest.mark.parametrize("loss", NUMBERS, ids=str)
def test_equal_far_and_missing_numbers_are_treated_alike(loss, agree):
    y, target = np.array([[0.0, 0.3, -1.0, 1e30, np.nan], [-0.3, 1.0, 5.0, -5.0, 0.0]]), np.zeros((2, 5))
    values, cache = loss.forward(jnp.asarray(y), jnp.asarray(target))
    expected = twin(loss).forward(y, target)
    agree(values, expected.values)
    agree(loss.backward(cache, jnp.ones(2)), twin(loss).backward(expected.cache, np.ones(2)))


def test_a_class_without_probability_costs_nothing_where_it_is_not_the_target():
    y, target = np.array([[0.0, -np.inf, 0.0]]), np.array([0])
    expected = np.log(2)
    assert np.isclose(twin(SoftmaxCrossEntropy()).forward(y, target).values, expected, rtol=1e-15)
    assert np.isclose(SoftmaxCrossEntropy().forward(jnp.asarray(y), jnp.asarray(target)).values, expected, rtol=1e-15)


def test_by_hand():
    half_squared = twin(HalfSquaredError()).forward(np.array([[1.0, 2.0]]), np.array([[4.0, 6.0]]))
    assert half_squared.values.tolist() == [12.5]
    absolute = twin(AbsoluteError()).forward(np.array([[1.0, 2.0]]), np.array([[4.0, 6.0]]))
    assert absolute.values.tolist() == [7.0]
    huber = twin(Huber(3.5)).forward(np.array([[1.0, 2.0]]), np.array([[4.0, 6.0]]))
    assert huber.values.tolist() == [4.5 + 3.5 * 4 - 3.5**2 / 2]
    softmax = twin(SoftmaxCrossEntropy()).forward(np.log([[1.0, 3.0]]), np.array([0]))
    assert np.isclose(softmax.values, np.log(4), rtol=1e-15)
    yes_or_no = twin(SigmoidCrossEntropy()).forward(np.log([[1.0, 3.0]]), np.array([[1, 0]]))
    assert np.isclose(yes_or_no.values, np.log(2) + np.log(4), rtol=1e-15)
