"""The memory ledger: what a forward pass keeps for the backward pass, by hand and by machine, layer by layer.

Nothing is computed: forwards are traced for their shapes. What is counted is what the two programs ask to keep, before
a compiler has merged, dropped or recomputed any of it; params, which are there anyway, are not counted.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Literal
from jax.tree_util import keystr

from jaxnn.arrays import PyTree, Shape, is_floating, n_bytes
from jaxnn.layer import Forward, Layer, Path
from jaxnn.networks.combinators import Remat, Serial


class Kept(NamedTuple):
    """One layer of a network at work, or all of it.

    Bytes of its cache, bytes that `jax.grad` keeps of its forward pass, and bytes that a Remat around it would save. An
    array that is kept twice is counted once; one that two layers keep, such as the output of one that is the input of
    the next, stands with both.
    """

    path: str
    layer: str
    output_shape: Shape
    by_hand: int
    automatic: int
    saved_by_remat: int


class Ledger(NamedTuple):
    """The layers in forward order, and the network as a whole: what several layers keep, it keeps once."""

    layers: tuple[Kept, ...]
    whole: Kept


def ledger(net: Layer, shape: Shape, n_rows: int, dtype: Any = None) -> Ledger:
    """What a network keeps of a training batch of `n_rows` examples of a shape and dtype.

    Serial's layers have rows of their own; other combinators are one row.

    >>> import jaxnn
    >>> found = ledger(jaxnn.Serial(jaxnn.Dense(3), jaxnn.ReLU()), (4,), n_rows=10)
    >>> [(row.layer, row.by_hand, row.automatic) for row in found.layers]
    [('Dense(3)', 160, 160), ('ReLU()', 30, 30)]
    >>> found.whole.by_hand, found.whole.automatic
    (190, 190)
    """
    x = jax.ShapeDtypeStruct((n_rows, *shape), jnp.result_type(float) if dtype is None else dtype)
    return Ledger(tuple(_rows((), net, x)), _kept((), net, x))


def _rows(path: Path, layer: Layer, x: Any) -> Iterator[Kept]:
    if not isinstance(layer, Serial):
        yield _kept(path, layer, x)
        return
    for key, child in layer.children:
        yield from _rows((*path, key), child, x)
        x = jax.eval_shape(_forward(child), *_arguments(child, x)).y


def _kept(path: Path, layer: Layer, x: Any) -> Kept:
    def residuals(params: PyTree, state: PyTree, x: Any, key: Any) -> Any:
        differentiable = (params, x) if is_floating(x) else (params,)
        return jax.vjp(lambda params, x=x: _forward(layer)(params, state, x, key).y, *differentiable)[1]

    by_hand, with_remat = (
        _distinct_bytes(lambda *arguments, of=of: _forward(of)(*arguments).cache, *_arguments(of, x))
        for of in (layer, Remat(layer))
    )
    automatic = _distinct_bytes(residuals, *_arguments(layer, x))
    saved = max(by_hand - with_remat, 0)
    return Kept(keystr(path), repr(layer), layer.output_shape(x.shape[1:]), by_hand, automatic, saved)


def _arguments(layer: Layer, x: Any) -> tuple:
    """Params, state, x and key, as shapes."""
    key = jax.eval_shape(lambda: jax.random.key(0))
    params, state = jax.eval_shape(lambda key: layer.init(key, x.shape[1:]), key)
    return params, state, x, key


def _forward(layer: Layer) -> Callable[..., Forward]:
    return lambda params, state, x, key: layer.forward(params, state, x, key=key, train=True)


def _distinct_bytes(kept: Callable[..., PyTree], params: PyTree, *others: PyTree) -> int:
    """Bytes of the arrays that a function returns, each once, without params and constants among them."""
    jaxpr = jax.make_jaxpr(kept)(params, *others).jaxpr
    free = set(jaxpr.invars[: len(jax.tree.leaves(params))])
    made = zip(jaxpr.outvars, _computed(jaxpr, [True] * len(jaxpr.invars)), strict=True)
    return sum(n_bytes(var.aval) for var in {var for var, computed in made if computed} - free)


def _computed(jaxpr: Any, inputs: list[bool]) -> list[bool]:
    """Which outputs depend on those inputs that are computed themselves: a constant filled in takes no memory."""
    known = dict(zip(jaxpr.invars, inputs, strict=True))
    of = lambda var: not isinstance(var, Literal) and known.get(var, False)  # noqa: E731
    for equation in jaxpr.eqns:
        into = list(map(of, equation.invars))
        inner = equation.params.get("jaxpr")
        if equation.primitive.name in ("pjit", "jit"):
            outputs = _computed(inner.jaxpr, into)
        else:
            outputs = [any(into)] * len(equation.outvars)
        known.update(zip(equation.outvars, outputs, strict=True))
    return list(map(of, jaxpr.outvars))
