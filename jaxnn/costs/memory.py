"""The memory ledger: what a forward pass keeps for the backward pass, by hand and by machine, layer by layer.

Nothing is computed: forward passes are traced for their shapes. What is counted is what the two programs ask to keep,
before a compiler has merged, dropped or recomputed any of it; params, which are there anyway, are not counted.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.extend.core import Literal
from jax.tree_util import keystr

from jaxnn.arrays import PyTree, Shape, is_floating, n_bytes
from jaxnn.costs.series import AtWork, at_work, batch, forward, one_by_one
from jaxnn.layer import Layer
from jaxnn.networks.combinators import Remat


class Kept(NamedTuple):
    """One layer of a network at work, or all of it.

    Bytes of its cache, bytes that `jax.grad` keeps of its forward pass, and bytes that a Remat around it would save. An
    array that a layer keeps twice is counted once; one that two layers keep, such as the output of one that is the
    input of the next, is counted with both.
    """

    path: str
    layer: str
    output_shape: Shape
    by_hand: int
    automatic: int
    saved_by_remat: int


class Ledger(NamedTuple):
    """The layers in forward order, and the network as a whole, where what several layers keep is counted once."""

    layers: tuple[Kept, ...]
    whole: Kept


def ledger(net: Layer, shape: Shape, n_rows: int, dtype: Any = None) -> Ledger:
    """What a network keeps of a training batch of `n_rows` examples of a shape and dtype.

    The children of a composite that says `in_series`, as Serial does, have rows of their own; any other layer is one
    row.

    >>> import jaxnn
    >>> net = jaxnn.Serial(jaxnn.Dense(3), jaxnn.ReLU())
    >>> layers, whole = jaxnn.memory.ledger(net, (4,), n_rows=10)
    >>> [(row.layer, row.by_hand, row.automatic) for row in layers]
    [('Dense(3)', 160, 160), ('ReLU()', 30, 30)]
    >>> whole.by_hand, whole.automatic
    (190, 190)
    """
    layers = tuple(_kept(work) for work in one_by_one(net, shape, n_rows, dtype))
    return Ledger(layers, _kept(at_work((), net, batch(shape, n_rows, dtype))))


def _kept(work: AtWork) -> Kept:
    path, layer, (params, state, x, key), _ = work

    def residuals(params: PyTree, state: PyTree, x: Any, key: Any) -> Any:
        differentiable = (params, x) if is_floating(x) else (params,)
        return jax.vjp(lambda params, x=x: forward(layer, params, state, x, key).y, *differentiable)[1]

    remat = Remat(layer)
    by_hand = _distinct_bytes(_cache_of(layer), *work.arguments)
    with_remat = _distinct_bytes(_cache_of(remat), *at_work((), remat, x).arguments)
    automatic = _distinct_bytes(residuals, params, state, x, key)
    saved = max(by_hand - with_remat, 0)
    return Kept(keystr(path), repr(layer), layer.output_shape(x.shape[1:]), by_hand, automatic, saved)


def _cache_of(layer: Layer) -> Callable[..., PyTree]:
    return lambda *arguments: forward(layer, *arguments).cache


def _distinct_bytes(kept: Callable[..., PyTree], params: PyTree, *others: PyTree) -> int:
    """Bytes of the arrays that a function returns, each counted once, and params and constants not at all."""
    jaxpr = jax.make_jaxpr(kept)(params, *others).jaxpr
    free = set(jaxpr.invars[: len(jax.tree.leaves(params))])
    made = zip(jaxpr.outvars, _computed(jaxpr, [True] * len(jaxpr.invars)), strict=True)
    return sum(n_bytes(var.aval) for var in {var for var, computed in made if computed} - free)


def _computed(jaxpr: Any, inputs: list[bool]) -> list[bool]:
    """Which outputs are computed from inputs that are: a constant that is filled in takes no memory."""
    known = dict(zip(jaxpr.invars, inputs, strict=True))

    def is_computed(var: Any) -> bool:
        return not isinstance(var, Literal) and known.get(var, False)

    for equation in jaxpr.eqns:
        into = list(map(is_computed, equation.invars))
        inner = equation.params.get("jaxpr")
        if equation.primitive.name in ("pjit", "jit"):
            outputs = _computed(inner.jaxpr, into)
        else:
            outputs = [any(into)] * len(equation.outvars)
        known.update(zip(equation.outvars, outputs, strict=True))
    return list(map(is_computed, jaxpr.outvars))
