"""A run's folder: what training leaves behind, and how it is read back.

    config.json          the config, the problem (what the network depends on in the data), and versions
    metrics.jsonl        one line an epoch, written as training goes
    result.json          how the run ended, and what it measured
    learning_curve.png   loss and accuracy by epoch
    params.safetensors   params and state by their tree paths, with config and versions as metadata

Nothing is pickled and nothing is evaluated: the network is built again from the config, and the arrays must fit it.
"""

import json
import math
import os
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
from jaxnn.command_line.json_fields import as_json, from_json
from jaxnn.command_line.options import Config, Problem
from jaxnn.layer import Layer
from jaxnn.optional import require

CONFIG = "config.json"
METRICS = "metrics.jsonl"
RESULT = "result.json"
LEARNING_CURVE = "learning_curve.png"
PARAMS = "params.safetensors"
METADATA = "jaxnn"


class Learned(NamedTuple):
    """A network's params and state after training."""

    params: PyTree
    state: PyTree


@contextmanager
def new_folder(path: Path | None, name: str) -> Iterator[Path]:
    """A folder that wasn't there: `path`, or runs/<name>-<date>-<time>. Removed again if no epoch was finished.

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
    """What the bits of a run depend on beside its config."""
    return {
        "jaxnn": __version__,
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "device": jax.devices()[0].device_kind,
    }


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write JSON, in which NaN and infinity are null: it has neither."""
    text = json.dumps(_finite(content), indent=2) + "\n"
    with whole(path) as new:
        new.write_text(text, encoding="utf-8")


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Where to write a file, so that it is there whole or not at all: beside its place, into which it is then moved.

    Raises: OSError that names the file, whatever the system says.
    """
    new = path.with_name(f"{path.stem}.part{path.suffix}")
    try:
        yield new
        with new.open("rb+") as file:
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        raise OSError(f"{path} can't be written: {error.strerror or error}") from error
    finally:
        new.unlink(missing_ok=True)


def write_config(folder: Path, config: Config, problem: Problem) -> None:
    content = {"config": as_json(config), "problem": as_json(problem), "versions": versions()}
    write_json(folder / CONFIG, content)


def read_config(folder: Path) -> tuple[Config, Problem]:
    """The config of a run, and its problem: what its network depends on in the data.

    Raises: FileNotFoundError if the folder isn't a run's; ValueError if its config can't be understood.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise FileNotFoundError(f"{folder} isn't a run's folder, it has no {CONFIG}: give a folder that train wrote")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} isn't JSON ({error}): train again") from error
    if not isinstance(content, dict) or not {"config", "problem"} <= set(content):
        raise ValueError(f"{path} should have a config and a problem: give a folder that this version's train wrote")
    config = from_json(Config, content["config"], f"{path}: config")
    return config, from_json(Problem, content["problem"], f"{path}: problem")


def write_params(folder: Path, net: Layer, config: Config, learned: Learned) -> None:
    """Params and state in one file, each array under its tree path, such as `params[2].weight`."""
    arrays, _ = _by_name(learned)
    # safetensors writes memory as it is, so each array must be in row-major order.
    arrays = {name: np.array(leaf, order="C") for name, leaf in arrays.items()}
    # One entry: safetensors writes several in no fixed order, and equal runs should give equal bytes.
    metadata = {METADATA: json.dumps({"network": repr(net), "config": as_json(config), "versions": versions()})}
    with whole(folder / PARAMS) as new:
        new.write_bytes(require("safetensors.numpy", "cli").save(arrays, metadata=metadata))


def read_params(folder: Path, net: Layer, problem: Problem) -> Learned:
    """The params and state of a run, if they fit the network that the run's config makes.

    Raises: FileNotFoundError; ValueError if the file is damaged, or its network, names, shapes or dtypes differ.
    """
    path = folder / PARAMS
    if not path.is_file():
        raise FileNotFoundError(f"{folder} has no {PARAMS}: its training was cut off; train again")
    safetensors = require("safetensors", "cli")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = json.loads((file.metadata() or {}).get(METADATA, "{}"))
            if not isinstance(metadata, dict):
                raise ValueError(f"its metadata isn't an object but a {type(metadata).__name__}")
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it isn't a dict)
    except (safetensors.SafetensorError, ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} isn't a whole safetensors file ({error}): train again") from error
    expected, structure = _by_name(Learned(*jax.eval_shape(lambda: net.init(jax.random.key(0), problem.shape))))
    _require_equal(path, "network", repr(net), metadata.get("network"))
    _require_equal(path, "names", sorted(expected), sorted(arrays))
    for name, like in expected.items():
        _require_equal(path, name, f"{like.dtype}{list(like.shape)}", f"{arrays[name].dtype}{list(arrays[name].shape)}")
    return tree_unflatten(structure, [jax.numpy.asarray(arrays[name]) for name in expected])


def _by_name(learned: Learned) -> tuple[dict[str, Any], Any]:
    leaves, structure = tree_flatten_with_path(learned)
    return {keystr(path).removeprefix("."): leaf for path, leaf in leaves}, structure


def _require_equal(path: Path, what: str, expected: Any, got: Any) -> None:
    if expected != got:
        raise ValueError(f"{path} doesn't fit the config in {CONFIG}: {what} should be {expected}, got {got}")


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {name: _finite(value) for name, value in content.items()}
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content
