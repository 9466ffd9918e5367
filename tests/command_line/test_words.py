"""A remedy is in the words of the place where the user is."""

from typing import get_args, get_type_hints

import numpy as np
import pytest

import jaxnn
from jaxnn.command_line.options import Objective
from jaxnn.command_line.parser import main
from jaxnn.command_line.words import LOSSES, in_options


def test_every_loss_has_its_option():
    assert sorted(LOSSES.values()) == sorted(get_args(get_type_hints(Objective)["loss"]))
    for name, option in LOSSES.items():
        assert in_options(f"{getattr(jaxnn, name)()}: no") == f"--loss {option}: no"


@pytest.mark.parametrize(
    ("said", "here"),
    [
        ("use mbgd with a larger batch_size", "use --loop mbgd with a larger --batch-size"),
        ('jax.config.update("jax_enable_x64", True)', "--dtype float64"),
        ("--batch-size 3 is larger", "--batch-size 3 is larger"),
        ("Huberty(): no", "Huberty(): no"),
        ("my_batch_size", "my_batch_size"),
        ("validation=99999 can't be drawn", "--validation 99999 can't be drawn"),
        ("epochs: 3 are too many", "--epochs: 3 are too many"),
    ],
)
def test_names_of_a_script_become_options(said, here):
    assert in_options(said) == here


def test_quantities_under_a_cross_entropy(tmp_path, capsys):
    np.savez(tmp_path / "line.npz", x=np.zeros((8, 3)), y=np.linspace(0, 3, 8))
    assert main(["train", "--data", str(tmp_path / "line.npz"), "--loss", "sigmoid-cross-entropy"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("jaxnn train: --loss sigmoid-cross-entropy: targets should be in [0, 1]")
    assert err.endswith("or take --loss half-squared-error for quantities\n")
