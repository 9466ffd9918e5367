"""Layers as somebody else writes them: nothing inherits, params are dicts, and a field is called as ours are."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import DictKey

from jaxnn import Backward, Folded, Forward, Init, unwatched


@dataclass(frozen=True)
class Gated:
    """y = g a(x) + (1 - g) b(x), g = sigmoid(gate): a combinator with a number of its own."""

    a: Any
    b: Any

    @property
    def children(self):
        return (DictKey("a"), self.a), (DictKey("b"), self.b)

    def with_children(self, layers):
        return Gated(*layers)

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

    def backward(self, params, cache, dy):
        dparams, dx, _ = self.fold(unwatched, (), params, cache, dy)
        return Backward(dparams, dx)


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


@dataclass(frozen=True)
class Counted:
    """A wrapper that hands on every name of the layer in it, and has a typed key in its state."""

    layer: Any

    def __getattr__(self, name):
        if name.startswith("__") or name == "layer":
            raise AttributeError(name)
        return getattr(self.layer, name)

    def init(self, key, shape, dtype=None):
        params, state = self.layer.init(key, shape, dtype)
        return Init(params, (state, key))

    def forward(self, params, state, x, *, key=None, train=False):
        y, inner, cache = self.layer.forward(params, state[0], x, key=key, train=train)
        return Forward(y, (inner, state[1]), cache)
