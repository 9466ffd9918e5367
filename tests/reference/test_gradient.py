"""The reference's backpropagation: against finite differences, and jaxnn's two gradients against it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import (
    BatchNorm,
    Dense,
    Dropout,
    HalfSquaredError,
    Remat,
    Repeat,
    Rescale,
    Residual,
    Serial,
    Sigmoid,
    SoftmaxCrossEntropy,
    Tanh,
    autodiff,
    backprop,
    l1,
    l2,
    reference,
)
from jaxnn.reference import twin

pytestmark = pytest.mark.usefixtures("x64")

NET = Serial(
    Dense(4, bias=False),
    BatchNorm(),
    Tanh(),
    Repeat(Residual(Remat(Serial(Dense(4), Sigmoid(), Dropout(0.3)))), 2),
    Dropout(0.2),
    Dense(3),
)
LABELS = np.array([0, 2, 1, 1, 0, 2])
WEIGHTS = np.array([1.0, 0.0, 2.0, 0.5, 1.0, 3.0])
PENALTY = (l1(0.01), l2(0.1))


@pytest.mark.parametrize("train", [True, False])
def test_backprop_is_the_derivative_of_its_value(train, rng, drawn, masks_of, numeric_gradient, agree):
    x, weights = rng.standard_normal((6, 3)), rng.uniform(0, 1, 6)
    params, state = drawn(NET, (3,))
    masks = masks_of(NET, params, state, x, jax.random.key(1))
    gradient = reference.backprop(twin(NET), twin(SoftmaxCrossEntropy(0.1)), twin(PENALTY))

    def objective():
        return gradient(params, state, x, LABELS, masks=masks, weights=weights, train=train)

    result = objective()
    assert result.value == result.loss + result.penalty
    expected = numeric_gradient(lambda: objective().value, (params, x))
    agree((result.grads, result.dx), expected, 1e-9, scale=1.0)


@pytest.mark.parametrize(
    ("train", "weights", "penalty"),
    [(True, None, None), (True, WEIGHTS, PENALTY), (False, WEIGHTS, l2(0.1))],
    ids=["training", "weighted and penalised", "evaluation"],
)
def test_jaxnn_matches_its_twin(train, weights, penalty, rng, drawn, masks_of, agree):
    loss, key = SoftmaxCrossEntropy(0.1), jax.random.key(1)
    x = rng.standard_normal((6, 3))
    params, state = drawn(NET, (3,))
    masks = masks_of(NET, params, state, x, key)
    expected = reference.backprop(twin(NET), twin(loss), twin(penalty))(
        params, state, x, LABELS, masks=masks, weights=weights, train=train
    )
    arguments = jax.tree.map(jnp.asarray, (params, state, x, LABELS))
    as_jax = None if weights is None else jnp.asarray(weights)
    for gradient in (backprop, autodiff):
        function = jax.jit(gradient(NET, loss, penalty=penalty), static_argnames="train")
        ours = function(*arguments, key=key, weights=as_jax, train=train)
        for name in expected._fields:
            agree(getattr(ours, name), getattr(expected, name))


def test_images_have_no_gradient(rng, drawn, agree):
    net, loss = Serial(Rescale(1 / 255), Dense(2)), HalfSquaredError()
    x, target = rng.integers(0, 256, (4, 3), np.uint8), rng.standard_normal((4, 2))
    params, state = drawn(net, (3,))
    expected = reference.backprop(twin(net), twin(loss))(params, state, x, target)
    ours = backprop(net, loss)(*jax.tree.map(jnp.asarray, (params, state, x, target)))
    assert ours.dx is None
    assert expected.dx is None
    agree((ours.value, ours.grads), (expected.value, expected.grads))


def test_a_batch_of_padding_moves_nothing(rng, drawn):
    params, state = drawn(Dense(2), (3,))
    x, target = rng.standard_normal((4, 3)), rng.standard_normal((4, 2))
    result = reference.backprop(twin(Dense(2)), twin(HalfSquaredError()))(params, state, x, target, weights=np.zeros(4))
    assert result.value == 0
    assert not np.any(result.grads.weight)
