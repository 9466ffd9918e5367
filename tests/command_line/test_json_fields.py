"""Dataclasses survive JSON, and what is damaged is refused with the place."""

import json
from dataclasses import asdict

import pytest

from jaxnn.command_line.json_fields import as_json, from_json
from jaxnn.command_line.options import Config, Data, Network, Problem, Update


def test_a_config_survives_json():
    network, update = Network(hidden=(3, 4), activation="tanh"), Update(clip_norm=1.0)
    config = Config(Data(augment=("flip", "crop")), network, update=update).resolved()
    assert from_json(Config, json.loads(json.dumps(as_json(config))), "config") == config
    problem = Problem((8, 8, 1), 10, None, 1.0)
    assert from_json(Problem, json.loads(json.dumps(as_json(problem))), "problem") == problem


@pytest.mark.parametrize(
    ("part", "name", "value", "words"),
    [
        ("network", "hidden", ["3"], r"config.network.hidden should be tuple\[int, ...\] \| None, got a list"),
        (
            "data",
            "augment",
            ["flap"],
            r"config.data.augment should be tuple\[.*Literal\['flip', .*\], ...\], got a list",
        ),
        ("data", "augment", "flip", r"config.data.augment should be tuple\[.*, got a str"),
        ("network", "activation", "rleu", r"config.network.activation should be Literal\['relu'"),
        ("network", "dropout", "0.1", "config.network.dropout should be float, got a str"),
        ("network", "batch_norm", 1, "config.network.batch_norm should be bool, got a int"),
        ("training", "epochs", 1.5, "config.training.epochs should be int, got a float"),
        ("training", "colour", 1, r"config.training should have .* unknown: \['colour'\]"),
    ],
)
def test_a_damaged_config_is_refused_with_the_place(part, name, value, words):
    content = json.loads(json.dumps(asdict(Config())))
    content[part][name] = value
    with pytest.raises(ValueError, match=words):
        from_json(Config, content, "config")


def test_a_part_that_is_missing_is_named():
    with pytest.raises(ValueError, match=r"missing or unknown: \['network'\]"):
        from_json(Config, {name: part for name, part in as_json(Config()).items() if name != "network"}, "config")
    with pytest.raises(ValueError, match="fields of a Config"):
        from_json(Config, [], "config")
