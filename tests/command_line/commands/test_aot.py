"""jaxnn aot: a table of what a step costs there. Nothing is compiled here but what tests/test_aot.py compiles."""

import json
import sys
from dataclasses import fields
from typing import get_args

import outsiders
import pytest

from jaxnn import Dense
from jaxnn.command_line.commands import aot as command
from jaxnn.command_line.commands.aot import ROWS, cost_cells, print_costs
from jaxnn.command_line.parser import Aot, main
from jaxnn.costs import aot
from jaxnn.networks.wrapped import Wrapped
from jaxnn.training.updates import gradient_descent

FACTS = aot.Compiled(1_000, 20, 30, 4e6, 5e6, 6, {"convolution": 7}, {"all-reduce": 1})


@pytest.fixture
def asked(monkeypatch):
    """What is to be compiled, in place of compiling it: a target of four devices whose compiler is there."""
    calls = []

    def step_cost(target, task, x, labels):
        calls.append((target, task.net, x, labels, task.update))
        return FACTS._replace(temporary_bytes=1_000 * len(calls))

    module = sys.modules[command.__module__]
    monkeypatch.setattr(aot, "step_cost", step_cost)
    monkeypatch.setattr(module, "mesh", lambda target: type("Mesh", (), {"size": aot.TARGETS[target].n_devices}))
    return calls


def test_the_command_line_knows_all_targets():
    choices = next(field.type for field in fields(Aot) if field.name == "target")
    assert get_args(choices) == tuple(aot.TARGETS)


def test_the_table_of_a_fresh_network(asked, three_clouds, capsys):
    words = f"aot --data {three_clouds} --batch-size 20 --update gradient-descent --learning-rate 0.3 --target v5ex4"
    assert main(words.split()) == 0
    target, _, x, labels, update = asked[0]
    assert (target, x.shape, x.dtype, labels.shape, labels.dtype.kind) == ("v5ex4", (20, 4), "float32", (20,), "i")
    assert update == gradient_descent(0.3)
    out = " ".join(capsys.readouterr().out.split())
    assert f"on 20 examples, for v5ex4: {aot.LABEL}" in out
    for kind in aot.KINDS:
        assert kind.split()[0] in out


def test_costs_have_a_column_each(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    facts = aot.Compiled(1_000, 2, 3, 4e6, float("nan"), 5, {"convolution": 6, "gemm": 1}, {})
    costs = [
        aot.Cost(aot.BY_HAND, "as written", facts),
        aot.Cost(aot.CHECKPOINT, "products kept", facts._replace(temporary_bytes=7)),
    ]
    assert cost_cells(costs[0]) == (
        aot.BY_HAND,
        "as written",
        "1,000",
        "not counted",
        "4,000,000",
        "5",
        "6 convolution, 1 gemm",
        "none",
    )
    assert len(cost_cells(costs[0])) == len(ROWS)
    print_costs("A step", costs)
    out = capsys.readouterr().out
    assert "bytes of temporaries   1,000                   7" in out
    assert max(map(len, out.splitlines())) <= 80


def test_it_is_saved(asked, three_clouds, tmp_path):
    table, data = tmp_path / "a.md", tmp_path / "a.json"
    assert main(["aot", "--data", str(three_clouds), "--save", str(table), "--save", str(data)]) == 0
    rows = json.loads(data.read_text())["rows"]
    assert [row["gradient"] for row in rows] == list(aot.KINDS)
    assert rows[0] | FACTS._asdict() == rows[0]
    lines = table.read_text().splitlines()
    assert aot.LABEL in lines[0]
    assert lines[2] == f"|  | {' | '.join(aot.KINDS)} |"
    assert lines[5] == "| bytes of temporaries | 1,000 | 2,000 | 3,000 | 4,000 |"
    assert lines[9] == "| library calls | 7 convolution | 7 convolution | 7 convolution | 7 convolution |"


def test_a_run_and_a_model(asked, trained, three_clouds, tmp_path, monkeypatch):
    assert main(["aot", str(trained)]) == 0
    assert not isinstance(asked[0][1], Wrapped)
    monkeypatch.setattr(sys, "path", [*sys.path])
    model = tmp_path / "model.py"
    model.write_text("from jaxnn import Dense\nnet = Dense(3)\n")
    asked.clear()
    assert main(["aot", "--data", str(three_clouds), "--model", f"{model}:net"]) == 0
    assert asked[0][1] == Dense(3)


def test_a_model_of_somebody_elses(asked, three_clouds, monkeypatch):
    """On four devices it couples the rows of all of them, and its forms are those of a network of ours."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    words = f"aot --data {three_clouds} --batch-size 20 --target v5ex4 --model {outsiders.__file__}:NET"
    assert main(words.split()) == 0
    nets = [net for _, net, *_ in asked]
    assert repr(nets[0]) == repr(aot.across_devices(outsiders.NET))
    assert "Center(axis_name='devices')" in repr(nets[0])
    assert len(nets) == 10


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("--save a.png", "costs are saved as .json or .md, got 'a.png'"),
        ("--target v5ex4 --batch-size 30", "30 examples a step can't be shared equally by the 4 devices of v5ex4"),
        (f"--model {outsiders.__file__}:UNHASHABLE", "Listed isn't hashable, because its field 'sizes' isn't"),
        ("--model m.py:net --hidden 3", "--hidden 3 isn't for --model, which is the whole network: leave it out"),
    ],
)
def test_a_mistake_is_one_line(asked, words, complaint, three_clouds, capsys):
    assert main(["aot", "--data", str(three_clouds), *words.split()]) == 2
    err = capsys.readouterr().err
    assert complaint in err
    assert err.startswith("jaxnn aot: ")
    assert err.count("\n") == 1
    assert not asked


def test_a_missing_compiler_is_said_before_data_is_read(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "libtpu", None)
    aot.mesh.cache_clear()
    assert main(["aot", "--data", "nowhere.npz"]) == 2
    assert 'pip install "jaxnn[aot]"' in capsys.readouterr().err
