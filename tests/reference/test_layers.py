"""Layers of the reference: against finite differences of themselves, and jaxnn's against them."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn
from jaxnn.reference import twin
from jaxnn.reference.layers import Dense, DenseParams

pytestmark = pytest.mark.usefixtures("x64")

LAYERS = [
    (jaxnn.Dense(4), (3,)),
    (jaxnn.Dense(4), (2, 3)),
    (jaxnn.Dense(2, bias=False), (3,)),
    (jaxnn.Rescale(0.3, -0.1), (3,)),
    (jaxnn.Identity(), (2, 3)),
    (jaxnn.Sigmoid(), (2, 3)),
    (jaxnn.Tanh(), (2, 3)),
    (jaxnn.ReLU(), (2, 3)),
    (jaxnn.LeakyReLU(), (5,)),
    (jaxnn.LeakyReLU(0.3), (2, 3)),
    (jaxnn.Softmax(), (5,)),
    (jaxnn.Softmax(), (2, 3)),
    (jaxnn.Flatten(), (2, 3)),
    (jaxnn.Reshape((3, -1)), (2, 6)),
    (jaxnn.Dropout(0.3), (2, 5)),
    (jaxnn.Dropout(0.0), (5,)),
]


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=str)
def test_backward_is_the_derivative_of_forward(layer, shape, train, derives):
    derives(layer, shape, train)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=str)
def test_jaxnn_matches_its_twin(layer, shape, train, matches):
    matches(layer, shape, train)


@pytest.mark.parametrize(
    "layer", [jaxnn.Identity(), jaxnn.ReLU(), jaxnn.LeakyReLU(0.3), jaxnn.Sigmoid(), jaxnn.Tanh()], ids=str
)
def test_kinks_infinities_and_nan_are_treated_alike(layer, agree):
    x = np.array([[np.nan, -np.inf, -1e4, -0.0, 0.0, 1e4, np.inf]])
    dy = np.arange(1.0, 8.0)[None]
    y, _, cache = layer.forward((), (), jnp.asarray(x))
    expected = twin(layer).forward((), (), x)
    agree(y, expected.y)
    agree(layer.backward((), cache, jnp.asarray(dy)).dx, twin(layer).backward((), expected.cache, dy).dx)


def test_relu_is_flat_at_zero():
    relu = twin(jaxnn.ReLU())
    _, _, cache = relu.forward((), (), np.zeros((1, 1)))
    assert relu.backward((), cache, np.ones((1, 1))).dx == 0


def test_softmax_of_equal_and_of_huge_logits():
    softmax = twin(jaxnn.Softmax())
    assert softmax.forward((), (), np.zeros((1, 4))).y.tolist() == [[0.25] * 4]
    assert softmax.forward((), (), np.array([[1e4, -1e4]])).y.tolist() == [[1.0, 0.0]]


def test_integers_have_no_gradient(agree):
    layer, x = jaxnn.Rescale(1 / 255), np.array([[0, 51, 255]], np.uint8)
    y, _, cache = twin(layer).forward((), (), x)
    agree(layer.forward((), (), jnp.asarray(x)).y, y)
    assert y.dtype == np.float64
    assert twin(layer).backward((), cache, y).dx is None


def test_dense_by_hand():
    params = DenseParams(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([10.0, 20.0]))
    y, _, cache = Dense(2).forward(params, (), np.array([[1.0, 1.0], [0.0, 2.0]]))
    assert y.tolist() == [[14.0, 26.0], [16.0, 28.0]]
    (dweight, dbias), dx = Dense(2).backward(params, cache, np.array([[1.0, 0.0], [0.0, 1.0]]))
    assert dweight.tolist() == [[1.0, 0.0], [1.0, 2.0]]
    assert dbias.tolist() == [1.0, 1.0]
    assert dx.tolist() == [[1.0, 3.0], [2.0, 4.0]]


def test_dropout_takes_one_mask_in_training_and_none_else():
    dropout, x = twin(jaxnn.Dropout(0.5)), np.ones((1, 2))
    masks = iter([np.array([[True, False]])])
    assert dropout.forward((), (), x, masks=masks, train=False).y.tolist() == [[1.0, 1.0]]
    assert dropout.forward((), (), x, masks=masks, train=True).y.tolist() == [[2.0, 0.0]]
    assert next(masks, None) is None
