"""jaxnn evaluate: the numbers of a run, read back."""

import json
import re

import numpy as np
import pytest

from jaxnn.command_line.parser import main
from jaxnn.command_line.run_folder import RESULT


@pytest.mark.parametrize(("split", "name"), [("test", "test"), ("train", "training"), ("validation", "validation")])
def test_it_gives_what_training_measured(trained, capsys, split, name):
    assert main(["evaluate", str(trained), "--split", split]) == 0
    out = capsys.readouterr().out
    result = json.loads((trained / RESULT).read_text())
    for what in ("loss", "accuracy"):
        shown = re.search(rf"^ *{name} {what} +(\S+) *$", out, re.MULTILINE)
        assert float(shown[1]) == pytest.approx(result[f"{name}_{what}"], abs=1e-4)


def test_it_takes_other_data_of_the_same_kind(trained, tmp_path, capsys):
    path = tmp_path / "other.npz"
    np.savez(path, x=np.zeros((7, 4), np.float32), y=np.zeros(7, int))
    assert main(["evaluate", str(trained), "--data", str(path), "--split", "train"]) == 0
    assert re.search(r"examples +7 ", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("arrays", "words", "complaint"),
    [
        ({"x": np.zeros((7, 5), np.float32), "y": np.zeros(7, int)}, "--split train", "should have 4 features"),
        ({"x": np.zeros((7, 4), np.float32), "y": np.full(7, 3)}, "--split train", "labels should be 0 to 2"),
        ({"x": np.zeros((7, 4), np.float32), "y": np.zeros(7, int)}, "--split test", "has no test examples"),
    ],
)
def test_data_of_another_kind_is_refused_in_one_line(trained, tmp_path, capsys, arrays, words, complaint):
    path = tmp_path / "other.npz"
    np.savez(path, **arrays)
    assert main(["evaluate", str(trained), "--data", str(path), *words.split()]) == 2
    err = capsys.readouterr().err
    assert complaint in err
    assert err.count("\n") == 1


def test_labels_that_have_no_output_are_refused_before_they_are_made_one_hot(quick, tmp_path, capsys):
    folder, path = tmp_path / "run", tmp_path / "other.npz"
    assert main([*quick, "--loss", "half-squared-error", "--epochs", "1", "--output", str(folder)]) == 0
    np.savez(path, x=np.zeros((7, 4), np.float32), y=np.full(7, 3))
    assert main(["evaluate", str(folder), "--data", str(path), "--split", "train"]) == 2
    assert "has the label 3, and the network 3 outputs" in capsys.readouterr().err


def test_a_folder_without_a_run_is_refused(tmp_path, capsys):
    assert main(["evaluate", str(tmp_path)]) == 2
    assert "isn't a run's folder" in capsys.readouterr().err
