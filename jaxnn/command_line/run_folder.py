"""A run's folder: what training leaves behind, and how it is read back.

    config.json          the config, the problem (what the network depends on in the data), and versions
    metrics.jsonl        one line an epoch, written as training goes
    result.json          how the run ended, and what it measured
    learning_curve.png   loss and accuracy by epoch
    params.safetensors   params and state by their tree paths, with config, problem, versions and a checksum as metadata

Nothing is pickled and nothing is evaluated: the network is built again from the config, and the arrays must fit it.
"""

import hashlib
import json
import math
import os
import platform
import re
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
from jaxnn.command_line.interrupts import before_leaving
from jaxnn.command_line.json_fields import as_json, from_json
from jaxnn.command_line.options import Config, Problem
from jaxnn.data.files import reserve, write_whole
from jaxnn.layer import Layer, init_of
from jaxnn.optional import require

CONFIG = "config.json"
METRICS = "metrics.jsonl"
RESULT = "result.json"
LEARNING_CURVE = "learning_curve.png"
PARAMS = "params.safetensors"
METADATA = "jaxnn"
CHECKSUM = "sha256"  # of the arrays and the other metadata


class Learned(NamedTuple):
    """A network's params and state after training."""

    params: PyTree
    state: PyTree


@contextmanager
def new_folder(path: Path | None, name: str, *, overwrite: bool = False) -> Iterator[Path]:
    """A folder for a run: `path`, or runs/<name>-<date>-<time>. Removed again if nothing was learned.

    With `overwrite`, a run that is there already is kept aside until the new one has learned something.
    Raises: FileExistsError if `path` is there and may not be overwritten, or isn't a run's folder.
    """
    folder = _dated(name) if path is None else path
    require_new(folder, overwrite=overwrite)
    aside = folder.with_name(f".{folder.name}.before") if folder.exists() else None
    if aside is not None:
        folder.rename(aside)

    def settle() -> None:
        if _has_learned(folder):
            if aside is not None:
                shutil.rmtree(aside, ignore_errors=True)
            return
        shutil.rmtree(folder, ignore_errors=True)
        if aside is not None:
            aside.rename(folder)

    with before_leaving(settle):
        try:
            folder.mkdir(parents=True)
            yield folder
        finally:
            settle()


def require_new(folder: Path, *, overwrite: bool = False) -> None:
    """Raises: FileExistsError for what may not be overwritten; OSError where no folder can be made."""
    if not folder.exists():
        parent = next(above for above in folder.absolute().parents if above.exists())
        if not parent.is_dir():
            raise NotADirectoryError(f"{folder} can't be made, {parent} isn't a folder: give another --output")
        if not os.access(parent, os.W_OK):
            raise PermissionError(f"{folder} can't be made, {parent} doesn't permit it: give another --output")
    elif not overwrite:
        raise FileExistsError(
            f"{folder} is there already, and no run is overwritten: give another --output, or --overwrite"
        )
    elif not (folder / CONFIG).is_file():
        raise FileExistsError(
            f"{folder} isn't a run's folder, and --overwrite replaces no other: give another --output"
        )


def _has_learned(folder: Path) -> bool:
    metrics = folder / METRICS
    return (folder / PARAMS).exists() or (metrics.exists() and metrics.stat().st_size > 0)


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
    write_whole(path, json.dumps(_finite(content), indent=2) + "\n")


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
    try:
        config = from_json(Config, content["config"], f"{path}: config")
        return config, from_json(Problem, content["problem"], f"{path}: problem")
    except ValueError as error:
        raise ValueError(f"{error}{_of_another_version(content)}") from error


def _of_another_version(content: dict[str, Any]) -> str:
    """Words to add to an error about what jaxnn of another version wrote."""
    wrote = content.get("versions")
    wrote = wrote.get("jaxnn") if isinstance(wrote, dict) else None
    if wrote == __version__:
        return ""
    return f"; jaxnn {wrote or 'of an unknown version'} wrote it, and this is {__version__}: read it with that version"


def reserve_params(folder: Path, net: Layer, config: Config, problem: Problem, like: Learned) -> None:
    """Take the room that params like these need, so that a full disk says so before training and not after it."""
    reserve(folder / PARAMS, len(_as_safetensors(net, config, problem, like)))


def write_params(folder: Path, net: Layer, config: Config, problem: Problem, learned: Learned) -> None:
    """Params and state in one file, each array under its tree path, such as `params[2].weight`."""
    write_whole(folder / PARAMS, _as_safetensors(net, config, problem, learned))


def _as_safetensors(net: Layer, config: Config, problem: Problem, learned: Learned) -> bytes:
    arrays, _ = _by_name(learned)
    # safetensors writes memory as it is, so each array must be in row-major order.
    arrays = {name: np.array(leaf, order="C") for name, leaf in arrays.items()}
    # One entry: safetensors writes several in no fixed order, and equal runs should give equal bytes.
    metadata = _metadata(net, config, problem) | {"versions": versions()}
    content = json.dumps(metadata | {CHECKSUM: _checksum(metadata, arrays)})
    return require("safetensors.numpy", "cli").save(arrays, metadata={METADATA: content})


def _metadata(net: Layer, config: Config, problem: Problem) -> dict[str, Any]:
    """What params belong to, as JSON has it. An object's address, in the words of a class without any, is left out."""
    network = re.sub(r" at 0x[0-9a-f]+", "", repr(net))
    return json.loads(json.dumps({"network": network, "config": as_json(config), "problem": as_json(problem)}))


def read_params(folder: Path, net: Layer, config: Config, problem: Problem) -> Learned:
    """The params and state of a run, if they fit its config and the network that it makes.

    Raises: FileNotFoundError; ValueError if the file is damaged, or its network, config, names, shapes or dtypes
        differ from what is expected.
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
    expected, structure = _by_name(Learned(*jax.eval_shape(lambda: init_of(net, jax.random.key(0), problem.shape))))
    checksum = metadata.pop(CHECKSUM, None)
    if checksum is None:
        raise ValueError(f"{path} has no checksum{_of_another_version(metadata)}: give a folder that train wrote")
    expected_metadata = _metadata(net, config, problem)
    _require_equal(path, "network", expected_metadata["network"], metadata.get("network"))
    for what in ("config", "problem"):
        if expected_metadata[what] != metadata.get(what):
            raise ValueError(f"{path} was written with another {what} than the one in {CONFIG}: train again")
    _require_equal(path, "names", sorted(expected), sorted(arrays))
    for name, like in expected.items():
        _require_equal(path, name, f"{like.dtype}{list(like.shape)}", f"{arrays[name].dtype}{list(arrays[name].shape)}")
    if checksum != _checksum(metadata, arrays):
        raise ValueError(f"{path} is damaged, its content has another checksum than when it was written: train again")
    return tree_unflatten(structure, [jax.numpy.asarray(arrays[name]) for name in expected])


def _checksum(metadata: dict[str, Any], arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 of all that a file of params says, in one order."""
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        digest.update(arrays[name].tobytes())
    return digest.hexdigest()


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
