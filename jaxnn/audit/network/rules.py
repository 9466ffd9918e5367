"""Which layers' own rules are wrong, and how: each is given the right error term (see `local.py`)."""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.tree_util import keystr, tree_leaves_with_path

from jaxnn.arrays import PyTree
from jaxnn.audit.network.local import Rule, doubled, local_rules, on_host, with_arguments
from jaxnn.audit.rounding.measure import Terms, apart, error, scale_factor, unexplained
from jaxnn.audit.rule.patterns import likely_pattern
from jaxnn.layer import Backward, Layer, forward_of, walk
from jaxnn.objective.gradient import mean_loss
from jaxnn.objective.losses import Loss

LONGEST_LAYER = 60


class WrongRule(NamedTuple):
    """A rule that is wrong where its error term is right.

    tensor: the parameter's name below the layer, or "dx". factor: <g, truth> / <truth, truth>. pattern: what it looks
    like. tolerance: the bound that it broke, and where that comes from.
    """

    path: str
    layer: str
    tensor: str
    dtype: str
    error: float
    factor: float
    pattern: str
    tolerance: str

    def __str__(self) -> str:
        where = f"{self.path or 'the network'} {_shortened(self.layer)}"
        evidence = f"error {self.error:.1e}; {self.tolerance}"
        return f"{where}: {self.tensor} is wrong in {self.dtype}: {self.pattern} ({evidence})"


def wrong_rules(net: Layer, loss: Loss, arrays: tuple, *, key: Any, train: bool, dtype: Any) -> tuple[WrongRule, ...]:
    """Every rule of a network that is wrong, in float64 and then in the working precision, in forward order.

    arrays: params, state, x, target, weights or None, all NumPy's; a last entry (penalties) says nothing of rules.
    """
    whole = with_arguments(net)

    @jax.jit
    def run(params: PyTree, state: PyTree, x: Any, target: Any, weights: Any) -> tuple[PyTree, PyTree]:
        y, _, cache = forward_of(whole, params, state, x, key=key, train=train)
        _, dy = mean_loss(loss, y, target, weights)
        return cache, dy

    rules = jax.jit(partial(local_rules, whole))
    first: dict[tuple[str, str], WrongRule] = {}
    layers = {keystr(path): layer for path, layer in walk(net)}
    n_rows = len(arrays[2])
    for precision in dict.fromkeys((np.dtype(np.float64), np.dtype(dtype))):
        with jax.enable_x64(precision == np.float64):
            given = arrays[:5] if precision == dtype else doubled(arrays[:5])
            cache, dy = run(*given)
        with jax.enable_x64(True):
            judged = on_host(rules(given[0], cache, dy))
        for path, rule in judged.items():
            for wrong in wrong_tensors(path, layers[path], rule, n_rows, precision):
                first.setdefault((path, wrong.tensor), wrong)
    return tuple(first[key] for key in sorted(first, key=lambda key: list(layers).index(key[0])))


def wrong_tensors(path: str, layer: Layer, rule: Rule, n_rows: int, dtype: Any) -> list[WrongRule]:
    """The tensors of one rule that rounding doesn't explain."""
    by_hand, by_machine, truth, sizes, spreads = map(tensors, (rule.by_hand, rule.by_machine, *rule.truth))
    n_terms = sum(leaf.size for leaf in jax.tree.leaves(rule.dy))
    wrong = []
    for name in dict.fromkeys([*truth, *by_hand]):
        mine, right = by_hand.get(name), truth.get(name)
        off, factor, noise = math.nan, math.nan, 0.0
        if mine is None or right is None or mine.shape != right.shape:
            broken = "its shape is not the tensor's"
        else:
            # Inside of Repeat there is one for each depth.
            terms = Terms(float(np.max(sizes[name])), n_terms, float(np.max(spreads[name])))
            broken = unexplained(mine, by_machine[name], right, terms, dtype)
            if not broken:
                continue
            off, factor = error(mine, right, terms.size), scale_factor(mine, right)
            noise = 4 * apart(by_machine[name], right)
        pattern = likely_pattern(mine, right, n_rows, noise)
        wrong.append(WrongRule(path, repr(layer), name, str(dtype), off, factor, pattern, broken))
    return wrong


def tensors(backward: Backward) -> dict[str, Any]:
    """By name: a parameter's path below the layer's own, and "dx" (of a parameter that is called so, ".dx")."""
    named = {keystr(path): leaf for path, leaf in tree_leaves_with_path(backward[0])}
    named = {path if path.startswith(".dx") else path.lstrip(".") or "params": leaf for path, leaf in named.items()}
    return named | {"dx" + keystr(path): leaf for path, leaf in tree_leaves_with_path(backward[1])}


def _shortened(layer: str) -> str:
    """A recipe's repr, without its middle where it is long."""
    return layer if len(layer) <= LONGEST_LAYER else f"{layer[: LONGEST_LAYER - 10]} ... {layer[-5:]}"
