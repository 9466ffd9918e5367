"""How the epochs of a run become one compiled program."""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.arrays import is_floating, is_traced, kind_of, params_dtype, require_positive, weighted_mean, wide_dtype
from jaxnn.layer import require_hashable
from jaxnn.mesh_axes import varying_like
from jaxnn.objective.penalties import Penalty, penalties
from jaxnn.training.augment import require_augment
from jaxnn.training.epochs import Epoch
from jaxnn.training.evaluation import evaluate
from jaxnn.training.examples import Examples
from jaxnn.training.run import (
    History,
    Run,
    as_argument,
    first_state,
    real,
    require_counted,
    require_node,
    require_run,
    require_single,
    rule_in,
    start,
)
from jaxnn.training.step import Measured, Task


def run_epochs(
    epoch: Epoch, task: Task, data: Examples, validation: Examples | None, *, key: Any, run: Run | None, epochs: int
) -> tuple[Run, History]:
    """Check what can be checked on the host, then do all epochs in one compiled program."""
    require_positive("epochs", epochs)
    epochs = int(epochs)
    require_counted(epochs, epoch.n_steps(data.n))
    if run is not None:
        require_run(run)
    if (run is None) == (key is None):
        raise ValueError(
            "a run needs a key to start from, or a run to go on with, which has its own keys: pass either "
            "key=jax.random.key(seed) or run="
        )
    task = _ready(task)
    if run is None:
        dtype = data.x.dtype if is_floating(data.x) else None
        run = start(task.net, data.x.shape[1:], key=key, update=task.update, dtype=dtype)
    else:
        _require_rule_of(run, task.update)
    _require_augmented(task, data, run.keys.noise)
    capacity = _capacity(epochs, epoch.n_steps(data.n) if task.record == "step" else 1)
    # Inside somebody's own program nothing is gained by sharing one, and a loop of known length can be differentiated.
    program = _trained_so_often if is_traced((run, task, data, validation)) else _trained
    run, history = program(run, task, data, validation, epochs, epoch=epoch, capacity=capacity)
    return run, jax.tree.map(lambda column: column[:epochs], history)


def _all_epochs(
    run: Run,
    task: Task,
    data: Examples,
    validation: Examples | None,
    epochs: Any,
    *,
    epoch: Epoch,
    capacity: int,
) -> tuple[Run, History]:

    def body(i: jax.Array, carry: tuple[Run, History]) -> tuple[Run, History]:
        run, history = carry
        run, steps = epoch(task, run, data)
        run = run._replace(epoch=run.epoch + 1)
        row = _row(task, run, steps, validation)
        return run, jax.tree.map(lambda column, entry: column.at[i].set(entry.astype(column.dtype)), history, row)

    history = _blank(task, run, validation, epoch.n_steps(data.n), capacity)
    carried = {name: getattr(run, name) for name in ("params", "state", "update_state", "rounding")}
    carried, history = varying_like((carried, history), (run, task))
    run = run._replace(**carried)
    return jax.lax.fori_loop(0, epochs, body, (run, history))


# The number of epochs is an argument, not a shape, so that another number recompiles nothing.
_trained = jax.jit(_all_epochs, static_argnames=("epoch", "capacity"))
_trained_so_often = jax.jit(_all_epochs, static_argnames=("epoch", "capacity", "epochs"))


def _row(task: Task, run: Run, steps: Measured, validation: Examples | None) -> History:
    """An epoch's entry in the history, from the columns (steps,) of what its steps measured."""
    mean = partial(weighted_mean, weights=steps.n)
    held_out = None
    if validation is not None:
        held_out = evaluate(task.net, task.loss, run.params, run.state, validation, metric=task.metric)
    each_step = task.record == "step"
    return History(
        loss=mean(steps.loss),
        penalty=mean(steps.penalty),
        metric=None if steps.metric is None else mean(steps.metric),
        validation_loss=None if held_out is None else held_out.loss,
        validation_metric=None if held_out is None else held_out.metric,
        step_loss=steps.loss if each_step else None,
        step_gradient_norm=steps.gradient_norm if each_step else None,
    )


def _blank(task: Task, run: Run, validation: Examples | None, n_steps: int, capacity: int) -> History:
    """A history with room for `capacity` epochs."""
    dtype = wide_dtype(params_dtype(run.params))
    column, steps = jnp.zeros(capacity, dtype), jnp.zeros((capacity, n_steps), dtype)
    with_metric, each_step = task.metric is not None, task.record == "step"
    return History(
        loss=column,
        penalty=column,
        metric=column if with_metric else None,
        validation_loss=None if validation is None else column,
        validation_metric=column if with_metric and validation is not None else None,
        step_loss=steps if each_step else None,
        step_gradient_norm=steps if each_step else None,
    )


CALLS = {"gradient": "gradient(net, loss, penalty=penalty)", "metric": "metric(outputs, target)"}


def _ready(task: Task) -> Task:
    """The task as an argument of the program, after checking its parts."""
    if task.record not in ("epoch", "step"):
        raise ValueError(f'record should be "epoch" or "step", got {task.record!r}')
    for name in ("gradient", "metric", "augment"):
        require_hashable(name, getattr(task, name))
    for name, call in CALLS.items():
        part = getattr(task, name)
        if not callable(part) and part is not None:
            raise TypeError(f"{name} should be a function, called as {call}, got {part!r}")
    for penalty in penalties(task.penalty):
        if isinstance(penalty, type) or not isinstance(penalty, Penalty):
            raise TypeError(f"penalty should be such as l2(1e-4), or a tuple of them, got {kind_of(penalty)}")
        require_node("penalty", penalty)
        require_single("penalty", penalty)
    update = as_argument(task.update, task.net)
    require_single("update", rule_in(update))
    return replace(task, update=update, penalty=real(task.penalty))


def _require_rule_of(run: Run, update: Any) -> None:
    """Refuse a run that was made with another kind of rule, since each kind carries its own state."""
    expected = jax.tree.structure(jax.eval_shape(first_state, update, run.params))
    if jax.tree.structure(run.update_state) != expected:
        raise ValueError(
            "this run was made with another kind of update rule or schedule: go on with that one, or begin the new "
            "rule's state with run._replace(update_state=update.init(run.params))"
        )


def _require_augmented(task: Task, data: Examples, key: jax.Array) -> None:
    """Refuse augmentation that changes x's shape or dtype, or makes targets that the loss doesn't take."""
    if task.augment is None:
        return
    require_augment("augment", task.augment)
    x, target, _ = jax.eval_shape(task.augmented, data, key)
    if (x.shape, x.dtype) != (data.x.shape, data.x.dtype):
        raise ValueError(
            f"augment: {task.augment} makes {x.dtype}{list(x.shape)} of x, which is {data.x.dtype}"
            f"{list(data.x.shape)}: the network and its evaluation want examples of one kind, so keep shape and dtype"
        )
    task.loss.check(target, task.net.output_shape(x.shape[1:]))


def _capacity(epochs: int, n_numbers: int) -> int:
    """Room for 1024 epochs, or the next power of two: histories of many lengths share one program.

    Where an epoch has many numbers (record="step"), less: for 2^20 of them, or the next power of two of epochs.
    """
    room = max(1, 2**20 // n_numbers)
    return max(min(1024, 1 << (room.bit_length() - 1)), 1 << (epochs - 1).bit_length())
