"""Everything public has a twin, found by name; and the reference stands on NumPy alone."""

import ast
import dataclasses
import importlib
import inspect
import pkgutil
import sys
from pathlib import Path

import jax.numpy as jnp
import pytest

import jaxnn
from jaxnn import layers, reference
from jaxnn.networks import combinators, recurrent
from jaxnn.objective import losses, penalties
from jaxnn.reference import twin
from jaxnn.training import augment, loops, schedules, updates

WITHOUT_TWIN = ("windowed", "initializers")  # what layers inherit from; and params, which a twin is given
FAMILIES = [
    *[combinators, recurrent, losses, penalties, schedules, updates, augment],
    *[
        importlib.import_module(f"jaxnn.layers.{module.name}")
        for module in pkgutil.iter_modules(layers.__path__)
        if module.name not in WITHOUT_TWIN
    ],
]


def recipes():
    """Public classes that are something to be used: not protocols, not what they take or return (NamedTuples)."""
    for module in FAMILIES:
        for name, value in vars(module).items():
            if (
                inspect.isclass(value)
                and value.__module__ == module.__name__
                and not name.startswith("_")
                and not getattr(value, "_is_protocol", False)
                and not issubclass(value, tuple)
                and value not in (penalties.decay_mask, penalties.OnWeights)  # which params, and what l1 and l2 share
            ):
                yield value


RECIPES = {kind.__name__: kind for kind in recipes()}
LOOPS = [
    name
    for name, value in vars(loops).items()
    if inspect.isfunction(value) and value.__module__ == loops.__name__ and not name.startswith("_")
]


def test_the_list_of_recipes_is_not_empty_by_mistake():
    assert {"Dense", "Sigmoid", "Serial", "Recurrent", "LSTMCell"} <= set(RECIPES)
    assert {"SoftmaxCrossEntropy", "l2", "cosine", "adamw", "chain", "Mixup", "Compose"} <= set(RECIPES)
    assert set(LOOPS) == {"bgd", "mbgd", "sgd"}


@pytest.mark.parametrize("kind", RECIPES.values(), ids=RECIPES)
def test_every_recipe_has_a_twin_with_the_same_defaults(kind):
    home = {schedules.__name__: reference.schedules, augment.__name__: reference.augment}.get(
        kind.__module__, reference
    )
    other = getattr(home, kind.__name__)
    if kind.__name__ == "chain":
        return
    ours = {field.name: field.default for field in dataclasses.fields(kind)}
    for field in dataclasses.fields(other):
        assert ours[field.name] == field.default, field.name


@pytest.mark.parametrize("name", [*LOOPS, "Flatten", "backprop", "apply_updates"])
def test_every_loop_and_function_has_a_twin(name):
    assert callable(getattr(jaxnn, name))
    assert callable(getattr(reference, name))


def test_every_public_layer_and_loss_comes_from_a_family_above():
    """A layer in a module of its own must not slip past the tests above."""
    for name, value in vars(jaxnn).items():
        if hasattr(value, "forward") and hasattr(value, "backward") and not getattr(value, "_is_protocol", False):
            assert name in RECIPES


def test_a_twin_has_the_same_numbers():
    net = jaxnn.Serial(
        jaxnn.Rescale(0.5, 0.1), jaxnn.Repeat(jaxnn.Residual(jaxnn.Dropout(0.3), 0.2), 2), jaxnn.Flatten()
    )
    inner = reference.Repeat(reference.Residual(reference.Dropout(0.3), 0.2), 2)
    assert twin(net) == reference.Serial(reference.Rescale(0.5, 0.1), inner, reference.Flatten())
    branches = jaxnn.Branches(jaxnn.Tanh(), jaxnn.Dropout(0.1), merge="concatenate")
    assert twin(branches) == reference.Branches(reference.Tanh(), reference.Dropout(0.1), merge="concatenate")
    assert twin((jaxnn.l1(jnp.asarray(0.5)), jaxnn.l2(2))) == (reference.l1(0.5), reference.l2(2))
    rule = jaxnn.chain(jaxnn.clip_by_norm(1.0), jaxnn.adamw(schedules.cosine(0.1, 5), weight_decay=0.2))
    rate = reference.schedules.cosine(0.1, 5)
    expected = reference.chain(reference.clip_by_norm(1.0), reference.adamw(rate, weight_decay=0.2))
    assert twin(rule) == expected


def test_what_has_no_twin_is_named():
    class Convolution:
        pass

    with pytest.raises(TypeError, match="Convolution has no NumPy twin"):
        twin((jaxnn.Tanh(), Convolution()))


FILES = sorted(Path(reference.__file__).parent.glob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_reference_imports_numpy_the_standard_library_and_itself(file):
    for node in ast.walk(ast.parse(file.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names = [node.module]
        for name in names:
            root = name.partition(".")[0]
            own = name == "jaxnn.reference" or name.startswith("jaxnn.reference.")
            assert own or root == "numpy" or root in sys.stdlib_module_names, name
