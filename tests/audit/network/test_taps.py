"""Taps hand on the outputs that they are given, and their gradients are the error terms."""

import jax
import numpy as np
import pytest
from gradients import SAME, error

import jaxnn
from jaxnn.audit.network.taps import AtPoint, Point, WithOutput, layers_with_taps, with_outputs

BLOCK = jaxnn.Serial(jaxnn.Dense(3), jaxnn.Tanh())
BRANCHES = jaxnn.Branches(jaxnn.Residual(BLOCK), jaxnn.Tanh(), merge="concatenate")
NET = jaxnn.Serial(jaxnn.Repeat(BLOCK, 2), jaxnn.Remat(BRANCHES), jaxnn.Dense(2))


def outputs(net, params, state, x):
    """Of every layer that has a tap, by path."""

    def output(node):
        return node.cache.y if isinstance(node.layer, WithOutput) else None

    return jaxnn.backprop(with_outputs(net), jaxnn.HalfSquaredError(), observe=output)(
        params, state, x, np.zeros((len(x), *net.output_shape(x.shape[1:])))
    ).notes


def test_error_terms_are_those_of_backprop(x64):
    params, state = NET.init(jax.random.key(0), (3,))
    x, t = np.random.default_rng(0).normal(size=(4, 3)), np.random.default_rng(1).normal(size=(4, 2))
    loss = jaxnn.HalfSquaredError()
    by_hand = jaxnn.backprop(with_outputs(NET), loss, observe=lambda node: node.dy)(params, state, x, t)
    point = Point(params, outputs(NET, params, state, x))
    grads, error_terms = jaxnn.autodiff(AtPoint(NET), loss)(point, state, x, t).grads
    composites = {"", "[0]", "[0].inner", "[1]", "[1].inner", "[1].inner[0]", "[1].inner[0].inner"}
    assert set(error_terms) == set(by_hand.notes) - composites == set(dict(layers_with_taps(NET)))
    for path, term in error_terms.items():
        assert error(by_hand.notes[path], term) <= SAME
    assert error(by_hand.grads, grads) <= SAME


def test_the_gradient_is_taken_on_the_side_of_a_kink_that_the_taps_are_on(x64):
    """Two equals that another program would round apart: which is the maximum is said by what the layer gave."""
    net = jaxnn.Serial(jaxnn.Rescale(1.0), jaxnn.MaxPool(2))
    params, state = net.init(jax.random.key(0), (2, 2, 1))
    x, t = np.ones((1, 2, 2, 1)), np.zeros((1, 1, 1, 1))
    given = outputs(net, params, state, x)
    for winner in ((0, 0), (1, 1)):
        given["[0]"] = np.asarray(x).copy()
        given["[0]"][0, *winner, 0] += 1e-15
        dx = jaxnn.autodiff(AtPoint(net), jaxnn.HalfSquaredError())(Point(params, given), state, x, t).dx
        assert dx[0, *winner, 0] == given["[1]"][0, 0, 0, 0] == 1.0
        assert float(np.abs(dx).sum()) == 1.0


class Elsewhere(jaxnn.Serial):
    """Its children's keys aren't those of its params."""

    @property
    def children(self):
        return tuple((jax.tree_util.DictKey(f"layer {i}"), layer) for i, layer in enumerate(self.layers))


def test_a_key_that_is_no_step_of_the_params_is_named():
    net = Elsewhere(jaxnn.Dense(2), jaxnn.Tanh())
    params, state = net.init(jax.random.key(0), (3,))
    x, loss = np.ones((4, 3), np.float32), jaxnn.HalfSquaredError()
    with pytest.raises(
        ValueError, match=r"compare: .* Dense\(2\) .* the key of a child is its step in the params' tree"
    ):
        jaxnn.compare(Elsewhere(jaxnn.Dense(2), jaxnn.Tanh()), loss, params, state, x, np.ones((4, 2), np.float32))
