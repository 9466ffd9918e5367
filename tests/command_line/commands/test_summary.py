"""jaxnn summary: layers, shapes, parameters and cache bytes."""

import re
import sys

import outsiders
import pytest

from jaxnn.command_line.parser import main


def test_it_counts_what_train_would_make(three_clouds, capsys):
    assert main(["summary", "--data", str(three_clouds), "--hidden", "5", "--batch-size", "10"]) == 0
    out = capsys.readouterr().out
    assert "Network on 10 examples of shape (4,)" in out
    assert re.search(r"\[2\] +Dense\(5\) +\(5,\) +25 +160 ", out)  # 4 * 5 + 5 numbers; keeps x, 10 * 4 float32
    assert re.search(r"total +43 +410 ", out)


def test_it_reads_a_run(trained, capsys):
    assert main(["summary", str(trained)]) == 0
    assert "BatchNorm()" in capsys.readouterr().out


def test_a_run_and_options_are_refused_in_one_line(trained, capsys):
    assert main(["summary", str(trained), "--hidden", "3"]) == 2
    assert capsys.readouterr().err == "jaxnn summary: a run has its own options: give either its folder or options\n"


def test_nothing_is_written(three_clouds, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["summary", "--data", str(three_clouds)]) == 0
    assert not list(tmp_path.iterdir())


def test_the_memory_ledger(three_clouds, capsys):
    assert main(["summary", "--data", str(three_clouds), "--hidden", "5", "--batch-size", "10", "--memory"]) == 0
    out = capsys.readouterr().out
    assert "Bytes kept for backward, on 10 examples" in out
    assert re.search(r"all +each array", out)


@pytest.fixture
def model(monkeypatch):
    """A network in which nothing is ours but some leaves."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    return f"{outsiders.__file__}:NET"


def test_a_model_of_somebody_elses(model, three_clouds, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    assert main(["summary", "--data", str(three_clouds), "--batch-size", "10", "--model", model]) == 0
    out = capsys.readouterr().out
    paths = re.findall(r"^ +(\[\S+\]) ", out, re.MULTILINE)
    assert paths == ["['center']", "['block']", "['head'][0]", "['head'][1]"]
    assert re.search(r"\['head'\]\[1\] +Dense\(3\) +\(3,\) +18 +200 ", out)
    assert re.search(r"total +87 ", out)  # 2 (4 * 4 + 4) + 4, 4 * 5 + 5, 5 * 3 + 3
    assert main(["summary", "--data", str(three_clouds), "--model", model, "--memory"]) == 0
    assert "Bytes kept for backward" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["RUN"], "a run has its own options: give either its folder or options"),
        (["--hidden", "3"], "--hidden 3 isn't for --model, which is the whole network: leave it out"),
        (["--data", "digits"], "doesn't fit digits, with examples (8, 8, 1) of uint8"),
    ],
)
def test_a_model_that_does_not_go_with_the_rest_is_refused_in_one_line(model, trained, capsys, words, complaint):
    words = [str(trained) if word == "RUN" else word for word in words]
    assert main(["summary", *words, "--model", model]) == 2
    out, err = capsys.readouterr()
    assert complaint in err
    assert (out, err.count("\n")) == ("", 1)
