"""The protocol, the recipe, and what a network says of itself."""

import jax
import jax.numpy as jnp
import pytest
from table import CASES, COMBINATORS

import jaxnn
from jaxnn import BatchNorm, Branches, Dense, Dropout, Remat, Repeat, Residual, Serial, Tanh
from jaxnn.layer import couples_batch, is_composite, recipe, require_layer, walk


def test_structure_alone_makes_a_layer():
    assert all(isinstance(case.layer, jaxnn.Layer) for case in CASES)
    assert all(is_composite(case.layer) for case in COMBINATORS)
    assert not any(is_composite(layer) for layer in (Dense(2), Tanh(), BatchNorm()))
    assert not isinstance(jnp.tanh, jaxnn.Layer)


def test_a_repr_is_what_one_would_type():
    @recipe
    class Stretch:
        factor: float
        offset: float = 0.0
        name: str = "x"

    assert repr(Stretch(2.0)) == "Stretch(2.0)"
    assert repr(Stretch(2.0, 1.0)) == "Stretch(2.0, 1.0)"
    assert repr(Stretch(2.0, name="y")) == "Stretch(2.0, name='y')"
    assert repr(Dense(3, bias=False)) == "Dense(3, bias=False)"


def test_walk_and_couples_batch():
    net = Serial(Dense(3), Repeat(Residual(Branches(Tanh(), BatchNorm())), 2))
    paths = [jax.tree_util.keystr(path) for path, _ in walk(net)]
    inside = ["[1].inner", "[1].inner.inner", "[1].inner.inner[0]", "[1].inner.inner[1]"]
    assert paths == ["", "[0]", "[1]", *inside]
    assert couples_batch(net)
    assert not couples_batch(Serial(Dense(3), Residual(Dropout())))


@pytest.mark.parametrize(
    ("candidate", "words"),
    [
        ([Dense(2)], "Serial takes layers one by one, got a list: write Serial"),
        ((Dense(2), Tanh()), "one by one, got a tuple"),
        (Tanh, r"got the class Tanh: write Tanh\(\.\.\.\)"),
        (jnp.tanh, "Serial takes layers, got a .*forward and backward"),
        (None, "Serial takes layers, got a NoneType"),
    ],
)
def test_what_is_no_layer(candidate, words):
    with pytest.raises(TypeError, match=words):
        require_layer("Serial", candidate)
    with pytest.raises(TypeError, match=words):
        Serial(Dense(3), candidate)


@pytest.mark.parametrize("combinator", [Residual, Remat, lambda inner: Repeat(inner, 2)])
def test_combinators_want_a_layer(combinator):
    with pytest.raises(TypeError, match="takes layers one by one, got a list"):
        combinator([Dense(2)])
