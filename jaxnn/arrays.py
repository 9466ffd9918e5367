"""Arrays and trees of arrays: the names of their types, their arithmetic, and the wording of errors about them."""

from collections.abc import Hashable
from dataclasses import dataclass, fields
from typing import Any, Generic, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

PyTree = Any
Shape = tuple[int, ...]
T = TypeVar("T", bound=Hashable)
C = TypeVar("C")


@jax.tree_util.register_static
@dataclass(frozen=True)
class Static(Generic[T]):
    """A hashable value that travels inside a tree of arrays without becoming one.

    A bare Python number leaves `jax.jit` as an array; a `Static` is part of the tree's structure.

    >>> jax.jit(lambda box: box)(Static("train"))
    Static(value='train')
    """

    value: T


# `dataclasses.field(default=..., metadata=STATIC)` marks a field of a `register_node` class as part of the structure: a
# hashable value, not a number.
STATIC = {"static": True}


def register_node(cls: type[C]) -> type[C]:
    """A class decorator that makes a dataclass a pytree: fields are children, and no other class has its structure.

    The latter is what `jax.tree_util.register_dataclass` lacks, in JAX 0.10 to 0.12: there the structures of any two
    classes with equally many fields are equal, and only their hashes differ. Where two of these meet in `jax.jit`'s
    table, one class's program runs for the other: on 0.10 for about fifteen of a hundred classes given to one function.
    A field with the metadata {"static": True} is part of the structure, and left out of the repr at its default.

    >>> import jaxnn
    >>> jax.tree.structure(jaxnn.l1(0.1)) == jax.tree.structure(jaxnn.l2(0.1))
    False
    """
    static = [field for field in fields(cls) if field.metadata.get("static")]  # type: ignore[arg-type]
    names = [field.name for field in fields(cls) if field not in static]  # type: ignore[arg-type]

    def flatten(node: Any) -> tuple[list, tuple]:
        return [getattr(node, name) for name in names], tuple(getattr(node, field.name) for field in static)

    def flatten_with_keys(node: Any) -> tuple[list, tuple]:
        children, structure = flatten(node)
        return [(jax.tree_util.GetAttrKey(name), child) for name, child in zip(names, children, strict=True)], structure

    def unflatten(structure: tuple, children: Any) -> Any:
        values = dict(zip(names, children, strict=True))
        return cls(**values, **{field.name: value for field, value in zip(static, structure, strict=True)})

    def short_repr(node: Any) -> str:
        shown = [*names, *(field.name for field in static if getattr(node, field.name) != field.default)]
        return f"{cls.__name__}({', '.join(f'{name}={getattr(node, name)!r}' for name in shown)})"

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
    if static:
        setattr(cls, "__repr__", short_repr)  # noqa: B010 (a type checker would compare the two)
    return cls


def default_float(dtype: Any = None) -> jnp.dtype:
    """The dtype asked for, or JAX's default float: float32, float64 under `jax.enable_x64`."""
    return jnp.dtype(jnp.result_type(float) if dtype is None else dtype)


def is_floating(x: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(x), jnp.floating)


def is_floating_array(leaf: Any) -> bool:
    """Whether a leaf is an array of floating numbers: no key, no bare Python number, nothing else a tree may hold."""
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)


def is_integer(x: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(x), jnp.integer)


def widened(x: jax.Array) -> jax.Array:
    """x in float32 at least: a mean of bfloat16 numbers, rounded to bfloat16, loses what lies between them.

    >>> widened(jnp.ones(2, jnp.bfloat16)).dtype
    dtype('float32')
    """
    return x.astype(jnp.float32) if jnp.finfo(x.dtype).bits < 32 else x


def scaled(factor: Any, tree: PyTree) -> PyTree:
    """factor * tree; the factor takes each leaf's dtype, so a float32 rate moves bfloat16 weights."""
    return jax.tree.map(lambda leaf: jnp.asarray(factor, leaf.dtype) * leaf, tree)


def added(a: PyTree, b: PyTree) -> PyTree:
    return jax.tree.map(jnp.add, a, b)


def weighted_mean(values: jax.Array, weights: jax.Array | None, total: jax.Array | None = None) -> jax.Array:
    """sum(w v) / sum(w), in the values' dtype; 0 where all weights are 0, as on a device that holds only padding.

    `total`, where given, stands in for sum(w).
    """
    if weights is None:
        return jnp.mean(values)
    weights = weights.astype(values.dtype)
    total = jnp.sum(weights) if total is None else total.astype(values.dtype)
    return jnp.sum(weights * values) / jnp.where(total == 0, 1, total)


def params_dtype(params: PyTree) -> Any:
    """The dtype of a network's params; JAX's default float if it has none."""
    leaves = jax.tree.leaves(params)
    return leaves[0].dtype if leaves else jnp.dtype(jnp.result_type(float))


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


def require_positive(name: str, number: Any) -> None:
    if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < 1:
        raise ValueError(f"{name} should be a positive int, got {number!r}")


def require_floating(owner: object, x: Any) -> None:
    if not is_floating(x):
        raise TypeError(
            f"{owner}: x should be floating, got {jnp.result_type(x)}: "
            "put Rescale(scale) before it, or convert x with x.astype(float)"
        )


def require_features(owner: object, shape: Shape, n_in: int) -> None:
    """Refuse x whose last axis isn't the one that the layer's weights were made for."""
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
