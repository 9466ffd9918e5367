"""A network with other layers in it keeps the rest: classes, fields, and the layers around."""

from dataclasses import dataclass

import pytest
from jax.tree_util import DictKey, GetAttrKey, SequenceKey
from outsiders import FromIntegers, Mixture, Scale, Transparent

import jaxnn
from jaxnn import (
    Branches,
    Dense,
    LSTMCell,
    Recurrent,
    ReLU,
    Remat,
    Repeat,
    Residual,
    Serial,
    Tanh,
    TanhCell,
    replaced,
)
from jaxnn.layer import recipe
from jaxnn.networks.rebuild import mapped, own_copy, rebuilt


@pytest.mark.parametrize("path", [(1, "inner", 0), (SequenceKey(1), GetAttrKey("inner"), SequenceKey(0))])
def test_replaced(path):
    net = Serial(Dense(3), Branches(Residual(Dense(3)), ReLU(), merge="concatenate"))
    assert replaced(net, (1, 1), Tanh()).layers[1] == Branches(Residual(Dense(3)), Tanh(), merge="concatenate")
    for each, layer in jaxnn.walk(net):
        assert replaced(net, each, layer) == net

    net = Serial(Dense(3), Residual(Serial(Dense(3), ReLU()), 0.5))
    assert replaced(net, path, Tanh()) == Serial(Dense(3), Residual(Serial(Tanh(), ReLU()), 0.5))
    assert replaced(net, (), Tanh()) == Tanh()
    assert net == Serial(Dense(3), Residual(Serial(Dense(3), ReLU()), 0.5))
    for each, layer in jaxnn.walk(net):
        assert replaced(net, each, layer) == net


class OwnSerial(Serial):
    """Another class, with the constructor of the first."""


@dataclass(frozen=True)
class NamedSerial(Serial):
    """One field more, and so a constructor that takes the layers as a tuple."""

    name: str = ""


class OwnBranches(Branches):
    pass


class OwnResidual(Residual):
    pass


@recipe
class NamedRepeat(Repeat):
    name: str = ""


class OwnRemat(Remat):
    pass


class OwnRecurrent(Recurrent):
    pass


OWN = {
    OwnSerial(Tanh(), Tanh()): OwnSerial(ReLU(), Tanh()),
    NamedSerial((Tanh(), Tanh()), "a"): NamedSerial((ReLU(), Tanh()), "a"),
    OwnBranches(Tanh(), Tanh(), merge="concatenate"): OwnBranches(ReLU(), Tanh(), merge="concatenate"),
    OwnResidual(Tanh(), 0.5): OwnResidual(ReLU(), 0.5),
    NamedRepeat(Tanh(), 2, "a"): NamedRepeat(ReLU(), 2, "a"),
    OwnRemat(Tanh()): OwnRemat(ReLU()),
    OwnRecurrent(TanhCell(3), 2): OwnRecurrent(LSTMCell(3), 2),
}


@pytest.mark.parametrize("net", OWN, ids=lambda net: type(net).__name__)
def test_a_copy_keeps_class_and_fields(net):
    """Or a mutated combinator would turn into the right one on its way to the audit."""
    (key, _), *_ = net.children
    (_, other), *_ = OWN[net].children
    around, expected = (Serial(Branches(Residual(each), Tanh())) for each in (net, OWN[net]))
    assert replaced(around, (0, 0, "inner", key), other) == expected
    first = iter([other])
    assert mapped(around, lambda layer: layer if hasattr(layer, "children") else next(first, layer)) == expected
    assert around != expected


@recipe
class Deep(Tanh):
    """A layer whose field happens to be called as a combinator's is."""

    layers: int = 3


def test_a_field_named_layers_makes_no_combinator():
    net = Serial(Deep(), Dense(2))
    assert mapped(net, lambda layer: Deep(4) if isinstance(layer, Deep) else layer) == Serial(Deep(4), Dense(2))
    assert replaced(net, (0,), Deep(4)) == Serial(Deep(4), Dense(2))
    with pytest.raises(KeyError, match="has no layer at"):
        replaced(net, (0, 0), Tanh())


def test_a_copy_takes_layers_alone():
    for net in (Serial(Tanh()), NamedSerial((Tanh(),)), Branches(Tanh()), Residual(Tanh())):
        (key, _), *_ = net.children
        with pytest.raises(TypeError, match="takes layers, got a int"):
            replaced(net, (key,), 3)
    assert repr(OwnSerial(Tanh())) == "OwnSerial(Tanh())"


@pytest.mark.parametrize("path", [(2,), (0, 0), ("inner",), (1, "outer"), (-1,)])
def test_replaced_where_there_is_nothing(path):
    with pytest.raises(KeyError, match="has no layer at"):
        replaced(Serial(Dense(3), Residual(Dense(3))), path, Tanh())


# Somebody else's combinators, leaves and wrappers.

FOREIGN = Serial(Mixture(Dense(3), Residual(Mixture(Tanh(), Scale()))), Dense(2))


@pytest.mark.parametrize("path", [(0, "b", "inner", "a"), tuple(path for path, _ in jaxnn.walk(FOREIGN))[5]])
def test_replaced_inside_of_foreign_combinators(path):
    changed = replaced(FOREIGN, path, ReLU())
    assert changed == Serial(Mixture(Dense(3), Residual(Mixture(ReLU(), Scale()))), Dense(2))
    for other, layer in jaxnn.walk(FOREIGN):
        assert replaced(FOREIGN, other, layer) == FOREIGN


def test_mapped_goes_into_foreign_combinators_and_leaves_a_field_called_inner_alone():
    assert [path[-1] for path, layer in jaxnn.walk(FOREIGN) if layer == Scale()] == [DictKey("b")]
    doubled = mapped(FOREIGN, lambda layer: Scale(2.0) if layer == Scale() else layer)
    assert doubled == Serial(Mixture(Dense(3), Residual(Mixture(Tanh(), Scale(2.0)))), Dense(2))
    assert mapped(FOREIGN, lambda layer: layer) is FOREIGN


@dataclass(frozen=True)
class Forgetful(Mixture):
    """Its copies are around the layers that it had."""

    def with_children(self, layers):
        return self


@dataclass(frozen=True)
class Unfinished(Mixture):
    """A combinator without the third word."""

    with_children = None


def test_what_cannot_be_copied_around_other_layers_is_answered_by_name_and_remedy():
    with pytest.raises(TypeError, match=r"Forgetful.with_children should give a copy whose children are \[ReLU"):
        replaced(Forgetful(Tanh(), Tanh()), ("a",), ReLU())
    unfinished = Unfinished(Tanh(), Tanh())
    with pytest.raises(TypeError, match=r"Unfinished has children but no with_children of its own: write"):
        replaced(unfinished, ("a",), ReLU())
    assert mapped(unfinished, lambda layer: layer) is unfinished
    with pytest.raises(TypeError, match="no with_children of its own"):
        mapped(unfinished, lambda layer: ReLU() if layer == Tanh() else layer)


def test_a_wrapper_is_never_lost():
    """It hands on the names of what it wraps, whose copies are without it: on every Python, and so it is refused."""
    net = Serial(Transparent(Serial(Dense(3), Tanh())), Dense(2))
    assert [type(layer).__name__ for _, layer in jaxnn.walk(net)][:4] == ["Serial", "Transparent", "Dense", "Tanh"]
    assert not jaxnn.is_composite(net.layers[0])
    with pytest.raises(TypeError, match="Transparent has children but no with_children of its own"):
        replaced(net, (0, 1), ReLU())
    as_one = mapped(net, lambda layer: ReLU() if layer == Tanh() else layer, opaque=True)
    assert as_one == net
    refused = "Transparent has no in_dtype of its own, and passes on that of the layer it wraps"
    with pytest.raises(TypeError, match=refused):
        own_copy(Transparent(FromIntegers()), "in_dtype", "bfloat16")
    assert own_copy(FromIntegers(), "in_dtype", "bfloat16") == FromIntegers("bfloat16")
    assert own_copy(Dense(3), "in_dtype", "bfloat16") == Dense(3)
    with pytest.raises(TypeError, match="Transparent has children but no with_children"):
        rebuilt(net.layers[0], [Dense(3), ReLU()])
