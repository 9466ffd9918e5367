"""What a training run is, and how its epochs become one compiled program."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.arrays import PyTree, Shape, Static, is_floating, is_traced, params_dtype, require_positive, weighted_mean
from jaxnn.layer import Layer
from jaxnn.mesh_axes import varying_like
from jaxnn.objective.losses import Loss
from jaxnn.objective.penalties import penalties
from jaxnn.training.augment import Augment, require_augment
from jaxnn.training.evaluation import Metric, evaluate
from jaxnn.training.examples import Examples, checked_splits
from jaxnn.training.updates import UpdateRule


class Keys(NamedTuple):
    """The three sources of chance in a run: initial params, order of the examples, noise (dropout, augmentation)."""

    init: jax.Array
    order: jax.Array
    noise: jax.Array

    @staticmethod
    def of(key: "jax.Array | Keys") -> "Keys":
        """The keys of a run that is given one key; `Keys` are passed on as they are.

        Raises: TypeError if it isn't a typed key.
        """
        if isinstance(key, Keys):
            return key
        if not isinstance(key, jax.Array) or not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
            raise TypeError(f"key should be a typed key, jax.random.key(seed), got a {type(key).__name__}")
        return Keys(*jax.random.split(key, 3))


class Run(NamedTuple):
    """What is carried. Given back to a loop as `run=`, it goes on with the same bits as if it had never stopped."""

    params: PyTree
    state: PyTree
    update_state: PyTree
    keys: Keys
    epoch: jax.Array
    step: jax.Array


class History(NamedTuple):
    """What may be looked at: columns of shape (epochs,), and None for what wasn't asked for.

    loss, metric: weighted means over the epoch's examples, each at the params it met and without the penalty, which is
    a column of its own; validation_loss, validation_metric: at the params after the epoch. With record="step" also
    step_loss and step_gradient_norm, (epochs, steps).
    """

    loss: jax.Array
    penalty: jax.Array
    metric: jax.Array | None
    validation_loss: jax.Array | None
    validation_metric: jax.Array | None
    step_loss: jax.Array | None
    step_gradient_norm: jax.Array | None


class Step(NamedTuple):
    """What one step measured: means over its examples, the sum of their weights, and the norm of its gradient."""

    loss: jax.Array
    penalty: jax.Array
    metric: jax.Array | None
    weight: jax.Array
    gradient_norm: jax.Array | None


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["update", "penalty"],
    meta_fields=["net", "loss", "gradient", "metric", "record", "axis_name", "batch_size", "shuffle", "augment"],
)
@dataclass(frozen=True)
class Task:
    """What a run is asked to do. The numbers of rule and penalty are leaves; all else is compiled in."""

    net: Layer
    loss: Loss
    gradient: Any
    update: Any
    penalty: PyTree
    metric: Metric | None
    record: str
    axis_name: str | None
    batch_size: Any
    shuffle: bool
    augment: Augment | None

    @property
    def rule(self) -> UpdateRule:
        return _rule(self.update)

    def augmented(self, batch: Examples, key: jax.Array) -> Examples:
        """The examples as a pass of this key sees them; what the network draws from the key stays as it would be."""
        if self.augment is None:
            return batch
        x, target = self.augment(jax.random.fold_in(key, OF_AUGMENTATION), batch.x, batch.target)
        return Examples(x, target, batch.weights)


OF_AUGMENTATION = 2**32 - 1  # a fold of the key that no layer and no step can have: none has so high a number


Epoch = Callable[[Task, Run, Examples], tuple[Run, Step]]


def start(net: Layer, shape: Shape, *, key: jax.Array | Keys, update: UpdateRule, dtype: Any = None) -> Run:
    """A run that has not made a step: fresh params for examples of a shape, and the rule's first state.

    Loops start one themselves; to begin from other params, give them `start(...)._replace(params=...)` as `run`.
    """
    return _started(Keys.of(key), as_argument(update), net=net, shape=tuple(shape), dtype=dtype)


@partial(jax.jit, static_argnames=("net", "shape", "dtype"))
def _started(keys: Keys, update: Any, *, net: Layer, shape: Shape, dtype: Any) -> Run:
    params, state = net.init(keys.init, shape, dtype)
    zero = jnp.zeros((), jnp.int32)
    return Run(params, state, _first_state(update, params), keys, zero, zero)


def run_epochs(
    one_epoch: Epoch,
    task: Task,
    data: Any,
    validation: Any,
    *,
    key: Any,
    run: Run | None,
    epochs: int,
    n_steps: int,
) -> tuple[Run, History]:
    """Check what can be checked on the host, then do all epochs in one compiled program."""
    require_positive("epochs", epochs)
    if task.record not in ("epoch", "step"):
        raise ValueError(f'record should be "epoch" or "step", got {task.record!r}')
    _require_parts(task)
    task = replace(task, update=as_argument(task.update), penalty=_real(task.penalty))
    data, validation = checked_splits(data, validation, task.net, task.loss)
    shape = data.x.shape[1:]
    if (run is None) == (key is None):
        raise ValueError(
            "a run needs a key to start from, or a run to go on with, which has its own keys: pass either "
            "key=jax.random.key(seed) or run="
        )
    if run is None:
        run = start(task.net, shape, key=key, update=task.update, dtype=data.x.dtype if is_floating(data.x) else None)
    else:
        _require_rule_of(run, task.update)
    _require_augmented(task, data, run.keys.noise)
    capacity = _capacity(epochs) if task.record == "epoch" else epochs
    run, history = _trained(
        run, task, data, validation, epochs, one_epoch=one_epoch, n_steps=n_steps, capacity=capacity
    )
    return run, jax.tree.map(lambda column: _first(epochs, column), history)


@partial(jax.jit, static_argnames=("one_epoch", "n_steps", "capacity"))
def _trained(
    run: Run,
    task: Task,
    data: Examples,
    validation: Examples | None,
    epochs: jax.Array,
    *,
    one_epoch: Epoch,
    n_steps: int,
    capacity: int,
) -> tuple[Run, History]:
    """The number of epochs is an argument, not a shape, so that another number compiles nothing."""

    def body(i: jax.Array, carry: tuple[Run, History]) -> tuple[Run, History]:
        run, history = carry
        run, steps = one_epoch(task, run, data)
        run = run._replace(epoch=run.epoch + 1)
        row = _row(task, run, steps, validation)
        return run, jax.tree.map(lambda column, entry: column.at[i].set(entry.astype(column.dtype)), history, row)

    history = _blank(task, run, validation, n_steps, capacity)
    learned = run.params, run.state, run.update_state
    (params, state, update_state), history = varying_like((learned, history), (run, task))
    run = run._replace(params=params, state=state, update_state=update_state)
    return jax.lax.fori_loop(0, epochs, body, (run, history))


def _row(task: Task, run: Run, steps: Step, validation: Examples | None) -> History:
    """An epoch's entry in the history, from the columns (steps,) of what its steps measured."""
    mean = partial(weighted_mean, weights=steps.weight)
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


def _blank(task: Task, run: Run, validation: Any, n_steps: int, capacity: int) -> History:
    """A history with room for `capacity` epochs."""
    dtype = params_dtype(run.params)
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


def _require_rule_of(run: Run, update: Any) -> None:
    """A run goes on with the rule that it was made for: another one carries another state."""
    expected = jax.tree.structure(jax.eval_shape(_first_state, update, run.params))
    if jax.tree.structure(run.update_state) != expected:
        raise ValueError(
            "this run was made with another kind of update rule or schedule: go on with that one, or begin the new "
            "rule's state with run._replace(update_state=update.init(run.params))"
        )


def _first_state(update: Any, params: PyTree) -> PyTree:
    """A rule's state before its first step. A function of the module, so that JAX remembers its trace."""
    return _rule(update).init(params)


def _rule(update: Any) -> UpdateRule:
    return update.value if isinstance(update, Static) else update


def _require_parts(task: Task) -> None:
    """Rule and penalties that are what they should be, and not bare numbers."""
    if not hasattr(task.rule, "init") or not hasattr(task.rule, "update"):
        raise TypeError(
            f"update should be an update rule such as gradient_descent(0.1), got a {type(task.rule).__name__}"
        )
    for penalty in penalties(task.penalty):
        if not hasattr(penalty, "value") or not hasattr(penalty, "gradient"):
            raise TypeError(f"penalty should be such as l2(1e-4), or a tuple of them, got a {type(penalty).__name__}")


def _require_augmented(task: Task, data: Examples, key: jax.Array) -> None:
    """Augmentation leaves x's shape and dtype as they are, and makes targets that the loss takes."""
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


def _capacity(epochs: int) -> int:
    """Room for 1024 epochs, or the next power of two: histories of many lengths share one program."""
    return max(1024, 1 << (epochs - 1).bit_length())


def _first(epochs: int, column: jax.Array) -> jax.Array:
    """The epochs that were run. On the host where there are values, because slicing on the device compiles."""
    return column[:epochs] if is_traced(column) else jax.device_put(np.asarray(column)[:epochs])


def as_argument(update: Any) -> Any:
    """A rule as an argument of a compiled program: its numbers are leaves, optax's functions part of the structure."""
    if isinstance(update, Static):
        return update
    if any(callable(leaf) for leaf in jax.tree.leaves(update)):
        return Static(update)
    return _real(update)


def _real(tree: PyTree) -> PyTree:
    """Python ints as floats: 1 and 0.5 are then the same kind of learning rate, and share one program."""
    return jax.tree.map(lambda leaf: float(leaf) if isinstance(leaf, int) else leaf, tree)
