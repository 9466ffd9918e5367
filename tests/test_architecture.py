"""The architecture as a test: who may import whom, how long a module may be, and that each has its test.

A module of the stream imports from strictly lower levels alone (those of a package, from one another too). Modules
beside the stream use it and one another without a cycle, and nothing in the stream uses them.
"""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import jaxnn

PACKAGE = Path(jaxnn.__file__).parent
TESTS = Path(__file__).parent
ROOT = TESTS.parent

LEVELS = [
    {"arrays", "optional"},
    {"layer"},
    {"activations", "augment", "losses", "initializers", "penalties", "axes", "kernels"},
    {"layers"},
    {"combinators"},
    {"recurrent", "rebuild"},
    {"objective", "custom_vjp", "models", "schedules"},
    {"mixed"},
    {"updates", "examples"},
    {"evaluation"},
    {"run"},
    {"delayed"},
    {"descent"},
    {"parallel"},
    {"fit"},
]
BESIDE = {
    "aot",
    "audit",
    "cli",
    "commands",
    "data",
    "memory",
    "observe",
    "perceptron",
    "recipes",
    "records",
    "reference",
    "report",
    "runs",
}
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}

LONGEST = 400
# Tested under another name: a test module can't begin with underscores, and a rule is tested beside its twin.
TESTED_ELSEWHERE = {"__main__.py": "test_main.py", "reference/perceptron.py": "test_perceptron.py"}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    """The dotted name inside the package: `layers.dense`, and `layers` for its __init__."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def part_of(name: str) -> str:
    """The module or package at the top: `layers` of `layers.dense`."""
    return name.split(".")[0]


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """The dotted names that a module imports, with the node that does."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                is_module = node.module.split(".")[0] == "jaxnn" and exists(inner.removeprefix("jaxnn."))
                yield (inner if is_module else node.module), node


def exists(name: str) -> bool:
    path = PACKAGE.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def own_imports(path: Path) -> set[str]:
    """The modules of jaxnn that a module imports, dotted; the package's own face is ""."""
    names = {name for name, _ in imported(tree_of(path))}
    return {name.removeprefix("jaxnn").removeprefix(".") for name in names if name.split(".")[0] == "jaxnn"}


INNER = [path for path in modules() if name_of(path) not in ("", "__main__")]
every_module = pytest.mark.parametrize("path", INNER, ids=name_of)


def test_each_module_has_its_place():
    places = set(LEVEL) | BESIDE
    assert {part_of(name_of(path)) for path in INNER} <= places
    assert not set(LEVEL) & BESIDE


@every_module
def test_imports_come_from_lower_levels(path):
    here = part_of(name_of(path))
    for name in own_imports(path):
        there = part_of(name)
        if here == there:
            continue
        if here in BESIDE:
            assert there in LEVEL or there in BESIDE or (there == "" and here in ("runs", "cli")), (here, name)
        else:
            assert there in LEVEL, f"{here} is in the stream, and {name} is beside it"
            assert LEVEL[there] < LEVEL[here], f"{here} (level {LEVEL[here]}) imports {name} (level {LEVEL[there]})"


def test_no_cycle():
    """Packages are the sum of their modules, so that a cycle through a package's face is one too."""
    graph = {name_of(path): own_imports(path) - {""} for path in INNER}
    list(TopologicalSorter(graph).static_order())
    parts: dict[str, set[str]] = {}
    for name, used in graph.items():
        parts.setdefault(part_of(name), set()).update(part_of(each) for each in used)
    list(TopologicalSorter({part: used - {part} for part, used in parts.items()}).static_order())


@every_module
def test_no_import_inside_a_function(path):
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            assert not list(imported(node)), f"{name_of(path)}.{getattr(node, 'name', 'lambda')} imports something"


@every_module
def test_only_optional_imports_by_name(path):
    """`importlib` stands in one place, so that what is optional is known."""
    uses = {name.split(".")[0] for name, _ in imported(tree_of(path))}
    assert "importlib" not in uses or name_of(path) == "optional"


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_modules_are_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) < LONGEST


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_modules_say_what_they_are(path):
    assert ast.get_docstring(tree_of(path)), "a module begins with what it is for"


@pytest.mark.parametrize("path", [path for path in modules() if path.name != "__init__.py"], ids=name_of)
def test_each_module_has_its_test(path):
    module = path.relative_to(PACKAGE)
    expected = TESTED_ELSEWHERE.get(module.as_posix(), module.with_name(f"test_{module.name}"))
    assert (TESTS / expected).exists(), f"jaxnn/{module} has no tests/{expected}"


@pytest.mark.parametrize("path", sorted((PACKAGE / "reference").rglob("*.py")), ids=name_of)
def test_the_reference_imports_numpy_alone(path):
    """Written independently, and readable without knowing JAX."""
    standard = {"collections", "dataclasses", "functools", "itertools", "math", "typing"}
    names = {name for name, _ in imported(tree_of(path))}
    for name in names:
        assert name.split(".")[0] in {"numpy"} | standard or name.startswith("jaxnn.reference"), name


@every_module
def test_the_core_needs_no_extra(path):
    """Outside of `optional.require`, only the dependencies of the core are imported."""
    core = {"jax", "jaxlib", "numpy", "jaxtyping", "jaxnn"}
    tops = {name.split(".")[0] for name, _ in imported(tree_of(path))}
    assert (
        not tops & {"optax", "flax", "equinox", "rich", "tyro", "matplotlib", "sklearn", "pooch", "safetensors"} - core
    )


@every_module
def test_names_say_what_they_are(path):
    forbidden = {"utils", "util", "helpers", "helper", "manager", "misc", "common"}
    assert not set(name_of(path).split(".")) & forbidden
