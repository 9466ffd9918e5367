"""The command line: what is understood, and one line for what isn't. The commands have tests of their own."""

from functools import partial
from pathlib import Path

import pytest

import jaxnn
from jaxnn.command_line import commands, parser
from jaxnn.command_line.options import Config, Data, Network, Objective, Training, Update
from jaxnn.command_line.parser import main

MODEL = Config(network=Network(model="m.py:net"))


@pytest.fixture
def asked(monkeypatch):
    """What the commands are asked to do, in place of doing it."""
    calls = []

    def ask(*arguments, name, **options):
        calls.append((name, *arguments, *options.values()))
        return 0

    for name in ("train", "evaluate", "compare", "summary", "aot"):
        monkeypatch.setattr(commands, name, partial(ask, name=name))
    return calls


def test_the_first_example_of_the_design(asked):
    line = (
        "train --data fashion-mnist --hidden 256 128 100 --activation relu --loop mbgd --batch-size 128 "
        "--learning-rate 0.1 --epochs 10"
    )
    assert main(line.split()) == 0
    config = Config(
        Data("fashion-mnist"),
        Network(hidden=(256, 128, 100)),
        update=Update(learning_rate=0.1),
        training=Training(batch_size=128, epochs=10),
    )
    assert asked == [("train", config, None, True, True, False)]


def test_the_second_example_of_the_design(asked):
    line = (
        "train --data mnist --data-dir FOLDER --hidden 30 --activation sigmoid --output-activation sigmoid "
        "--loss half-squared-error --init normal --loop mbgd --batch-size 10 --learning-rate 3 --epochs 30"
    )
    assert main(line.split()) == 0
    config = Config(
        Data("mnist", "FOLDER"),
        Network(hidden=(30,), activation="sigmoid", output_activation="sigmoid", init="normal"),
        Objective("half-squared-error"),
        Update(learning_rate=3.0),
        Training(batch_size=10, epochs=30),
    )
    assert asked == [("train", config, None, True, True, False)]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("train", ("train", Config(), None, True, True, False)),
        ("train --no-compare --overwrite", ("train", Config(), None, True, False, True)),
        ("train --no-progress --output a/b", ("train", Config(), "a/b", False, True, False)),
        ("train --batch-norm", ("train", Config(network=Network(batch_norm=True)), None, True, True, False)),
        ("train --hidden", ("train", Config(network=Network(hidden=())), None, True, True, False)),
        ("evaluate a", ("evaluate", "a", None, None, "test")),
        ("evaluate a --data b.npz --split train", ("evaluate", "a", "b.npz", None, "train")),
        ("compare a", ("compare", "a", Config(), (), False, None)),
        ("compare", ("compare", None, Config(), (), False, None)),
        ("compare --hidden 3 --rows 9", ("compare", None, Config(network=Network(hidden=(3,))), (), False, 9)),
        (
            "compare --save a.md --save b.png --model m.py:net --every-rule",
            ("compare", None, MODEL, (Path("a.md"), Path("b.png")), True, None),
        ),
        ("summary", ("summary", None, Config(), False)),
        ("summary a", ("summary", "a", Config(), False)),
        ("summary --model m.py:net --memory", ("summary", None, MODEL, True)),
        ("summary --hidden 3", ("summary", None, Config(network=Network(hidden=(3,))), False)),
        ("aot a --save b.md", ("aot", "a", Config(), "v5e", (Path("b.md"),))),
        ("aot --model m.py:net --target h100x4", ("aot", None, MODEL, "h100x4", ())),
    ],
)
def test_words_become_commands(asked, line, what):
    assert main(line.split()) == 0
    words = [str(word) if isinstance(word, Path) else word for word in asked[0]]
    assert words == list(what)


@pytest.mark.parametrize(
    "line", ["", "--help", "train --help", "evaluate --help", "compare --help", "summary -h", "aot -h"]
)
def test_help_is_given(line, capsys):
    assert main(line.split()) == 0
    out, err = capsys.readouterr()
    assert out.startswith("usage: jaxnn")
    assert err == ""


def test_the_version_is_given(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"jaxnn {jaxnn.__version__}\n"


def test_help_names_the_keys_of_data_and_the_order_of_axes(capsys):
    main(["train", "--help"])
    out = capsys.readouterr().out
    assert not [word for word in ("x_train", "y_train", "x_validation", "y_test", "NHWC") if word not in out]


def test_help_has_a_line_for_every_option(capsys):
    main(["train", "--help"])
    out = capsys.readouterr().out
    options = "data data-dir validation architecture channels hidden depth width "
    options += "activation output-activation init dropout batch-norm loss"
    options += " label-smoothing l1 l2 update learning-rate momentum b1 b2 epsilon weight-decay schedule warmup"
    options += " clip-value clip-norm clip-global-norm loop batch-size epochs patience min-improvement gradient"
    options += " devices seed dtype matmul-precision model output progress compare overwrite"
    assert not [option for option in options.split() if f"--{option} " not in out and f"--{option}," not in out]


@pytest.mark.parametrize("width", ["40", "100"])
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("train --activation rleu", "jaxnn train: invalid choice 'rleu' for argument '--activation'. Expected one of"),
        ("train --hidden x", "jaxnn train: Error parsing --hidden"),
        ("train --epochs 1.5", "jaxnn train: Error parsing --epochs"),
        ("train --epochs", "jaxnn train: "),
        ("train --dtype bfloat16", "jaxnn train: invalid choice 'bfloat16'"),
        ("train --activaton relu", "Unrecognized options: --activaton"),
        ("evaluate", "jaxnn evaluate: "),
        ("tarin", "jaxnn: "),
        ("train --data no-such", "jaxnn train: there is no data set 'no-such'"),
        ("train --data no-such.npz", "jaxnn train: there is no file no-such.npz"),
        ("train --data mnist --data-dir nowhere", "jaxnn train: mnist needs train-images-idx3-ubyte.gz"),
        ("compare nowhere", "jaxnn compare: nowhere isn't a run's folder"),
        ("summary nowhere", "jaxnn summary: nowhere isn't a run's folder"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(line, words, width, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", width)
    assert main(line.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert words in err
    assert not set("╭│╰─") & set(err)


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (ValueError("two\n lines"), 2, "jaxnn compare: two lines\n"),
        (OSError(), 2, "jaxnn compare: OSError\n"),
        (KeyboardInterrupt(), 130, "jaxnn compare: interrupted\n"),
    ],
)
def test_errors_become_a_line(error, status, line, capsys, monkeypatch):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(commands, "compare", fail)
    assert main(["compare", "a"]) == status
    assert capsys.readouterr().err == line


def test_a_bug_is_not_dressed_as_a_mistake(monkeypatch):
    def fail(*_, **__):
        raise AssertionError("a bug")

    monkeypatch.setattr(commands, "compare", fail)
    with pytest.raises(AssertionError):
        main(["compare", "a"])


def test_words_default_to_the_command_lines(asked, monkeypatch):
    monkeypatch.setattr(parser.sys, "argv", ["jaxnn", "compare", "a"])
    assert main() == 0
    assert asked[0][0] == "compare"
