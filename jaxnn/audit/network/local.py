"""Each layer's own rule, given the right error term: which rules are wrong, when one wrong rule spoils all before it.

The network is run once. Then the backward fold goes over it: at every node, layers and composites alike, the
hand-written rule and `jax.vjp` of the node's forward get the same dy. What is handed on is always what `jax.vjp` made
of it, so no error propagates. A composite is judged with the right results of its children: its own rule is its fold.
A layer whose rule is meant to differ (see `own_rules.py`) hands on what that rule gives, and isn't judged.
"""

from collections import OrderedDict
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr

from jaxnn.arrays import PyTree, Static, is_floating, is_floating_array, params_dtype
from jaxnn.audit.network.own_rules import WithOwnRule, with_own_rule
from jaxnn.audit.rounding.survey import Survey, surveyed
from jaxnn.audit.rule.subjects import is_key
from jaxnn.layer import Backward, Folded, Forward, Layer, Path, backward_of, forward_of, is_composite, recipe
from jaxnn.networks.rebuild import mapped
from jaxnn.networks.wrapped import Wrapped


class ArgumentsCache(NamedTuple):
    """All that forward was called with, beside the cache that it made."""

    cache: PyTree
    state: PyTree
    x: PyTree
    key: jax.Array | None
    train: Static[bool]


@recipe
class WithArguments(Wrapped):
    """A layer that remembers its arguments, so that its forward can be differentiated where its backward is called."""

    def forward(self, params: PyTree, state: PyTree, x: PyTree, *, key: Any = None, train: bool = False) -> Forward:
        y, new_state, cache = forward_of(self.layer, params, state, x, key=key, train=train)
        return Forward(y, new_state, ArgumentsCache(cache, state, x, key, Static(train)))

    def backward(self, params: PyTree, cache: ArgumentsCache, dy: PyTree) -> Backward:
        return backward_of(self.layer, params, cache.cache, dy)


class Rule(NamedTuple):
    """What one rule made of an error term: by hand, by machine, and the survey by machine in float64.

    Of the survey's size and spread the largest entry of each tensor is kept.
    """

    by_hand: Backward
    by_machine: Backward
    truth: Survey
    dy: PyTree


def with_arguments(net: Layer) -> Layer:
    """The network with the arguments of every node in its cache; same params, same state, same numbers."""
    return mapped(net, lambda layer: WithArguments(with_own_rule(layer)), opaque=True)


def local_rules(net: Layer, params: PyTree, cache: PyTree, dy: PyTree) -> OrderedDict[str, Rule]:
    """Every node's `Rule`, by path, of a network `with_arguments`; those inside Repeat are stacked by depth.

    Run it under `jax.enable_x64`, or the truth is no better than what is judged by it.
    """
    return _visit((), net, params, cache, dy).notes


def _visit(path: Path, node: Any, params: PyTree, cache: ArgumentsCache, dy: PyTree) -> Folded:
    meant_to_differ = isinstance(node.layer, WithOwnRule)
    layer = node.layer.layer if meant_to_differ else node.layer
    if dy is None:  # integers came out of it: there is nothing to differentiate
        dparams, dx = backward_of(layer, params, cache.cache, dy)
        return Folded(dparams, dx, OrderedDict())
    below: OrderedDict[str, Any] = OrderedDict()
    if is_composite(layer):
        dparams, dx, below = layer.fold(_visit, path, params, cache.cache, dy)
        by_hand = Backward(dparams, dx)
    else:
        by_hand = backward_of(layer, params, cache.cache, dy)
    if meant_to_differ:  # what it gives, all in all, is what it is meant to give
        dparams, dx = backward_of(layer, params, cache.cache, dy)
        return Folded(dparams, dx, below)
    with jax.enable_x64(params_dtype(dy) == jnp.float64):  # or a layer would make float64 of integers
        by_machine = _by_machine(layer, params, cache, dy)
    params, cache, dy64 = doubled((params, cache, dy))
    survey = surveyed(partial(_by_machine, layer), (params, cache), dy64)
    size, spread = (jax.tree.map(lambda leaf: jnp.max(leaf, initial=0), tree) for tree in survey[1:])
    rule = Rule(by_hand, by_machine, Survey(survey.value, size, spread), dy)
    return Folded(by_machine.dparams, by_machine.dx, OrderedDict({keystr(path): rule}) | below)


def _by_machine(layer: Layer, params: PyTree, cache: ArgumentsCache, dy: PyTree) -> Backward:
    """`jax.vjp` of a layer's forward along dy."""

    def output(params: PyTree, x: PyTree) -> PyTree:
        return forward_of(layer, params, cache.state, x, key=cache.key, train=cache.train.value).y

    if all(map(is_floating, jax.tree.leaves(cache.x))):
        dparams, dx = jax.vjp(output, params, cache.x)[1](dy)
    else:
        (dparams,), dx = jax.vjp(lambda params: output(params, cache.x), params)[1](dy), None
    return Backward(dparams, dx)


def doubled(tree: PyTree) -> PyTree:
    """Floating leaves in float64."""
    return jax.tree.map(lambda leaf: leaf.astype(jnp.float64) if is_floating_array(leaf) else leaf, tree)


def on_host(tree: PyTree) -> PyTree:
    """As NumPy arrays: they have no device and no precision to lose when x64 is switched. Keys stay as they are."""
    return jax.tree.map(lambda leaf: leaf if is_key(leaf) else np.asarray(leaf), tree)
