"""Systematic mutants of our backward code: one place of its source changed, or a tensor that it returns.

The source of each rule in `targets`, of the private functions that it calls and of those of `jaxnn.kernels`, is parsed,
and each place gives the changes of `operators`. A seed draws the factors, and, where it isn't 0, pairs of changes in
place of single ones. `trials` says what becomes of a mutant: what raises is dropped, for Python found it; of twins,
which give the same tensors, the first is kept; what gives the clean rule's tensors is no bug. What gives another
structure, shape or dtype is kept: the audit has to say so. A form of a kernel that isn't this platform's is left as it
is: it doesn't run here, so nothing here could tell whether it is wrong.
"""

import ast
import functools
import inspect
import itertools
import sys
import textwrap
import types
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from seeded_bugs.bug import Bug
from seeded_bugs.operators import NAMES, Change, applied, changes, rolled, rounded
from seeded_bugs.targets import TARGETS, Target
from seeded_bugs.trials import Trials

# Of one function.
PAIRS = 24


class Equivalent(NamedTuple):
    """A change that makes no bug, and why."""

    name: str
    reason: str


class Corpus(NamedTuple):
    """The mutants, and by name what isn't among them. twins: (a mutant dropped, the one it equals)."""

    mutants: tuple[Bug, ...]
    equivalents: tuple[Equivalent, ...]
    twins: tuple[tuple[str, str], ...]
    raised: tuple[str, ...]


class Mutant(NamedTuple):
    """A name, a kind of `operators.KINDS`, and wrong(recipe): the recipe with a rule that is mutated."""

    name: str
    kind: str
    wrong: Callable[[Any], Any]


def mutants(seed: int = 0) -> list[Bug]:
    """Those of the corpus that are bugs."""
    return list(corpus(seed).mutants)


def equivalents(seed: int = 0) -> list[Equivalent]:
    return list(corpus(seed).equivalents)


@functools.cache
def corpus(seed: int, every: int = 1) -> Corpus:
    """What a seed makes of the targets; 0 is the corpus, any other a held-out draw. every: a sample of each target."""
    parts = zip(*(part(target, seed, every) for target in TARGETS), strict=True)
    return Corpus(*(tuple(itertools.chain(*each)) for each in parts))


def part(target: Target, seed: int, every: int = 1) -> Corpus:
    """What a seed makes of one target."""
    bugs, same, twins, raised = [], [], [], []
    trials, first = Trials(target.cases), {}
    for mutant in itertools.islice(made(target, seed), 0, None, every):
        verdict = trials.of(mutant.wrong)
        if verdict.raised:
            raised.append(mutant.name)
        elif verdict.reason:
            same.append(Equivalent(mutant.name, verdict.reason))
        elif verdict.tensors in first:
            twins.append((mutant.name, first[verdict.tensors]))
        else:
            first[verdict.tensors] = mutant.name
            bugs.append(_bug(mutant, verdict.case, verdict.arguments))
    return Corpus(tuple(bugs), tuple(same), tuple(twins), tuple(raised))


def one(target: Target, place: int) -> Bug:
    """The first mutant of the corpus that is a bug, from a place on in the list of a target's mutants."""
    all_of_them, trials = list(made(target, 0)), Trials(target.cases)
    for i in range(len(all_of_them)):
        mutant = all_of_them[(place + i) % len(all_of_them)]
        verdict = trials.of(mutant.wrong)
        if verdict.case:
            return _bug(mutant, verdict.case, verdict.arguments)
    raise ValueError(f"no mutant of {target.name} is a bug")


def _bug(mutant: Mutant, case: Any, arguments: Callable[[int], tuple]) -> Bug:
    wrong, clean = case.around(mutant.wrong(case.recipe)), case.around(case.recipe)
    return Bug(mutant.name, f"mutant: {mutant.kind}", wrong, clean, arguments, case.options)


def made(target: Target, seed: int) -> Iterator[Mutant]:
    """All mutants of a target. The draws are its own, so that they don't depend on the other targets."""
    rng = np.random.default_rng([seed, *target.name.encode()])
    cls = type(target.cases[0].recipe)
    rule = getattr(cls, target.method)
    reached = _reached(cls, rule)
    run = _run_here(target) if any(map(_is_kernel, reached)) else frozenset()
    for function in reached:
        if _is_kernel(function) and function.__code__ not in run:
            continue
        source = _parsed(function)
        through = "" if function is rule else f" through {function.__name__}"
        single = changes(source, _fields(function), rng)
        if _is_kernel(function):
            nodes, idle = list(ast.walk(source)), _idle(source, function, run)
            single = [change for change in single if nodes[change.node] not in idle]
        for some in [(change,) for change in single] if seed == 0 else _pairs(source, single, rng):
            yield Mutant(
                f"{target.name}.{target.method}{through}: {', and '.join(f'{c.kind}, {c.text}' for c in some)}",
                " and ".join(dict.fromkeys(c.kind for c in some)),
                functools.partial(_substituted, target.method, function, _compiled(applied(source, *some), function)),
            )
    for part, (kind, text, f) in itertools.product(_parts(target), _of_tensors(rng, seed)):
        yield Mutant(
            f"{target.name}.{target.method}: {kind}, {part or 'the result'} {text}",
            kind,
            functools.partial(_substituted, target.method, rule, _then(rule, part, f)),
        )


def _pairs(source: ast.AST, single: list[Change], rng: np.random.Generator) -> Iterator[tuple[Change, Change]]:
    """A draw of two changes, neither of them inside of the other's place."""
    inside = [set(ast.walk(node)) for node in ast.walk(source)]
    nodes = list(ast.walk(source))
    drawn = {tuple(sorted(rng.choice(len(single), 2, replace=False))) for _ in range(min(PAIRS, len(single) // 2))}
    for i, j in sorted(drawn):
        a, b = single[i].node, single[j].node
        if nodes[a] not in inside[b] and nodes[b] not in inside[a]:
            yield single[i], single[j]


# Functions.


def _reached(cls: type, rule: Callable[..., Any]) -> list[types.FunctionType]:
    """The rule and our functions that it calls and that hold its mathematics, or that they call, the rule first."""
    found, todo = [], [rule]
    while todo:
        function = todo.pop(0)
        if function not in found:
            found.append(function)
            todo += [called for _, called in _called(cls, function)]
    return found


def _called(cls: type, function: types.FunctionType) -> Iterator[tuple[str, types.FunctionType]]:
    """Of functions that hold a rule's mathematics, those that this one names.

    Private ones, kernels, and the mask of a penalty. Not where truncation cuts: see `targets`.
    """
    for name in dict.fromkeys(_names(function.__code__)):
        called = function.__globals__.get(name, getattr(cls, name, None))
        ours = isinstance(called, types.FunctionType) and called.__module__.startswith("jaxnn.")
        if ours and name != "_zero_at_cuts" and (name == "weight_mask" or name.startswith("_") or _is_kernel(called)):
            yield name, called


def _is_kernel(function: types.FunctionType) -> bool:
    return function.__module__.startswith("jaxnn.kernels.")


def _run_here(target: Target) -> frozenset[types.CodeType]:
    """The code that a target's rule runs: of a kernel's forms, the one for this platform."""
    run = set()

    def note(frame: types.FrameType, event: str, _: Any) -> None:
        if event == "call":
            run.add(frame.f_code)

    trials, before = Trials(target.cases), sys.getprofile()
    sys.setprofile(note)
    try:
        trials.run()
    finally:
        sys.setprofile(before)
    return frozenset(run)


def _idle(source: ast.AST, function: types.FunctionType, run: frozenset[types.CodeType]) -> set[ast.AST]:
    """The nodes of functions inside of a function that didn't run."""
    start = function.__code__.co_firstlineno
    lines = {code.co_firstlineno - start + 1 for code in _inside(function.__code__) if code in run}
    idle = set()
    for node in ast.walk(source):
        if isinstance(node, ast.FunctionDef | ast.Lambda) and node is not source:
            decorators = getattr(node, "decorator_list", [])
            if min(each.lineno for each in [node, *decorators]) not in lines:
                idle |= set(ast.walk(node))
    return idle


def _inside(code: types.CodeType) -> Iterator[types.CodeType]:
    """The code of functions inside, to any depth."""
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield constant
            yield from _inside(constant)


def _names(code: types.CodeType) -> Iterator[str]:
    """Global names and attributes, also those of functions inside."""
    yield from code.co_names
    for inner in _inside(code):
        yield from inner.co_names


def _parsed(function: types.FunctionType) -> ast.FunctionDef:
    tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    assert isinstance(tree, ast.FunctionDef)
    return tree


def _fields(function: types.FunctionType) -> dict[str, str]:
    """The fields of the named tuples of the function's module, each with the one after it."""
    found = {}
    for kind in function.__globals__.values():
        names = getattr(kind, "_fields", ()) if isinstance(kind, type) and issubclass(kind, tuple) else ()
        if len(names) > 1:
            found |= dict(zip(names, [*names[1:], names[0]], strict=True))
    return found


def _compiled(tree: ast.FunctionDef, function: types.FunctionType) -> types.FunctionType:
    """The source as a function of the same module, without its annotations."""
    tree.decorator_list, tree.returns = [], None
    for argument in ast.walk(tree.args):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    names = {**NAMES, **function.__globals__}
    code = compile(ast.Module([tree], []), f"<mutant of {function.__qualname__}>", "exec")
    exec(code, names)
    return names[function.__name__]


def _substituted(method: str, old: Callable[..., Any], new: Callable[..., Any], recipe: Any) -> Any:
    """The recipe, whose rule calls `new` wherever it called `old`, however deep; forward stays as it was."""
    cls = type(recipe)
    functions = _reached(cls, getattr(cls, method))
    mine = {f.__name__: f for f in functions if getattr(cls, f.__name__, None) is f}
    changed = _of_class(recipe, {name: _calling(cls, f, old, new) for name, f in mine.items()})
    return _of_class(recipe, {method: lambda self, *arguments: getattr(changed, method)(*arguments)})


def _calling(cls: type, function: Any, old: Callable[..., Any], new: Callable[..., Any]) -> Any:
    if function is old:
        return new
    inside = {name: _calling(cls, called, old, new) for name, called in _called(cls, function)}
    names = {**function.__globals__, **inside}
    return types.FunctionType(function.__code__, names, function.__name__, function.__defaults__, function.__closure__)


def _of_class(recipe: Any, methods: dict[str, Callable[..., Any]]) -> Any:
    """The same fields in a subclass with these methods."""
    cls = type(f"Mutant{type(recipe).__name__.removeprefix('Mutant')}", (type(recipe),), methods)
    wrong = object.__new__(cls)
    for name, value in vars(recipe).items():
        object.__setattr__(wrong, name, value)
    return wrong


# What a rule returns.


def _parts(target: Target) -> tuple[str, ...]:
    """Fields of what the rule returns, or "" for all of it."""
    returns = inspect.signature(getattr(type(target.cases[0].recipe), target.method)).return_annotation
    if not hasattr(returns, "_fields"):
        return ("",)
    case = target.cases[0]
    params = case.arguments(0)[0]
    return ("dparams", "dx") if jax.tree.leaves(params) else ("dx",)


def _of_tensors(rng: np.random.Generator, seed: int) -> Iterator[tuple[str, str, Callable[[jax.Array], jax.Array]]]:
    """(kind, text, what becomes of each tensor); of a held-out draw only what is drawn."""
    drawn = [1 + 10 ** rng.uniform(-6, -2), rng.uniform(0.1, 0.9)]
    drawn += [1 - 10 ** rng.uniform(-6, -2), -rng.uniform(0.1, 0.9)] if seed else []
    for factor in drawn if seed else [2.0, 0.5, 1.001, *drawn]:
        yield "factor", f"times {factor:.9g}", functools.partial(jnp.multiply, float(factor))
    if seed:
        return
    yield "sign", "times -1", jnp.negative
    yield "dropped term", "0", jnp.zeros_like
    yield "dropped term", "0 in the last row", lambda leaf: leaf.at[-1:].set(0)
    yield "dtype", "as float32", lambda leaf: leaf.astype(jnp.float32)
    yield "dtype", "rounded to float32", lambda leaf: leaf.astype(jnp.float32).astype(leaf.dtype)
    yield "dtype", "rounded to bfloat16", rounded
    yield "transposition", "transposed, or a vector reversed", lambda leaf: leaf.mT if leaf.ndim > 1 else leaf[::-1]
    yield "stale", "of the row before", rolled


def _then(rule: Callable[..., Any], part: str, f: Callable[[jax.Array], jax.Array]) -> Callable[..., Any]:
    def mutated(self: Any, *arguments: Any) -> Any:
        result = rule(self, *arguments)
        if not part:
            return jax.tree.map(f, result)
        return result._replace(**{part: jax.tree.map(f, getattr(result, part))})

    return mutated
