"""What can be wrong at one place of a backward's source: each operator takes a node and gives what may stand there.

A change has a kind, one of KINDS, and the node's number in `ast.walk`, so that it can be made in a copy of the tree.
The replacements are written as text with the node's own source in it, as a slip of the pen would be.
"""

import ast
import copy
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

KINDS = (
    "sign",
    "factor",
    "dropped term",
    "transposition",
    "wrong axis",
    "stale",
    "cotangent forgotten",
    "off by one",
    "wrong order",
    "wrong branch",
    "dtype",
    "unsummed",
    "wrong window",
)


def ones(tree: Any) -> Any:
    """A cotangent of ones."""
    return jax.tree.map(jnp.ones_like, tree)


def rounded(tree: Any) -> Any:
    """As bfloat16 has it, in the dtype it had."""
    return jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16).astype(leaf.dtype), tree)


def rolled(tree: Any) -> Any:
    """For each row, or step, or layer, what belongs to the one before."""
    return jax.tree.map(lambda leaf: jnp.roll(leaf, 1, 0), tree)


# What the replacements name beside what the function knows already.
NAMES = {"jax": jax, "jnp": jnp, "ones": ones, "rounded": rounded, "rolled": rolled}

# What is read of an array besides its numbers, and which argument of a function gives nothing else: a shape, a dtype,
# or where truncation cuts (see `targets`).
WITHOUT_VALUES = ("shape", "ndim", "dtype", "size", "value")
FOR_ITS_FORM = {
    "_rows": 1,
    "_each_row": 1,
    "self._each_row": 1,
    "_along": 1,
    "_summed": 1,
    "_one_hot": 1,
    "self._distribution": 1,
    "self._probabilities": 1,
    "varying_like": 1,
    "self._zero_at_cuts": 0,
    "len": 0,
}
MEANINGFUL_KEYWORDS = {
    "axis": "wrong axis",
    "keepdims": "wrong axis",
    "reverse": "wrong order",
    "key": "wrong branch",
    "train": "wrong branch",
    "lhs_dilation": "wrong window",
    "rhs_dilation": "wrong window",
    "feature_group_count": "wrong window",
    "batch_group_count": "wrong window",
}

Slips = Iterator[tuple[str, str]]


class Change(NamedTuple):
    """kind and text name it; node is a number in `ast.walk`."""

    kind: str
    text: str
    node: int
    replacement: ast.expr


def changes(function: ast.FunctionDef, fields: Mapping[str, str], rng: np.random.Generator) -> list[Change]:
    """Every change of every kind. fields: for the field of a named tuple, the one after it."""
    siblings = _siblings(function)
    cached = _unpacked_from_cache(function)
    quiet = _without_values(function)
    found = []
    for number, node in enumerate(ast.walk(function)):
        if not isinstance(node, ast.expr) or node in quiet.all:
            continue
        slips = [*_arithmetic(node), *_branches(node, quiet.shapes), *_calls(node), *_numbers(node)]
        if node in quiet.assigned:
            slips += _assigned(node, rng)
        if node not in quiet.shapes:
            slips += [*_stale(node, fields, siblings, cached), *_cotangents(node, quiet.returned), *_windows(node)]
        old = ast.unparse(node)
        for kind, new in slips:
            replacement = ast.parse(new, mode="eval").body
            if (new := ast.unparse(replacement)) != old:
                text = f"{node.lineno}:{node.col_offset}: {old} -> {new}"
                found.append(Change(kind, text, number, replacement))
    return found


def applied(function: ast.FunctionDef, *some: Change) -> ast.FunctionDef:
    """A copy with the changes made; of two at one place, or one inside of the other, the outer or first."""
    function = copy.deepcopy(function)
    instead = {}
    for number, node in enumerate(ast.walk(function)):
        for change in reversed(some):
            if change.node == number:
                instead[node] = change.replacement

    class Replace(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> ast.AST:
            return copy.deepcopy(instead[node]) if node in instead else self.generic_visit(node)

    return ast.fix_missing_locations(Replace().visit(function))


def _arithmetic(node: ast.expr) -> Slips:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and not isinstance(node.operand, ast.Constant):
        yield "sign", ast.unparse(node.operand)
    if not isinstance(node, ast.BinOp):
        return
    a, b = f"({ast.unparse(node.left)})", f"({ast.unparse(node.right)})"
    if isinstance(node.op, ast.Add):
        yield from (("sign", f"{a} - {b}"), ("dropped term", a), ("dropped term", b))
    elif isinstance(node.op, ast.Sub):
        yield from (("sign", f"{a} + {b}"), ("dropped term", a), ("dropped term", f"-{b}"))
    elif isinstance(node.op, ast.Mult):
        yield from (("factor", f"{a} / {b}"), ("factor", a), ("factor", b))
    elif isinstance(node.op, ast.Div):
        yield from (("factor", f"{a} * {b}"), ("factor", a))
        yield from (("off by one", f"{a} / ({b} + 1)"), ("off by one", f"{a} / ({b} - 1)"))
    elif isinstance(node.op, ast.BitAnd):
        yield from (("dropped term", a), ("dropped term", b))


# What is as large, or as small, on the other side, and what else happens at the edge.
_ORDERS = {ast.Lt: (ast.GtE, ast.LtE), ast.LtE: (ast.Gt, ast.Lt), ast.Gt: (ast.LtE, ast.GtE), ast.GtE: (ast.Lt, ast.Gt)}


def _branches(node: ast.expr, shapes: set[ast.AST]) -> Slips:
    if isinstance(node, ast.IfExp):
        yield "wrong branch", f"({ast.unparse(node.body)})"
        yield "wrong branch", f"({ast.unparse(node.orelse)})"
    elif isinstance(node, ast.BoolOp):
        for i in range(len(node.values)):
            yield "wrong branch", ast.unparse(ast.BoolOp(node.op, [*node.values[:i], *node.values[i + 1 :]]))
    elif isinstance(node, ast.Compare):
        other = {ast.Eq: ast.NotEq, ast.Is: ast.IsNot, ast.IsNot: ast.Is}.get(type(node.ops[0]))
        if other is not None:
            yield "wrong branch", ast.unparse(ast.Compare(node.left, [other()], node.comparators))
        for kind, order in zip(("wrong branch", "off by one"), _ORDERS.get(type(node.ops[0]), ()), strict=False):
            if node.left not in shapes:
                yield kind, ast.unparse(ast.Compare(node.left, [order()], node.comparators))
    elif isinstance(node, ast.Attribute) and ast.unparse(node).endswith("train.value"):
        yield "wrong branch", f"not {ast.unparse(node)}"


def _numbers(node: ast.expr) -> Slips:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield "off by one", str(node.value + 1)
        yield "off by one", str(node.value - 1)
    elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Name) and isinstance(node.ctx, ast.Load):
        yield "off by one", f"{ast.unparse(node.value)}[{node.slice.id} - 1]"


def _calls(node: ast.expr) -> Slips:
    if isinstance(node, ast.Attribute) and node.attr == "T":
        yield "transposition", ast.unparse(node.value)
    if not isinstance(node, ast.Call):
        return
    name, whole = ast.unparse(node.func), ast.unparse(node)
    arguments = [ast.unparse(argument) for argument in node.args]
    rest = "".join(f", {ast.unparse(keyword)}" for keyword in node.keywords)
    if name == "jnp.where":
        yield "wrong branch", f"jnp.where({arguments[0]}, {arguments[2]}, {arguments[1]})"
        yield "wrong branch", f"jnp.broadcast_to({arguments[1]}, {whole}.shape)"
        yield "wrong branch", f"jnp.broadcast_to({arguments[2]}, {whole}.shape)"
    elif name in ("jnp.sum", "np.sum"):
        numpy = name.split(".")[0]
        yield from (("unsummed", arguments[0]), ("unsummed", f"{numpy}.mean({arguments[0]}{rest})"))
        yield "unsummed", f"{numpy}.max({arguments[0]}{rest})"
    elif name == "jnp.mean":
        yield from (("unsummed", arguments[0]), ("factor", f"jnp.sum({arguments[0]}{rest})"))
    elif name in ("added", "jnp.add") or (name == "sum" and len(arguments) == 2):
        yield from (("unsummed", arguments[0]), ("unsummed", arguments[1]))
    elif name == "functools.reduce":
        yield "unsummed", f"next(iter({arguments[1]}))"
        yield "unsummed", f"functools.reduce(jnp.maximum, {arguments[1]})"
    elif name in ("reversed", "jax.lax.rev"):
        yield "wrong order", arguments[0]
    elif name == "jax.lax.split":
        yield "wrong order", f"{whole}[::-1]"
    elif name == "jnp.sign":
        yield "wrong branch", f"jnp.where({arguments[0]} >= 0, 1.0, -1.0)"
        yield "dropped term", f"jnp.abs({whole})"
        yield "factor", arguments[0]
    elif name in ("jnp.matmul", "jnp.tensordot"):
        yield "transposition", f"{name}({', '.join([arguments[1], arguments[0], *arguments[2:]])}{rest})"
        yield "transposition", f"{whole}.T"
    elif name == "jnp.einsum":
        yield "transposition", f"{name}({', '.join([arguments[0], arguments[2], arguments[1]])}{rest})"
        inputs, output = ast.literal_eval(node.args[0]).split("->")
        yield "transposition", f"{name}({', '.join([repr(f'{inputs}->{output[::-1]}'), *arguments[1:]])}{rest})"
    elif name in ("jnp.swapaxes", "jnp.moveaxis"):
        yield "transposition", arguments[0]
    elif name.endswith(".pads"):
        yield "wrong window", f"tuple(pad[::-1] for pad in {whole})"
    elif name == "jnp.concatenate" and isinstance(node.args[0], ast.List):
        yield "wrong order", f"jnp.concatenate({arguments[0]}[::-1]{rest})"
    elif name.endswith(".reshape") and arguments[0] != "-1":  # a vector has one order
        yield "wrong axis", f"{whole[:-1]}, order='F')"
    for keyword in node.keywords:
        if keyword.arg == "axis":
            for axis in ("0", "-1"):
                yield "wrong axis", _with_keywords(node, axis=axis)
        if keyword.arg == "key":
            yield "stale", _with_keywords(node, key=f"jax.random.fold_in({ast.unparse(keyword.value)}, 1)")
        if keyword.arg in MEANINGFUL_KEYWORDS:
            yield MEANINGFUL_KEYWORDS[keyword.arg], _with_keywords(node, **{keyword.arg: None})


def _assigned(node: ast.expr, rng: np.random.Generator) -> Slips:
    """The value of a name that stands for one array, scaled or rounded."""
    old = ast.unparse(node)
    yield "sign", f"-({old})"
    yield "factor", f"({old}) * 2"
    yield "factor", f"({old}) * {1 + 10 ** rng.uniform(-6, -2):.9g}"
    yield "dtype", f"rounded({old})"


def _stale(node: ast.expr, fields: Mapping[str, str], siblings: Mapping[str, str], cached: set[str]) -> Slips:
    """Another array than the one that is meant: its neighbour in the cache, or that of the row before."""
    if not isinstance(getattr(node, "ctx", None), ast.Load):
        return
    old = ast.unparse(node)
    if isinstance(node, ast.Attribute) and node.attr in fields:
        yield "stale", f"{ast.unparse(node.value)}.{fields[node.attr]}"
    if isinstance(node, ast.Name) and node.id in siblings:
        yield "stale", siblings[node.id]
    if old in cached or (isinstance(node, ast.Attribute) and old.startswith("cache.")):
        yield "stale", f"rolled({old})"
    elif old == "params.inner":
        yield "off by one", f"rolled({old})"


def _cotangents(node: ast.expr, returned: set[ast.AST]) -> Slips:
    """A cotangent taken for ones: what a test with dy = 1 can't see."""
    if not isinstance(node, ast.Name | ast.Attribute) or not isinstance(node.ctx, ast.Load):
        return
    root = ast.unparse(node).split(".")[0]
    given = root.startswith("dy") or root == "weights"
    if root.isidentifier() and (given or (root.startswith("d") and node not in returned)):
        yield "cotangent forgotten", f"ones({ast.unparse(node)})"


def _windows(node: ast.expr) -> Slips:
    """Other windows than those that are meant: see `jaxnn.kernels.windows`."""
    if not isinstance(node, ast.Attribute) or ast.unparse(node.value) != "windows":
        return
    other = {"stride": "dilation", "dilation": "stride", "extent": "size"}.get(node.attr)
    if other is not None:
        yield "wrong window", f"windows.{other}"
    elif node.attr == "taps":
        yield "wrong order", "windows.taps[::-1]"


class Quiet(NamedTuple):
    """Nodes by where they stand: not to be changed; only their shape matters; the value of a name; in a return."""

    all: set[ast.AST]
    shapes: set[ast.AST]
    assigned: set[ast.AST]
    returned: set[ast.AST]


def _without_values(function: ast.FunctionDef) -> Quiet:
    everywhere, shapes, assigned, returned = set(ast.walk(function.args)), set(), set(), set()
    if function.returns is not None:
        everywhere |= set(ast.walk(function.returns))
    for node in ast.walk(function):
        if isinstance(node, ast.FunctionDef):
            everywhere |= {part for root in (node.args, node.returns) if root for part in ast.walk(root)}
        elif isinstance(node, ast.AnnAssign):
            everywhere |= set(ast.walk(node.annotation))
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            if node.targets[0].id.startswith("d") and not isinstance(node.value, ast.Tuple):
                assigned.add(node.value)
        elif isinstance(node, ast.Attribute) and node.attr in WITHOUT_VALUES:
            shapes |= set(ast.walk(node.value if node.attr == "value" else node))  # a Step's value is an array
        elif isinstance(node, ast.keyword) and node.arg == "axis":
            everywhere |= set(ast.walk(node.value))
        elif isinstance(node, ast.Return) and node.value is not None:
            returned |= set(ast.walk(node.value))
        elif isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Is | ast.IsNot):
            shapes |= set(ast.walk(node))
        elif isinstance(node, ast.Call):
            shapes.add(node.func)
            place = FOR_ITS_FORM.get(ast.unparse(node.func))
            shapes |= set() if place is None else set(ast.walk(node.args[place]))
    return Quiet(everywhere, shapes, assigned, returned)


def _siblings(function: ast.FunctionDef) -> dict[str, str]:
    """For each name unpacked from a tuple, the next one in it."""
    loops = {part for node in ast.walk(function) if isinstance(node, ast.For) for part in ast.walk(node.target)}
    found = {}
    for node in ast.walk(function):
        if node not in loops and isinstance(node, ast.Tuple) and isinstance(node.ctx, ast.Store):
            names = [name.id for name in node.elts if isinstance(name, ast.Name) and name.id not in ("_", "notes")]
            if len(names) > 1:
                found |= dict(zip(names, [*names[1:], names[0]], strict=True))
    return found


def _unpacked_from_cache(function: ast.FunctionDef) -> set[str]:
    return {
        name.id
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and ast.unparse(node.value).split(".")[0] == "cache"
        for name in ast.walk(node.targets[0])
        if isinstance(name, ast.Name)
    }


def _with_keywords(node: ast.Call, **others: str | None) -> str:
    """The call with keywords of another value, or without them where it is None."""
    call = copy.copy(node)
    call.keywords = [
        ast.keyword(keyword.arg, ast.parse(value, mode="eval").body)
        for keyword in node.keywords
        if (value := others.get(keyword.arg, ast.unparse(keyword.value))) is not None
    ]
    return ast.unparse(call)
