"""The protocol, the recipe, and what a network says of itself."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import pytest
from outsiders import Center, Forgetful, Gain, Gated, Listed, PassesOn, Transparent
from table import CASES, COMBINATORS

import jaxnn
from jaxnn import BatchNorm, Branches, Dense, Dropout, Remat, Repeat, Residual, Serial, Tanh
from jaxnn.layer import backward_of, changed, couples_batch, is_composite, recipe, require_layer, says, walk


@dataclass
class Open:
    """Not frozen."""

    inner: float = 1.0

    init, output_shape, forward, backward = Gain.init, Gain.output_shape, Gain.forward, Gain.backward


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


# What a layer says of itself, and what is handed on.


def test_words_of_ones_own():
    assert says(Serial(), "in_series")
    assert says(BatchNorm(), "over_axis")
    assert says(Center(), "couples_batch")
    assert says(Forgetful(Gain()), "keeping_cache")
    assert not says(Transparent(Forgetful(Gain())), "keeping_cache")
    assert not says(Gated(Gain(), Gain()), "in_series")


def test_a_wrapper_that_hands_on_names_is_one_layer_on_every_python():
    """`isinstance` of a protocol sees what `__getattr__` gives on Python 3.11, and not from 3.12 on."""
    net = Serial(Dense(2), BatchNorm())
    assert jaxnn.is_layer(PassesOn(net))
    assert Serial(PassesOn(net)).output_shape((3,)) == (2,)
    assert not jaxnn.is_layer(Serial)
    assert is_composite(net)
    assert is_composite(Gated(Gain(), Gain()))
    assert not is_composite(Transparent(net))
    assert not is_composite(Gain())
    assert not is_composite(type(net))
    assert couples_batch(Transparent(net))
    assert couples_batch(Transparent(BatchNorm()))
    assert not couples_batch(Transparent(Dense(2)))


@pytest.mark.parametrize(
    ("layer", "why"),
    [(Listed(), "its field 'sizes' isn't"), (Gated(Gain(), Listed()), "its field 'g' isn't"), (Open(2), "it can be")],
)
def test_what_is_not_hashable_is_answered_by_name_and_remedy_where_it_enters(layer, why):
    name, loss = type(layer).__name__, jaxnn.HalfSquaredError()
    x = jnp.ones((3, 2))
    options = {"key": jax.random.key(0), "epochs": 1, "update": jaxnn.gradient_descent(0.1)}
    for enter in (
        lambda: Serial(layer),
        lambda: Residual(layer),
        lambda: jaxnn.bgd(layer, loss, (x, x), **options),
        lambda: jaxnn.fit(jaxnn.bgd, layer, loss, (x, x), **options),
        lambda: jaxnn.predict(layer, (), (), x),
        lambda: jaxnn.evaluate(layer, loss, (), (), (x, x), metric=None),
        lambda: jaxnn.start(layer, (2,), key=options["key"], update=options["update"]),
        lambda: jaxnn.as_custom_vjp(layer),
    ):
        with pytest.raises(TypeError, match=rf"{name} isn't hashable, because {why}.*frozen dataclass \(@jaxnn.recipe"):
            enter()


class Swapped:
    """Gives dx first. With as many features as outputs, the shapes alone say that something is wrong."""

    def backward(self, params, cache, dy):
        return dy, params


@pytest.mark.parametrize(
    ("params", "got"),
    [({"weight": jnp.ones((2, 3))}, r"got PyTreeDef\(\*\)"), (jnp.ones((2, 3)), r"\[\(2, 3\)\], got .*\[\(4, 3\)\]")],
)
def test_a_backward_whose_parts_have_changed_places_is_told(params, got):
    with pytest.raises(TypeError, match=r"Swapped.backward should give Backward\(dparams, dx\).*" + got):
        backward_of(Swapped(), params, (), jnp.ones((4, 3)))
    assert backward_of(Swapped(), (), (), ()) == ((), ())


@pytest.mark.parametrize(
    ("make", "name", "wrong"),
    [
        (jaxnn.BatchNorm, "momentum", 2.0),
        (jaxnn.BatchNorm, "epsilon", -1.0),
        (jaxnn.LayerNorm, "epsilon", float("nan")),
        (jaxnn.GroupNorm, "epsilon", -1e-5),
        (jaxnn.RMSNorm, "epsilon", float("inf")),
        (jaxnn.LeakyReLU, "slope", float("nan")),
        (jaxnn.PReLU, "slope", float("inf")),
        (jaxnn.ELU, "alpha", 0.0),
        (jaxnn.Dropout, "rate", 1.0),
        (jaxnn.Rescale, "scale", float("nan")),
        (jaxnn.Rescale, "shift", float("inf")),
        (jaxnn.Normal, "std", -1.0),
        (jaxnn.Uniform, "high", float("nan")),
        (jaxnn.Orthogonal, "gain", float("inf")),
        (jaxnn.Huber, "delta", 0.0),
        (jaxnn.SoftmaxCrossEntropy, "label_smoothing", 1.0),
        (jaxnn.SigmoidCrossEntropy, "label_smoothing", -0.1),
        (lambda **given: Residual(Dense(2), **given), "scale", float("nan")),
        (lambda **given: jaxnn.LSTMCell(2, **given), "forget_bias", float("nan")),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_a_number_out_of_its_range_is_refused_where_it_is_given(make, name, wrong):
    arguments = {"groups": 1} if make is jaxnn.GroupNorm else {}
    with pytest.raises(ValueError, match=rf"{name} should be in [\[(].*, .*[\])], got {wrong}"):
        make(**arguments, **{name: wrong})
    for no_number in ("0.5", None, True, 1j, [0.5]):
        with pytest.raises(TypeError, match=f"{name} should be a number in"):
            make(**arguments, **{name: no_number})


def test_a_copy_with_a_field_changed_is_checked_too():
    with pytest.raises(ValueError, match="rate should be in"):
        changed(Dropout(0.5), rate=2.0)
