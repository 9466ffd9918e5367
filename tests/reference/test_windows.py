"""The layers with windows in the reference: against finite differences of themselves, and jaxnn's against them."""

import jax.numpy as jnp
import numpy as np
import pytest
from table import CONVOLUTIONAL

import jaxnn
from jaxnn.reference import ConvParams, Windows, twin

pytestmark = pytest.mark.usefixtures("x64")

LAYERS = [(case.layer, case.shape) for case in CONVOLUTIONAL]


@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=str)
def test_backward_is_the_derivative_of_forward(layer, shape, derives):
    derives(layer, shape, train=False)


@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=str)
def test_jaxnn_matches_its_twin(layer, shape, matches):
    matches(layer, shape, train=False)


def test_windows_are_where_they_should_be():
    """5 numbers, SAME, stride 2: three windows; the two numbers that are missing stand one at each end."""
    windows = Windows(jaxnn.Conv1D(1, 3, stride=2), (5,))
    assert windows.counts == (3,)
    assert windows.pads == [(1, 1)]
    assert [[place for _, (place,) in windows.taps(window)] for window in windows] == [[0, 1], [1, 2, 3], [3, 4]]


@pytest.mark.parametrize("pool", [jaxnn.MaxPool(2), jaxnn.MaxPool(3, 1, "SAME"), jaxnn.MaxPool(2, 1)], ids=str)
def test_ties_nan_and_infinities_are_treated_alike(pool, rng, agree):
    x = rng.choice([np.nan, -np.inf, 0.0, 1.0], size=(2, 5, 4, 3), p=[0.1, 0.3, 0.3, 0.3])
    y, _, cache = pool.forward((), (), jnp.asarray(x))
    expected = twin(pool).forward((), (), x)
    dy = rng.standard_normal(y.shape)
    agree(y, expected.y)
    agree(pool.backward((), cache, jnp.asarray(dy)).dx, twin(pool).backward((), expected.cache, dy).dx)


def test_a_convolution_is_a_banded_matrix(rng):
    """PRINCIPLES G6: y = M x with the same numbers in every row, one place further on."""
    weight = rng.standard_normal((3, 1, 1))
    conv = twin(jaxnn.Conv1D(1, 3, padding="VALID", bias=False))
    matrix = conv.forward(ConvParams(weight, None), (), np.eye(6)[:, :, None]).y[..., 0].T
    expected = np.zeros((4, 6))
    for i in range(4):
        expected[i, i : i + 3] = weight[:, 0, 0]
    np.testing.assert_array_equal(matrix, expected)
