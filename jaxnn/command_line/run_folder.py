"""A run's folder: what training leaves behind, and how it is read back.

    config.json          the recipe, what of the data the network depends on, and versions
    metrics.jsonl        one line an epoch, written as training goes
    result.json          how the run ended
    learning_curve.png   loss and accuracy by epoch
    params.safetensors   params and state by their tree paths, with recipe and versions as metadata

Nothing is pickled and nothing is evaluated: the network is built anew from the recipe, and the arrays must fit it.
"""

import json
import math
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jaxlib
import numpy as np
from jax.tree_util import keystr, tree_flatten_with_path, tree_unflatten

from jaxnn import __version__
from jaxnn.arrays import PyTree
from jaxnn.command_line.config import Problem, Recipe
from jaxnn.command_line.json_fields import as_json, from_json
from jaxnn.layer import Layer
from jaxnn.optional import require

CONFIG = "config.json"
METRICS = "metrics.jsonl"
RESULT = "result.json"
LEARNING_CURVE = "learning_curve.png"
PARAMS = "params.safetensors"
METADATA = "jaxnn"


class Learned(NamedTuple):
    """What training made of a network's params and state."""

    params: PyTree
    state: PyTree


@contextmanager
def new_folder(path: Path | None, name: str) -> Iterator[Path]:
    """A folder that wasn't there: `path`, or runs/<name>-<date>-<time>. Taken away again if no epoch was finished.

    Raises: FileExistsError if `path` is there: no run is ever overwritten.
    """
    folder = _dated(name) if path is None else path
    require_new(folder)
    folder.mkdir(parents=True)
    try:
        yield folder
    except BaseException:
        metrics = folder / METRICS
        if not metrics.exists() or metrics.stat().st_size == 0:
            shutil.rmtree(folder)
        raise


def require_new(folder: Path) -> None:
    if folder.exists():
        raise FileExistsError(f"{folder} is there already, and no run is overwritten: give another --output")


def _dated(name: str) -> Path:
    stem = Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    folder, n = stem, 1
    while folder.exists():
        n += 1
        folder = stem.with_name(f"{stem.name}-{n}")
    return folder


def versions() -> dict[str, str]:
    """What the bits of a run depend on, beside its recipe."""
    return {
        "jaxnn": __version__,
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "device": jax.devices()[0].device_kind,
    }


def write_json(path: Path, content: dict[str, Any]) -> None:
    """As JSON, which knows neither NaN nor infinity: null."""
    path.write_text(json.dumps(_finite(content), indent=2) + "\n", encoding="utf-8")


def write_config(folder: Path, recipe: Recipe, problem: Problem) -> None:
    content = {"recipe": as_json(recipe), "problem": as_json(problem), "versions": versions()}
    write_json(folder / CONFIG, content)


def read_config(folder: Path) -> tuple[Recipe, Problem]:
    """The recipe of a run, and what of its data the network depends on.

    Raises: FileNotFoundError if the folder isn't a run's; ValueError if its config can't be understood.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise FileNotFoundError(f"{folder} isn't a run's folder, it has no {CONFIG}: give a folder that train wrote")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} isn't JSON ({error}): train again") from error
    if not isinstance(content, dict) or not {"recipe", "problem"} <= set(content):
        raise ValueError(f"{path} should have a recipe and a problem: give a folder that train wrote")
    recipe = from_json(Recipe, content["recipe"], f"{path}: recipe")
    return recipe, from_json(Problem, content["problem"], f"{path}: problem")


def write_params(folder: Path, net: Layer, recipe: Recipe, learned: Learned) -> None:
    """Params and state in one file, each array under its tree path, such as `params[2].weight`."""
    arrays, _ = _by_name(learned)
    # safetensors writes memory as it lies, so each array must lie in row-major order.
    arrays = {name: np.array(leaf, order="C") for name, leaf in arrays.items()}
    # One entry: safetensors writes several in no fixed order, and equal runs shall give equal bytes.
    metadata = {METADATA: json.dumps({"network": repr(net), "recipe": as_json(recipe), "versions": versions()})}
    require("safetensors.numpy", "cli").save_file(arrays, folder / PARAMS, metadata=metadata)


def read_params(folder: Path, net: Layer, problem: Problem) -> Learned:
    """What a run learned, if it fits the network that the run's recipe makes.

    Raises: FileNotFoundError; ValueError if the file is damaged, or its network, names, shapes or dtypes are others.
    """
    path = folder / PARAMS
    if not path.is_file():
        raise FileNotFoundError(f"{folder} has no {PARAMS}: its training was cut off; train again")
    safetensors = require("safetensors", "cli")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = json.loads((file.metadata() or {}).get(METADATA, "{}"))
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it isn't a dict)
    except (safetensors.SafetensorError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} isn't a whole safetensors file ({error}): train again") from error
    expected, structure = _by_name(Learned(*jax.eval_shape(lambda: net.init(jax.random.key(0), problem.shape))))
    _require_equal(path, "network", repr(net), metadata.get("network"))
    _require_equal(path, "names", sorted(expected), sorted(found))
    for name, like in expected.items():
        _require_equal(path, name, f"{like.dtype}{list(like.shape)}", f"{found[name].dtype}{list(found[name].shape)}")
    return tree_unflatten(structure, [jax.numpy.asarray(found[name]) for name in expected])


def _by_name(learned: Learned) -> tuple[dict[str, Any], Any]:
    leaves, structure = tree_flatten_with_path(learned)
    return {keystr(path).removeprefix("."): leaf for path, leaf in leaves}, structure


def _require_equal(path: Path, what: str, expected: Any, found: Any) -> None:
    if expected != found:
        raise ValueError(f"{path} doesn't fit the recipe in {CONFIG}: {what} should be {expected}, got {found}")


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {name: _finite(value) for name, value in content.items()}
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content
