"""Activation functions of the reference: against finite differences of themselves, and jaxnn's against them."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn
from jaxnn.reference import twin
from jaxnn.reference.activations import PReLU, PReLUParams

pytestmark = pytest.mark.usefixtures("x64")

ELEMENTWISE = [
    *(jaxnn.Identity(), jaxnn.Sigmoid(), jaxnn.Tanh(), jaxnn.ReLU(), jaxnn.LeakyReLU(), jaxnn.LeakyReLU(0.3)),
    *(jaxnn.ELU(), jaxnn.ELU(0.3), jaxnn.Softplus(), jaxnn.SiLU(), jaxnn.GELU(), jaxnn.GELU(approximate=False)),
]
LAYERS = [*ELEMENTWISE, jaxnn.PReLU(), jaxnn.PReLU(shared=True), jaxnn.Softmax()]
every_layer = pytest.mark.parametrize("layer", LAYERS, ids=str)
every_shape = pytest.mark.parametrize("shape", [(5,), (2, 3)], ids=str)


@every_layer
@every_shape
def test_backward_is_the_derivative_of_forward(layer, shape, derives):
    derives(layer, shape, True)


@every_layer
@every_shape
def test_jaxnn_matches_its_twin(layer, shape, matches):
    matches(layer, shape, True)


@pytest.mark.parametrize("layer", ELEMENTWISE, ids=str)
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


def test_prelu_by_hand():
    params = PReLUParams(np.array([0.5, 2.0]))
    y, _, cache = PReLU().forward(params, (), np.array([[-2.0, 1.0], [4.0, -3.0]]))
    assert y.tolist() == [[-1.0, 1.0], [4.0, -6.0]]
    (dslope,), dx = PReLU().backward(params, cache, np.array([[1.0, 10.0], [100.0, 1000.0]]))
    assert dslope.tolist() == [-2.0, -3000.0]
    assert dx.tolist() == [[0.5, 10.0], [100.0, 2000.0]]


def test_gelu_by_a_table():
    """Phi(1) = 0.8413447461, and 1 + tanh of the cubic is close to it."""
    x = np.array([[1.0]])
    exact, approximate = (twin(jaxnn.GELU(form)).forward((), (), x).y for form in (False, True))
    assert np.isclose(exact, 0.8413447461, rtol=1e-9)
    assert 1e-5 < abs(approximate - exact) < 1e-3


def test_softmax_of_equal_and_of_huge_logits():
    softmax = twin(jaxnn.Softmax())
    assert softmax.forward((), (), np.zeros((1, 4))).y.tolist() == [[0.25] * 4]
    assert softmax.forward((), (), np.array([[1e4, -1e4]])).y.tolist() == [[1.0, 0.0]]
