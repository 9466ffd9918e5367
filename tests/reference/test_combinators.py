"""Combinators of the reference, nested: against finite differences, and jaxnn's against them."""

import numpy as np
import pytest

import jaxnn
from jaxnn import (
    BatchNorm,
    Branches,
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
from jaxnn.reference import activations, combinators, layers

pytestmark = pytest.mark.usefixtures("x64")

NETWORKS = [
    (Serial(), (3,)),
    (Serial(Dense(5), Sigmoid(), Dense(2), Softmax()), (3,)),
    (Serial(Rescale(0.5), Serial(Flatten(), Serial(Dense(3))), Tanh()), (2, 3)),
    (Branches(Dense(3), Serial(Dropout(0.4), Tanh()), Dense(3, bias=False)), (3,)),
    (Branches(Serial(Dense(4), Dropout(0.4)), Tanh(), Dense(1), merge="concatenate"), (2, 3)),
    (Serial(Branches(Branches(Tanh(), BatchNorm()), Dense(2), merge="concatenate"), Dropout(0.3)), (3,)),
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


def test_branches_by_hand():
    """1 + 1 and (1, 1) of two identities, and dy comes back from both: 3 + 3, or 3 + 4."""
    x = np.ones((1, 1))
    for merge, y, dy, dx in (("sum", [[2]], [[3]], [[6]]), ("concatenate", [[1, 1]], [[3, 4]], [[7]])):
        net = combinators.Branches(layers.Rescale(), layers.Rescale(), merge=merge)
        found, _, cache = net.forward(((), ()), ((), ()), x)
        assert found.tolist() == y
        assert net.backward(((), ()), cache, np.array(dy)).dx.tolist() == dx
    net = combinators.Branches(layers.Rescale(), layers.Rescale())
    assert net.backward(((), ()), net.forward(((), ()), ((), ()), x.astype(int)).cache, x).dx is None


def test_a_residual_around_nothing_doubles():
    y, _, cache = combinators.Residual(activations.Identity()).forward(
        combinators.Inner(()), combinators.Inner(()), np.ones(1)
    )
    assert y == 2
    assert combinators.Residual(activations.Identity()).backward(combinators.Inner(()), cache, np.ones(1)).dx == 2
