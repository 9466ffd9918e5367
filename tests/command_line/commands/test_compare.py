"""jaxnn compare: exit status 0 where the gradients agree, 1 where they don't, 2 for a mistake."""

import json
import re
import sys

import jax
import numpy as np
import pytest

from jaxnn import Dense, audit
from jaxnn.command_line.commands.setting import prepare
from jaxnn.command_line.options import Config, Data
from jaxnn.command_line.parser import main
from jaxnn.training.run import start
from jaxnn.training.updates import gradient_descent

MODELS = """
from jaxnn import Backward, Dense, DenseParams, Rescale, Serial, Tanh
from jaxnn.layer import recipe

@recipe
class Wrong(Dense):
    def backward(self, params, cache, dy):
        (weight, bias), dx = super().backward(params, cache, dy)
        return Backward(DenseParams(1.001 * weight, bias), dx)

right = Serial(Dense(4), Tanh(), Dense(3))
wrong = Serial(Dense(4), Tanh(), Wrong(3))
wide = Dense(4)
narrow = Dense(2)

class Long:
    def init(self, key, shape, dtype=None):
        return Dense(3).init(key, (5,), dtype)
    def output_shape(self, shape):
        return (3,)
    def forward(self, params, state, x, *, key=None, train=False):
        return Dense(3).forward(params, state, x)
    def backward(self, params, cache, dy):
        return Dense(3).backward(params, cache, dy)
"""


@pytest.fixture
def models(tmp_path, monkeypatch):
    """The path of a module with models for four features and three classes, right ones and wrong ones."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    path = tmp_path / "models.py"
    path.write_text(MODELS)
    return path


@pytest.fixture
def compared(monkeypatch):
    """What the audit is asked to compare."""
    calls, real = [], audit.compare

    def compare(*arguments, **options):
        calls.append((arguments, options))
        return real(*arguments, **options, costs=False)

    monkeypatch.setattr(audit, "compare", compare)
    return calls


def complaint(words, capsys):
    """The one line on stderr of a mistake, before which nothing was printed."""
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    return err


def test_the_gradients_of_a_run_agree(trained, capsys):
    assert main(["compare", str(trained)]) == 0
    out = capsys.readouterr().out
    assert f"gradients of {trained} on 20 training examples" in out
    assert "[5].weight" in out
    assert "all gradients agree" in out


def test_a_wrong_backward_is_noticed(trained, capsys, monkeypatch):
    right = Dense.backward

    def wrong(self, params, cache, dy):
        dparams, dx = right(self, params, cache, dy)
        return dparams._replace(weight=1.001 * dparams.weight), dx

    monkeypatch.setattr(Dense, "backward", wrong)
    jax.clear_caches()
    assert main(["compare", str(trained)]) == 1
    assert "WRONG" in capsys.readouterr().out
    jax.clear_caches()


def test_without_a_run_it_is_the_network_that_train_would_make(three_clouds, capsys, compared):
    words = f"compare --data {three_clouds} --hidden 5 --batch-size 20 --seed 3 --l2 0.1 --dropout 0.2"
    assert main(words.split()) == 0
    assert "gradients of a fresh network for clouds on 20 training examples" in capsys.readouterr().out
    ((net, _, params, _, x, _), options) = compared[0]
    run = start(net, (4,), key=jax.random.key(3), update=gradient_descent(0.1))
    jax.tree.map(np.testing.assert_array_equal, params, run.params)
    assert options["key"] == run.keys.noise
    assert not options["every_rule"]
    np.testing.assert_array_equal(x, prepare(Config(Data(str(three_clouds)))).train[0][:20])


def test_rows_and_every_rule(three_clouds, compared):
    assert main(f"compare --data {three_clouds} --hidden --rows 33 --every-rule --dtype float64".split()) == 0
    ((_, _, params, _, x, y), options) = compared[0]
    assert (len(x), len(y), options["every_rule"]) == (33, 33, True)
    assert params[-1].weight.dtype == x.dtype == np.float64


def test_it_is_saved_by_its_ending(three_clouds, tmp_path, capsys, compared):
    paths = [tmp_path / f"comparison.{ending}" for ending in ("json", "md", "png")]
    words = [f"--save={path}" for path in paths]
    assert main(["compare", "--data", str(three_clouds), "--hidden", "--batch-size", "20", *words]) == 0
    assert json.loads(paths[0].read_text())["ok"]
    assert paths[1].read_text().endswith("all gradients agree\n")
    assert paths[2].read_bytes().startswith(b"\x89PNG")


def test_a_model_of_ones_own(models, three_clouds, capsys, compared):
    words = ["compare", "--data", str(three_clouds), "--model"]
    assert main([*words, f"{models}:right"]) == 0
    out = capsys.readouterr().out
    assert f"gradients of {models}:right on 8 training examples" in out
    assert "all gradients agree" in out


OUTSIDE = """
from jaxnn import Dense, Tanh
from outsiders import Chain, Gated

gate = Chain(("dense", "bend"), (Dense(4), Tanh()))
net = Chain(("gated", "head"), (Gated(Dense(4), gate), Dense(3)))
"""


def test_a_model_of_somebody_elses_composites(tmp_path, monkeypatch, three_clouds, capsys, compared):
    monkeypatch.setattr(sys, "path", [*sys.path])
    path = tmp_path / "outside.py"
    path.write_text(OUTSIDE)
    assert main(["compare", "--data", str(three_clouds), "--model", f"{path}:net"]) == 0
    out = capsys.readouterr().out
    assert "['gated']['g']['dense'].weight" in out
    assert "all gradients agree" in out


def test_a_model_that_is_wrong_by_a_thousandth_is_named_with_its_factor(models, three_clouds, capsys, compared):
    words = f"compare --data {three_clouds} --model {models}:wrong --rows 32"
    assert main(words.split()) == 1
    out = capsys.readouterr().out
    assert re.search(r"^WRONG RULE \[2\] Wrong\(3\): weight is wrong in float64: .*1\.001", out, re.MULTILINE)
    assert "WRONG: [2].weight\n" in out


def test_on_a_terminal_it_has_colours_and_in_a_file_none(three_clouds, capsys, compared, monkeypatch):
    words = f"compare --data {three_clouds} --hidden".split()
    assert main(words) == 0
    plain = capsys.readouterr().out
    assert "\ntensor " in plain
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "\ntensor " not in shown
    assert "[2].weight" in shown
    assert "\x1b[1;32mall gradients agree" in shown


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("narrow", "doesn't fit clouds, with examples (4,) of float32: data: labels should be 0 to 1"),
        ("Long", "doesn't fit clouds, with examples (4,) of float32: Dense(3): the last axis of x should have 5"),
    ],
)
def test_a_model_that_does_not_fit_the_data_is_refused(models, three_clouds, capsys, name, words):
    assert words in complaint(["compare", "--data", str(three_clouds), "--model", f"{models}:{name}"], capsys)


def test_bytes_need_a_rescale(models, capsys):
    err = complaint(["compare", "--model", f"{models}:right"], capsys)
    assert "doesn't fit digits, with examples (8, 8, 1) of uint8: Dense(4): x should be floating" in err
    assert "put Rescale(scale) before it" in err


def test_what_contradicts_itself_is_refused_before_anything_is_computed(trained, models, tmp_path, capsys):
    model = f"--model={models}:right"
    refused = {
        (str(trained), model): "a run has its own options: give either its folder or options",
        (str(trained), "--hidden", "3"): "a run has its own options: give either its folder or options",
        (model, "--hidden", "3"): "--hidden 3 isn't for --model, which is the whole network: leave it out",
        (str(trained), f"--save={tmp_path / 'comparison.txt'}"): "is saved as .json, .md or .png, got 'comparison.txt'",
        (str(trained), "--rows", "0"): "--rows 0 is out of range",
        (str(trained), "--rows", "61"): "clouds has 60 training examples",
    }
    for words, expected in refused.items():
        assert expected in complaint(["compare", *words], capsys)


@pytest.mark.parametrize("name", ["config.json", "params.safetensors"])
def test_a_run_without_its_files_is_refused_in_one_line(trained, tmp_path, capsys, name):
    for path in trained.iterdir():
        if path.name != name:
            (tmp_path / path.name).write_bytes(path.read_bytes())
    assert f"has no {name}" in complaint(["compare", str(tmp_path)], capsys)
