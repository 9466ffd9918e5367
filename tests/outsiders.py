"""Layers as somebody else would write them: by the protocol alone, no class of ours, params as dicts.

Gain         a leaf with dict params, a typed key in its state and a field that happens to be called `inner`
Center       couples the rows of a batch, over a mesh axis too
Chain        a composite that says `in_series`
Gated        a composite of two layers: y = sigmoid(g(x)) f(x)
Mixture      a composite of two layers, with a number of its own that says how much of each
Forgetful    makes its cache again in backward, as Remat does
Transparent  a wrapper that passes on every name of what it wraps; PassesOn without a method of its own
Scale        a leaf that says which of its params decay, with a field called `inner` too
FromIntegers makes floating numbers of integers, in a dtype that it chooses
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import DictKey

from jaxnn import Backward, Dense, Folded, Forward, Init, Remat, Serial, SoftmaxCrossEntropy


@dataclass(frozen=True)
class Gain:
    """y = gain x, a gain for each feature."""

    inner: float = 1.0

    def init(self, key, shape, dtype=None):
        gain = jnp.full(shape[-1:], self.inner, jnp.result_type(float) if dtype is None else dtype)
        return Init({"gain": gain}, {"key": jax.random.key(3)})

    def output_shape(self, shape):
        return tuple(shape)

    def forward(self, params, state, x, *, key=None, train=False):
        return Forward(params["gain"][None] * x, state, {"x": x})

    def backward(self, params, cache, dy):
        return Backward({"gain": jnp.sum(dy * cache["x"], axis=0)}, params["gain"][None] * dy)


@dataclass(frozen=True)
class Listed(Gain):
    """With a field that makes it unhashable."""

    sizes: list = field(default_factory=list)


@dataclass(frozen=True)
class Center:
    """y_r = x_r - mean over the rows, of all devices of an axis."""

    axis_name: str | None = None

    couples_batch = True

    def over_axis(self, name):
        return Center(name)

    def init(self, key, shape, dtype=None):
        return Init({}, {})

    def output_shape(self, shape):
        return tuple(shape)

    def _centered(self, rows):
        mean = jnp.mean(rows, axis=0, keepdims=True)
        return rows - (mean if self.axis_name is None else jax.lax.pmean(mean, self.axis_name))

    def forward(self, params, state, x, *, key=None, train=False):
        return Forward(self._centered(x), state, ())

    def backward(self, params, cache, dy):
        return Backward({}, self._centered(dy))


class Folding:
    """Backward as the fold with nobody watching."""

    def backward(self, params, cache, dy):
        visit = lambda path, layer, *arguments: Folded(*layer.backward(*arguments), OrderedDict())  # noqa: E731
        dparams, dx, _ = self.fold(visit, (), params, cache, dy)
        return Backward(dparams, dx)


@dataclass(frozen=True)
class Chain(Folding):
    """Layers by name, one after another; params, state and cache are dicts by the same names."""

    names: tuple[str, ...]
    links: tuple[Any, ...]

    in_series = True

    @property
    def children(self):
        return tuple((DictKey(name), link) for name, link in zip(self.names, self.links, strict=True))

    def with_children(self, layers):
        return Chain(self.names, tuple(layers))

    def init(self, key, shape, dtype=None):
        made = {}
        for i, (name, link) in enumerate(zip(self.names, self.links, strict=True)):
            made[name] = link.init(jax.random.fold_in(key, i), shape, dtype)
            shape = link.output_shape(shape)
        return Init({name: one.params for name, one in made.items()}, {name: one.state for name, one in made.items()})

    def output_shape(self, shape):
        for link in self.links:
            shape = link.output_shape(shape)
        return shape

    def forward(self, params, state, x, *, key=None, train=False):
        states, caches = {}, {}
        for name, link in zip(self.names, self.links, strict=True):
            x, states[name], caches[name] = link.forward(params[name], state[name], x, key=key, train=train)
        return Forward(x, states, caches)

    def fold(self, visit, path, params, cache, dy):
        dparams, notes = {}, OrderedDict()
        for step, link in reversed(self.children):
            dparams[step.key], dy, below = visit((*path, step), link, params[step.key], cache[step.key], dy)
            notes = below | notes
        return Folded({name: dparams[name] for name in self.names}, dy, notes)


@dataclass(frozen=True)
class Gated(Folding):
    """y = s f(x), s = sigmoid(g(x)).  dx = f.backward(s dy) + g.backward(s (1 - s) f(x) dy)."""

    f: Any
    g: Any

    @property
    def children(self):
        return ((DictKey("f"), self.f), (DictKey("g"), self.g))

    def with_children(self, layers):
        return Gated(*layers)

    def init(self, key, shape, dtype=None):
        f, g = (layer.init(one, shape, dtype) for layer, one in zip((self.f, self.g), jax.random.split(key)))  # noqa: B905
        return Init({"f": f.params, "g": g.params}, {"f": f.state, "g": g.state})

    def output_shape(self, shape):
        return self.f.output_shape(shape)

    def forward(self, params, state, x, *, key=None, train=False):
        f, f_state, f_cache = self.f.forward(params["f"], state["f"], x, key=key, train=train)
        g, g_state, g_cache = self.g.forward(params["g"], state["g"], x, key=key, train=train)
        gate = jax.nn.sigmoid(g)
        cache = {"f": f_cache, "g": g_cache, "value": f, "gate": gate}
        return Forward(gate * f, {"f": f_state, "g": g_state}, cache)

    def fold(self, visit, path, params, cache, dy):
        gate, value = cache["gate"], cache["value"]
        df, dx, notes = visit((*path, DictKey("f")), self.f, params["f"], cache["f"], gate * dy)
        dg, more, g_notes = visit(
            (*path, DictKey("g")), self.g, params["g"], cache["g"], gate * (1 - gate) * value * dy
        )
        return Folded({"f": df, "g": dg}, dx + more, notes | g_notes)


@dataclass(frozen=True)
class Mixture(Folding):
    """y = g a(x) + (1 - g) b(x), g = sigmoid(gate): a combinator with a number of its own."""

    a: Any
    b: Any

    @property
    def children(self):
        return (DictKey("a"), self.a), (DictKey("b"), self.b)

    def with_children(self, layers):
        return Mixture(*layers)

    def init(self, key, shape, dtype=None):
        (pa, sa), (pb, sb) = (layer.init(key, shape, dtype) for layer in (self.a, self.b))
        return Init({"a": pa, "b": pb, "gate": jnp.full((), 0.3, dtype)}, {"a": sa, "b": sb})

    def output_shape(self, shape):
        return self.a.output_shape(shape)

    def forward(self, params, state, x, *, key=None, train=False):
        a = self.a.forward(params["a"], state["a"], x, key=key, train=train)
        b = self.b.forward(params["b"], state["b"], x, key=key, train=train)
        g = jax.nn.sigmoid(params["gate"])
        cache = {"a": a.cache, "b": b.cache, "difference": a.y - b.y}
        return Forward(g * a.y + (1 - g) * b.y, {"a": a.state, "b": b.state}, cache)

    def fold(self, visit, path, params, cache, dy):
        g = jax.nn.sigmoid(params["gate"])
        a = visit((*path, DictKey("a")), self.a, params["a"], cache["a"], g * dy)
        b = visit((*path, DictKey("b")), self.b, params["b"], cache["b"], (1 - g) * dy)
        dgate = g * (1 - g) * jnp.sum(dy * cache["difference"])
        dx = None if a.dx is None else a.dx + b.dx
        return Folded({"a": a.dparams, "b": b.dparams, "gate": dgate}, dx, a.notes | b.notes)


@dataclass(frozen=True)
class Forgetful(Folding):
    """A layer whose cache is made again in backward."""

    layer: Any

    @property
    def children(self):
        return ((DictKey("layer"), self.layer),)

    def with_children(self, layers):
        return Forgetful(*layers)

    def keeping_cache(self):
        return self.layer

    def init(self, key, shape, dtype=None):
        params, state = self.layer.init(key, shape, dtype)
        return Init({"layer": params}, {"layer": state})

    def output_shape(self, shape):
        return self.layer.output_shape(shape)

    def forward(self, params, state, x, *, key=None, train=False):
        y, new_state, _ = self.layer.forward(params["layer"], state["layer"], x, key=key, train=train)
        return Forward(y, {"layer": new_state}, {"x": x, "state": state["layer"]})

    def fold(self, visit, path, params, cache, dy):
        again = self.layer.forward(params["layer"], cache["state"], cache["x"], train=True).cache
        dlayer, dx, notes = visit((*path, DictKey("layer")), self.layer, params["layer"], again, dy)
        return Folded({"layer": dlayer}, dx, notes)


@dataclass(frozen=True)
class PassesOn:
    """A wrapper without a method of its own: it is whatever it wraps, in every word that somebody asks of it."""

    wrapped: Any

    def __getattr__(self, name):
        if name.startswith("__") or name == "wrapped":
            raise AttributeError(name)
        return getattr(self.wrapped, name)


@dataclass(frozen=True)
class Transparent(PassesOn):
    """The same, with the protocol's methods written out."""

    def init(self, key, shape, dtype=None):
        return self.wrapped.init(key, shape, dtype)

    def output_shape(self, shape):
        return self.wrapped.output_shape(shape)

    def forward(self, params, state, x, *, key=None, train=False):
        return self.wrapped.forward(params, state, x, key=key, train=train)

    def backward(self, params, cache, dy):
        return self.wrapped.backward(params, cache, dy)


@dataclass(frozen=True)
class Scale:
    """y = inner x factor, with a field that happens to be called `inner`, and a factor for each feature that decays."""

    inner: float = 1.0

    decays = ("factor",)

    def init(self, key, shape, dtype=None):
        return Init({"factor": jnp.ones(shape, dtype), "weight": jnp.zeros(shape, dtype)}, ())

    def output_shape(self, shape):
        return shape

    def forward(self, params, state, x, *, key=None, train=False):
        return Forward(self.inner * x * params["factor"][None] + params["weight"][None], state, x)

    def backward(self, params, cache, dy):
        dparams = {"factor": jnp.sum(self.inner * dy * cache, axis=0), "weight": jnp.sum(dy, axis=0)}
        return Backward(dparams, self.inner * dy * params["factor"][None])


@dataclass(frozen=True)
class FromIntegers:
    """Integers become floating numbers of a dtype that it chooses, and so it has `in_dtype`."""

    dtype: str = "float32"

    def in_dtype(self, dtype):
        return FromIntegers(dtype)

    def init(self, key, shape, dtype=None):
        return Init((), ())

    def output_shape(self, shape):
        return shape

    def forward(self, params, state, x, *, key=None, train=False):
        return Forward(x.astype(self.dtype), state, ())

    def backward(self, params, cache, dy):
        return Backward((), None)


BLOCK = Gated(Dense(4), Chain(("gain", "dense"), (Gain(), Dense(4))))
NET = Chain(("center", "block", "head"), (Center(), Forgetful(BLOCK), Serial(Remat(Dense(5)), Dense(3))))
LOSS = SoftmaxCrossEntropy()
UNHASHABLE = Listed()
