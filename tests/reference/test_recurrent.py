"""Recurrence of the reference: against finite differences of itself, jaxnn's against it, and a sum by hand."""

import numpy as np
import pytest

from jaxnn import Dense, Dropout, GRUCell, LSTMCell, Recurrent, Remat, Repeat, Residual, Serial, TanhCell
from jaxnn.reference import recurrent

pytestmark = pytest.mark.usefixtures("x64")

CELLS = [TanhCell(3), LSTMCell(2), GRUCell(2)]
NETWORKS = [
    *((Recurrent(cell), (n_steps, 2)) for cell in CELLS for n_steps in (1, 2, 3, 5)),
    *((Recurrent(cell, sequence=False), (3, 2)) for cell in CELLS),
    *((Recurrent(cell, reverse=True), (3, 2)) for cell in CELLS),
    (Recurrent(GRUCell(2), sequence=False, reverse=True), (3, 2)),
    (Residual(Recurrent(TanhCell(2)), 0.5), (3, 2)),
    (Repeat(Recurrent(LSTMCell(2)), 2), (3, 2)),
    (Serial(Recurrent(LSTMCell(3)), Dropout(0.3), Remat(Recurrent(TanhCell(2), sequence=False)), Dense(2)), (3, 1)),
]
TRUNCATED = [
    *((Recurrent(cell, k), (5, 2)) for cell in CELLS for k in (1, 2, 3)),
    *((Recurrent(cell, 2, sequence=False), (3, 2)) for cell in CELLS),
    (Recurrent(TanhCell(2), 2, reverse=True), (5, 2)),
]


@pytest.mark.parametrize(("net", "shape"), NETWORKS, ids=str)
def test_backward_is_the_derivative_of_forward(net, shape, derives):
    derives(net, shape, train=True)


@pytest.mark.parametrize(("net", "shape"), TRUNCATED, ids=str)
def test_a_truncated_backward_is_not(net, shape, derives):
    with pytest.raises(AssertionError):
        derives(net, shape, train=True)


@pytest.mark.parametrize(("net", "shape"), NETWORKS + TRUNCATED, ids=str)
def test_jaxnn_matches_its_twin(net, shape, matches):
    matches(net, shape, train=True)


def test_a_recurrent_network_by_hand():
    """One neuron, two steps: h_0 = tanh(w x_0 + b), h_1 = tanh(w x_1 + u h_0 + b), and all of d h_1 by hand."""
    w, u, b, x_0, x_1 = 0.5, -0.8, 0.1, 1.0, 2.0
    of_input, of_carry = (
        recurrent.InputParams(np.array([[w]]), np.array([b])),
        recurrent.RecurrentParams(np.array([[u]])),
    )
    params = recurrent.Inner(recurrent.CellParams(of_input, of_carry))
    net = recurrent.Recurrent(recurrent.TanhCell(1), sequence=False)
    y, _, cache = net.forward(params, recurrent.Inner(()), np.array([[[x_0], [x_1]]]))
    h_0 = np.tanh(w * x_0 + b)
    h_1 = np.tanh(w * x_1 + u * h_0 + b)
    (dparams,), dx = net.backward(params, cache, np.ones((1, 1)))
    dz_1 = 1 - h_1**2
    dz_0 = dz_1 * u * (1 - h_0**2)
    np.testing.assert_allclose(y, [[h_1]], rtol=1e-15)
    np.testing.assert_allclose(dparams.input.weight, [[dz_1 * x_1 + dz_0 * x_0]], rtol=1e-14)
    np.testing.assert_allclose(dparams.input.bias, [dz_1 + dz_0], rtol=1e-14)
    np.testing.assert_allclose(dparams.recurrent.weight, [[dz_1 * h_0]], rtol=1e-14)
    np.testing.assert_allclose(dx, [[[dz_0 * w], [dz_1 * w]]], rtol=1e-14)
