"""A trained network on data: its outputs, its loss, and how often it is right; in chunks, so that memory is bounded."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnn.arrays import PyTree, is_floating, is_integer, is_traced, require_positive, weighted_mean, widened
from jaxnn.layer import Layer, forward_of, require_layer
from jaxnn.objective.losses import Loss
from jaxnn.training.examples import Examples, checked, features

Metric = Callable[[jax.Array, jax.Array], jax.Array]
CHUNK_SIZE = 1024


class Evaluation(NamedTuple):
    """Means over the examples, weighted where they have weights; metric is None where none was asked for."""

    loss: jax.Array
    metric: jax.Array | None


def accuracy(outputs: jax.Array, target: jax.Array) -> jax.Array:
    """1 where the largest output is the target's class, 0 elsewhere and where an output is NaN.

    One output is the logit of yes against no, as `SigmoidCrossEntropy` takes it: it is right where it is positive and
    the target 1, or not and 0.

    Shapes: outputs (B, K), target integer (B,) or a distribution (B, K) -> (B,). A metric: one value per example.
    Raises: ValueError if there are no classes to compare.

    >>> accuracy(jnp.array([[0.1, 0.9], [0.8, 0.2]]), jnp.array([1, 1]))
    Array([1., 0.], dtype=float32)
    >>> accuracy(jnp.array([[2.0], [-1.0]]), jnp.array([[1], [1]]))
    Array([1., 0.], dtype=float32)
    """
    if outputs.ndim != 2:
        raise ValueError(
            f"accuracy compares classes and needs outputs (B, K), got {outputs.shape}: pass metric=None, or a function "
            "(outputs, target) -> (B,)"
        )
    if outputs.shape[1] == 1:
        if target.shape not in ((len(outputs),), outputs.shape):
            raise ValueError(f"accuracy: targets of one output should be (B,) or (B, 1), got {target.shape}")
        chosen, label = outputs[:, 0] > 0, target.reshape(-1).astype(outputs.dtype) > 0.5
    else:
        chosen = jnp.argmax(outputs, axis=1)
        label = (target if target.ndim == 1 else jnp.argmax(target, axis=1)).astype(chosen.dtype)
    return ((chosen == label) & ~jnp.isnan(outputs).any(axis=1)).astype(outputs.dtype)


def metric_for(metric: Metric | str | None, net: Layer, loss: Loss, data: Examples) -> Metric | None:
    """The metric that is asked for; "auto" is accuracy where targets are classes, and none where they are quantities.

    Classes are integer labels (B,); rows with a single 1 beside zeros; and, to a loss of classes (one that says
    `n_classes`), distributions (B, K), and 0 and 1 for one output. To such a loss targets that have no value yet,
    inside somebody's own program, are classes too.
    Raises: ValueError for another string.
    """
    if not isinstance(metric, str):
        return metric
    if metric != "auto":
        raise ValueError(f'metric should be a function (outputs, target) -> (B,), None or "auto", got {metric!r}')
    output_shape, target = net.output_shape(data.x.shape[1:]), data.target
    if len(output_shape) != 1:
        return None
    if target.ndim == 1 and is_integer(target) and hasattr(loss, "n_classes"):
        return accuracy
    return accuracy if _are_classes(target, output_shape[0], hasattr(loss, "n_classes")) else None


@jax.ensure_compile_time_eval()
def _are_classes(target: Any, n_outputs: int, to_the_loss: bool) -> bool:
    if is_traced(target):
        return to_the_loss
    if n_outputs == 1:
        return to_the_loss and bool(((target == 0) | (target == 1)).all())
    if target.ndim != 2:
        return False
    parts = (target >= 0) if to_the_loss else (target == 0) | (target == 1)
    if is_floating(target):
        rounding = 8 * math.sqrt(n_outputs) * float(jnp.finfo(target.dtype).eps)
        sums_to_1 = abs(widened(target).sum(axis=1) - 1) <= rounding
    else:
        sums_to_1 = target.sum(axis=1) == 1
    return bool((parts.all(axis=1) & sums_to_1).all())


def predict(net: Layer, params: PyTree, state: PyTree, x: Any, *, chunk_size: int = CHUNK_SIZE) -> jax.Array:
    """The network's outputs in evaluation mode, `chunk_size` examples at a time.

    Shapes: x (n, ...) -> (n, *output_shape).
    Raises: ValueError if x is empty, not finite, or not of the shape the params were made for.
    """
    require_positive("chunk_size", chunk_size)
    require_layer("predict", net)
    return _outputs(params, state, features(x), net=net, chunk_size=chunk_size)


def evaluate(
    net: Layer,
    loss: Loss,
    params: PyTree,
    state: PyTree,
    data: Any,
    *,
    metric: Metric | str | None = "auto",
    chunk_size: int = CHUNK_SIZE,
) -> Evaluation:
    """Mean loss (without penalty) and mean metric on data (x, target) or (x, target, weights), in evaluation mode.

    metric: (outputs, target) -> one value per example; None for none; "auto": accuracy, if there are classes.
    Raises: what `examples.checked` raises for bad data.
    """
    require_positive("chunk_size", chunk_size)
    examples = checked(data, net, loss)
    metric = metric_for(metric, net, loss, examples)
    return _evaluation(params, state, examples, net=net, loss=loss, metric=metric, chunk_size=chunk_size)


@partial(jax.jit, static_argnames=("net", "chunk_size"))
def _outputs(params: PyTree, state: PyTree, x: jax.Array, *, net: Layer, chunk_size: int) -> jax.Array:
    def outputs(x: jax.Array) -> jax.Array:
        return forward_of(net, params, state, x).y

    n = x.shape[0]
    if n <= chunk_size:
        return outputs(x)
    rest = n % chunk_size
    starts = jnp.arange(0, n - rest, chunk_size)
    chunks = jax.lax.map(lambda start: outputs(jax.lax.dynamic_slice_in_dim(x, start, chunk_size)), starts)
    whole = chunks.reshape(-1, *chunks.shape[2:])
    return jnp.concatenate([whole, outputs(x[n - rest :])]) if rest else whole


@partial(jax.jit, static_argnames=("net", "loss", "metric", "chunk_size"))
def _evaluation(
    params: PyTree,
    state: PyTree,
    examples: Examples,
    *,
    net: Layer,
    loss: Loss,
    metric: Metric | None,
    chunk_size: int,
) -> Evaluation:
    outputs = _outputs(params, state, examples.x, net=net, chunk_size=chunk_size)
    values, _ = loss.forward(outputs, examples.target)
    measured = None if metric is None else weighted_mean(metric(outputs, examples.target), examples.weights)
    return Evaluation(weighted_mean(values, examples.weights), measured)
