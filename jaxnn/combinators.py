"""Combinators: layers made of layers. They know nothing about what they combine.

Each writes its backward once, as a fold over its children (see `layer.fold`); `backward` is that fold with nobody
watching. The paths are those of the params' tree: `[i]` in Serial, `.inner` in the others.
"""

import copy
import dataclasses
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from jax.tree_util import GetAttrKey, SequenceKey

from jaxnn.arrays import PyTree, Shape, Static, require_positive
from jaxnn.axes import varying_like
from jaxnn.layer import (
    Backward,
    Folded,
    Forward,
    Init,
    Layer,
    Path,
    Visit,
    recipe,
    require_layer,
    unwatched,
)


class Inner(NamedTuple):
    """Params, state or cache of a combinator around one layer; the step `.inner` gives every layer its own path."""

    inner: PyTree


INNER = GetAttrKey("inner")


@dataclasses.dataclass(frozen=True, init=False, repr=False)
class Serial:
    """Layers one after another: y = f_n(... f_2(f_1(x))).

    Params, state and cache are tuples, one entry a layer; the key is split among the layers.
    Backward: dx_(i) = f_i.backward(dx_(i+1)), from the last layer to the first.
    Raises: TypeError if a part isn't a layer.  NumPy twin: reference/combinators.py.

    >>> from jaxnn.layers import Dense
    >>> net = Serial(Dense(3), Dense(2))
    >>> net, net.output_shape((4,))
    (Serial(Dense(3), Dense(2)), (2,))
    """

    layers: tuple[Layer, ...]

    def __init__(self, *layers: Layer) -> None:
        object.__setattr__(self, "layers", layers)
        self.__post_init__()

    def __post_init__(self) -> None:
        for layer in self.layers:
            require_layer("Serial", layer)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.layers))})"

    @property
    def children(self) -> tuple[tuple[Any, Layer], ...]:
        return tuple((SequenceKey(i), layer) for i, layer in enumerate(self.layers))

    def init(self, key: jax.Array, shape: Shape, dtype: Any = None) -> Init:
        params, state = [], []
        for layer, layer_key in zip(self.layers, _split(key, len(self.layers)), strict=True):
            made = layer.init(layer_key, shape, dtype)
            params.append(made.params)
            state.append(made.state)
            shape = layer.output_shape(shape)
        return Init(tuple(params), tuple(state))

    def output_shape(self, shape: Shape) -> Shape:
        for layer in self.layers:
            shape = layer.output_shape(shape)
        return shape

    def forward(self, params: tuple, state: tuple, x: jax.Array, *, key: Any = None, train: bool = False) -> Forward:
        if len(params) != len(self.layers):
            raise ValueError(
                f"Serial of {len(self.layers)} layers got params for {len(params)}: "
                "make them with this network's own init"
            )
        states, caches = [], []
        for i, layer_key in enumerate(_split(key, len(self.layers))):
            x, new_state, cache = self.layers[i].forward(params[i], state[i], x, key=layer_key, train=train)
            states.append(new_state)
            caches.append(cache)
        return Forward(x, tuple(states), tuple(caches))

    def fold(self, visit: Visit, path: Path, params: tuple, cache: tuple, dy: jax.Array) -> Folded:
        dparams, dx, notes = [], dy, OrderedDict()
        for i, (key, layer) in reversed(list(enumerate(self.children))):
            dlayer, dx, below = visit((*path, key), layer, params[i], cache[i], dx)
            dparams.append(dlayer)
            notes = below | notes
        return Folded(tuple(reversed(dparams)), dx, notes)

    def backward(self, params: tuple, cache: tuple, dy: jax.Array) -> Backward:
        return _alone(self, params, cache, dy)


@recipe
class Residual:
    """A path past a layer: y = x + scale f(x), where f keeps the shape.

    Backward: dx = dy + f.backward(scale dy): the Jacobian is I + scale J, a 1 on the diagonal.
    Raises: ValueError if f changes the shape.
    Source: He et al. 2016; PRINCIPLES D7.  NumPy twin: reference/combinators.py.
    """

    inner: Layer
    scale: float = 1.0

    def __post_init__(self) -> None:
        require_layer("Residual", self.inner)

    @property
    def children(self) -> tuple[tuple[Any, Layer], ...]:
        return ((INNER, self.inner),)

    def init(self, key: jax.Array, shape: Shape, dtype: Any = None) -> Init:
        self.output_shape(shape)
        return _wrapped(self.inner.init(key, shape, dtype))

    def output_shape(self, shape: Shape) -> Shape:
        return _kept_shape(self, self.inner, shape)

    def forward(self, params: Inner, state: Inner, x: jax.Array, *, key: Any = None, train: bool = False) -> Forward:
        self.output_shape(x.shape[1:])
        fx, new_state, cache = self.inner.forward(params.inner, state.inner, x, key=key, train=train)
        return Forward(x + self.scale * fx, Inner(new_state), Inner(cache))

    def fold(self, visit: Visit, path: Path, params: Inner, cache: Inner, dy: jax.Array) -> Folded:
        dinner, dx, notes = visit((*path, INNER), self.inner, params.inner, cache.inner, self.scale * dy)
        return Folded(Inner(dinner), None if dx is None else dy + dx, notes)

    def backward(self, params: Inner, cache: Inner, dy: jax.Array) -> Backward:
        return _alone(self, params, cache, dy)


@recipe
class Repeat:
    """n equal layers one after another, each with its own params: y = f(... f(f(x))), where f keeps the shape.

    One `lax.scan`, so that compile time doesn't grow with depth. Params, state and cache have a leading axis of n;
    what an observer notes inside is stacked by depth along it.
    Backward: the scan in reverse.
    Raises: ValueError if f changes the shape, or n isn't positive.  NumPy twin: reference/combinators.py.
    """

    inner: Layer
    n: int

    def __post_init__(self) -> None:
        require_layer("Repeat", self.inner)
        require_positive("Repeat: n", self.n)

    @property
    def children(self) -> tuple[tuple[Any, Layer], ...]:
        return ((INNER, self.inner),)

    def init(self, key: jax.Array, shape: Shape, dtype: Any = None) -> Init:
        self.output_shape(shape)
        return _wrapped(jax.vmap(lambda key: self.inner.init(key, shape, dtype))(jax.random.split(key, self.n)))

    def output_shape(self, shape: Shape) -> Shape:
        return _kept_shape(self, self.inner, shape)

    def forward(self, params: Inner, state: Inner, x: jax.Array, *, key: Any = None, train: bool = False) -> Forward:
        self.output_shape(x.shape[1:])

        def one(x: jax.Array, each: tuple) -> tuple[jax.Array, tuple]:
            layer_params, layer_state, layer_key = each
            y, new_state, cache = self.inner.forward(layer_params, layer_state, x, key=layer_key, train=train)
            return y, (new_state, cache)

        keys = None if key is None else jax.random.split(key, self.n)
        start = varying_like(x, (params, state, x, key))
        y, (new_state, cache) = jax.lax.scan(one, start, (params.inner, state.inner, keys), length=self.n)
        return Forward(y, Inner(new_state), Inner(cache))

    def fold(self, visit: Visit, path: Path, params: Inner, cache: Inner, dy: jax.Array) -> Folded:
        def one(dy: Any, each: tuple) -> tuple[Any, tuple]:
            layer_params, layer_cache = each
            dinner, dx, notes = visit((*path, INNER), self.inner, layer_params, layer_cache, dy)
            return dx, (dinner, notes)

        dx, (dinner, notes) = jax.lax.scan(one, dy, (params.inner, cache.inner), length=self.n, reverse=True)
        return Folded(Inner(dinner), dx, notes)

    def backward(self, params: Inner, cache: Inner, dy: jax.Array) -> Backward:
        return _alone(self, params, cache, dy)


class RematCache(NamedTuple):
    x: jax.Array
    state: PyTree
    key: jax.Array | None
    train: Static[bool]


@recipe
class Remat:
    """A layer that keeps its input instead of its cache, and computes the cache again in backward.

    y = f(x), with f's params and state. Memory for time: one more forward of f, with the same state and the same key,
    so that dropout drops the same numbers. `jax.grad` of it rematerialises too.
    Backward: f's own, from the cache made anew.  NumPy twin: reference/combinators.py.
    """

    inner: Layer

    def __post_init__(self) -> None:
        require_layer("Remat", self.inner)

    @property
    def children(self) -> tuple[tuple[Any, Layer], ...]:
        return ((INNER, self.inner),)

    def init(self, key: jax.Array, shape: Shape, dtype: Any = None) -> Init:
        return _wrapped(self.inner.init(key, shape, dtype))

    def output_shape(self, shape: Shape) -> Shape:
        return self.inner.output_shape(shape)

    def forward(self, params: Inner, state: Inner, x: jax.Array, *, key: Any = None, train: bool = False) -> Forward:
        @jax.checkpoint
        def without_cache(params: PyTree, state: PyTree, x: jax.Array, key: Any) -> tuple[jax.Array, PyTree]:
            y, new_state, _ = self.inner.forward(params, state, x, key=key, train=train)
            return y, new_state

        y, new_state = without_cache(params.inner, state.inner, x, key)
        return Forward(y, Inner(new_state), RematCache(x, state.inner, key, Static(train)))

    def fold(self, visit: Visit, path: Path, params: Inner, cache: RematCache, dy: jax.Array) -> Folded:
        # The barrier keeps the compiler from merging this pass with the first one, which would keep its cache alive.
        x, again = jax.lax.optimization_barrier((cache.x, params.inner))
        _, _, inner_cache = self.inner.forward(again, cache.state, x, key=cache.key, train=cache.train.value)
        dinner, dx, notes = visit((*path, INNER), self.inner, params.inner, inner_cache, dy)
        return Folded(Inner(dinner), dx, notes)

    def backward(self, params: Inner, cache: RematCache, dy: jax.Array) -> Backward:
        return _alone(self, params, cache, dy)


def mapped(net: Any, function: Callable[[Layer], Layer]) -> Layer:
    """A copy of a network with function(layer) in every layer's place: children first, then what combines them.

    What combines them keeps its class and its other fields: a subclass may be there for its own rule.

    >>> from jaxnn.activations import ReLU, Tanh
    >>> mapped(Serial(ReLU(), Residual(ReLU())), lambda layer: Tanh() if layer == ReLU() else layer)
    Serial(Tanh(), Residual(Tanh()))
    """
    if isinstance(net, Serial):
        net = _with_layers(net, [mapped(layer, function) for layer in net.layers])
    elif hasattr(net, "inner"):
        net = dataclasses.replace(net, inner=mapped(net.inner, function))
    return function(net)


def replaced(net: Any, path: Path, layer: Layer) -> Layer:
    """A copy of a network with another layer at a path: `replaced(net, (1, "inner", 0), Tanh())`.

    All around it keeps its class and its other fields. The path is a fold's, or its steps as plain ints (in Serial) and
    "inner"; () is the network itself.
    Raises: KeyError if there is no such path.

    >>> from jaxnn.activations import Tanh
    >>> from jaxnn.layers import Dense
    >>> replaced(Serial(Dense(3), Residual(Serial(Dense(3)))), (1, "inner"), Tanh())
    Serial(Dense(3), Residual(Tanh()))
    """
    if not path:
        return layer
    step, *rest = (getattr(key, "idx", getattr(key, "name", key)) for key in path)
    if isinstance(net, Serial) and step in range(len(net.layers)):
        layers = list(net.layers)
        layers[step] = replaced(layers[step], tuple(rest), layer)
        return _with_layers(net, layers)
    if step == "inner" and hasattr(net, "inner"):
        return dataclasses.replace(net, inner=replaced(net.inner, tuple(rest), layer))
    raise KeyError(f"replaced: {net} has no layer at {step!r}: a path holds Serial's indices and 'inner'")


def _with_layers(serial: Serial, layers: Sequence[Layer]) -> Serial:
    """A copy with other layers. Not by its constructor, which in a subclass may take other arguments."""
    changed = copy.copy(serial)
    object.__setattr__(changed, "layers", tuple(layers))
    changed.__post_init__()
    return changed


def _alone(composite: Any, params: PyTree, cache: PyTree, dy: jax.Array) -> Backward:
    """A composite's backward: its fold, with nobody watching."""
    dparams, dx, _ = composite.fold(unwatched, (), params, cache, dy)
    return Backward(dparams, dx)


def _split(key: jax.Array | None, n: int) -> Any:
    return [None] * n if key is None else jax.random.split(key, n)


def _wrapped(made: Init) -> Init:
    return Init(Inner(made.params), Inner(made.state))


def _kept_shape(owner: Any, inner: Layer, shape: Shape) -> Shape:
    if inner.output_shape(shape) != tuple(shape):
        raise ValueError(
            f"{type(owner).__name__}: the layer inside should keep the shape {tuple(shape)}, "
            f"but gives {inner.output_shape(shape)}: end it with Dense({shape[-1] if shape else 1})"
        )
    return tuple(shape)
