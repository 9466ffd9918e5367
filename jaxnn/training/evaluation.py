"""A trained network on data: its outputs, its loss, and how often it is right; in chunks, so that memory is bounded."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnn.arrays import PyTree, require_positive, weighted_mean
from jaxnn.layer import Layer, require_layer
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

    Shapes: outputs (B, K), target integer (B,) or a distribution (B, K) -> (B,). A metric: one value per example.
    Raises: ValueError if there are no classes to compare.

    >>> accuracy(jnp.array([[0.1, 0.9], [0.8, 0.2]]), jnp.array([1, 1]))
    Array([1., 0.], dtype=float32)
    """
    if outputs.ndim != 2 or outputs.shape[1] < 2:
        raise ValueError(
            f"accuracy compares classes and needs outputs (B, K) with K at least 2, got {outputs.shape}: "
            "pass metric=None, or a function (outputs, target) -> (B,)"
        )
    labels = target if target.ndim == 1 else jnp.argmax(target, axis=1)
    chosen = jnp.argmax(outputs, axis=1)
    right = (chosen == labels.astype(chosen.dtype)) & ~jnp.isnan(outputs).any(axis=1)
    return right.astype(outputs.dtype)


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
    metric: Metric | None = accuracy,
    chunk_size: int = CHUNK_SIZE,
) -> Evaluation:
    """Mean loss (without penalty) and mean metric on data (x, target) or (x, target, weights), in evaluation mode.

    Raises: what `examples.checked` raises for bad data.
    """
    require_positive("chunk_size", chunk_size)
    examples = checked(data, net, loss)
    return _evaluation(params, state, examples, net=net, loss=loss, metric=metric, chunk_size=chunk_size)


@partial(jax.jit, static_argnames=("net", "chunk_size"))
def _outputs(params: PyTree, state: PyTree, x: jax.Array, *, net: Layer, chunk_size: int) -> jax.Array:
    def outputs(x: jax.Array) -> jax.Array:
        return net.forward(params, state, x).y

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
