"""Manual and automatic gradients side by side.

Three gradients, `backprop`, `autodiff` of our own forward and `autodiff` of the idiomatic one, are computed in the
params' own precision, the first two also in float64, where the automatic one is called the truth: every parameter's,
the input's, and the error term of every layer. The automatic ones are taken at the layers' outputs that the manual one
met (see `taps.py`). How far apart they may be is in `measure.py`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.tree_util import keystr

from jaxnn.arrays import PyTree, Static, is_floating, params_dtype
from jaxnn.audit.network.comparison import Comparison, Row, Tensors, row
from jaxnn.audit.network.idiomatic import idiomatic, idiomatic_loss
from jaxnn.audit.network.local import doubled, on_host
from jaxnn.audit.network.own_rules import is_meant_to_differ, with_own_rules
from jaxnn.audit.network.rules import WrongRule, wrong_rules
from jaxnn.audit.network.taps import AtPoint, Point, WithOutput, layers_with_taps, with_outputs
from jaxnn.audit.network.timing import Timing, timed
from jaxnn.audit.rounding.measure import Terms
from jaxnn.audit.rounding.monte_carlo import rounded_otherwise
from jaxnn.audit.rounding.survey import N_DRAWS, sizes
from jaxnn.layer import Layer, Node, backward_of, is_composite, walk
from jaxnn.objective.gradient import Gradient, autodiff, backprop
from jaxnn.objective.losses import Loss
from jaxnn.objective.penalties import penalty_of, penalty_value

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
    A layer whose rule is meant to differ from the derivative (`differs_by_design`, "from autodiff") keeps its own rule
    in the automatic gradient, so that all around it is judged; it isn't itself, and `.not_judged` names it.
    If a tensor is wrong, each layer's rule is then given the right error term, and `.wrong` names every rule that is
    wrong, the tensor, and the likely pattern.

    Args:
        costs: whether to measure both gradients: compile time, run time, FLOPs, temporary memory.
        every_rule: whether to judge each layer's own rule even where the whole is right.
    Shapes: x (B, ...), target as the loss takes it, weights (B,).
    Returns: a `Comparison`; `print(it)` for the table.
    Raises: what `backprop` raises; ValueError if a composite's children, params and fold have different paths.

    >>> import jax.numpy as jnp, jaxnn
    >>> net, loss = jaxnn.Serial(jaxnn.Dense(3), jaxnn.Tanh(), jaxnn.Dense(2)), jaxnn.SoftmaxCrossEntropy()
    >>> params, state = net.init(jax.random.key(0), (4,))
    >>> x, labels = jax.random.normal(jax.random.key(1), (8, 4)), jnp.array([0, 1] * 4)
    >>> compare(net, loss, params, state, x, labels).ok
    True
    """
    arrays = tuple(map(on_host, (params, state, x, target, weights, penalty)))
    net, as_written = with_own_rules(net), net
    program = partial(_program, key=key, train=train)
    dtype = params_dtype(params)
    by_hand, by_machine = partial(backprop, with_outputs(net), loss), _with_taps(net, loss)
    with jax.default_matmul_precision("highest"):
        with jax.enable_x64(dtype == np.float64):
            manual = on_host(program(partial(by_hand, observe=_error_term))(*arrays))
            there = _at(net, arrays, manual)
            automatic = on_host(program(by_machine)(*there))
            other = on_host(program(_with_taps(idiomatic(net), idiomatic_loss(loss)))(*there))
            measured = _costs(program, as_written, loss, arrays) if costs else ()
        with jax.enable_x64(True):
            arrays64 = doubled(arrays)
            manual64 = on_host(program(partial(by_hand, observe=_term_sizes))(*arrays64))
            there64 = _at(net, arrays64, manual64)
            truth = on_host(program(by_machine)(*there64))
            rows = _rows(manual, automatic, other, manual64, truth, dtype)
            if not all(row.ok for row in rows):  # what the bounds don't explain, the point's conditioning may
                spreads = [
                    _spreads(program(partial(by_hand, observe=_error_term)), ByPath.by_hand, arrays64),
                    _spreads(program(by_machine), ByPath.by_machine, there64),
                ]
                rows = _rows(manual, automatic, other, manual64, truth, dtype, spreads)
        wrong: tuple[WrongRule, ...] = ()
        unjudged = {keystr(path): layer for path, layer in walk(as_written) if is_meant_to_differ(layer)}
        # The rows say nothing of the layers inside of a composite whose rule is meant to differ.
        if every_rule or not all(row.ok for row in rows) or any(map(is_composite, unjudged.values())):
            wrong = wrong_rules(as_written, loss, arrays, key=key, train=train, dtype=dtype)
    not_judged = [f"the rule of {path or 'the network'} {layer}" for path, layer in unjudged.items()]
    not_judged += [f"the error term of {path}, which no fold visits" for path in _unvisited(net, manual)]
    return Comparison(tuple(rows), wrong, measured, str(dtype), tuple(not_judged))


def _unvisited(net: Layer, manual: Gradient) -> list[str]:
    """The layers whose error terms nobody knows: their composites leave them out of the backward pass."""
    return [path for path, _ in layers_with_taps(net) if path not in manual.notes]


Program = Callable[..., Gradient]


def _program(gradient: Callable[..., Any], *, key: Any, train: bool) -> Program:
    """A gradient as a compiled function of arrays alone."""

    @jax.jit
    def program(params: PyTree, state: PyTree, x: Any, target: Any, weights: Any, penalty: PyTree) -> Gradient:
        result = gradient(penalty=penalty)(params, state, x, target, key=key, weights=weights, train=train)
        return result._replace(outputs=None, state=None)

    return program


def _at(net: Layer, arrays: tuple, manual: Gradient) -> tuple:
    """The arguments of a program by machine: those of the manual one, and what its layers gave.

    Raises: ValueError if a fold shows a layer under another path than its composite's children have.
    """
    outputs = {path: note.y for path, note in manual.notes.items() if note.y is not None and is_floating(note.y)}
    unknown = outputs.keys() - dict(layers_with_taps(net)).keys()
    if unknown:
        raise ValueError(
            f"compare: a fold visits a layer at {min(unknown)}, where no composite has a child: the path to visit is "
            "(*path, key), with the child's key as in children"
        )
    return Point(arrays[0], outputs), *arrays[1:]


@dataclass(frozen=True)
class _OfParams:
    """A penalty of the params at a `Point`."""

    penalty: PyTree

    def value(self, point: Point) -> jax.Array:
        return penalty_value(self.penalty, point.params)


def _with_taps(net: Layer, loss: Loss) -> Callable[..., Any]:
    """`autodiff` of a network at a `Point`, error terms and all: they are the gradient of the outputs there."""

    def gradient(penalty: PyTree) -> Callable[..., Gradient]:
        return autodiff(AtPoint(net), loss, penalty=_OfParams(penalty_of(penalty, net)))

    return gradient


def _costs(program: Callable[..., Program], net: Layer, loss: Loss, arrays: tuple) -> tuple[Timing, ...]:
    gradients = {
        "manual": partial(backprop, net, loss),
        "automatic": partial(autodiff, net, loss),
        "idiomatic": partial(autodiff, idiomatic(net), idiomatic_loss(loss)),
    }
    return tuple(timed(name, program(gradient), arrays) for name, gradient in gradients.items())


class Note(NamedTuple):
    """What is noted of a layer in the backward pass: its error term and its output.

    In float64 also the size of the terms summed into each of its params, by path, and into dx, and how many entries dy
    has. Of a composite with params of its own (a gate) that is all.
    """

    dy: PyTree
    y: PyTree
    params_sizes: Mapping[str, Any] = {}
    dx_sizes: PyTree = None
    n_terms: Static[int] = Static(0)


def _error_term(node: Node) -> Note | None:
    """An observer: the error term of each layer; those of composites are their layers'."""
    if is_composite(node.layer):
        return None
    return Note(node.dy, node.cache.y if isinstance(node.layer, WithOutput) else None)


def _term_sizes(node: Node) -> Note | None:
    """An observer: the error term, and for each tensor of a layer's backward the size of the terms summed into it."""
    note = _error_term(node)
    if node.dy is None or (note is None and not _own_params(node.layer, node.params)):
        return note

    def rule(dy: PyTree) -> tuple[PyTree, PyTree]:
        dparams, dx = backward_of(node.layer, node.params, node.cache, dy)
        return _own_params(node.layer, dparams), None if note is None else dx

    n_terms = sum(leaf.size for leaf in jax.tree.leaves(node.dy))
    params_sizes, dx_sizes = sizes(rule, node.dy)
    return (note or Note(None, None))._replace(params_sizes=params_sizes, dx_sizes=dx_sizes, n_terms=Static(n_terms))


def _own_params(layer: Any, params: PyTree) -> dict[str, Any]:
    """By path, the params that are a layer's own: of a composite those that aren't its children's."""
    children = {keystr((key,)) for key, _ in layer.children} if is_composite(layer) else set()
    paths = jax.tree_util.tree_leaves_with_path(params)
    return {keystr(path): leaf for path, leaf in paths if keystr(path[:1]) not in children}


class ByPath(NamedTuple):
    """The tensors of one gradient, by path."""

    gradients: Mapping[str, Any]
    error_terms: Mapping[str, Any]

    @staticmethod
    def by_hand(result: Gradient) -> "ByPath":
        error_terms = {path: note.dy for path, note in result.notes.items() if not (note.dy is None or note.y is None)}
        return ByPath(_by_path(result.grads) | _input(result), error_terms)

    @staticmethod
    def by_machine(result: Gradient) -> "ByPath":
        return ByPath(_by_path(result.grads.params) | _input(result), result.grads.outputs)


def _spreads(program: Program, by_path: Callable[[Gradient], ByPath], arrays: tuple) -> ByPath:
    """How far each tensor goes when all is rounded otherwise."""
    moving = jax.jit(rounded_otherwise(lambda *arrays: program(*arrays)))
    here, *draws = (by_path(on_host(moving(draw, min(draw, 1), *arrays))) for draw in range(1 + N_DRAWS))

    def farthest(part: int) -> dict[str, float]:
        stacked = {path: np.stack([draw[part][path] for draw in draws]) for path in here[part]}
        return {path: float(np.max(np.abs(g - here[part][path]), initial=0)) for path, g in stacked.items()}

    return ByPath(farthest(0), farthest(1))


def _rows(
    manual: Gradient,
    automatic: Gradient,
    other: Gradient,
    manual64: Gradient,
    truth: Gradient,
    dtype: Any,
    spreads: Sequence[ByPath] = (),
) -> list[Row]:
    """A row for every tensor: params in forward order, then the input, then error terms."""
    by_hand, by_hand64 = ByPath.by_hand(manual), ByPath.by_hand(manual64)
    by_machine, from_idiomatic, right = map(ByPath.by_machine, (automatic, other, truth))
    five = (by_hand, by_machine, from_idiomatic, by_hand64, right)

    def rows_of(kind: str, part: int, paths: Iterable[str], terms: Mapping[str, Terms]) -> Iterator[Row]:
        for path in paths:
            tensors = Tensors(*(gradient[part].get(path) for gradient in five))
            spread = max((farthest[part].get(path, 0.0) for farthest in spreads), default=0.0)
            yield row(kind, path, tensors, terms.get(path, Terms())._replace(spread=spread), dtype)

    gradient_terms, error_term_terms = _terms(manual64.notes)
    known = [path for path in by_hand.error_terms if path in right.error_terms]
    return [
        *rows_of("gradient", 0, right.gradients, gradient_terms),
        *rows_of("error term", 1, known, error_term_terms),
    ]


def _terms(notes: Mapping[str, Any]) -> tuple[dict[str, Terms], dict[str, Terms]]:
    """The terms of gradients and of error terms, from what `_term_sizes` noted of each layer.

    A tensor's roundings are those of its own layer's sums and of all behind it. A layer's error term is the dx of the
    next layer; the input's gradient that of the first.
    """
    gradients: dict[str, Terms] = {}
    error_terms: dict[str, Terms] = {}
    n_behind, next_dx = 0, None
    for path, note in reversed(list(notes.items())):
        n_behind += note.n_terms.value
        gradients |= {path + own: Terms(float(np.max(size)), n_behind) for own, size in note.params_sizes.items()}
        if note.dy is None:
            continue
        if next_dx is not None:
            error_terms[path] = next_dx
        dx_sizes = jax.tree.leaves(note.dx_sizes)
        next_dx = Terms(float(np.max(dx_sizes[0])), n_behind) if dx_sizes else None
    if next_dx is not None:
        gradients[INPUT] = next_dx
    return gradients, error_terms


def _input(result: Gradient) -> dict[str, Any]:
    return {} if result.dx is None else {INPUT: result.dx}


def _by_path(tree: PyTree) -> dict[str, Any]:
    return {keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
