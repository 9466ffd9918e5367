"""What every command sets up: precision, devices, and the data in the form that the network wants."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxnn.arrays import Shape, n_bytes, size
from jaxnn.command_line.effects import require_effective
from jaxnn.command_line.options import Config, Problem
from jaxnn.command_line.run_folder import read_config
from jaxnn.data import Dataset, load
from jaxnn.layer import Layer, init_of

Split = tuple[np.ndarray, np.ndarray]
MOST_DEVICES = 512  # that a CPU is split into: each has threads of its own
COMPARED_ROWS = 32  # for two gradients and sixteen probes in float64, where XLA has no fast convolution on a CPU


class Prepared(NamedTuple):
    """A network, and a data set as it and its loss want it."""

    net: Layer
    name: str
    problem: Problem
    x_dtype: Any
    train: Split
    validation: Split | None
    test: Split | None


def config_of(run: Path | None, config: Config) -> tuple[Config, Problem | None]:
    """A run's config and what its network depends on, or, without a run, the config that is given.

    Raises: ValueError if both are given; what `read_config` raises.
    """
    if run is None:
        require_effective(config)
        return config, None
    if config != Config():
        raise ValueError("a run has its own options: give either its folder or options")
    return read_config(run)


@contextmanager
def setting(config: Config) -> Iterator[None]:
    """The precision and the devices that a config asks for. The precision ends with the command, the devices stay."""
    _start_devices(config.training.devices)
    with ExitStack() as stack:
        if config.precision.dtype == "float64":
            stack.enter_context(jax.enable_x64(True))
        if config.precision.matmul_precision != "default":
            stack.enter_context(jax.default_matmul_precision(config.precision.matmul_precision))
        yield


def _start_devices(n_devices: int) -> None:
    """Split the CPU into that many devices, unless JAX has started or was given a number already."""
    if n_devices > MOST_DEVICES:
        raise ValueError(f"--devices should be at most {MOST_DEVICES}, got {n_devices}")
    if n_devices > 1 and jax.config.values["jax_num_cpu_devices"] < 1:
        with suppress(RuntimeError):
            jax.config.update("jax_num_cpu_devices", n_devices)


def require_room(net: Layer, prepared: Prepared) -> None:
    """Raises: ValueError for a network whose params alone are more than this machine's memory. Nothing is computed."""
    made = jax.eval_shape(lambda key: init_of(net, key, prepared.problem.shape), jax.random.key(0))
    needed, memory = n_bytes(made.params), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory:
        labels = ""
        if prepared.problem.n_classes is not None:
            labels = f" (it has an output for each label of {prepared.name}, 0 to {prepared.problem.n_classes - 1:,})"
        raise ValueError(
            f"the network would have {size(made.params):,} params, {needed / 2**30:,.0f} GiB, and this machine has "
            f"{memory / 2**30:,.0f} GiB: give it smaller layers{labels}"
        )


def prepare(config: Config, problem: Problem | None = None) -> Prepared:
    """The config's network and data, as its loss and precision want them; `problem` is a run's, where there is one.

    Raises: what `jaxnn.data.load` raises; ValueError if the targets aren't for this network.
    """
    dataset = load(config.data.data, config.data.data_dir, config.data.validation)
    if problem is None:
        problem = _problem(dataset, config)
    net = config.net(problem)
    ready = partial(_split_ready, config=config, problem=problem, net=net, name=dataset.name)
    train = ready(dataset.train)
    validation, test = (None if split is None else ready(split) for split in (dataset.validation, dataset.test))
    return Prepared(net, Path(dataset.name).stem, problem, train[0].dtype, train, validation, test)


def _split_ready(split: Split, config: Config, problem: Problem, net: Layer, name: str) -> Split:
    """Real numbers in the config's precision, integers as they are; labels one-hot where the loss takes numbers, and a
    column where one output says yes or no."""
    x, y = split
    dtype = config.precision.dtype
    if x.dtype.kind not in "iu":
        x = x.astype(dtype)
    if y.dtype.kind == "f":
        y = y.astype(dtype).reshape(len(y), -1)
    elif not config.objective.of_classes:
        y = _one_hot(y, problem.n_out, name).astype(dtype)
    elif config.objective.loss == "sigmoid-cross-entropy" and _has_one_output(net, x.shape[1:]):
        y = y[:, None]
    return x, y


def _has_one_output(net: Layer, shape: Shape) -> bool:
    try:
        return tuple(net.output_shape(shape)) == (1,)
    except (TypeError, ValueError):  # data that the network isn't for are refused by whoever uses them
        return False


def _problem(dataset: Dataset, config: Config) -> Problem:
    x, y = dataset.train
    n_out = int(np.prod(y.shape[1:])) if dataset.n_classes is None else dataset.n_classes
    loss = config.objective.loss
    if loss == "sigmoid-cross-entropy" and dataset.n_classes == 2:
        n_out = 1  # yes or no
    if loss == "softmax-cross-entropy" and n_out == 1 and config.network.model is None:
        if dataset.n_classes is not None:
            raise ValueError(f"{dataset.name} has the label 0 alone: there is nothing to tell apart")
        raise ValueError(
            f"{dataset.name} has a real number for each example, and --loss softmax-cross-entropy is for labels: give "
            "--loss half-squared-error for quantities, --loss sigmoid-cross-entropy for 0 and 1, or save integers"
        )
    return Problem(x.shape[1:], n_out, dataset.n_classes, dataset.scale)


def _one_hot(labels: np.ndarray, n_classes: int, name: str) -> np.ndarray:
    if labels.max() >= n_classes:
        raise ValueError(f"{name} has the label {labels.max()}, and the network {n_classes} outputs: count from 0")
    return np.eye(n_classes)[labels]


def first_batch(config: Config, prepared: Prepared, n_rows: int | None = None) -> Split:
    """The first n_rows training examples, to compare gradients on; None means a mini-batch, at most `COMPARED_ROWS`.

    Raises: ValueError if there aren't that many.
    """
    x, y = prepared.train
    if n_rows is None:
        n_rows = min(config.training.rows_a_step(len(x)) if config.training.loop == "mbgd" else len(x), COMPARED_ROWS)
    if not 0 < n_rows <= len(x):
        raise ValueError(f"--rows {n_rows} is out of range: {prepared.name} has {len(x)} training examples")
    return x[:n_rows], y[:n_rows]
