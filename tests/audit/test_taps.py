"""Taps change no number, and their gradients are the error terms."""

import jax
import numpy as np
from gradients import SAME, error

import jaxnn
from jaxnn.audit.taps import tapped, tapped_params, untapped

BLOCK = jaxnn.Serial(jaxnn.Dense(3), jaxnn.Tanh())
BRANCHES = jaxnn.Branches(jaxnn.Residual(BLOCK), jaxnn.Tanh(), merge="concatenate")
NET = jaxnn.Serial(jaxnn.Repeat(BLOCK, 2), jaxnn.Remat(BRANCHES), jaxnn.Dense(2))


def test_error_terms_are_those_of_backprop(x64):
    params, state = NET.init(jax.random.key(0), (3,))
    x, t = np.random.default_rng(0).normal(size=(4, 3)), np.random.default_rng(1).normal(size=(4, 2))
    whole = tapped(NET, 4)
    loss = jaxnn.HalfSquaredError()
    by_machine = jaxnn.autodiff(whole, loss)(tapped_params(whole, (3,), params), state, x, t)
    grads, error_terms = untapped(by_machine.grads)
    by_hand = jaxnn.backprop(NET, loss, observe=lambda node: node.dy)(params, state, x, t)
    combinators = {"", "[0]", "[0].inner", "[1]", "[1].inner", "[1].inner[0]", "[1].inner[0].inner"}
    assert set(error_terms) == set(by_hand.notes) - combinators
    for path, term in error_terms.items():
        assert error(by_hand.notes[path], term) <= SAME
    of_params = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(by_hand.grads)}
    assert list(grads) == list(of_params)
    assert all(error(of_params[path], leaf) <= SAME for path, leaf in grads.items())
