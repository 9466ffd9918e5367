"""Penalties of the reference, and jaxnn's against them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn
from jaxnn import l1, l2
from jaxnn.objective.penalties import penalty_gradient, penalty_value
from jaxnn.reference import penalties, twin
from jaxnn.reference.layers import DenseParams

pytestmark = pytest.mark.usefixtures("x64")

NET = jaxnn.Serial(jaxnn.Dense(3), jaxnn.BatchNorm(), jaxnn.Repeat(jaxnn.Dense(3), 2), jaxnn.Dense(2, bias=False))
PENALTIES = [None, l1(0.3), l2(0.2), (l1(0.3), l2(jnp.asarray(0.2)))]


@pytest.mark.parametrize("penalty", PENALTIES, ids=str)
def test_gradient_is_the_derivative_of_value(penalty, drawn, numeric_gradient, agree):
    params, _ = drawn(NET, (4,))
    expected = numeric_gradient(lambda: penalties.penalty_value(twin(penalty), params), params)
    agree(penalties.penalty_gradient(twin(penalty), params), expected, 1e-9, scale=1.0)


@pytest.mark.parametrize("penalty", PENALTIES, ids=str)
def test_jaxnn_matches_its_twin(penalty, drawn, agree):
    params, _ = drawn(NET, (4,))
    params[0].weight[1] = 0
    as_jax = jax.tree.map(jnp.asarray, params)
    agree(penalty_value(penalty, as_jax), penalties.penalty_value(twin(penalty), params))
    agree(penalty_gradient(penalty, as_jax), penalties.penalty_gradient(twin(penalty), params))


def test_weights_alone_count_and_the_slope_of_l1_at_zero_is_zero():
    params = DenseParams(np.array([[3.0, -1.0, 0.0]]), np.array([5.0]))
    assert penalties.l2(2.0).value(params) == 10
    assert penalties.l1(2.0).value(params) == 8
    assert penalties.l1(2.0).gradient(params).weight.tolist() == [[2.0, -2.0, 0.0]]
    assert penalties.l2(2.0).gradient(params).bias.tolist() == [0.0]
