"""The protocol of a layer: a recipe with a few pure methods.

Glossary:
    recipe   the layer object: hashable, equal by value, without a single array
    params   what is trained
    state    what is carried from step to step and not differentiated (running statistics)
    cache    what forward saved and backward needs besides params
    dy, dx   the cotangents of output and input: dL/dy, the layer's *error term*, and dL/dx
    fold     one backward pass over a network, with or without an observer
    x, y     input and output: arrays; a recurrent cell's are trees, a `Step`, and so are its dx and dy

`params`, `state` and `cache` are always there, and empty (`()`) where a layer has no use for them.

Laws, which `tests/test_laws.py` checks for every layer. For a batch x of shape (B, *shape):
    1. `forward(...).y` has the shape (B, *output_shape(shape)).
    2. `backward` returns dparams of the structure, shapes and dtypes of params, and dx of x's
       (None where x holds integers, which have no gradient).
    3. `backward(params, cache, dy)` is the vector-Jacobian product of `forward` at the point where the cache was
       made; it is linear in dy.
    4. `forward` and `backward` are pure: same arguments, same bits; `jit` and `vmap` change nothing but rounding.
    5. Row b of y depends only on row b of x, unless the layer says `couples_batch`.
    6. A recipe is hashable, equal to its copy, picklable, and its repr can be evaluated.

What a layer may say of itself. All of it is optional, and beyond the methods above no tool asks for anything else:
    couples_batch        True: the output for one row depends on the other rows of the batch (BatchNorm)
    axis_name            the mesh axis over whose devices the rows are coupled; None or absent: one device
    over_axis(name)      a copy of the layer with that axis_name
    in_dtype(name)       a copy that outputs another floating dtype, for a layer that chooses its output's (Rescale)
    differs_by_design    what its rule is, where it isn't meant to be the derivative of forward's values; see `Design`
    decays               the names of the params that weight decay and penalties act on; absent: "weight"
    keeping_cache()      the same layer without rematerialisation: it keeps the cache that this one recomputes (Remat)
    start(batch, dtype)  the first carry; a layer that has it is a recurrent cell, whose x and y are a `Step`
A layer made of layers is a `Composite`, and may also have
    in_series            True: x goes to its first child, each child's y to the next; its y is the last child's (Serial)
"""

import copy
import dataclasses
import inspect
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, NamedTuple, Protocol, dataclass_transform, runtime_checkable

import jax
from jax.tree_util import keystr

from jaxnn.arrays import PyTree, Shape, check_numbers, is_floating_array, require_numbers

Path = tuple[Any, ...]
Notes = OrderedDict[str, Any]


class Init(NamedTuple):
    params: PyTree
    state: PyTree


class Forward(NamedTuple):
    y: PyTree
    state: PyTree
    cache: PyTree


class Backward(NamedTuple):
    dparams: PyTree
    dx: PyTree


class Folded(NamedTuple):
    """What a fold returns for one node: its backward, and the notes taken at it and below it, in forward order."""

    dparams: PyTree
    dx: PyTree
    notes: Notes


class Node(NamedTuple):
    """What an observer sees of one layer during the backward pass; dy is the layer's error term."""

    path: Path
    layer: Any
    params: PyTree
    cache: PyTree
    dy: PyTree
    dparams: PyTree
    dx: PyTree


@runtime_checkable
class Layer(Protocol):
    """Structural: a layer inherits from nothing, it has these methods.

    Shapes: `shape` is that of one example, without the batch axis; x is (B, *shape).
    """

    def init(self, key: jax.Array, shape: Shape, dtype: Any = None) -> Init:
        """Params and state for examples of a shape; dtype None is JAX's default float."""
        ...

    def output_shape(self, shape: Shape) -> Shape:
        """The shape of one example's output; plain Python."""
        ...

    def forward(
        self,
        params: PyTree,
        state: PyTree,
        x: PyTree,
        *,
        key: jax.Array | None = None,
        train: bool = False,
    ) -> Forward: ...

    def backward(self, params: PyTree, cache: PyTree, dy: PyTree) -> Backward: ...


Visit = Callable[[Path, Layer, PyTree, PyTree, Any], Folded]
Observer = Callable[[Node], Any]


class Composite(Layer, Protocol):
    """A layer made of layers. It names its children, writes its backward once, as a fold over them, and can make a copy
    of itself around others. `is_composite` says whether a layer is one.
    """

    @property
    def children(self) -> tuple[tuple[Any, Layer], ...]:
        """(key, layer) pairs in forward order; the key is the child's step in the params' tree path."""
        ...

    def fold(self, visit: Visit, path: Path, params: PyTree, cache: PyTree, dy: PyTree) -> Folded:
        """Apply `visit` to the children in reverse and merge what they return."""
        ...

    def with_children(self, layers: Sequence[Layer]) -> Layer:
        """A copy of this layer around other layers, given in the order of `children`."""
        ...


# What a rule may be where it isn't meant to be the derivative of forward's values:
#   "from values"    what `jax.grad` gives, since forward cuts something off by stop_gradient (truncation in time);
#   "from autodiff"  not that either: a surrogate, a straight-through estimate.
Design = Literal["from values", "from autodiff"]


class Parameterless:
    """Shared by layers that have no params, no state and keep the shape. A convenience: no base class is required."""

    def init(self, key: jax.Array, shape: Shape, dtype: Any = None) -> Init:
        return Init((), ())

    def output_shape(self, shape: Shape) -> Shape:
        return shape


@dataclass_transform(frozen_default=True)
def recipe(cls: Any) -> Any:
    """Make a class a frozen dataclass whose repr is what one would type: fields at their default are left out."""
    cls = dataclasses.dataclass(frozen=True, repr=False)(cls)
    check_numbers(cls)
    if "__repr__" not in cls.__dict__:
        setattr(cls, "__repr__", _short_repr)  # noqa: B010 (a type checker would compare the two)
    return cls


def _short_repr(self: Any) -> str:
    """Fields in order, without their names until one is left out."""
    words, gap = [], False
    for field in dataclasses.fields(self):
        value = getattr(self, field.name)
        if value == field.default:
            gap = True
        else:
            words.append(f"{field.name}={value!r}" if gap else repr(value))
    return f"{type(self).__name__}({', '.join(words)})"


def changed(layer: Any, **fields: Any) -> Any:
    """A copy of a recipe with some fields changed. Not by its constructor: a subclass's may take other arguments."""
    new = copy.copy(layer)
    for name, value in fields.items():
        object.__setattr__(new, name, value)
    if hasattr(new, "__post_init__"):
        new.__post_init__()
    require_numbers(new)
    return new


def is_layer(candidate: Any) -> bool:
    """Whether an object has a layer's methods, its own or those that a wrapper passes on.

    Not by `isinstance`: from Python 3.12 on it doesn't see what `__getattr__` gives.
    """
    methods = "init", "output_shape", "forward", "backward"
    return not isinstance(candidate, type) and all(callable(getattr(candidate, name, None)) for name in methods)


def require_layer(owner: str, candidate: Any) -> None:
    """Refuse what isn't a layer, with an error that says what a layer is."""
    if isinstance(candidate, list | tuple) and not is_layer(candidate):
        remedy = f"write {owner}(*layers), or wrap the inner ones in" if owner.isidentifier() else "make them one,"
        raise TypeError(f"{owner} takes layers one by one, got a {type(candidate).__name__}: {remedy} Serial(...)")
    if isinstance(candidate, type):
        raise TypeError(f"{owner} takes layers, got the class {candidate.__name__}: write {candidate.__name__}(...)")
    if not is_layer(candidate):
        raise TypeError(
            f"{owner} takes layers, got a {type(candidate).__name__}: "
            "a layer has the methods init, output_shape, forward and backward"
        )
    require_hashable(owner, candidate)


def require_hashable(owner: str, recipe: Any) -> None:
    """Refuse a recipe that isn't hashable: compiled programs are cached by the recipes that they were made for."""
    try:
        hash(recipe)
    except TypeError:
        name, fields = type(recipe).__name__, dataclasses.fields(recipe) if dataclasses.is_dataclass(recipe) else ()
        unhashable = [field.name for field in fields if not _is_hashable(getattr(recipe, field.name, None))]
        why = f"its field {unhashable[0]!r} isn't" if unhashable else "it can be changed"
        raise TypeError(
            f"{owner}: {name} isn't hashable, because {why}: make it a frozen dataclass (@jaxnn.recipe) whose fields "
            "are numbers, strings, tuples, functions of a module and other recipes; arrays belong in params or state"
        ) from None


def _is_hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


# What a tool calls in place of a layer's own methods: the results of somebody else's may be plain tuples.


def init_of(layer: Any, key: jax.Array, shape: Shape, dtype: Any = None) -> Init:
    """layer.init(key, shape, dtype)."""
    try:
        inspect.signature(layer.init).bind(key, shape, dtype)
    except TypeError as error:
        raise TypeError(
            f"{type(layer).__name__}.init is called with (key, shape, dtype), where dtype None is JAX's default float: "
            f"{error}; write def init(self, key, shape, dtype=None)"
        ) from None
    return _as(Init, layer, layer.init(key, shape, dtype))


def forward_of(
    layer: Any, params: PyTree, state: PyTree, x: PyTree, *, key: jax.Array | None = None, train: bool = False
) -> Forward:
    """layer.forward(params, state, x, key=key, train=train)."""
    return _as(Forward, layer, layer.forward(params, state, x, key=key, train=train))


def backward_of(layer: Any, params: PyTree, cache: PyTree, dy: PyTree) -> Backward:
    """layer.backward(params, cache, dy).

    Raises: TypeError if what it gives for its params isn't of their form, as when dparams and dx have changed places.
    """
    result = _as(Backward, layer, layer.backward(params, cache, dy))
    form, given = _form(params), _form(result.dparams)
    if form != given and form[1]:
        raise TypeError(
            f"{type(layer).__name__}.backward should give Backward(dparams, dx), with dparams of the form of its "
            f"params, {' '.join(map(str, form))}, got {' '.join(map(str, given))}"
        )
    return result


def _form(tree: PyTree) -> tuple[Any, list[Shape]]:
    """The structure of a tree, and the shapes of its floating leaves: a cotangent has the same."""
    leaves, structure = jax.tree.flatten(tree, is_leaf=lambda leaf: leaf is None)
    return structure, [leaf.shape for leaf in leaves if is_floating_array(leaf)]


def _as(form: Any, layer: Any, result: Any) -> Any:
    """A method's result as its NamedTuple; a tuple of as many parts will do."""
    fields = form._fields
    if not isinstance(result, tuple) or len(result) != len(fields):
        got = f"a tuple of {len(result)}" if isinstance(result, tuple) else f"a {type(result).__name__}"
        raise TypeError(
            f"{type(layer).__name__}.{form.__name__.lower()} should give {form.__name__}({', '.join(fields)}), or a "
            f"tuple of these {len(fields)}, got {got}"
        )
    return result if isinstance(result, form) else form(*result)


def says(layer: Any, word: str) -> bool:
    """Whether a layer has an attribute of its own, and doesn't just pass on that of the layer it wraps."""
    return inspect.getattr_static(layer, word, None) is not None


def is_composite(layer: Any) -> bool:
    """Whether a layer is made of layers, and can be copied around others.

    It needs a `with_children` of its own. A wrapper that passes on every attribute, by `__getattr__`, passes on the
    wrapped layer's, whose copy lacks the wrapper: such a wrapper counts as one layer until it defines its own.
    """
    return says(layer, "with_children") and hands_on_children(layer)


def hands_on_children(layer: Any) -> bool:
    """Whether there are layers inside a layer: its own children, or those of the layer it wraps."""
    return not isinstance(layer, type) and hasattr(layer, "children") and hasattr(layer, "fold")


def walk(layer: Layer, path: Path = ()) -> Iterator[tuple[Path, Layer]]:
    """Every layer of a network with its path, from the outside in and in forward order."""
    yield path, layer
    for key, child in getattr(layer, "children") if hands_on_children(layer) else ():  # noqa: B009
        yield from walk(child, (*path, key))


def couples_batch(net: Layer) -> bool:
    """Whether some layer mixes the rows of a batch, so that the batch can't be taken apart into its examples."""
    return any(getattr(layer, "couples_batch", False) for _, layer in walk(net))


def plain_step(key: Any) -> Any:
    """A step of a path as a plain int or name: 0 for jax's `SequenceKey(0)`."""
    return next((getattr(key, name) for name in ("idx", "name", "key") if hasattr(key, name)), key)


def scope(key: Any, layer: Any) -> AbstractContextManager:
    """The name of a child in a profile, such as `Dense[0]`; nested scopes make up its path."""
    return jax.named_scope(f"{type(layer).__name__}{keystr((key,))}")


def unwatched(path: Path, layer: Layer, params: PyTree, cache: PyTree, dy: PyTree) -> Folded:
    """The visit of a fold without an observer: the layer's own backward."""
    dparams, dx = backward_of(layer, params, cache, dy)
    return Folded(dparams, dx, OrderedDict())
