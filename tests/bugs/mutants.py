"""Systematic mutations of our backward code: one place of the source changed, or one returned tensor scaled.

The source of every `backward` and `fold` is parsed, and each site gives the mutants of `_changes`. A seed chooses the
factors of the scaled tensors, and, where it isn't 0, pairs of changes in place of single ones. What raises is dropped:
Python found it. What returns another shape or dtype is kept: the audit has to say so.
"""

import ast
import copy
import inspect
import textwrap
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from bugs.bug import Bug
from bugs.drawing import points
from table import FORMS, LOSSES, WITH_GRADIENT

PAIRS = 3


class Target(NamedTuple):
    """A class with a method to mutate, and where its mutants are tried."""

    cls: type
    method: str
    clean: Any
    arguments: Callable[[int], tuple]
    options: dict[str, Any]


def mutants(seed: int = 0) -> list[Bug]:
    """All mutants that run, named after their class, method and change."""
    rng = np.random.default_rng(seed)
    found = []
    for target in targets():
        for change, method in _mutated(target, rng, pairs=seed != 0):
            wrong = _with_method(target, method)
            name = f"{target.cls.__name__}.{target.method}: {change}"
            bug = Bug(name, "mutant", wrong, target.clean, target.arguments, target.options)
            if _runs(bug):
                found.append(bug)
    return found


def targets() -> Iterator[Target]:
    """Each class of the tables once, in a case that does not hide what its rule does."""
    seen = set()
    cases = sorted(WITH_GRADIENT, key=lambda case: (case not in FORMS, -case.batch))
    for case in cases:
        cls = type(case.layer)
        too_short = hasattr(case.layer, "layers") and len(case.layer.layers) < 3
        if cls in seen or case.integer or not case.train or too_short:
            continue
        seen.add(cls)
        options = {"key": jax.random.key(0) if case.draws else None, "train": True}
        method = "fold" if hasattr(case.layer, "children") else "backward"
        yield Target(cls, method, case.layer, points(case, 3), options)
    for case in LOSSES:
        cls = type(case.loss)
        if cls in seen or case.name not in ("real", "masked", "probabilities"):
            continue
        seen.add(cls)
        yield Target(cls, "backward", case.loss, points(case, 2), {})


def _mutated(target: Target, rng: np.random.Generator, pairs: bool) -> Iterator[tuple[str, Callable[..., Any]]]:
    method = getattr(target.cls, target.method)
    tree = ast.parse(textwrap.dedent(inspect.getsource(method)))
    single = list(_changes(tree))
    if pairs:
        chosen = rng.choice(len(single), (min(PAIRS * len(single), 12), 2)) if len(single) > 1 else []
        for i, j in chosen:
            if i != j:
                both = _applied(_applied(tree, *single[i][1:]), *single[j][1:])
                yield f"{single[i][0]}, and {single[j][0]}", _compiled(both, method)
    else:
        for change, node, replacement in single:
            yield change, _compiled(_applied(tree, node, replacement), method)
    for tensor in ("dparams", "dx"):
        for factor in (-1.0, 2.0, 0.5, 1.001, 1 + 10 ** rng.uniform(-6, -2), float(rng.uniform(0.1, 0.9))):
            yield f"{tensor} times {factor:.7g}", _scaling(method, tensor, factor)


def _changes(tree: ast.Module) -> Iterator[tuple[str, int, ast.AST]]:
    """(what, which node by its number in `ast.walk`, what stands there instead)."""
    function = tree.body[0]
    assert isinstance(function, ast.FunctionDef)
    skipped = {id(n) for part in (function.args, function.returns) if part is not None for n in ast.walk(part)}
    for number, node in enumerate(ast.walk(tree)):
        if id(node) in skipped:
            continue
        for new in _instead(node):
            yield (
                f"node {number}, line {getattr(node, 'lineno', 0)}: {ast.unparse(node)} -> {ast.unparse(new)}",
                number,
                new,
            )


def _instead(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.BinOp):
        others = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}
        if type(node.op) in others:
            yield ast.BinOp(node.left, others[type(node.op)](), node.right)
            yield node.left
            yield ast.UnaryOp(ast.USub(), node.right) if isinstance(node.op, ast.Sub) else node.right
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not):
        yield node.operand
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield ast.Constant(node.value + 1)
        yield ast.Constant(node.value - 1)
    elif isinstance(node, ast.Attribute) and node.attr == "T":
        yield node.value
    elif isinstance(node, ast.If | ast.IfExp):
        changed = copy.copy(node)
        changed.test = ast.UnaryOp(ast.Not(), node.test)
        yield changed
    elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Name):
        yield ast.Subscript(node.value, ast.BinOp(node.slice, ast.Sub(), ast.Constant(1)), node.ctx)
    elif isinstance(node, ast.Call):
        yield from _instead_of_call(node)


def _instead_of_call(node: ast.Call) -> Iterator[ast.AST]:
    name = ast.unparse(node.func)
    if name == "jnp.where":
        yield ast.Call(node.func, [node.args[0], node.args[2], node.args[1]], node.keywords)
        yield node.args[1]
        yield node.args[2]
    elif name == "jnp.sum":
        yield ast.Call(ast.parse("jnp.mean", mode="eval").body, node.args, node.keywords)
        yield ast.Call(ast.parse("jnp.max", mode="eval").body, node.args, node.keywords)
    elif name in ("reversed", "jnp.square", "jnp.swapaxes"):
        yield node.args[0]
    if any(keyword.arg == "reverse" for keyword in node.keywords):
        kept = [keyword for keyword in node.keywords if keyword.arg != "reverse"]
        yield ast.Call(node.func, node.args, kept)


def _applied(tree: ast.Module, number: int, replacement: ast.AST) -> ast.Module:
    """A copy of the tree, with another node in one place."""
    tree = copy.deepcopy(tree)
    wanted = next(node for i, node in enumerate(ast.walk(tree)) if i == number)

    class Replace(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> ast.AST:
            return copy.deepcopy(replacement) if node is wanted else self.generic_visit(node)

    return ast.fix_missing_locations(Replace().visit(tree))


def _compiled(tree: ast.Module, method: Callable[..., Any]) -> Callable[..., Any]:
    function = tree.body[0]
    assert isinstance(function, ast.FunctionDef)
    function.decorator_list, function.returns = [], None
    names: dict[str, Any] = dict(method.__globals__)
    for argument in ast.walk(function.args):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    exec(compile(tree, f"<mutant of {method.__qualname__}>", "exec"), names)
    return names[method.__name__]


def _scaling(method: Callable[..., Any], tensor: str, factor: float) -> Callable[..., Any]:
    def scaled(self: Any, *arguments: Any) -> Any:
        result = method(self, *arguments)
        times = lambda tree: jax.tree.map(lambda leaf: leaf * factor, tree)  # noqa: E731
        if not isinstance(result, tuple):  # a loss has dy alone
            return times(result) if tensor == "dx" else result
        return result._replace(**{tensor: times(getattr(result, tensor))})

    return scaled


def _with_method(target: Target, method: Callable[..., Any]) -> Any:
    """The clean recipe as one of a subclass with this method."""
    cls = type(f"Mutant{target.cls.__name__}", (target.cls,), {target.method: method})
    wrong = object.__new__(cls)
    for name, value in vars(target.clean).items():
        object.__setattr__(wrong, name, value)
    return wrong


def _runs(bug: Bug) -> bool:
    """Whether it gives anything at all, and something else than the clean one's tensors."""
    with jax.enable_x64(True):
        subject = bug.subject()
        dys = [np.asarray(y) for y in subject.outputs(subject.leaves)]
        try:
            wrong = subject.backward(*subject.arguments, dys[0])
        except Exception:
            return False
        clean = bug.subject(clean=True)
        right = clean.backward(*clean.arguments, dys[0])
        a, b = jax.tree.leaves(wrong), jax.tree.leaves(right)
        return len(a) != len(b) or not all(np.array_equal(x, y, equal_nan=True) for x, y in zip(a, b, strict=True))
