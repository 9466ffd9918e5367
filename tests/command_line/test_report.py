"""Tables and figures."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn
from jaxnn.arrays import n_bytes, size
from jaxnn.command_line.report import (
    LayerRow,
    layer_rows,
    learning_curve,
    print_facts,
    print_layers,
)
from jaxnn.networks.models import mlp
from jaxnn.training.run import History


def test_rows_are_the_layers_with_what_they_hold():
    net = mlp([5], 3, batch_norm=True, dropout=0.5, scale=1 / 255)
    assert layer_rows(net, (2, 2, 1), 10, np.uint8) == [
        LayerRow("[0]", "Reshape((-1,))", (4,), 0, 0),
        LayerRow("[1]", "Rescale(0.00392156862745098)", (4,), 0, 0),
        LayerRow("[2]", "Dense(5, bias=False)", (5,), 20, 160),
        LayerRow("[3]", "BatchNorm()", (5,), 10, 240),  # x, and mean and 1 / std of each feature
        LayerRow("[4]", "ReLU()", (5,), 0, 50),
        LayerRow("[5]", "Dropout()", (5,), 0, 7),
        LayerRow("[6]", "Dense(3)", (3,), 18, 200),
    ]


def test_totals_are_those_of_the_arrays(key):
    net = jaxnn.Serial(jaxnn.Serial(jaxnn.Dense(4), jaxnn.Tanh()), jaxnn.Residual(jaxnn.Dense(4)), jaxnn.Dense(2))
    params, state = net.init(key, (3,))
    cache = net.forward(params, state, jnp.ones((7, 3)), train=True).cache
    rows = layer_rows(net, (3,), 7)
    assert [row.path for row in rows] == ["[0][0]", "[0][1]", "[1]", "[2]"]
    assert sum(row.n_params for row in rows) == size(params)
    assert sum(row.cache_bytes for row in rows) == n_bytes(cache)


def test_a_network_of_one_layer_is_one_row():
    assert layer_rows(jaxnn.Dense(2), (3,), 1) == [LayerRow("", "Dense(2)", (2,), 8, 12)]


def test_tables_fit_the_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    print_layers(mlp([500] * 3, 10, scale=1 / 255), (28, 28, 1), 128, np.uint8)
    print_facts("Result", [("test accuracy", 0.97), ("epochs", 3), ("folder", "[red]runs/a")])
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 60
    assert "[red]runs/a" in out
    assert "0.9700" in out


def columns(n, **changed):
    curve = jnp.linspace(2.0, 0.1, n)
    names = dict.fromkeys(("loss", "penalty", "metric", "validation_loss", "validation_metric"), curve)
    return History(**{**names, "step_loss": None, "step_gradient_norm": None, **changed})


@pytest.mark.parametrize(
    "history",
    [
        columns(50),
        columns(1),
        columns(3, validation_loss=None, validation_metric=None),
        columns(3, metric=None, validation_metric=None),
        columns(3, loss=jnp.array([1.0, jnp.nan, jnp.inf])),
    ],
)
def test_a_curve_of_any_history_is_a_png(tmp_path, history):
    learning_curve(history, tmp_path / "curve.png", "title")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_the_figure_touches_no_global_state(tmp_path):
    learning_curve(columns(3), tmp_path / "curve.png")
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


def test_a_legend_has_its_place(tmp_path, monkeypatch):
    """The best one is searched for, and on a busy machine matplotlib warns that this is slow."""
    from matplotlib.legend import Legend

    monkeypatch.setattr(Legend, "_find_best_position", None)
    learning_curve(columns(5), tmp_path / "curve.png")


def test_panels_have_labels_with_units_and_legends(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **_: drawn.append(self))
    learning_curve(columns(5), tmp_path / "curve.png", "title", unit="1")
    loss, accuracy = drawn[0].axes
    assert (loss.get_ylabel(), accuracy.get_ylabel()) == ("loss per example [1]", "accuracy [fraction correct]")
    for axes in (loss, accuracy):
        assert axes.get_xlabel() == "training time [epoch]"
        assert [text.get_text()[:8] for text in axes.get_legend().get_texts()] == ["training", "validati"]
        assert len({line.get_linestyle() for line in axes.lines}) == 2


def test_nothing_is_computed(monkeypatch):
    huge = mlp([10**6], 10**6)
    rows = layer_rows(huge, (10**6,), 10**6)
    assert sum(row.n_params for row in rows) == 2 * 10**12 + 2 * 10**6
    assert jax.live_arrays() is not None
