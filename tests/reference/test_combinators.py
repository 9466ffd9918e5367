"""Combinators of the reference, nested: against finite differences, and jaxnn's against them."""

import numpy as np
import pytest

import jaxnn
from jaxnn import (
    BatchNorm,
    Dense,
    Dropout,
    Flatten,
    LeakyReLU,
    Remat,
    Repeat,
    Rescale,
    Residual,
    Serial,
    Sigmoid,
    Softmax,
    Tanh,
)
from jaxnn.reference import combinators, layers

pytestmark = pytest.mark.usefixtures("x64")

NETWORKS = [
    (Serial(), (3,)),
    (Serial(Dense(5), Sigmoid(), Dense(2), Softmax()), (3,)),
    (Serial(Rescale(0.5), Serial(Flatten(), Serial(Dense(3))), Tanh()), (2, 3)),
    (Residual(Tanh(), scale=0.3), (2, 3)),
    (Residual(Serial(Dense(5), Tanh(), Dense(3))), (3,)),
    (Repeat(Dense(3), 4), (3,)),
    (Repeat(Serial(BatchNorm(), Tanh(), Dropout(0.4), Dense(3)), 3), (3,)),
    (Repeat(Residual(Repeat(Residual(Tanh(), 0.5), 2), 0.5), 2), (3,)),
    (Remat(Serial(Dense(4), Tanh(), Dropout(0.4), Dense(2))), (3,)),
    (Remat(BatchNorm()), (3,)),
    (
        Serial(
            Dense(4, bias=False),
            BatchNorm(),
            LeakyReLU(0.1),
            Repeat(Residual(Remat(Serial(Dense(4), Tanh(), Dropout(0.2))), 0.5), 2),
            Residual(Repeat(Serial(Dropout(0.3), Dense(4)), 2)),
            Dropout(0.1),
            Dense(2),
        ),
        (3,),
    ),
]


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize(("net", "shape"), NETWORKS, ids=str)
def test_backward_is_the_derivative_of_forward(net, shape, train, derives):
    derives(net, shape, train)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize(("net", "shape"), NETWORKS, ids=str)
def test_jaxnn_matches_its_twin(net, shape, train, matches):
    matches(net, shape, train)


def test_repeat_is_serial_with_the_slices(drawn, agree, rng):
    x = rng.standard_normal((4, 3))
    params, state = drawn(jaxnn.Repeat(jaxnn.Dense(3), 2), (3,))
    one_by_one = tuple(layers.DenseParams(params.inner.weight[i], params.inner.bias[i]) for i in range(2))
    repeated = combinators.Repeat(layers.Dense(3), 2).forward(params, state, x)
    serial = combinators.Serial(layers.Dense(3), layers.Dense(3)).forward(one_by_one, ((), ()), x)
    assert (repeated.y == serial.y).all()


def test_a_residual_around_nothing_doubles():
    y, _, cache = combinators.Residual(layers.Identity()).forward(
        combinators.Inner(()), combinators.Inner(()), np.ones(1)
    )
    assert y == 2
    assert combinators.Residual(layers.Identity()).backward(combinators.Inner(()), cache, np.ones(1)).dx == 2
