"""Normalisations of the reference: against finite differences of themselves, and jaxnn's against them."""

import pytest

import jaxnn

pytestmark = pytest.mark.usefixtures("x64")

LAYERS = [
    (jaxnn.BatchNorm(), (4,)),
    (jaxnn.BatchNorm(momentum=0.7, epsilon=0.1), (2, 3)),
    (jaxnn.BatchNorm(), (3, 2, 5)),
    (jaxnn.LayerNorm(), (4,)),
    (jaxnn.LayerNorm(2, 0.1), (2, 2, 3)),
    (jaxnn.LayerNorm(bias=False), (2, 3)),
    (jaxnn.LayerNorm(scale=False, bias=False), (3,)),
    (jaxnn.GroupNorm(2), (2, 3, 4)),
    (jaxnn.GroupNorm(1, 0.1), (2, 3)),
    (jaxnn.GroupNorm(3, scale=False), (2, 2, 3)),
    (jaxnn.RMSNorm(), (5,)),
    (jaxnn.RMSNorm(0.1), (2, 3)),
    (jaxnn.RMSNorm(scale=False), (3,)),
]


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=str)
def test_backward_is_the_derivative_of_forward(layer, shape, train, derives):
    derives(layer, shape, train)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=str)
def test_jaxnn_matches_its_twin(layer, shape, train, matches):
    matches(layer, shape, train)
