"""Combinators: layers made of layers. They know nothing about what they combine.

Each writes its backward once, as a fold over its children (see `backward.visits`); `backward` is that fold without
an observer. The paths are those of the params' tree: `[i]` in Serial and Branches, `.inner` in those around one layer.
"""

import dataclasses
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jax.tree_util import GetAttrKey, SequenceKey

from jaxnn.arrays import PyTree, Shape, Static, number, require_positive
from jaxnn.kernels.barriers import completed
from jaxnn.layer import (
    Backward,
    Folded,
    Forward,
    Init,
    Layer,
    Path,
    Visit,
    changed,
    forward_of,
    init_of,
    recipe,
    require_layer,
    scope,
    unwatched,
)
from jaxnn.mesh_axes import varying_like


class Inner(NamedTuple):
    """Params, state or cache of a combinator around one layer; the step `.inner` gives every layer its own path."""

    inner: PyTree


INNER = GetAttrKey("inner")


class _Folding:
    """What all combinators share: backward is the fold without an observer.

    It has none of the barriers that `jaxnn.fold` puts around a cache: they belong around the cache of the whole
    network, and a combinator doesn't know whether it is that. Your own loop gets them by
    `jaxnn.fold(net, params, cache, dy)`.
    """

    def backward(self: Any, params: PyTree, cache: PyTree, dy: jax.Array) -> Backward:
        dparams, dx, _ = self.fold(unwatched, (), params, cache, dy)
        return Backward(dparams, dx)


@recipe
class _Around(_Folding):
    """What combinators around one layer share."""

    inner: Layer

    def __post_init__(self) -> None:
        require_layer(type(self).__name__, self.inner)

    @property
    def children(self) -> tuple[tuple[Any, Layer], ...]:
        return ((INNER, self.inner),)

    def with_children(self, layers: Sequence[Layer]) -> Layer:
        (inner,) = layers
        return changed(self, inner=inner)

    def init(self: Any, key: jax.Array, shape: Shape, dtype: Any = None) -> Init:
        self.output_shape(shape)
        return Init(*map(Inner, init_of(self.inner, key, shape, dtype)))


@dataclasses.dataclass(frozen=True, init=False, repr=False)
class _Several(_Folding):
    """What combinators of several layers share."""

    layers: tuple[Layer, ...]

    def __init__(self, *layers: Layer) -> None:
        object.__setattr__(self, "layers", layers)
        self.__post_init__()

    def __post_init__(self) -> None:
        for layer in self.layers:
            require_layer(type(self).__name__, layer)

    def __repr__(self) -> str:
        _, *options = dataclasses.fields(self)
        values = [(field.name, getattr(self, field.name), field.default) for field in options]
        words = [f"{name}={value!r}" for name, value, default in values if value != default]
        return f"{type(self).__name__}({', '.join([*map(repr, self.layers), *words])})"

    @property
    def children(self) -> tuple[tuple[Any, Layer], ...]:
        return tuple((SequenceKey(i), layer) for i, layer in enumerate(self.layers))

    def with_children(self, layers: Sequence[Layer]) -> Layer:
        return changed(self, layers=tuple(layers))

    def _keys(self, key: jax.Array | None) -> Any:
        """One key for each layer, or None for each."""
        return [None] * len(self.layers) if key is None else jax.random.split(key, len(self.layers))

    def _require_params(self, params: tuple) -> None:
        if len(params) != len(self.layers):
            raise ValueError(
                f"{type(self).__name__} of {len(self.layers)} layers got params for {len(params)}: "
                "make them with this network's own init"
            )


@dataclasses.dataclass(frozen=True, init=False, repr=False)
class Serial(_Several):
    """Layers one after another: y = f_n(... f_2(f_1(x))).

    Params, state and cache are tuples with one entry per layer; the key is split among the layers.
    Backward: dx_(i) = f_i.backward(dx_(i+1)), from the last layer to the first.
    Raises: TypeError if a part isn't a layer.  NumPy twin: reference/combinators.py.

    >>> from jaxnn import Dense
    >>> net = Serial(Dense(3), Dense(2))
    >>> net, net.output_shape((4,))
    (Serial(Dense(3), Dense(2)), (2,))
    """

    in_series = True

    def init(self, key: jax.Array, shape: Shape, dtype: Any = None) -> Init:
        params, state = [], []
        for layer, layer_key in zip(self.layers, self._keys(key), strict=True):
            made = init_of(layer, layer_key, shape, dtype)
            params.append(made.params)
            state.append(made.state)
            shape = layer.output_shape(shape)
        return Init(tuple(params), tuple(state))

    def output_shape(self, shape: Shape) -> Shape:
        for layer in self.layers:
            shape = layer.output_shape(shape)
        return shape

    def forward(self, params: tuple, state: tuple, x: jax.Array, *, key: Any = None, train: bool = False) -> Forward:
        self._require_params(params)
        states, caches = [], []
        for i, ((step, layer), layer_key) in enumerate(zip(self.children, self._keys(key), strict=True)):
            with scope(step, layer):
                x, new_state, cache = forward_of(layer, params[i], state[i], x, key=layer_key, train=train)
            states.append(new_state)
            caches.append(cache)
        return Forward(x, tuple(states), tuple(caches))

    def fold(self, visit: Visit, path: Path, params: tuple, cache: tuple, dy: jax.Array) -> Folded:
        dparams, dx, notes = [], dy, OrderedDict()
        for i, (key, layer) in reversed(list(enumerate(self.children))):
            with scope(key, layer):
                dlayer, dx, below = visit((*path, key), layer, params[i], cache[i], dx)
            dparams.append(dlayer)
            notes = below | notes
        return Folded(tuple(reversed(dparams)), dx, notes)


class BranchesCache(NamedTuple):
    """The branches' caches, and how many features of y belong to each; () where outputs are summed."""

    branches: tuple
    widths: Static[tuple[int, ...]]


Merge = Literal["sum", "concatenate"]


@dataclasses.dataclass(frozen=True, init=False, repr=False)
class Branches(_Several):
    """Layers side by side, on the same x: y = f_1(x) + ... + f_n(x), or y = (f_1(x), ..., f_n(x)) on the last axis.

    `merge` is "sum", for outputs of one shape, or "concatenate", for outputs that differ only in their last axis.
    Params and state are tuples with one entry per branch; the key is split among the branches.
    Backward: dx = sum_i f_i.backward(dy_i), where dy_i is dy, or the features of dy that belong to branch i.
    Raises: TypeError if a part isn't a layer, or outputs differ in dtype; ValueError if there are no layers, their
    output shapes don't fit, or `merge` is neither of the two.
    Source: Szegedy et al. 2015, section 4 (concatenate).  NumPy twin: reference/combinators.py.

    >>> from jaxnn import Dense
    >>> Branches(Dense(3), Dense(2), merge="concatenate").output_shape((4,))
    (5,)
    """

    merge: Merge = "sum"

    def __init__(self, *layers: Layer, merge: Merge = "sum") -> None:
        object.__setattr__(self, "merge", merge)
        super().__init__(*layers)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.layers:
            raise ValueError("Branches takes one layer or more, got none: y = x is Identity()")
        if self.merge not in get_args(Merge):
            raise ValueError(f"Branches: merge should be one of {', '.join(get_args(Merge))}, got {self.merge!r}")

    def init(self, key: jax.Array, shape: Shape, dtype: Any = None) -> Init:
        self.output_shape(shape)
        inits = [init_of(layer, k, shape, dtype) for layer, k in zip(self.layers, self._keys(key), strict=True)]
        return Init(tuple(init.params for init in inits), tuple(init.state for init in inits))

    def output_shape(self, shape: Shape) -> Shape:
        shapes = [tuple(layer.output_shape(shape)) for layer in self.layers]
        if self.merge == "sum":
            if len(set(shapes)) > 1:
                raise ValueError(f"{self._clash('shape', shapes)}: end them alike, or write merge='concatenate'")
            return shapes[0]
        if not all(shapes) or len({output[:-1] for output in shapes}) > 1:
            raise ValueError(
                f"{self._clash('shape except for its last axis', shapes)}: end them with Reshape or Flatten"
            )
        return (*shapes[0][:-1], sum(output[-1] for output in shapes))

    def forward(self, params: tuple, state: tuple, x: jax.Array, *, key: Any = None, train: bool = False) -> Forward:
        self._require_params(params)
        self.output_shape(x.shape[1:])
        passes = []
        for (step, layer), p, s, layer_key in zip(self.children, params, state, self._keys(key), strict=True):
            with scope(step, layer):
                passes.append(forward_of(layer, p, s, x, key=layer_key, train=train))
        ys, states, caches = zip(*passes, strict=True)
        dtypes = [str(y.dtype) for y in ys]
        if len(set(dtypes)) > 1:
            raise TypeError(f"{self._clash('dtype', dtypes)}: put Rescale before integers, init all in one dtype")
        if self.merge == "sum":
            return Forward(sum(ys[1:], ys[0]), states, BranchesCache(caches, Static(())))
        widths = tuple(y.shape[-1] for y in ys)
        return Forward(jnp.concatenate(ys, axis=-1), states, BranchesCache(caches, Static(widths)))

    # Outputs have one dtype, so either all branches give a dx or, where x holds integers, none does. A layer of
    # somebody else's that ends the gradient by returning None adds nothing to the sum.
    def fold(self, visit: Visit, path: Path, params: tuple, cache: BranchesCache, dy: jax.Array) -> Folded:
        widths, dys = cache.widths.value, [dy] * len(self.layers)
        if widths and dy is not None:
            dys = jax.lax.split(dy, widths, axis=dy.ndim - 1)
        folded = []
        for (key, layer), p, c, dy_i in zip(self.children, params, cache.branches, dys, strict=True):
            with scope(key, layer):
                folded.append(visit((*path, key), layer, p, c, dy_i))
        dxs = [dx for _, dx, _ in folded if dx is not None]
        notes = OrderedDict(note for _, _, below in folded for note in below.items())
        return Folded(tuple(dparams for dparams, _, _ in folded), sum(dxs[1:], dxs[0]) if dxs else None, notes)

    def _clash(self, what: str, given: Sequence[Any]) -> str:
        """What the branches should have in common, and what each gives instead."""
        words = [f"{value} of [{i}] {layer}" for i, (value, layer) in enumerate(zip(given, self.layers, strict=True))]
        return f"Branches: outputs should have one {what}, got {', '.join(words)}"


@recipe
class Residual(_Around):
    """A skip connection around a layer: y = x + scale f(x), where f keeps the shape.

    Backward: dx = dy + f.backward(scale dy): the Jacobian is I + scale J, a 1 on the diagonal.
    Raises: ValueError if f changes the shape.
    Source: He et al. 2016; PRINCIPLES D7.  NumPy twin: reference/combinators.py.
    """

    scale: float = number("(-inf, inf)", 1.0)

    def output_shape(self, shape: Shape) -> Shape:
        return _kept_shape(self, self.inner, shape)

    def forward(self, params: Inner, state: Inner, x: jax.Array, *, key: Any = None, train: bool = False) -> Forward:
        self.output_shape(x.shape[1:])
        with scope(INNER, self.inner):
            fx, new_state, cache = forward_of(self.inner, params.inner, state.inner, x, key=key, train=train)
        return Forward(x + self.scale * fx, Inner(new_state), Inner(cache))

    def fold(self, visit: Visit, path: Path, params: Inner, cache: Inner, dy: jax.Array) -> Folded:
        with scope(INNER, self.inner):
            dparams, dx, notes = visit((*path, INNER), self.inner, params.inner, cache.inner, self.scale * dy)
        return Folded(Inner(dparams), None if dx is None else dy + dx, notes)


@recipe
class Repeat(_Around):
    """n equal layers one after another, each with its own params: y = f(... f(f(x))), where f keeps the shape.

    One `lax.scan`, so that compile time doesn't grow with depth. Params, state and cache have a leading axis of n;
    what an observer notes inside is stacked by depth along it.
    Backward: the scan in reverse.
    Raises: ValueError if f changes the shape, or n isn't positive.  NumPy twin: reference/combinators.py.
    """

    n: int

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive("Repeat: n", self.n)

    def init(self, key: jax.Array, shape: Shape, dtype: Any = None) -> Init:
        self.output_shape(shape)
        keys = jax.random.split(key, self.n)
        return Init(*map(Inner, jax.vmap(lambda key: init_of(self.inner, key, shape, dtype))(keys)))

    def output_shape(self, shape: Shape) -> Shape:
        return _kept_shape(self, self.inner, shape)

    def forward(self, params: Inner, state: Inner, x: jax.Array, *, key: Any = None, train: bool = False) -> Forward:
        self.output_shape(x.shape[1:])

        def one(x: jax.Array, scanned: tuple) -> tuple[jax.Array, tuple]:
            layer_params, layer_state, layer_key = scanned
            with scope(INNER, self.inner):
                y, new_state, cache = forward_of(self.inner, layer_params, layer_state, x, key=layer_key, train=train)
            return y, (new_state, cache)

        keys = None if key is None else jax.random.split(key, self.n)
        start = varying_like(x, (params, state, x, key))
        y, (new_state, cache) = jax.lax.scan(one, start, (params.inner, state.inner, keys), length=self.n)
        return Forward(y, Inner(new_state), Inner(cache))

    def fold(self, visit: Visit, path: Path, params: Inner, cache: Inner, dy: jax.Array) -> Folded:
        def one(dy: Any, scanned: tuple) -> tuple[Any, tuple]:
            layer_params, layer_cache = scanned
            with scope(INNER, self.inner):
                dparams, dx, notes = visit((*path, INNER), self.inner, layer_params, layer_cache, dy)
            return dx, (dparams, notes)

        dx, (dparams, notes) = jax.lax.scan(one, dy, (params.inner, cache.inner), length=self.n, reverse=True)
        return Folded(Inner(dparams), dx, notes)


class RematCache(NamedTuple):
    x: jax.Array
    state: PyTree
    key: jax.Array | None
    train: Static[bool]


@recipe
class Remat(_Around):
    """A layer that keeps its input instead of its cache, and computes the cache again in backward.

    y = f(x), with f's params and state. It saves memory and costs time: one more forward of f, with the same state and
    the same key, so that dropout drops the same numbers. `jax.grad` of it rematerialises too.
    Backward: f's own, from the recomputed cache.  NumPy twin: reference/combinators.py.
    """

    def keeping_cache(self) -> Layer:
        return self.inner

    def output_shape(self, shape: Shape) -> Shape:
        return self.inner.output_shape(shape)

    def forward(self, params: Inner, state: Inner, x: jax.Array, *, key: Any = None, train: bool = False) -> Forward:
        @jax.checkpoint
        def without_cache(params: PyTree, state: PyTree, x: jax.Array, key: Any) -> tuple[jax.Array, PyTree]:
            with scope(INNER, self.inner):
                y, new_state, _ = forward_of(self.inner, params, state, x, key=key, train=train)
            return y, new_state

        y, new_state = without_cache(params.inner, state.inner, x, key)
        return Forward(y, Inner(new_state), RematCache(x, state.inner, key, Static(train)))

    def fold(self, visit: Visit, path: Path, params: Inner, cache: RematCache, dy: jax.Array) -> Folded:
        # The barrier keeps the compiler from merging this pass with the first one, which would keep its cache alive;
        # with dy in it, this pass can't start before dy is there.
        x, inner_params, dy = jax.lax.optimization_barrier((cache.x, params.inner, dy))
        with scope(INNER, self.inner):
            _, _, inner_cache = forward_of(
                self.inner, inner_params, cache.state, x, key=cache.key, train=cache.train.value
            )
            dparams, dx, notes = visit((*path, INNER), self.inner, params.inner, inner_cache, dy)
        dparams, dx = completed(dparams, dx)  # this cache is freed before the next one is made
        return Folded(Inner(dparams), dx, notes)


def _kept_shape(owner: Any, inner: Layer, shape: Shape) -> Shape:
    if inner.output_shape(shape) != tuple(shape):
        raise ValueError(
            f"{type(owner).__name__}: the layer inside should keep the shape {tuple(shape)}, "
            f"but gives {inner.output_shape(shape)}: end it with Dense({shape[-1] if shape else 1})"
        )
    return tuple(shape)
