"""What a run shows: tables in the terminal, and its learning curve as a figure."""

import io
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jax.tree_util import keystr

from jaxnn.arrays import Shape, n_bytes, size
from jaxnn.costs.memory import ledger
from jaxnn.costs.series import one_by_one
from jaxnn.data.files import write_whole
from jaxnn.layer import Layer
from jaxnn.optional import require
from jaxnn.training.run import History

# Blue and vermilion of Okabe and Ito's palette differ for every kind of colour vision, and in print by their lines.
TRAINING = {"color": "#0072B2", "linestyle": "-", "marker": "o", "label": "training, mean over the epoch"}
VALIDATION = {"color": "#D55E00", "linestyle": "--", "marker": "s", "label": "validation, after the epoch"}
MAX_MARKERS = 30


class LayerRow(NamedTuple):
    """One layer of a network: its path, the shape of one example's output, and how much it holds."""

    path: str
    layer: str
    output_shape: Shape
    n_params: int
    cache_bytes: int


def layer_rows(net: Layer, shape: Shape, n_rows: int, dtype: Any = None) -> list[LayerRow]:
    """The layers of a network in forward order, on a training batch of `n_rows` examples of a shape and dtype.

    Nothing is computed. The cache is what each layer keeps for backward; an array that two layers keep is counted
    twice. The children of a composite that says `in_series`, as Serial does, have rows of their own; any other layer is
    one row.

    >>> import jaxnn
    >>> for row in layer_rows(jaxnn.Serial(jaxnn.Dense(3), jaxnn.ReLU()), (4,), n_rows=10):
    ...     print(*row)
    [0] Dense(3) (3,) 15 160
    [1] ReLU() (3,) 0 30
    """
    return [
        LayerRow(
            keystr(path),
            repr(layer),
            layer.output_shape(arguments.x.shape[1:]),
            size(arguments.params),
            n_bytes(result.cache),
        )
        for path, layer, arguments, result in one_by_one(net, shape, n_rows, dtype)
    ]


def print_layers(net: Layer, shape: Shape, n_rows: int, dtype: Any = None) -> None:
    """Layers, output shapes, parameters and cache bytes, with their totals."""
    rows = layer_rows(net, shape, n_rows, dtype)
    print_table(
        f"Network on {n_rows} examples of shape {shape}",
        ("path", "layer", "output", "parameters", "cache [bytes]"),
        [(row.path, row.layer, row.output_shape, f"{row.n_params:,}", f"{row.cache_bytes:,}") for row in rows],
        ("total", "", "", f"{sum(row.n_params for row in rows):,}", f"{sum(row.cache_bytes for row in rows):,}"),
    )


def print_memory(net: Layer, shape: Shape, n_rows: int, dtype: Any = None) -> None:
    """The memory ledger: bytes kept for backward by hand and by `jax.grad`, layer by layer, and what Remat saves."""
    layers, whole = ledger(net, shape, n_rows, dtype)
    print_table(
        f"Bytes kept for backward, on {n_rows} examples of shape {shape}",
        ("path", "layer", "output", "bytes by hand", "bytes by jax.grad", "bytes Remat saves"),
        [
            (row.path, row.layer, row.output_shape, f"{row.by_hand:,}", f"{row.automatic:,}", f"{row.saved_by_remat:,}")
            for row in layers
        ],
        ("all", "each array once", "", f"{whole.by_hand:,}", f"{whole.automatic:,}", ""),
    )


def print_facts(title: str, facts: Iterable[tuple[str, Any]]) -> None:
    """A table of names and values; floats to four digits after the point."""
    print_table(
        title,
        ("", " "),
        [(name, f"{value:,.4f}" if isinstance(value, float) else value) for name, value in facts],
    )


def print_outcome(comparison: Any, n_examples: int) -> None:
    """A comparison of gradients in a line or two; what is wrong, in full."""
    print(f"Gradients by hand and automatic, on {n_examples} training examples:")
    if comparison.ok:
        worst = comparison.worst
        print(
            f"  {len(comparison.rows)} tensors agree; the largest error in float64 is {worst.float64_error:.1e}, "
            f"in {worst.name}\n  (jaxnn compare shows them all)"
        )
    print(*(f"  {line}" for line in comparison.verdict().splitlines()), sep="\n", end="\n\n")


def print_comparison(comparison: Any) -> None:
    """A `Comparison`: in colours on a terminal, otherwise as plain text, of 80 columns or as many as COLUMNS says."""
    if sys.stdout.isatty():
        require("rich.console", "cli").Console(highlight=False).print(comparison)
    else:
        print(comparison.text(shutil.get_terminal_size().columns), flush=True)


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], totals: Sequence[Any] = ()) -> None:
    """A table in the terminal, folded to its width; a row of totals stands below a line of its own."""
    table = require("rich.table", "cli").Table(
        title=title, title_justify="left", title_style="bold", box=require("rich.box", "cli").SIMPLE_HEAD
    )
    table.show_header = any(column.strip() for column in columns)
    for column in columns:
        is_counted = column.startswith(("parameters", "cache", "bytes"))
        table.add_column(column, justify="right" if is_counted else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(str, row))
    if totals:
        table.add_section()
        table.add_row(*map(str, totals))
    require("rich.console", "cli").Console(highlight=False, markup=False).print(table)


def learning_curve(history: History, path: str | Path, title: str = "", unit: str = "nat") -> None:
    """Loss and accuracy by epoch, of training and of validation where there was one, as a PNG; `unit` is the loss's.

    No global state: the figure belongs to no window and no backend (matplotlib's object interface).
    """
    figure = require("matplotlib.figure", "plot").Figure(figsize=(10, 4), layout="constrained")
    panels = {f"loss per example [{unit}]": (history.loss, history.validation_loss)}
    if history.metric is not None:
        panels["accuracy [fraction correct]"] = (history.metric, history.validation_metric)
    figure.suptitle(title)
    for axes, (label, columns) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for column, style in zip(columns, (TRAINING, VALIDATION), strict=True):
            if column is not None:
                values = np.asarray(column)
                epochs = np.arange(1, len(values) + 1)
                axes.plot(epochs, values, markersize=4, markevery=-(-len(values) // MAX_MARKERS), **style)
        axes.set_xlabel("training time [epoch]")
        axes.set_ylabel(label)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend(loc="upper right" if label.startswith("loss") else "lower right")  # "best" is searched for
    picture = io.BytesIO()
    figure.savefig(picture, dpi=120)
    write_whole(path, picture.getvalue())
