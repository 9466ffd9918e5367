"""A model by name: from a file, from a module, and one clear error for what isn't one."""

import sys

import outsiders
import pytest

from jaxnn import Dense
from jaxnn.command_line.own_model import named_model
from jaxnn.command_line.parser import main
from jaxnn.layers.activations import Tanh

SOURCE = """
from jaxnn import Dense, Serial, Tanh
import beside

net = Serial(Dense(beside.WIDTH), Tanh())
number = 3

def make():
    return net

def sized(n):
    return Dense(n)

def fail():
    return undefined
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The path of a module that imports its neighbour; both are forgotten afterwards."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "mine.py").write_text(SOURCE)
    (tmp_path / "beside.py").write_text("WIDTH = 7\n")
    yield tmp_path / "mine.py"
    for name in ("mine", "beside"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", ["net", "make"])
def test_a_file_and_what_lies_beside_it(module, name):
    assert repr(named_model(f"{module}:{name}")) == "Serial(Dense(7), Tanh())"


def test_a_module_of_the_working_directory_or_installed(module, monkeypatch):
    monkeypatch.chdir(module.parent)
    assert named_model("mine:net").layers == (Dense(7), Tanh())
    assert named_model("jaxnn.layers.activations:Tanh") == Tanh()


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("nothing", "has no 'nothing': give the name of a layer"),
        ("sized", "fails with TypeError: sized.* missing 1 required positional argument"),
        ("fail", r"fails with NameError: name 'undefined' is not defined \(line 15\)"),
        ("number", "takes layers, got a int"),
    ],
)
def test_what_is_no_layer_is_said(module, name, complaint):
    with pytest.raises((ValueError, TypeError), match=complaint):
        named_model(f"{module}:{name}")


@pytest.mark.parametrize(
    ("model", "complaint"),
    [
        ("mine.py", "a model should be module.py:name or package.module:name, got 'mine.py'"),
        (":net", "should be module.py:name"),
        ("nowhere.py:net", "there is no file nowhere.py"),
        ("no.such.module:net", "fails with ModuleNotFoundError: No module named 'no'"),
    ],
)
def test_what_is_no_module_is_said(model, complaint, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(ValueError, match=complaint):
        named_model(model)


def test_code_that_fails_is_named_with_its_line(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "broken.py").write_text("x = 1\ny = 1 / 0\n")
    with pytest.raises(ValueError, match=r"broken.py fails with ZeroDivisionError: division by zero \(line 2\)"):
        named_model(f"{tmp_path / 'broken.py'}:net")


@pytest.mark.parametrize("command", ["summary", "compare"])
def test_a_recipe_that_is_not_hashable_is_answered_in_one_line(monkeypatch, capsys, command):
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert main([command, "--model", f"{outsiders.__file__}:UNHASHABLE"]) == 2
    out, err = capsys.readouterr()
    assert err.startswith(f"jaxnn {command}: model ")
    assert "Listed isn't hashable, because its field 'sizes' isn't: make it a frozen dataclass (@jaxnn.recipe)" in err
    assert (out, err.count("\n")) == ("", 1)
