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
    (jaxnn.Flatten(), (2, 3)),
    (jaxnn.Reshape((3, -1)), (2, 6)),
    *[(jaxnn.Dropout(0.3, kind), (2, 5)) for kind in ("bits", "bools", "key")],
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
