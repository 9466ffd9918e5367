"""The layers of a network one after another, each with the shapes of its forward pass: what tables of layers show.

Nothing is computed: `jax.eval_shape` takes shapes and dtypes alone through the network.
"""

from collections.abc import Generator, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnn.arrays import PyTree, Shape
from jaxnn.layer import Forward, Layer, Path, forward_of, init_of, is_composite, says


class Arguments(NamedTuple):
    """What a forward pass takes, or the shapes and dtypes of it."""

    params: PyTree
    state: PyTree
    x: Any
    key: Any


class AtWork(NamedTuple):
    """A layer of a network and its forward pass in training, in shapes and dtypes."""

    path: Path
    layer: Layer
    arguments: Arguments
    result: Forward


def one_by_one(net: Layer, shape: Shape, n_rows: int, dtype: Any = None) -> Iterator[AtWork]:
    """The layers of a network in forward order, on a training batch of `n_rows` examples of a shape and dtype.

    A composite that says `in_series` is taken apart into its children; any other layer is one.

    >>> import jaxnn
    >>> net = jaxnn.Serial(jaxnn.Dense(3), jaxnn.Residual(jaxnn.Dense(3)))
    >>> [(layer, forward.y.shape) for _, layer, _, forward in one_by_one(net, (4,), n_rows=10)]
    [(Dense(3), (10, 3)), (Residual(Dense(3)), (10, 3))]
    """
    yield from _one_by_one((), net, batch(shape, n_rows, dtype))


def _one_by_one(path: Path, layer: Any, x: Any) -> Generator[AtWork, None, Any]:
    """Yields the layers and returns the shape of y."""
    if is_composite(layer) and says(layer, "in_series") and layer.in_series:
        for key, child in layer.children:
            x = yield from _one_by_one((*path, key), child, x)
        return x
    work = at_work(path, layer, x)
    yield work
    return work.result.y


def at_work(path: Path, layer: Layer, x: Any) -> AtWork:
    """A layer's forward pass in training on x, in shapes and dtypes."""
    key = jax.eval_shape(lambda: jax.random.key(0))
    params, state = jax.eval_shape(lambda key: init_of(layer, key, x.shape[1:]), key)
    arguments = Arguments(params, state, x, key)
    return AtWork(path, layer, arguments, jax.eval_shape(lambda *arguments: forward(layer, *arguments), *arguments))


def forward(layer: Layer, params: PyTree, state: PyTree, x: Any, key: Any) -> Forward:
    """A layer's forward pass in training."""
    return forward_of(layer, params, state, x, key=key, train=True)


def batch(shape: Shape, n_rows: int, dtype: Any = None) -> jax.ShapeDtypeStruct:
    """A batch of `n_rows` examples; dtype None is JAX's default float."""
    return jax.ShapeDtypeStruct((n_rows, *shape), jnp.result_type(float) if dtype is None else dtype)
