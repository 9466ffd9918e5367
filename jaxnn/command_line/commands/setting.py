"""What every command sets up: precision, devices, and the data in the form that the network wants."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxnn.command_line.config import Problem, Recipe
from jaxnn.command_line.run_folder import read_config
from jaxnn.data import Dataset, load
from jaxnn.training.evaluation import Metric, accuracy

Split = tuple[np.ndarray, np.ndarray]
COMPARED_ROWS = 32  # of two float64 gradients and sixteen probes; XLA has no fast convolution in float64 on a CPU


class Examples(NamedTuple):
    """A data set made ready for a recipe; metric is None where there is no class to be right about."""

    name: str
    problem: Problem
    x_dtype: Any
    train: Split
    validation: Split | None
    test: Split | None
    metric: Metric | None


def recipe_of(run: Path | None, recipe: Recipe) -> tuple[Recipe, Problem | None]:
    """The recipe of a run and what its network depends on, or the recipe that is given in its place.

    Raises: ValueError if both are given; what `read_config` raises.
    """
    if run is None:
        return recipe, None
    if recipe != Recipe():
        raise ValueError("a run has its own recipe: give either its folder or options")
    return read_config(run)


@contextmanager
def setting(recipe: Recipe) -> Iterator[None]:
    """The precision that a recipe asks for, and as many devices: nothing of it outlasts the command but the devices."""
    _start_devices(recipe.training.devices)
    with ExitStack() as stack:
        if recipe.precision.dtype == "float64":
            stack.enter_context(jax.enable_x64(True))
        if recipe.precision.matmul_precision != "default":
            stack.enter_context(jax.default_matmul_precision(recipe.precision.matmul_precision))
        yield


def _start_devices(n_devices: int) -> None:
    """Split the CPU into so many devices, unless JAX runs already or was told a number: then that holds."""
    if n_devices > 1 and jax.config.values["jax_num_cpu_devices"] < 1:
        with suppress(RuntimeError):
            jax.config.update("jax_num_cpu_devices", n_devices)


def examples(recipe: Recipe, problem: Problem | None = None) -> Examples:
    """The recipe's data, as its loss and precision want it; `problem` is that of the network, where there is one.

    Raises: what `data.load` raises; ValueError if the targets aren't for this network.
    """
    where = recipe.data
    dataset = load(where.data, where.data_dir, where.validation)
    problem = _problem(dataset) if problem is None else problem
    ready = partial(_ready, recipe=recipe, problem=problem, name=dataset.name)
    train = ready(dataset.train)
    validation, test = (None if split is None else ready(split) for split in (dataset.validation, dataset.test))
    is_distribution = recipe.objective.loss == "softmax-cross-entropy" and problem.n_out > 1
    metric = accuracy if problem.n_classes is not None or is_distribution else None
    return Examples(Path(dataset.name).stem, problem, train[0].dtype, train, validation, test, metric)


def _ready(split: Split, recipe: Recipe, problem: Problem, name: str) -> Split:
    """Real numbers in the recipe's precision; integers as they are, but labels one-hot for a loss of numbers."""
    x, y = split
    dtype = recipe.precision.dtype
    if x.dtype.kind not in "iu":
        x = x.astype(dtype)
    if y.dtype.kind == "f":
        y = y.astype(dtype).reshape(len(y), -1)
    elif not recipe.objective.of_classes:
        y = _one_hot(y, problem.n_out, name).astype(dtype)
    return x, y


def _problem(dataset: Dataset) -> Problem:
    x, y = dataset.train
    n_out = int(np.prod(y.shape[1:])) if dataset.n_classes is None else dataset.n_classes
    return Problem(x.shape[1:], n_out, dataset.n_classes, dataset.scale)


def _one_hot(labels: np.ndarray, n_classes: int, name: str) -> np.ndarray:
    if labels.max() >= n_classes:
        raise ValueError(f"{name} has the label {labels.max()}, and the network {n_classes} outputs: count from 0")
    return np.eye(n_classes)[labels]


def first_batch(recipe: Recipe, found: Examples, n_rows: int | None = None) -> Split:
    """The examples on which gradients are compared: so many; None means a mini-batch, and at most `COMPARED_ROWS`.

    Raises: ValueError if there aren't so many.
    """
    x, y = found.train
    if n_rows is None:
        n_rows = min(recipe.training.rows_a_step(len(x)) if recipe.training.loop == "mbgd" else len(x), COMPARED_ROWS)
    if not 0 < n_rows <= len(x):
        raise ValueError(f"--rows {n_rows} is out of range: {found.name} has {len(x)} training examples")
    return x[:n_rows], y[:n_rows]
