"""How far a run has come, on stderr: a bar of epochs on a terminal, and lines where there is none."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from jaxnn.optional import require
from jaxnn.training.evaluation import Metric

SECONDS = 10.0  # between two lines: a log that can be read, and yet shows that the run is alive

Advance = Callable[[dict[str, Any]], None]


@contextmanager
def shown(epochs: int, show: bool, metric: Metric | None) -> Iterator[Advance]:
    """A function to call with each epoch's row of the log, which shows the latest loss and speed."""
    if not show:
        yield lambda row: None
        return
    name = getattr(metric, "__name__", "metric")
    if not sys.stderr.isatty():
        yield _lines(epochs, name)
        return
    rich, console = require("rich.progress", "cli"), require("rich.console", "cli").Console(stderr=True)
    columns = (
        rich.MofNCompleteColumn(),
        rich.BarColumn(bar_width=8),
        rich.TextColumn("{task.fields[words]}"),
        rich.TimeRemainingColumn(),
    )
    with rich.Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=epochs, words="compiling")
        yield lambda row: bar.update(task, advance=1, words=_words(row, name))


def _lines(epochs: int, metric: str) -> Advance:
    """A line for the first epoch, the last one, and one in every few seconds."""
    done, last = 0, -SECONDS

    def advance(row: dict[str, Any]) -> None:
        nonlocal done, last
        done += 1
        now = time.monotonic()
        if done in (1, epochs) or now - last >= SECONDS:
            last = now
            print(f"{done}/{epochs} {_words(row, metric)}", file=sys.stderr, flush=True)

    return advance


def _words(row: dict[str, Any], metric: str) -> str:
    names = {"loss": "loss", "metric": metric}
    if "validation_metric" in row:  # a line of 80 columns has no room for both
        names = {"loss": "loss", "validation_metric": f"validation {metric}"}
    words = [f"{word} {row[name]:.4f}" for name, word in names.items() if row.get(name) is not None]
    return ", ".join([*words, f"{row['examples_per_second']:,.0f} examples/s"])
