"""Manual and automatic gradients side by side.

Three gradients, `backprop`, `autodiff` of our own forward and `autodiff` of the idiomatic one, are computed in the
params' own precision, the first two also in float64, where the automatic one is called the truth: every parameter's,
the input's, and the error term of every layer. The automatic ones are taken at the layers' outputs that the manual one
met (see `taps.py`). How far apart they may be is in `measure.py`.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.tree_util import keystr

from jaxnn.arrays import PyTree, Static, params_dtype
from jaxnn.audit.network.comparison import Comparison, Row, Tensors, row
from jaxnn.audit.network.idiomatic import idiomatic, idiomatic_loss
from jaxnn.audit.network.local import doubled
from jaxnn.audit.network.rules import WrongRule, wrong_rules
from jaxnn.audit.network.taps import Told, tapped, tapped_params, told, untapped
from jaxnn.audit.network.timing import Cost, cost
from jaxnn.audit.rounding.measure import Terms
from jaxnn.audit.rounding.monte_carlo import rounded_otherwise
from jaxnn.audit.rounding.survey import N_DRAWS, sizes
from jaxnn.layer import Layer, Node, is_composite
from jaxnn.objective.gradient import Gradient, autodiff, backprop
from jaxnn.objective.losses import Loss

INPUT = "x"


def compare(
    net: Layer,
    loss: Loss,
    params: PyTree,
    state: PyTree,
    x: Any,
    target: Any,
    *,
    key: jax.Array | None = None,
    weights: Any = None,
    penalty: PyTree = None,
    train: bool = True,
    costs: bool = True,
    every_rule: bool = False,
) -> Comparison:
    """Hold the hand-written gradient of every parameter, the input and every layer's output against the automatic one.

    A tensor is *exact* if its bits are those of `autodiff`, *close* if rounding explains the rest, else *wrong*: in
    float64 its error is above the rounding bound, or its scale <g, truth> / <truth, truth> farther from 1 than rounding
    takes it; or in the working precision one of the two is more than twice the automatic gradient's own plus the bound.
    If one is wrong, each layer's rule is then given the right error term, and `.wrong` names every rule that is wrong,
    the tensor, and the likely pattern.

    Args:
        costs: whether to measure both gradients: compile time, run time, FLOPs, temporary memory.
        every_rule: whether to judge each layer's own rule even where the whole is right.
    Shapes: x (B, ...), target as the loss takes it, weights (B,).
    Returns: a `Comparison`; `print(it)` for the table.
    Raises: what `backprop` raises.

    >>> import jax.numpy as jnp, jaxnn
    >>> net, loss = jaxnn.Serial(jaxnn.Dense(3), jaxnn.Tanh(), jaxnn.Dense(2)), jaxnn.SoftmaxCrossEntropy()
    >>> params, state = net.init(jax.random.key(0), (4,))
    >>> x, labels = jax.random.normal(jax.random.key(1), (8, 4)), jnp.array([0, 1] * 4)
    >>> compare(net, loss, params, state, x, labels).ok
    True
    """
    arrays = tuple(map(_on_host, (params, state, x, target, weights, penalty)))
    program = partial(_program, key=key, train=train)
    dtype = params_dtype(params)
    by_hand, by_machine = partial(backprop, told(net), loss), _with_taps(net, loss)
    with jax.default_matmul_precision("highest"):
        with jax.enable_x64(dtype == np.float64):
            manual = _on_host(program(partial(by_hand, observe=_error_term))(*arrays))
            there = _at(arrays, manual)
            automatic = _on_host(program(by_machine)(*there))
            other = _on_host(program(_with_taps(idiomatic(net), idiomatic_loss(loss)))(*there))
            measured = _costs(program, net, loss, arrays) if costs else ()
        with jax.enable_x64(True):
            arrays64 = doubled(arrays)
            manual64 = _on_host(program(partial(by_hand, observe=_term_sizes))(*arrays64))
            there64 = _at(arrays64, manual64)
            truth = _on_host(program(by_machine)(*there64))
            rows = _rows(manual, automatic, other, manual64, truth, dtype)
            if not all(row.ok for row in rows):  # what the bounds don't explain, the point's conditioning may
                wobbles = [
                    _wobbles(program(partial(by_hand, observe=_error_term)), Found.by_hand, arrays64),
                    _wobbles(program(by_machine), Found.by_machine, there64),
                ]
                rows = _rows(manual, automatic, other, manual64, truth, dtype, wobbles)
        wrong: tuple[WrongRule, ...] = ()
        if every_rule or not all(row.ok for row in rows):
            wrong = wrong_rules(net, loss, arrays, key=key, train=train, dtype=dtype)
    return Comparison(tuple(rows), wrong, measured, str(dtype))


Program = Callable[..., Gradient]


def _program(gradient: Callable[..., Any], *, key: Any, train: bool) -> Program:
    """A gradient as a compiled function of arrays alone."""

    @jax.jit
    def program(params: PyTree, state: PyTree, x: Any, target: Any, weights: Any, penalty: PyTree) -> Gradient:
        result = gradient(penalty=penalty)(params, state, x, target, key=key, weights=weights, train=train)
        return result._replace(outputs=None, state=None)

    return program


class Point(NamedTuple):
    """Where an automatic gradient is taken: params, and by path the layers' outputs."""

    params: PyTree
    outputs: Mapping[str, Any]


def _at(arrays: tuple, manual: Gradient) -> tuple:
    """The arguments of a program by machine: those of the manual one, and what its layers gave."""
    return Point(arrays[0], {path: note.y for path, note in manual.notes.items()}), *arrays[1:]


def _with_taps(net: Layer, loss: Loss) -> Callable[..., Any]:
    """`autodiff` of a network at a `Point`, error terms and all: they are among its grads, as the taps'."""

    def gradient(penalty: PyTree) -> Callable[..., Gradient]:
        def evaluated(point: Point, state: PyTree, x: Any, target: Any, **options: Any) -> Gradient:
            whole = tapped(net, x.shape[0])
            taps = tapped_params(whole, x.shape[1:], *point)
            return autodiff(whole, loss, penalty=penalty)(taps, state, x, target, **options)

        return evaluated

    return gradient


def _costs(program: Callable[..., Program], net: Layer, loss: Loss, arrays: tuple) -> tuple[Cost, ...]:
    gradients = {
        "manual": partial(backprop, net, loss),
        "automatic": partial(autodiff, net, loss),
        "idiomatic": partial(autodiff, idiomatic(net), idiomatic_loss(loss)),
    }
    return tuple(cost(name, program(gradient), arrays) for name, gradient in gradients.items())


class Note(NamedTuple):
    """What is noted of a layer in the backward pass: its error term and its output. In float64 also the size of the
    terms summed into (dparams, dx), and how many entries dy has.
    """

    dy: PyTree
    y: PyTree
    sizes: PyTree = ()
    n_terms: Static[int] = Static(0)


def _error_term(node: Node) -> Note | None:
    """An observer: the error term of each layer; combinators' are those of their layers."""
    if is_composite(node.layer) or node.dy is None:
        return None
    return Note(node.dy, node.cache.y if isinstance(node.layer, Told) else None)


def _term_sizes(node: Node) -> Note | None:
    """An observer: the error term, and for each tensor of a layer's backward the size of the terms summed into it."""
    note = _error_term(node)
    if note is None:
        return None

    def rule(dy: PyTree) -> tuple[PyTree, PyTree]:
        dparams, dx = node.layer.backward(node.params, node.cache, dy)
        return dparams, dx

    n_terms = sum(leaf.size for leaf in jax.tree.leaves(node.dy))
    return Note(*note[:2], sizes(rule, node.dy), Static(n_terms))


class Found(NamedTuple):
    """The tensors of one gradient, by path."""

    gradients: Mapping[str, Any]
    error_terms: Mapping[str, Any]

    @staticmethod
    def by_hand(result: Gradient) -> "Found":
        error_terms = {path: note.dy for path, note in result.notes.items()}
        return Found(_by_path(result.grads) | _input(result), error_terms)

    @staticmethod
    def by_machine(result: Gradient) -> "Found":
        grads, error_terms = untapped(result.grads)
        return Found(grads | _input(result), error_terms)


def _wobbles(program: Program, found: Callable[[Gradient], Found], arrays: tuple) -> Found:
    """How far each tensor goes when all is rounded otherwise."""
    moving = jax.jit(rounded_otherwise(lambda *arrays: program(*arrays)))
    here, *there = (found(_on_host(moving(draw, min(draw, 1), *arrays))) for draw in range(1 + N_DRAWS))

    def farthest(part: int) -> dict[str, float]:
        away = {path: [np.abs(each[part][path] - g) for each in there] for path, g in here[part].items()}
        return {path: max(float(np.max(each, initial=0)) for each in distances) for path, distances in away.items()}

    return Found(farthest(0), farthest(1))


def _rows(
    manual: Gradient,
    automatic: Gradient,
    other: Gradient,
    manual64: Gradient,
    truth: Gradient,
    dtype: Any,
    wobbles: Sequence[Found] = (),
) -> list[Row]:
    """A row for every tensor: params in forward order, then the input, then error terms."""
    by_hand, by_hand64 = Found.by_hand(manual), Found.by_hand(manual64)
    by_machine, from_idiomatic, right = map(Found.by_machine, (automatic, other, truth))
    of_gradients, of_error_terms = _terms(manual64.notes)

    def row_of(kind: str, path: str, found: list[Mapping[str, Any]], terms: Terms) -> Row:
        wobble = max((each[kind == "error term"].get(path, 0.0) for each in wobbles), default=0.0)
        return row(kind, path, Tensors(*(each.get(path) for each in found)), terms._replace(wobble=wobble), dtype)

    every = (by_hand, by_machine, from_idiomatic, by_hand64, right)
    gradients, error_terms = [each.gradients for each in every], [each.error_terms for each in every]
    return [
        *(row_of("gradient", path, gradients, of_gradients.get(path, Terms())) for path in right.gradients),
        *(row_of("error term", path, error_terms, of_error_terms.get(path, Terms()))
          for path in right.error_terms if path in by_hand.error_terms),
    ]  # fmt: skip


def _terms(notes: Mapping[str, Any]) -> tuple[dict[str, Terms], dict[str, Terms]]:
    """The terms of gradients and of error terms, from what `_term_sizes` noted of each layer.

    A tensor's roundings are those of its own layer's sums and of all behind it. A layer's error term is the dx of the
    next layer; the input's gradient that of the first.
    """
    gradients: dict[str, Terms] = {}
    error_terms: dict[str, Terms] = {}
    n_behind, paths = 0, list(notes)
    for i in reversed(range(len(paths))):
        dparams, dx = notes[paths[i]].sizes
        n_behind += notes[paths[i]].n_terms.value
        for below, size in jax.tree_util.tree_leaves_with_path(dparams):
            gradients[paths[i] + keystr(below)] = Terms(float(np.max(size)), n_behind)
        for size in jax.tree.leaves(dx)[:1]:
            terms = Terms(float(np.max(size)), n_behind)
            if i:
                error_terms[paths[i - 1]] = terms
            else:
                gradients[INPUT] = terms
    return gradients, error_terms


def _input(result: Gradient) -> dict[str, Any]:
    return {} if result.dx is None else {INPUT: result.dx}


def _by_path(tree: PyTree) -> dict[str, Any]:
    return {keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _on_host(tree: PyTree) -> PyTree:
    """As NumPy arrays: they have no device and no precision to lose when x64 is switched."""
    return jax.tree.map(np.asarray, tree)
