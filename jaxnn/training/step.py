"""One training step, written once: the gradient over a batch, and a move along it by the update rule.

A `Task` is what a loop is asked to do; `Measured` is what a step measures. On several devices each holds its own share
of the batch, and all take the same step.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnn.arrays import PyTree, norm, scaled, weighted_mean
from jaxnn.layer import Layer, couples_batch
from jaxnn.mesh_axes import mean_over, own_key, pooled
from jaxnn.objective.losses import Loss
from jaxnn.training.augment import Augment
from jaxnn.training.evaluation import Metric
from jaxnn.training.examples import Examples
from jaxnn.training.run import Run, rule_in
from jaxnn.training.updates import UpdateRule, apply_updates


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
    """What one step measured: means over its examples, the sum of their weights, and the norm of its gradient."""

    loss: jax.Array
    penalty: jax.Array
    metric: jax.Array | None
    weight: jax.Array
    gradient_norm: jax.Array | None


class Means(NamedTuple):
    """Weighted means over some examples."""

    loss: jax.Array
    penalty: jax.Array
    metric: jax.Array | None
    grads: PyTree


class Direction(NamedTuple):
    """What a step follows: means over its examples, the sum of their weights, and the state after the pass."""

    means: Means
    weight: jax.Array
    state: PyTree


def take_step(task: Task, run: Run, batch: Examples) -> tuple[Run, Measured]:
    """A step along the gradient over a batch, of which each device holds its share."""
    return descend(task, run, batch_gradient(task, run, batch))


def batch_gradient(task: Task, run: Run, batch: Examples) -> Direction:
    """The gradient over a batch, of which each device holds its share."""
    means, weight, state = local_gradient(task, run, batch, jax.random.fold_in(run.keys.noise, run.step))
    if task.axis_name is not None:
        means, weight = pooled(scaled(weight, means), weight, task.axis_name)
    return Direction(means, weight, state)


def local_gradient(task: Task, run: Run, batch: Examples, key: jax.Array) -> Direction:
    """The gradient over the examples that this device holds."""
    gradient = task.gradient(task.net, task.loss, penalty=task.penalty)
    key = own_key(key, task.axis_name)
    x, target, weights = task.augmented(batch, key)
    # Where rows couple across devices, each device's cotangents enter the others' gradients: one scale for all.
    coupled_axis = task.axis_name if couples_batch(task.net) else None
    scale = {} if coupled_axis is None else {"axis_name": coupled_axis}
    result = gradient(run.params, run.state, x, target, key=key, weights=weights, **scale)
    total = None if weights is None else mean_over(jnp.sum(weights), coupled_axis)
    metric = None if task.metric is None else weighted_mean(task.metric(result.outputs, target), weights, total)
    weight = jnp.asarray(batch.n if total is None else total, result.loss.dtype)
    return Direction(Means(result.loss, result.penalty, metric, result.grads), weight, result.state)


def descend(task: Task, run: Run, direction: Direction) -> tuple[Run, Measured]:
    """One step along a gradient, by the update rule."""
    means, weight, state = direction
    with jax.named_scope("update"):
        updates, update_state = task.rule.update(means.grads, run.update_state, run.params)
        run = moved(run, updates, update_state, state)
    gradient_norm = norm(means.grads) if task.record == "step" else None
    return run, Measured(means.loss, means.penalty, means.metric, weight, gradient_norm)


def moved(run: Run, updates: PyTree, update_state: PyTree, state: PyTree) -> Run:
    """The run after one more step."""
    params = apply_updates(run.params, updates)
    return run._replace(params=params, state=state, update_state=update_state, step=run.step + 1)
