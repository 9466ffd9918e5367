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


def classes(recipes):
    """Their classes, in the order of the table."""
    return list(dict.fromkeys(type(each) for each in recipes if not isinstance(each, tuple)))


LAYER_CLASSES = classes([*(case.layer for case in LAYERS), *CELLS])
COMBINATORS = [jaxnn.Serial, jaxnn.Branches, jaxnn.Residual, jaxnn.Repeat, jaxnn.Remat, jaxnn.Recurrent]
LOSS_CLASSES = classes(case.loss for case in LOSSES)
RULE_CLASSES = classes(case.rule for case in RULES)
NUMBERED = [*classes(PENALTIES), *RULE_CLASSES, *classes(case.schedule for case in SCHEDULES)]


# NamedTuples of two or three fields whose names say it all, documented in the module's glossary.
UNDOCUMENTED = {"Init", "Forward", "Backward", "LossForward", "DenseParams"}


def test_every_name_is_documented():
    """In its own words: a dataclass or NamedTuple without a docstring gets its signature as one."""
    docs = {name: inspect.getdoc(value) or "" for name, value in PUBLIC.items()}
    assert [name for name, doc in docs.items() if not doc] == []
    assert {name for name, doc in docs.items() if re.match(rf"{name}\(.*\)$", doc, re.DOTALL)} == UNDOCUMENTED


def test_every_name_comes_from_jaxnn_and_is_imported_once():
    assert [name for name, value in PUBLIC.items() if value.__module__.split(".")[0] != "jaxnn"] == []
    assert [name for name, value in PUBLIC.items() if value.__name__ != name] == []


def test_every_table_is_public():
    entries = [LAYER_CLASSES, COMBINATORS, LOSS_CLASSES, RULE_CLASSES, classes(PENALTIES), classes(INITIALIZERS)]
    assert {cls.__name__ for group in entries for cls in group} <= set(PUBLIC)


def test_backwards_are_stated():
    stated = lambda doc: "Backward" in doc and "NumPy twin: reference/" in doc  # noqa: E731
    assert [cls for cls in [*LAYER_CLASSES, *COMBINATORS, *LOSS_CLASSES] if not stated(inspect.getdoc(cls))] == []


def test_shapes_are_stated():
    """With letters; activation functions keep any shape, which their module says once."""
    keep_any = "jaxnn.layers.activations"
    stating = [*(cls for cls in LAYER_CLASSES if cls.__module__ != keep_any), *LOSS_CLASSES]
    assert [cls for cls in stating if "Shapes:" not in inspect.getdoc(cls)] == []


def test_rules_state_their_equation_and_twin():
    def stated(doc):
        return re.search(r"update = |<- ", doc) and "NumPy twin: reference/updates.py" in doc

    assert [cls for cls in RULE_CLASSES if cls is not jaxnn.chain and not stated(inspect.getdoc(cls))] == []


def test_what_holds_numbers_is_documented():
    assert [cls for cls in NUMBERED if not inspect.getdoc(cls)] == []


def test_augmentations_state_what_they_draw_and_their_twin():
    def stated(cls):
        doc = inspect.getdoc(cls)
        draws = cls is jaxnn.augment.Compose or ("Shapes:" in doc and "draws" in doc)
        return draws and "NumPy twin: reference/augment.py" in doc

    assert [cls for cls in classes(AUGMENTATIONS) if not stated(cls)] == []


@pytest.mark.parametrize("loop", [jaxnn.bgd, jaxnn.mbgd, jaxnn.sgd], ids=lambda loop: loop.__name__)
def test_the_loops_share_their_signature(loop):
    """All after the data is by keyword; each takes what mbgd takes, but for the size that makes it what it is."""
    of_mbgd = inspect.signature(jaxnn.mbgd).parameters
    own = inspect.signature(loop).parameters
    assert list(own)[:3] == ["net", "loss", "data"]
    assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in list(own.values())[3:])
    assert set(of_mbgd) - set(own) <= {"batch_size", "remainder", "shuffle"}
    assert set(own) - set(of_mbgd) <= {"chunk_size", "block"}
    for name in set(own) & set(of_mbgd):
        assert own[name].default == of_mbgd[name].default


def test_layers_follow_the_protocol_down_to_parameter_names():
    def parameters(cls, method):
        found = inspect.signature(getattr(cls, method)).parameters
        return [(name, parameter.kind, parameter.default) for name, parameter in found.items()]

    methods = "init", "output_shape", "forward", "backward"
    other = [
        (cls, method)
        for cls in [*LAYER_CLASSES, *COMBINATORS]
        for method in methods
        if parameters(cls, method) != parameters(jaxnn.Layer, method)
    ]
    assert other == []


def test_rules_have_optaxs_methods():
    methods = {"init": ["self", "params"], "update": ["self", "grads", "state", "params"]}
    other = [
        (cls, method)
        for cls in RULE_CLASSES
        for method, names in methods.items()
        if [name for name in inspect.signature(getattr(cls, method)).parameters if name != "extra"] != names
    ]
    assert other == []


def test_backprop_and_autodiff_are_called_alike():
    by_hand, by_machine = (inspect.signature(f).parameters for f in (jaxnn.backprop, jaxnn.autodiff))
    assert list(by_hand)[:3] == list(by_machine) == ["net", "loss", "penalty"]


def test_the_version_is_one():
    assert re.fullmatch(r"\d+\.\d+\.\d+", jaxnn.__version__)
