"""Observers: what one may want to know of each layer during the backward pass.

    result = jaxnn.backprop(net, loss, observe=norms)(params, state, x, target)
    result.notes["[0]"].error_term

An observer is a function of a `layer.Node`; what it returns, a tree of arrays or None, is in `notes` under the layer's
path, `""` for the network itself. Inside Repeat it is stacked by depth. It runs inside `jit` like everything else.
"""

from typing import NamedTuple

import jax

from jaxnn.arrays import norm
from jaxnn.layer import Node


class Norms(NamedTuple):
    """Euclidean norms over the whole batch: of the layer's error term dy, and of the gradient of its params."""

    error_term: jax.Array
    gradient: jax.Array


def norms(node: Node) -> Norms:
    """The size of the error term that reaches a layer, and of the gradient of its params: do they vanish or explode?

    >>> import jax.numpy as jnp, jaxnn
    >>> net, loss = jaxnn.Serial(jaxnn.Dense(3), jaxnn.Sigmoid(), jaxnn.Dense(2)), jaxnn.HalfSquaredError()
    >>> params, state = net.init(jax.random.key(0), (4,))
    >>> notes = jaxnn.backprop(net, loss, observe=norms)(params, state, jnp.ones((5, 4)), jnp.zeros((5, 2))).notes
    >>> list(notes)
    ['', '[0]', '[1]', '[2]']
    >>> bool(notes["[0]"].error_term < notes["[2]"].error_term)
    True
    """
    return Norms(norm(node.dy), norm(node.dparams))
