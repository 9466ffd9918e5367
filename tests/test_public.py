"""The public face: every name is documented, and docstrings keep to their form."""

import inspect
import re

import pytest
from table import AUGMENTATIONS, CELLS, INITIALIZERS, LAYERS, LOSSES, PENALTIES, RULES, SCHEDULES

import jaxnn

PUBLIC = {
    name: value
    for name, value in vars(jaxnn).items()
    if not name.startswith("_") and (inspect.isclass(value) or inspect.isfunction(value))
}
every_name = pytest.mark.parametrize("name", PUBLIC)


def classes(recipes):
    """Their classes, in the order of the table."""
    return list(dict.fromkeys(type(each) for each in recipes if not isinstance(each, tuple)))


LAYER_CLASSES = classes([*(case.layer for case in LAYERS), *CELLS])
COMBINATORS = [jaxnn.Serial, jaxnn.Branches, jaxnn.Residual, jaxnn.Repeat, jaxnn.Remat, jaxnn.Recurrent]
LOSS_CLASSES = classes(case.loss for case in LOSSES)
RULE_CLASSES = classes(case.rule for case in RULES)
NUMBERED = [*classes(PENALTIES), *RULE_CLASSES, *classes(case.schedule for case in SCHEDULES)]


@every_name
def test_every_name_is_documented(name):
    """In its own words: a dataclass or NamedTuple without a docstring gets its signature as one."""
    doc = inspect.getdoc(PUBLIC[name])
    assert doc
    assert bool(re.match(rf"{name}\(.*\)$", doc, re.DOTALL)) == (name in UNDOCUMENTED)


# NamedTuples of two or three fields whose names say it all, documented in the module's glossary.
UNDOCUMENTED = {"Init", "Forward", "Backward", "LossForward", "DenseParams"}


@every_name
def test_every_name_comes_from_jaxnn_and_is_imported_once(name):
    assert PUBLIC[name].__module__.split(".")[0] == "jaxnn"
    assert PUBLIC[name].__name__ == name


def test_every_table_is_public():
    entries = [LAYER_CLASSES, COMBINATORS, LOSS_CLASSES, RULE_CLASSES, classes(PENALTIES), classes(INITIALIZERS)]
    assert {cls.__name__ for group in entries for cls in group} <= set(PUBLIC)


@pytest.mark.parametrize("cls", [*LAYER_CLASSES, *COMBINATORS, *LOSS_CLASSES], ids=lambda cls: cls.__name__)
def test_backwards_are_stated(cls):
    doc = inspect.getdoc(cls)
    assert "Backward" in doc
    assert "NumPy twin: reference/" in doc


@pytest.mark.parametrize(
    "cls",
    [*(c for c in LAYER_CLASSES if c.__module__ != "jaxnn.layers.activations"), *LOSS_CLASSES],
    ids=lambda cls: cls.__name__,
)
def test_shapes_are_stated(cls):
    """With letters; activation functions keep any shape, which their module says once."""
    assert "Shapes:" in inspect.getdoc(cls)


@pytest.mark.parametrize("cls", RULE_CLASSES, ids=lambda cls: cls.__name__)
def test_rules_state_their_equation_and_twin(cls):
    doc = inspect.getdoc(cls)
    assert cls is jaxnn.chain or re.search(r"update = |<- ", doc)
    assert cls is jaxnn.chain or "NumPy twin: reference/updates.py" in doc


@pytest.mark.parametrize("cls", NUMBERED, ids=lambda cls: cls.__name__)
def test_what_holds_numbers_is_documented(cls):
    assert inspect.getdoc(cls)


@pytest.mark.parametrize("cls", classes(AUGMENTATIONS), ids=lambda cls: cls.__name__)
def test_augmentations_state_what_they_draw_and_their_twin(cls):
    doc = inspect.getdoc(cls)
    assert cls is jaxnn.augment.Compose or ("Shapes:" in doc and "draws" in doc)
    assert "NumPy twin: reference/augment.py" in doc


@pytest.mark.parametrize("loop", [jaxnn.bgd, jaxnn.mbgd, jaxnn.sgd], ids=lambda loop: loop.__name__)
def test_the_loops_share_their_signature(loop):
    """All after the data is by keyword; each takes what mbgd takes, but for the size that makes it what it is."""
    of_mbgd = inspect.signature(jaxnn.mbgd).parameters
    own = inspect.signature(loop).parameters
    assert list(own)[:3] == ["net", "loss", "data"]
    assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in list(own.values())[3:])
    assert set(of_mbgd) - set(own) <= {"batch_size", "shuffle"}
    assert set(own) - set(of_mbgd) <= {"chunk_size", "block"}
    for name in set(own) & set(of_mbgd):
        assert own[name].default == of_mbgd[name].default


@pytest.mark.parametrize("cls", [*LAYER_CLASSES, *COMBINATORS], ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("method", ["init", "output_shape", "forward", "backward"])
def test_layers_follow_the_protocol_down_to_parameter_names(cls, method):
    expected = inspect.signature(getattr(jaxnn.Layer, method)).parameters
    found = inspect.signature(getattr(cls, method)).parameters
    assert list(found) == list(expected)
    assert [p.kind for p in found.values()] == [p.kind for p in expected.values()]
    assert [p.default for p in found.values()] == [p.default for p in expected.values()]


@pytest.mark.parametrize("cls", RULE_CLASSES, ids=lambda cls: cls.__name__)
def test_rules_have_optaxs_methods(cls):
    assert list(inspect.signature(cls.init).parameters) == ["self", "params"]
    assert list(inspect.signature(cls.update).parameters) == ["self", "grads", "state", "params"]


def test_backprop_and_autodiff_are_called_alike():
    by_hand, by_machine = (inspect.signature(f).parameters for f in (jaxnn.backprop, jaxnn.autodiff))
    assert list(by_hand)[:3] == list(by_machine) == ["net", "loss", "penalty"]


def test_the_version_is_one():
    assert re.fullmatch(r"\d+\.\d+\.\d+", jaxnn.__version__)
