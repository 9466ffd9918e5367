"""Composites, layers and params of somebody else's: compared, judged and named as ours are."""

import inspect
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import DictKey
from outsiders import PassesOn, Transparent

import jaxnn
from jaxnn import Backward, Folded, Forward, Init
from jaxnn.layer import unwatched


@dataclass(frozen=True)
class Gated:
    """Two branches with a learned gate: y = g a(x) + (1 - g) b(x), g = sigmoid(gate), of one number a feature.

    Written from scratch, without a base class of ours; params are a dict. factor: what its rule is wrong by.
    """

    a: Any
    b: Any
    factor: float = 1.0

    @property
    def children(self):
        return (DictKey("a"), self.a), (DictKey("b"), self.b)

    def with_children(self, layers):
        return Gated(*layers, self.factor)

    def init(self, key, shape, dtype=None):
        a, b = (layer.init(k, shape, dtype) for layer, k in zip((self.a, self.b), jax.random.split(key), strict=True))
        params = {"a": a.params, "b": b.params, "gate": jnp.linspace(-1, 1, self.output_shape(shape)[-1], dtype=dtype)}
        return Init(params, {"a": a.state, "b": b.state})

    def output_shape(self, shape):
        return self.a.output_shape(shape)

    def forward(self, params, state, x, *, key=None, train=False):
        key_a, key_b = (None, None) if key is None else jax.random.split(key)
        a = self.a.forward(params["a"], state["a"], x, key=key_a, train=train)
        b = self.b.forward(params["b"], state["b"], x, key=key_b, train=train)
        gate = jax.nn.sigmoid(params["gate"])[None]
        y = gate * a.y + (1 - gate) * b.y
        return Forward(y, {"a": a.state, "b": b.state}, {"a": a.cache, "b": b.cache, "difference": a.y - b.y})

    def fold(self, visit, path, params, cache, dy):
        gate = jax.nn.sigmoid(params["gate"])[None]
        db, dx_b, notes_b = visit((*path, DictKey("b")), self.b, params["b"], cache["b"], (1 - gate) * dy)
        da, dx_a, notes_a = visit((*path, DictKey("a")), self.a, params["a"], cache["a"], gate * dy)
        dgate = self.factor * jnp.sum(dy * cache["difference"] * gate * (1 - gate), axis=0)
        return Folded({"a": da, "b": db, "gate": dgate}, dx_a + dx_b, OrderedDict(notes_a | notes_b))

    def backward(self, params, cache, dy):
        visit = lambda path, layer, *given: Folded(*layer.backward(*given), OrderedDict())  # noqa: E731
        return Backward(*self.fold(visit, (), params, cache, dy)[:2])


@dataclass(frozen=True)
class Scale:
    """y = x * weight, with params as a dict, and a field that happens to be called as a combinator's is."""

    inner: int = 2
    factor: float = 1.0

    def init(self, key, shape, dtype=None):
        return Init({"weight": jnp.linspace(1, self.inner, shape[-1], dtype=dtype), "none": None}, ())

    def output_shape(self, shape):
        return shape

    def forward(self, params, state, x, *, key=None, train=False):
        return Forward(x * params["weight"][None], state, x)

    def backward(self, params, cache, dy):
        dweight = self.factor * jnp.sum(dy * cache, axis=0)
        return Backward({"weight": dweight, "none": None}, dy * params["weight"][None])


@dataclass(frozen=True)
class Noise:
    """y = x * noise, drawn from a key that is kept in its state."""

    factor: float = 1.0

    def init(self, key, shape, dtype=None):
        return Init(None, {"key": key, "calls": jnp.zeros((), int)})

    def output_shape(self, shape):
        return shape

    def forward(self, params, state, x, *, key=None, train=False):
        now, after = jax.random.split(state["key"])
        noise = jax.random.uniform(now, x.shape, jnp.float32, 0.5, 1.5).astype(x.dtype)
        return Forward(x * noise, {"key": after, "calls": state["calls"] + 1}, noise)

    def backward(self, params, cache, dy):
        return Backward(None, self.factor * cache * dy)


class Doubled(jaxnn.Dense):
    """Its rule is wrong in dx."""

    def backward(self, params, cache, dy):
        dparams, dx = super().backward(params, cache, dy)
        return Backward(dparams, 2 * dx)


def point(net):
    rng = np.random.default_rng(0)
    params, state = net.init(jax.random.key(0), (4,))
    return params, state, rng.normal(size=(8, 4)).astype(np.float32), rng.integers(0, 3, 8)


def compared(net, **options):
    options = {"costs": False, "key": jax.random.key(1)} | options
    return jaxnn.compare(net, jaxnn.SoftmaxCrossEntropy(), *point(net), **options)


def names(comparison):
    return {row.name for row in comparison.rows}


def gated(factor=1.0, dense=jaxnn.Dense, scale=1.0):
    inside = jaxnn.Serial(dense(3), Scale(factor=scale))
    return jaxnn.Serial(jaxnn.Dense(4), Gated(inside, jaxnn.Serial(jaxnn.Dropout(0.2), jaxnn.Dense(3)), factor))


ROWS = {
    "[0].weight", "[0].bias", "[1]['a'][0].weight", "[1]['a'][0].bias", "[1]['a'][1]['weight']",
    "[1]['b'][1].weight", "[1]['b'][1].bias", "[1]['gate']", "x",
    *(f"error term of {path}" for path in ("[0]", "[1]['a'][0]", "[1]['a'][1]", "[1]['b'][0]", "[1]['b'][1]")),
}  # fmt: skip


def test_a_composite_written_from_scratch_has_all_its_rows():
    comparison = compared(gated(), every_rule=True, penalty=jaxnn.l2(0.1))
    assert comparison.ok, str(comparison)
    assert names(comparison) == ROWS


def test_every_wrong_rule_in_it_is_named():
    """Of the composite itself, of a layer of ours in it, and of one of theirs: each is given the right error term."""
    comparison = compared(gated(factor=1.001, dense=Doubled, scale=1.001))
    assert not comparison.ok
    assert names(comparison) == ROWS
    wrong = [("[1]", "['gate']"), ("[1]['a'][0]", "dx"), ("[1]['a'][1]", "['weight']")]
    assert [(rule.path, rule.tensor) for rule in comparison.wrong] == wrong
    assert all(f"WRONG RULE {path} " in str(comparison) for path, _ in wrong)


def test_inside_of_ours_and_around_ours():
    net = jaxnn.Serial(
        jaxnn.Repeat(Gated(Scale(3), jaxnn.Tanh()), 2), jaxnn.Remat(Gated(Scale(), jaxnn.Residual(Scale())))
    )
    comparison = compared(jaxnn.Serial(net, jaxnn.Dense(3)))
    assert comparison.ok, str(comparison)
    repeated = {"[0][0].inner['a']['weight']", "[0][0].inner['gate']", "error term of [0][0].inner['a']"}
    rematerialised = {"[0][1].inner['b'].inner['weight']", "error term of [0][1].inner['b'].inner"}
    assert names(comparison) >= repeated | rematerialised


def test_a_key_in_the_state():
    comparison = compared(jaxnn.Serial(jaxnn.Dense(3), Noise(1.001), Scale()), every_rule=True)
    assert names(comparison) == {
        "[0].weight", "[0].bias", "[2]['weight']", "x", "error term of [0]", "error term of [1]", "error term of [2]"
    }  # fmt: skip
    assert [(rule.path, rule.tensor) for rule in comparison.wrong] == [("[1]", "dx")]


@pytest.mark.parametrize(("kind", "dense"), [(PassesOn, jaxnn.Dense), (Transparent, Doubled)])
def test_a_wrapper_around_a_composite_is_one_layer(kind, dense):
    block = jaxnn.Serial(jaxnn.Dense(4), dense(3))
    net, path = (kind(block), "") if kind is PassesOn else (jaxnn.Serial(jaxnn.Tanh(), kind(block)), "[1]")
    assert inspect.getattr_static(kind(block), "with_children", None) is None
    comparison = compared(net, every_rule=True)
    params = {f"{path}[{i}].{name}" for i in range(2) for name in ("weight", "bias")}
    layers = {"the network"} if kind is PassesOn else {"[0]", "[1]"}
    assert names(comparison) == params | {"x"} | {f"error term of {layer}" for layer in layers}
    assert comparison.ok is (dense is jaxnn.Dense)
    assert {rule.path for rule in comparison.wrong} == (set() if dense is jaxnn.Dense else {path})


class Alone(jaxnn.Serial):
    """Its fold shows nobody what is inside."""

    def fold(self, visit, path, params, cache, dy):
        return super().fold(unwatched, path, params, cache, dy)


class Elsewhere(jaxnn.Serial):
    """Its fold shows its layers under other paths than their own."""

    def fold(self, visit, path, params, cache, dy):
        return super().fold(visit, (*path, DictKey("inside")), params, cache, dy)


def test_what_a_fold_leaves_out_is_named():
    comparison = compared(jaxnn.Serial(jaxnn.Dense(3), Alone(jaxnn.Dense(3))))
    assert comparison.ok, str(comparison)
    assert comparison.not_judged == ("the error term of [1][0], which no fold visits",)
    with pytest.raises(ValueError, match=r"a fold visits a layer at \['inside'\]\[0\], where no composite has a child"):
        compared(Elsewhere(jaxnn.Dense(3)))


CHECKED = {
    "composite": (lambda factor: gated(factor)),
    "leaf": (lambda factor: Scale(factor=factor)),
    "key in the state": (lambda factor: jaxnn.Serial(Noise(factor), jaxnn.Dense(2))),
    "wrapper": (lambda factor: PassesOn(jaxnn.Serial(jaxnn.Dense(2), Scale(factor=factor)))),
}


@pytest.mark.parametrize("make", CHECKED.values(), ids=CHECKED)
def test_check_takes_them_all(make):
    gates = ("structure", "autodiff", "additivity")
    for factor in (1.0, 1.001):
        params, state, x, _ = point(make(factor))
        report = jaxnn.check(make(factor), params, state, x, key=jax.random.key(1), gates=gates, until_failure=True)
        assert report.ok is (factor == 1), str(report)
