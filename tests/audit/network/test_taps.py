"""Taps hand on what they are told, and their gradients are the error terms."""

import jax
import numpy as np
from gradients import SAME, error

import jaxnn
from jaxnn.audit.network.taps import Told, tapped, tapped_params, told, untapped

BLOCK = jaxnn.Serial(jaxnn.Dense(3), jaxnn.Tanh())
BRANCHES = jaxnn.Branches(jaxnn.Residual(BLOCK), jaxnn.Tanh(), merge="concatenate")
NET = jaxnn.Serial(jaxnn.Repeat(BLOCK, 2), jaxnn.Remat(BRANCHES), jaxnn.Dense(2))


def outputs(net, params, state, x):
    """Of every layer that has a tap, by path."""

    def output(node):
        return node.cache.y if isinstance(node.layer, Told) else None

    return jaxnn.backprop(told(net), jaxnn.HalfSquaredError(), observe=output)(
        params, state, x, np.zeros((len(x), *net.output_shape(x.shape[1:])))
    ).notes


def test_error_terms_are_those_of_backprop(x64):
    params, state = NET.init(jax.random.key(0), (3,))
    x, t = np.random.default_rng(0).normal(size=(4, 3)), np.random.default_rng(1).normal(size=(4, 2))
    whole = tapped(NET, 4)
    loss = jaxnn.HalfSquaredError()
    by_hand = jaxnn.backprop(told(NET), loss, observe=lambda node: node.dy)(params, state, x, t)
    taps = tapped_params(whole, (3,), params, outputs(NET, params, state, x))
    by_machine = jaxnn.autodiff(whole, loss)(taps, state, x, t)
    grads, error_terms = untapped(by_machine.grads)
    combinators = {"", "[0]", "[0].inner", "[1]", "[1].inner", "[1].inner[0]", "[1].inner[0].inner"}
    assert set(error_terms) == set(by_hand.notes) - combinators
    for path, term in error_terms.items():
        assert error(by_hand.notes[path], term) <= SAME
    of_params = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(by_hand.grads)}
    assert list(grads) == list(of_params)
    assert all(error(of_params[path], leaf) <= SAME for path, leaf in grads.items())


def test_the_gradient_is_taken_on_the_side_of_a_kink_that_the_taps_are_on(x64):
    """Two equals that another program would round apart: which is the maximum is said by what the layer gave."""
    net = jaxnn.Serial(jaxnn.Rescale(1.0), jaxnn.MaxPool(2))
    params, state = net.init(jax.random.key(0), (2, 2, 1))
    x, t = np.ones((1, 2, 2, 1)), np.zeros((1, 1, 1, 1))
    whole, given = tapped(net, 1), outputs(net, params, state, x)
    for winner in ((0, 0), (1, 1)):
        given["[0]"] = np.asarray(x).copy()
        given["[0]"][0, *winner, 0] += 1e-15
        dx = jaxnn.autodiff(whole, jaxnn.HalfSquaredError())(
            tapped_params(whole, (2, 2, 1), params, given), state, x, t
        ).dx
        assert dx[0, *winner, 0] == given["[1]"][0, 0, 0, 0] == 1.0
        assert float(np.abs(dx).sum()) == 1.0
