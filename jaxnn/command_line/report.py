"""What a run shows: tables in the terminal, and its learning curve as a figure."""

import math
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr

from jaxnn.arrays import Shape, n_bytes, size
from jaxnn.costs.aot import Cost
from jaxnn.costs.memory import ledger
from jaxnn.layer import Layer
from jaxnn.layer import Path as TreePath
from jaxnn.networks.combinators import Serial
from jaxnn.optional import require
from jaxnn.training.run import History

# Blue and vermilion of Okabe and Ito's palette differ for every kind of colour vision, and in print by their lines.
TRAINING = {"color": "#0072B2", "linestyle": "-", "marker": "o", "label": "training, mean over the epoch"}
VALIDATION = {"color": "#D55E00", "linestyle": "--", "marker": "s", "label": "validation, after the epoch"}
MAX_MARKERS = 30


class LayerRow(NamedTuple):
    """One layer of a network at work: its place, the shape of one example's output, and what it holds."""

    path: str
    layer: str
    output_shape: Shape
    n_params: int
    cache_bytes: int


def layer_rows(net: Layer, shape: Shape, n_rows: int, dtype: Any = None) -> list[LayerRow]:
    """The layers of a network in forward order, on a training batch of `n_rows` examples of a shape and dtype.

    Nothing is computed: shapes alone go through the network (`jax.eval_shape`). The cache is what each layer keeps for
    backward; an array that two layers keep is counted twice. Combinators other than Serial are one row.

    >>> import jaxnn
    >>> for row in layer_rows(jaxnn.Serial(jaxnn.Dense(3), jaxnn.ReLU()), (4,), n_rows=10):
    ...     print(*row)
    [0] Dense(3) (3,) 15 160
    [1] ReLU() (3,) 0 30
    """
    x = jax.ShapeDtypeStruct((n_rows, *shape), jnp.result_type(float) if dtype is None else dtype)

    def shapes(x: jax.Array) -> tuple[Any, Any]:
        params, state = net.init(jax.random.key(0), shape)
        return params, net.forward(params, state, x, key=jax.random.key(0), train=True).cache

    params, cache = jax.eval_shape(shapes, x)
    return list(_rows((), net, shape, params, cache))


def _rows(path: TreePath, layer: Layer, shape: Shape, params: Any, cache: Any) -> Iterator[LayerRow]:
    if not isinstance(layer, Serial):
        yield LayerRow(keystr(path), repr(layer), layer.output_shape(shape), size(params), n_bytes(cache))
        return
    for i, (key, child) in enumerate(layer.children):
        yield from _rows((*path, key), child, shape, params[i], cache[i])
        shape = child.output_shape(shape)


def print_layers(net: Layer, shape: Shape, n_rows: int, dtype: Any = None) -> None:
    """Layers, output shapes, parameters and cache bytes, with their totals."""
    rows = layer_rows(net, shape, n_rows, dtype)
    table = _table(
        f"Network on {n_rows} examples of shape {shape}", "path", "layer", "output", "parameters", "cache [bytes]"
    )
    for row in rows:
        words = [row.path, row.layer, str(row.output_shape), f"{row.n_params:,}", f"{row.cache_bytes:,}"]
        table.add_row(*words)
    table.add_section()
    n_params, cache_bytes = sum(row.n_params for row in rows), sum(row.cache_bytes for row in rows)
    table.add_row("total", "", "", f"{n_params:,}", f"{cache_bytes:,}")
    _print(table)


def print_memory(net: Layer, shape: Shape, n_rows: int, dtype: Any = None) -> None:
    """The memory ledger: bytes kept for backward by hand and by `jax.grad`, layer by layer, and what Remat saves."""
    found = ledger(net, shape, n_rows, dtype)
    table = _table(
        f"Bytes kept for backward, on {n_rows} examples of shape {shape}",
        "path",
        "layer",
        "output",
        "bytes by hand",
        "bytes by jax.grad",
        "bytes Remat saves",
    )
    for row in found.layers:
        numbers = (row.by_hand, row.automatic, row.saved_by_remat)
        table.add_row(row.path, row.layer, str(row.output_shape), *(f"{number:,}" for number in numbers))
    table.add_section()
    whole = found.whole
    table.add_row("all", "each array once", "", f"{whole.by_hand:,}", f"{whole.automatic:,}", "")
    _print(table)


COST_ROWS = ("", "form", "bytes of temporaries", "bytes moved", "FLOPs", "fusions", "library calls", "collectives")


def cost_cells(cost: Cost) -> tuple[str, ...]:
    """What a form of a step costs, in the words of `COST_ROWS`."""
    found = cost.compiled
    calls, collectives = (
        ", ".join(f"{n} {name}" for name, n in each.items()) or "none"
        for each in (found.library_calls, found.collectives)
    )
    numbers = (found.temporary_bytes, found.bytes_accessed, found.flops, found.fusions)
    counted = ("not counted" if math.isnan(number) else f"{number:,.0f}" for number in numbers)
    return cost.kind, cost.form, *counted, calls, collectives


def print_costs(title: str, found: Iterable[Cost]) -> None:
    """What a training step costs on an accelerator, for each device, by hand and by machine: a column each."""
    heads, *rows = zip(COST_ROWS, *map(cost_cells, found), strict=True)
    table = _table(title, *heads)
    for row in rows:
        table.add_row(*row)
    _print(table)


def print_facts(title: str, facts: Iterable[tuple[str, Any]]) -> None:
    """A table of names and values; floats to four digits after the point."""
    table = _table(title, "", " ")
    for name, value in facts:
        table.add_row(name, f"{value:,.4f}" if isinstance(value, float) else str(value))
    _print(table)


def print_comparison(comparison: Any) -> None:
    """A `Comparison`: in colours on a terminal, else as plain text, whose columns line up at any width."""
    if sys.stdout.isatty():
        require("rich.console", "cli").Console(highlight=False).print(comparison)
    else:
        print(comparison, flush=True)


def _table(title: str, *columns: str) -> Any:
    table = require("rich.table", "cli").Table(
        title=title, title_justify="left", title_style="bold", box=require("rich.box", "cli").SIMPLE_HEAD
    )
    table.show_header = any(column.strip() for column in columns)
    for column in columns:
        counted = column.startswith(("parameters", "cache", "bytes"))
        table.add_column(column, justify="right" if counted else "left", overflow="fold")
    return table


def _print(table: Any) -> None:
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
    figure.savefig(path, dpi=120)
