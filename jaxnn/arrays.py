"""Arrays and trees of arrays: the names of their types, their arithmetic, and the wording of errors about them."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import jax
import jax.numpy as jnp

PyTree = Any
Shape = tuple[int, ...]
T = TypeVar("T", bound=Hashable)


@jax.tree_util.register_static
@dataclass(frozen=True)
class Static(Generic[T]):
    """A hashable value that travels inside a tree of arrays without becoming one.

    A bare Python number leaves `jax.jit` as an array; a `Static` is part of the tree's structure.

    >>> jax.jit(lambda box: box)(Static("train"))
    Static(value='train')
    """

    value: T


def default_float(dtype: Any = None) -> jnp.dtype:
    """The dtype asked for, or JAX's default float: float32, float64 under `jax.enable_x64`."""
    return jnp.dtype(jnp.result_type(float) if dtype is None else dtype)


def is_floating(x: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(x), jnp.floating)


def is_integer(x: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(x), jnp.integer)


def scaled(factor: Any, tree: PyTree) -> PyTree:
    """factor * tree; the factor takes each leaf's dtype, so a float32 rate moves bfloat16 weights."""
    return jax.tree.map(lambda leaf: jnp.asarray(factor, leaf.dtype) * leaf, tree)


def added(a: PyTree, b: PyTree) -> PyTree:
    return jax.tree.map(jnp.add, a, b)


def zeros_like(tree: PyTree) -> PyTree:
    return jax.tree.map(jnp.zeros_like, tree)


def norm(tree: PyTree) -> jax.Array:
    """The Euclidean norm of all the numbers in a tree, as one vector; 0 for a tree without any."""
    squares = [jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(tree)]
    return jnp.sqrt(sum(squares[1:], squares[0])) if squares else jnp.zeros((), default_float())


def size(tree: PyTree) -> int:
    """How many numbers a tree holds."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def n_bytes(tree: PyTree) -> int:
    """How many bytes a tree's arrays take."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def is_traced(tree: PyTree) -> bool:
    """Whether some leaf has no value yet, so that the host can't look at it."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))


def require_floating(owner: object, x: Any) -> None:
    if not is_floating(x):
        raise TypeError(
            f"{owner}: x should be floating, got {jnp.result_type(x)}: "
            "put Rescale(scale) before it, or convert x with x.astype(float)"
        )


def require_features(owner: object, shape: Shape, n_in: int) -> None:
    """The last axis of x is the one a layer's weights were made for."""
    if not shape or shape[-1] != n_in:
        raise ValueError(
            f"{owner}: the last axis of x should have {n_in} features, as its params have, got x of shape {shape}: "
            "check the data, or make the params anew with net.init(key, shape of one example)"
        )


def require_key(owner: object, key: Any) -> None:
    if key is None:
        raise ValueError(
            f"{owner}: needs a key in training and got none: pass key=jax.random.key(seed), or train=False"
        )
