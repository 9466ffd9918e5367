"""The architecture as a test: who may import whom, how long a module may be, and that each has its test.

A module of the stream imports from strictly lower levels alone (one of a folder, from the others there too). Folders
beside the stream use it and one another without a cycle, and nothing in the stream uses them. Each test lists all that
offends.
"""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import jaxnn

PACKAGE = Path(jaxnn.__file__).parent
TESTS = Path(__file__).parent

STREAM = [
    {"arrays", "optional"},
    {"mesh_axes", "kernels"},
    {"layer"},
    {"layers"},
    {"networks"},
    {"backward"},
    {"objective"},
    {"training"},
]
LEVEL = {name: level for level, names in enumerate(STREAM) for name in names}
BESIDE = {"audit", "costs", "data", "command_line", "reference"}
ENTRIES = 18  # at the top of the package: what one sees first

LONGEST = 400
# Tested under another name: a test module can't begin with underscores, and a rule is tested beside its twin.
TESTED_ELSEWHERE = {"__main__.py": "test_main.py", "reference/perceptron.py": "training/test_perceptron.py"}


def name_of(path: Path) -> str:
    """The dotted name inside the package: `layers.dense`, and `layers` for its __init__."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = sorted(PACKAGE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in MODULES}
INNER = {name_of(path): tree for path, tree in TREES.items() if name_of(path) not in ("", "__main__")}


def part_of(name: str) -> str:
    """The module or folder at the top: `layers` of `layers.dense`."""
    return name.split(".")[0]


def imported(tree: ast.AST) -> Iterator[str]:
    """The dotted names that a module imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                is_module = part_of(str(node.module)) == "jaxnn" and exists(inner.removeprefix("jaxnn."))
                yield inner if is_module else str(node.module)


def exists(name: str) -> bool:
    path = PACKAGE.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def own_imports(tree: ast.AST) -> set[str]:
    """The modules of jaxnn that a module imports, dotted; the package's own face is ""."""
    return {name.removeprefix("jaxnn").removeprefix(".") for name in imported(tree) if part_of(name) == "jaxnn"}


GRAPH = {name: own_imports(tree) for name, tree in INNER.items()}


def test_the_top_says_the_architecture():
    entries = sorted(path.name for path in PACKAGE.iterdir() if path.name != "__pycache__")
    assert len(entries) <= ENTRIES, entries
    assert {part_of(name) for name in INNER} == set(LEVEL) | BESIDE
    assert not set(LEVEL) & BESIDE


def test_imports_come_from_lower_levels():
    def allowed(here: str, there: str) -> bool:
        if here == there:
            return True
        if here in BESIDE:
            return there in LEVEL or there in BESIDE or (there == "" and here == "command_line")
        return there in LEVEL and LEVEL[there] < LEVEL[here]

    pairs = [(name, used) for name, all_used in GRAPH.items() for used in all_used]
    assert [f"{name} imports {used}" for name, used in pairs if not allowed(part_of(name), part_of(used))] == []


def test_no_cycle():
    """Folders are the sum of their modules, so that a cycle through a folder's face is one too."""
    list(TopologicalSorter({name: used - {""} for name, used in GRAPH.items()}).static_order())
    folders: dict[str, set[str]] = {}
    for name, all_used in GRAPH.items():
        for depth in range(1, name.count(".") + 2):
            here = name.split(".")[:depth]
            there = [used.split(".")[:depth] for used in all_used - {""}]
            near = {".".join(used) for used in there if used[:-1] == here[:-1] and used != here}
            folders.setdefault(".".join(here), set()).update(near)
    list(TopologicalSorter(folders).static_order())


def test_no_import_inside_a_function():
    functions = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    inside = [
        f"{name}.{getattr(node, 'name', 'lambda')}"
        for name, tree in INNER.items()
        for node in ast.walk(tree)
        if isinstance(node, functions) and list(imported(node))
    ]
    assert inside == []


def test_only_optional_imports_by_name():
    """`importlib` stands in one place, so that what is optional is known."""
    assert [name for name, tree in INNER.items() if "importlib" in map(part_of, imported(tree))] == ["optional"]


def test_modules_are_short():
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {name: length for name, length in lengths.items() if length >= LONGEST} == {}


def test_modules_say_what_they_are():
    assert [name_of(path) for path, tree in TREES.items() if not ast.get_docstring(tree)] == []


def test_each_module_has_its_test():
    modules = [path.relative_to(PACKAGE) for path in MODULES if path.name != "__init__.py"]
    expected = {
        module: TESTED_ELSEWHERE.get(module.as_posix(), module.with_name(f"test_{module.name}")) for module in modules
    }
    assert [f"{module} has no tests/{test}" for module, test in expected.items() if not (TESTS / test).exists()] == []


def test_the_reference_imports_numpy_alone():
    """Written independently, and readable without knowing JAX."""
    standard = {"collections", "dataclasses", "functools", "itertools", "math", "typing"}
    names = {used for name, tree in INNER.items() if part_of(name) == "reference" for used in imported(tree)}
    assert {part_of(used) for used in names if not used.startswith("jaxnn.reference")} <= {"numpy"} | standard


def test_the_core_needs_no_extra():
    """Outside of `optional.require`, only the dependencies of the core are imported."""
    extras = {"optax", "flax", "equinox", "rich", "tyro", "matplotlib", "sklearn", "pooch", "safetensors"}
    assert [name for name, tree in INNER.items() if extras & set(map(part_of, imported(tree)))] == []


def test_names_say_what_they_are():
    forbidden = {"utils", "util", "helpers", "helper", "manager", "misc", "common"}
    assert [name for name in INNER if set(name.split(".")) & forbidden] == []
