"""Normalisations of the reference: against finite differences of themselves, and jaxnn's against them."""

import pytest

import jaxnn

pytestmark = pytest.mark.usefixtures("x64")

LAYERS = [
    (jaxnn.BatchNorm(), (4,)),
    (jaxnn.BatchNorm(momentum=0.7, epsilon=0.1), (2, 3)),
    (jaxnn.BatchNorm(), (3, 2, 5)),
]


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=str)
def test_backward_is_the_derivative_of_forward(layer, shape, train, derives):
    derives(layer, shape, train)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=str)
def test_jaxnn_matches_its_twin(layer, shape, train, matches):
    matches(layer, shape, train)
