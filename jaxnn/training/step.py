"""One training step, written once: the gradient over a batch, and a move along it by the update rule.

A `Task` is what a loop is asked to do; `Measured` is what a step measures. On several devices each holds its own share
of the batch, and all take the same step.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnn.arrays import PyTree, as_typed, norm, weighted_mean
from jaxnn.layer import Layer
from jaxnn.mesh_axes import mean_over, n_devices, own_key
from jaxnn.objective.losses import Loss
from jaxnn.training.augment import Augment
from jaxnn.training.evaluation import Metric
from jaxnn.training.examples import Examples
from jaxnn.training.rounding import moved_params
from jaxnn.training.run import Run, rule_in, told
from jaxnn.training.updates import UpdateRule, updated


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["update", "penalty"],
    meta_fields=["net", "loss", "gradient", "metric", "augment", "record", "axis_name"],
)
@dataclass(frozen=True, kw_only=True)
class Task:
    """What every step of a run is asked to do. The numbers of rule and penalty are leaves; the rest is compiled in."""

    net: Layer
    loss: Loss
    gradient: Any
    update: Any
    penalty: PyTree = None
    metric: Metric | None = None
    augment: Augment | None = None
    record: str = "epoch"
    axis_name: str | None = None

    @property
    def rule(self) -> UpdateRule:
        return rule_in(self.update)

    def augmented(self, batch: Examples, key: jax.Array) -> Examples:
        """The examples as a pass with this key sees them; what the network draws from the key stays the same."""
        if self.augment is None:
            return batch
        x, target = self.augment(jax.random.fold_in(key, OF_AUGMENTATION), batch.x, batch.target)
        return Examples(x, target, batch.weights)


OF_AUGMENTATION = 2**32 - 1  # folded into the key; no layer and no step has so high a number


class Measured(NamedTuple):
    """What one step measured: means over its examples, how many they are, and the norm of its gradient."""

    loss: jax.Array
    penalty: jax.Array
    metric: jax.Array | None
    n: jax.Array
    gradient_norm: jax.Array | None


class Means(NamedTuple):
    """Means over a batch, each example with its weight: sum_b w_b v_b / n, as the weights' mean over the set is 1."""

    loss: jax.Array
    penalty: jax.Array
    metric: jax.Array | None
    grads: PyTree


class Direction(NamedTuple):
    """What a step follows: means over its n examples, the state after the pass, and the objective of these examples as
    a function of params, for rules that search along a line.
    """

    means: Means
    state: PyTree
    n: int
    objective: Callable[[PyTree], jax.Array]


def direction_by(means_of: Callable[[Run], tuple[Means, PyTree]], run: Run, n: int) -> Direction:
    """The direction at a run's params, where `means_of` gives the means and the state at those of any run."""

    def objective(params: PyTree) -> jax.Array:
        means, _ = means_of(run._replace(params=params))
        return means.loss + means.penalty

    return Direction(*means_of(run), n, objective)


def take_step(task: Task, run: Run, batch: Examples, n: int | None = None) -> tuple[Run, Measured]:
    """A step along the gradient over a batch, of which each device holds its share.

    n: how many examples the batch has, on all devices together; None: as many as there are rows, without padding.
    """
    n = batch.n * n_devices(task.axis_name) if n is None else n
    return descend(task, run, batch_gradient(task, run, batch, n))


def batch_gradient(task: Task, run: Run, batch: Examples, n: int) -> Direction:
    """The gradient over a batch of n examples, of which each device holds its share."""

    def means_of(run: Run) -> tuple[Means, PyTree]:
        means, state = local_means(task, run, batch, n, jax.random.fold_in(run.keys.noise, run.step))
        return mean_over(means, task.axis_name), state

    return direction_by(means_of, run, n)


def local_means(task: Task, run: Run, batch: Examples, n: int, key: jax.Array) -> tuple[Means, PyTree]:
    """This device's part of the means over a batch of n examples, and the state: the means are the parts' own mean.

    So each part is the sum over its rows divided by n / devices, whatever their weights are and however many of them
    are padding. Where rows couple over devices, all cotangents have one scale.
    """
    gradient = task.gradient(task.net, task.loss, penalty=task.penalty)
    key = own_key(key, task.axis_name)
    x, target, weights = task.augmented(batch, key)
    total = n / n_devices(task.axis_name)
    weighted = {} if weights is None else {"weights": weights, "total": total}
    result = gradient(run.params, run.state, x, target, key=key, **weighted)
    metric = None if task.metric is None else weighted_mean(task.metric(result.outputs, target), weights, total)
    return Means(result.loss, result.penalty, metric, result.grads), result.state


def descend(task: Task, run: Run, direction: Direction) -> tuple[Run, Measured]:
    """One step along a gradient, by the update rule."""
    means, state, n, objective = direction
    grads = as_typed(means.grads, run.params)
    extra = {"value": means.loss + means.penalty, "grad": grads, "value_fn": objective}
    with jax.named_scope("update"), told(task.rule, "update"):
        updates, update_state = updated(task.rule, grads, run.update_state, run.params, **extra)
        run = moved(run, updates, update_state, state)
    gradient_norm = norm(means.grads) if task.record == "step" else None
    return run, Measured(means.loss, means.penalty, means.metric, jnp.asarray(n, means.loss.dtype), gradient_norm)


def moved(run: Run, updates: PyTree, update_state: PyTree, state: PyTree) -> Run:
    """The run after one more step."""
    params, rounding = moved_params(run.params, run.rounding, updates)
    run = run._replace(params=params, rounding=rounding, update_state=update_state)
    return run._replace(state=as_typed(state, run.state), step=run.step + 1)
