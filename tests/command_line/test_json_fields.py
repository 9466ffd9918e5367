"""Dataclasses survive JSON, and what is damaged is refused with the place."""

import json
from dataclasses import asdict

import pytest

from jaxnn.command_line.config import Data, Network, Problem, Recipe, Update
from jaxnn.command_line.json_fields import as_json, from_json


def test_a_recipe_survives_json():
    network, update = Network(hidden=(3, 4), activation="tanh"), Update(clip_norm=1.0)
    recipe = Recipe(Data(augment=("flip", "crop")), network, update=update).resolved()
    assert from_json(Recipe, json.loads(json.dumps(as_json(recipe))), "recipe") == recipe
    problem = Problem((8, 8, 1), 10, None, 1.0)
    assert from_json(Problem, json.loads(json.dumps(as_json(problem))), "problem") == problem


@pytest.mark.parametrize(
    ("part", "name", "value", "words"),
    [
        ("network", "hidden", ["3"], r"recipe.network.hidden should be tuple\[int, ...\] \| None, got a list"),
        (
            "data",
            "augment",
            ["flap"],
            r"recipe.data.augment should be tuple\[.*Literal\['flip', .*\], ...\], got a list",
        ),
        ("data", "augment", "flip", r"recipe.data.augment should be tuple\[.*, got a str"),
        ("network", "activation", "rleu", r"recipe.network.activation should be Literal\['relu'"),
        ("network", "dropout", "0.1", "recipe.network.dropout should be float, got a str"),
        ("network", "batch_norm", 1, "recipe.network.batch_norm should be bool, got a int"),
        ("training", "epochs", 1.5, "recipe.training.epochs should be int, got a float"),
        ("training", "colour", 1, r"recipe.training should have .* unknown: \['colour'\]"),
    ],
)
def test_a_damaged_recipe_is_refused_with_the_place(part, name, value, words):
    found = json.loads(json.dumps(asdict(Recipe())))
    found[part][name] = value
    with pytest.raises(ValueError, match=words):
        from_json(Recipe, found, "recipe")


def test_a_part_that_is_missing_is_named():
    with pytest.raises(ValueError, match=r"missing or unknown: \['network'\]"):
        from_json(Recipe, {name: part for name, part in as_json(Recipe()).items() if name != "network"}, "recipe")
    with pytest.raises(ValueError, match="fields of a Recipe"):
        from_json(Recipe, [], "recipe")
