"""Arrays and trees of arrays: the names of their types, their arithmetic, and the wording of errors about them."""

import dataclasses
import functools
from collections.abc import Hashable
from dataclasses import MISSING, dataclass, fields
from typing import Any, Generic, NamedTuple, TypeVar

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


def number(within: str, default: Any = MISSING) -> Any:
    """A field of a recipe or a node that holds a number, or an array of them, in an interval such as "[0, 1)".

    What a number of a layer, a loss, a rule, a penalty or a schedule may be is said there and nowhere else: the class
    refuses others, where somebody makes one.

    >>> import jaxnn
    >>> jaxnn.momentum(0.1, momentum=1.5)
    Traceback (most recent call last):
    ...
    ValueError: momentum: momentum should be in [0, 1), got 1.5
    """
    return dataclasses.field(default=default, metadata={WITHIN: within})


WITHIN = "within"


def require_within(owner: str, name: str, value: Any, within: str) -> None:
    """Refuse a number that isn't in an interval; what has no value yet, and a function such as a schedule, may pass.

    Raises: ValueError, or TypeError for what is no number at all.
    """
    if value is None or isinstance(value, str | list | tuple | dict | bool | complex):
        raise TypeError(
            f"{owner}: {name} should be a number in {within}, or an array of them, jnp.array([...]), got {value!r}"
        )
    if not isinstance(value, int | float | np.generic | np.ndarray | jax.Array) or is_traced(value):
        return
    low, high = (float(end) for end in within[1:-1].split(","))
    numbers = np.asarray(value)
    above = numbers >= low if within[0] == "[" else numbers > low
    below = numbers <= high if within[-1] == "]" else numbers < high
    if not (above & below).all():
        raise ValueError(f"{owner}: {name} should be in {within}, got {value}")


def require_numbers(thing: Any) -> None:
    """Refuse a dataclass with a number out of its interval."""
    for field in fields(thing):
        if WITHIN in field.metadata:
            require_within(type(thing).__name__, field.name, getattr(thing, field.name), field.metadata[WITHIN])


def check_numbers(cls: type) -> None:
    """Let a dataclass refuse numbers out of their intervals, wherever somebody makes one."""
    if any(WITHIN in field.metadata for field in fields(cls)):  # type: ignore[arg-type]
        init = cls.__init__

        def checked_init(thing: Any, *arguments: Any, **keywords: Any) -> None:
            init(thing, *arguments, **keywords)
            require_numbers(thing)

        setattr(cls, "__init__", functools.wraps(init)(checked_init))  # noqa: B010 (a type checker compares the two)


def register_node(cls: type[C]) -> type[C]:
    """A class decorator that makes a dataclass a pytree: fields are children, and no other class has its structure.

    The latter is what `jax.tree_util.register_dataclass` lacks, in JAX 0.10 to 0.12: there the structures of any two
    classes with equally many fields are equal, and only their hashes differ. Where two of these meet in `jax.jit`'s
    table, one class's program runs for the other: on 0.10 for about fifteen of a hundred classes given to one function.
    A field with the metadata {"static": True} is part of the structure, and left out of the repr at its default.
    Fields made by `number` are checked where somebody makes the node, not where JAX puts it together again.

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
        node = object.__new__(cls)
        for name, value in zip([*names, *(field.name for field in static)], [*children, *structure], strict=True):
            object.__setattr__(node, name, value)
        return node

    def short_repr(node: Any) -> str:
        shown = [*names, *(field.name for field in static if getattr(node, field.name) != field.default)]
        return f"{cls.__name__}({', '.join(f'{name}={getattr(node, name)!r}' for name in shown)})"

    check_numbers(cls)
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


def wide_dtype(dtype: Any) -> jnp.dtype:
    """The type that what accumulates, counts or corrects has beside numbers of a dtype: float32 at least.

    A short type loses such numbers without a word: in bfloat16 1 + 0.001 and 0.999 are 1, and in float16 100,000
    examples are infinitely many.

    >>> wide_dtype("bfloat16"), wide_dtype("float64")
    (dtype('float32'), dtype('float64'))
    """
    dtype = jnp.dtype(dtype)
    return jnp.dtype(jnp.float32) if jnp.finfo(dtype).bits < 32 else dtype


def widened(x: jax.Array) -> jax.Array:
    """x in its `wide_dtype`."""
    return x.astype(wide_dtype(x.dtype))


def scaled(factor: Any, tree: PyTree) -> PyTree:
    """factor * tree, in the leaves' dtypes, rounded once: the factor itself isn't rounded to a short one."""
    return jax.tree.map(lambda leaf: (wide_like(factor, leaf) * widened(leaf)).astype(leaf.dtype), tree)


def wide_like(number: Any, leaf: jax.Array) -> jax.Array:
    """A number in the `wide_dtype` of a leaf, to go into its arithmetic."""
    return jnp.asarray(number, wide_dtype(leaf.dtype))


def added(a: PyTree, b: PyTree) -> PyTree:
    return jax.tree.map(jnp.add, a, b)


def as_typed(tree: PyTree, like: PyTree) -> PyTree:
    """The tree, each floating leaf in the dtype of the one in its place."""

    def typed(leaf: Any, other: Any) -> Any:
        return leaf.astype(other.dtype) if is_floating_array(leaf) and is_floating_array(other) else leaf

    return jax.tree.map(typed, tree, like)


def weighted_mean(values: jax.Array, weights: jax.Array | None, total: Any = None) -> jax.Array:
    """sum(w v) / sum(w), in float32 at least; 0 where all weights are 0, as on a device that holds only padding.

    `total`, where given, stands in for sum(w).
    """
    values = widened(values)
    if weights is None:
        return jnp.mean(values)
    weights = weights.astype(values.dtype)
    total = jnp.sum(weights) if total is None else jnp.asarray(total, values.dtype)
    return jnp.sum(weights * values) / jnp.where(total == 0, 1, total)


def params_dtype(params: PyTree) -> Any:
    """The dtype of a network's params; JAX's default float if it has none."""
    leaves = jax.tree.leaves(params)
    return leaves[0].dtype if leaves else jnp.dtype(jnp.result_type(float))


def zeros_like(tree: PyTree) -> PyTree:
    return jax.tree.map(jnp.zeros_like, tree)


class Length(NamedTuple):
    """A norm as length / scale, of which neither overflows nor vanishes where the norm's square would."""

    length: jax.Array
    scale: jax.Array


def length(tree: PyTree) -> Length:
    """The Euclidean norm of all the numbers in a tree, as one vector, before it is scaled back; in float32 at least.

    A float32 of 1e20 or 1e-25 has no square in float32, and none of 300 in float16. So numbers whose largest is out of
    a safe range are first multiplied by a power of 2, which rounds nothing; all others by 1.
    """
    leaves = [widened(leaf) for leaf in jax.tree.leaves(tree)]
    if not leaves:
        return Length(jnp.zeros((), default_float()), jnp.ones((), default_float()))
    dtype = max((leaf.dtype for leaf in leaves), key=lambda dtype: jnp.finfo(dtype).bits)
    leaves = [leaf.astype(dtype) for leaf in leaves]
    sizes = [jnp.max(jnp.abs(jax.lax.stop_gradient(leaf)), initial=0) for leaf in leaves]
    largest = functools.reduce(jnp.maximum, sizes)
    # For a largest exponent of e (128 in float32), squares are safe from 2^-5e/16 to 2^5e/16, and beyond, 2^3e/4 and
    # its inverse bring all numbers of the type to where they are.
    exponent = int(jnp.finfo(dtype).maxexp)
    safe, far = 2.0 ** (5 * exponent // 16), 2.0 ** (3 * exponent // 4)
    scale = jnp.where(largest > safe, 1 / far, jnp.where(largest < 1 / safe, far, 1.0)).astype(dtype)
    squares = [jnp.sum(jnp.square(leaf * scale)) for leaf in leaves]
    return Length(jnp.sqrt(sum(squares[1:], squares[0])), scale)


def norm(tree: PyTree) -> jax.Array:
    """The Euclidean norm of all the numbers in a tree, as one vector, in float32 at least; 0 for a tree without any.

    >>> norm({"a": jnp.float32(3e20), "b": jnp.float32(4e20)})
    Array(5.e+20, dtype=float32)
    """
    whole, scale = length(tree)
    return whole / scale


def size(tree: PyTree) -> int:
    """How many numbers a tree holds."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def n_bytes(tree: PyTree) -> int:
    """How many bytes a tree's arrays take."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def is_traced(tree: PyTree) -> bool:
    """Whether some leaf has no value yet, so that the host can't look at it."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))


def kind_of(value: Any) -> str:
    """What somebody gave, for an error: "a list of 3", or "the class adam: write adam(...)"."""
    if isinstance(value, type):
        return f"the class {value.__name__}: write {value.__name__}(...)"
    return f"a {type(value).__name__}" + (f" of {len(value)}" if isinstance(value, tuple | list) else "")


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
