"""Running a loop from the host: progress, early stopping, a log, and a stop on Ctrl-C that loses nothing.

`fit` runs a loop one epoch at a time and gives the same bits as the loop by itself; the loop's program compiles once.
"""

import json
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.arrays import PyTree, number, register_node, require_positive
from jaxnn.layer import Layer
from jaxnn.objective.losses import Loss
from jaxnn.optional import require
from jaxnn.training.evaluation import Metric, accuracy
from jaxnn.training.examples import checked_splits
from jaxnn.training.run import History, Run


class Fit(NamedTuple):
    """What `fit` gives: the run, the history of the epochs that were run, and why it ended.

    ended is "epochs" (all were run), "early" (the validation loss stopped improving), "diverged" (the loss, in an
    ensemble every loss, became NaN or infinite), "interrupted" (Ctrl-C) or "failed" (see `fit`). With early stopping,
    best_epoch counts from 1 in this fit, and the run has the params, the state and the rule's state of that epoch.
    last_finite: of a run that diverged, the run before the epoch in which it did; None if that was the first of all.
    """

    run: Run
    history: History
    ended: str
    best_epoch: jax.Array | None = None
    last_finite: Run | None = None


class Stopping(NamedTuple):
    """What early stopping carries. best is what was learned by the epoch with the best validation loss."""

    best: PyTree
    best_loss: jax.Array
    best_epoch: jax.Array
    epoch: jax.Array
    stopped: jax.Array


@register_node
@dataclass(frozen=True)
class early_stopping:
    """Stop when the validation loss hasn't improved by more than `min_improvement` for `patience` epochs.

    The best params are kept. A pure function of what it carries: a run that has stopped keeps its best by a `where`,
    so it works under `vmap`, where other runs go on. A NaN is never an improvement.
    Source: PRINCIPLES F2; Prechelt 1998.

    >>> rule = early_stopping(patience=2)
    >>> stopping = rule.init(learned=jnp.zeros(()))
    >>> for epoch, loss in enumerate([3.0, 2.0, 2.5, 2.5, 1.0], start=1):
    ...     stopping = rule.update(stopping, jnp.asarray(float(epoch)), jnp.asarray(loss))
    >>> bool(stopping.stopped), float(stopping.best), int(stopping.best_epoch)
    (True, 2.0, 2)
    """

    patience: Any = number("[1, inf)")
    min_improvement: Any = number("[0, inf)", 0.0)

    def init(self, learned: PyTree) -> Stopping:
        zero = jnp.zeros((), jnp.int32)
        return Stopping(learned, jnp.full((), jnp.inf), zero, zero, jnp.zeros((), bool))

    def update(self, stopping: Stopping, learned: PyTree, loss: jax.Array) -> Stopping:
        """After one more epoch, at the end of which the network was `learned` and its validation loss `loss`."""
        epoch = stopping.epoch + 1
        least = jnp.asarray(self.min_improvement, stopping.best_loss.dtype)
        improved = ~stopping.stopped & (loss.astype(least.dtype) < stopping.best_loss - least)
        best = jax.tree.map(lambda new, old: jnp.where(improved, new, old), learned, stopping.best)
        best_epoch = jnp.where(improved, epoch, stopping.best_epoch)
        return Stopping(
            best,
            jnp.where(improved, loss.astype(least.dtype), stopping.best_loss),
            best_epoch,
            epoch,
            stopping.stopped | (epoch - best_epoch >= self.patience),
        )


_begin = jax.jit(lambda rule, learned: rule.init(learned))
_watch = jax.jit(lambda rule, stopping, learned, loss: rule.update(stopping, learned, loss))
_begin_each = jax.jit(jax.vmap(lambda rule, learned: rule.init(learned), in_axes=(None, 0)))
_watch_each = jax.jit(
    jax.vmap(lambda rule, stopping, learned, loss: rule.update(stopping, learned, loss), in_axes=(None, 0, 0, 0))
)


def fit(
    loop: Callable[..., tuple[Run, History]],
    net: Layer,
    loss: Loss,
    data: Any,
    *,
    epochs: int,
    validation: Any = None,
    run: Run | None = None,
    stopping: early_stopping | None = None,
    log: str | Path | None = None,
    progress: bool = False,
    **options: Any,
) -> Fit:
    """Run a loop for `epochs` epochs, or until its validation loss stops improving, its loss is NaN, or Ctrl-C.

    Args:
        loop: `bgd`, `mbgd`, `sgd`, or one of them made parallel, such as `partial(ensemble, mbgd)`; `options`
            (key, update, batch_size, ...) go to it.
        stopping: `early_stopping(patience)`; what it kept is in the run that is returned.
        log: a file to which each epoch, once it is over, appends one line with a JSON object.
        progress: whether to show a bar with loss and examples per second (needs the extra `cli`).
    Raises: ValueError if there is early stopping and no validation data; and what the loop raises. What comes in
        between, be it a full disk under the log or a second Ctrl-C, has what was learned until then as `error.fit`.
    """
    data, validation = checked_splits(data, validation, net, loss)
    if stopping is not None and validation is None:
        raise ValueError("early stopping watches the validation loss: pass validation=(x, target)")
    require_positive("epochs", epochs)
    seeds = {name: options.pop(name) for name in ("key", "keys") if name in options}
    if run is not None and seeds:
        raise ValueError("a run that goes on has its own keys: pass either run=, or a key to start from")
    histories: list[History] = []
    stopping_state, ended, before = None, "epochs", run

    def so_far(ended: str) -> Fit:
        assert run is not None  # there was at least one epoch
        if stopping_state is None:
            return Fit(run, _joined(histories), ended, None, before if ended == "diverged" else None)
        params, state, update_state, rounding = stopping_state.best
        best = run._replace(params=params, state=state, update_state=update_state, rounding=rounding)
        return Fit(best, _joined(histories), ended, stopping_state.best_epoch, before if ended == "diverged" else None)

    with (
        _with_what_was_learned(lambda: so_far("failed") if histories else None),
        _interrupts() as interrupted,
        _bar(epochs, progress, options.get("metric", accuracy)) as advance,
        _log(log) as write,
    ):
        for _ in range(epochs):
            began, before = time.perf_counter(), run
            source = seeds if run is None else {"run": run}
            run, history = loop(net, loss, data, epochs=1, validation=validation, **source, **options)
            history = jax.tree.map(np.asarray, history)
            histories.append(history)
            seconds = time.perf_counter() - began
            row = _row(history, int(run.epoch), seconds, data.n)
            advance(row)
            write(row)
            if stopping is not None:
                many = history.loss.ndim > 1
                begin, watch = (_begin_each, _watch_each) if many else (_begin, _watch)
                learned = run.params, run.state, run.update_state, run.rounding
                if stopping_state is None:
                    stopping_state = begin(stopping, learned)
                validation_loss = jax.device_put(history.validation_loss[..., 0])
                stopping_state = watch(stopping, stopping_state, learned, validation_loss)
                if bool(stopping_state.stopped.all()):
                    ended = "early"
                    break
            if not np.isfinite(history.loss).any():
                ended = "diverged"
                break
            if interrupted():
                ended = "interrupted"
                break
    return so_far(ended)


def _joined(histories: list[History]) -> History:
    """One history from those of single epochs, along the epochs' axis: the one after an ensemble's."""
    axis = histories[0].loss.ndim - 1
    return jax.tree.map(lambda *columns: jax.device_put(np.concatenate(columns, axis=axis)), *histories)


@contextmanager
def _with_what_was_learned(learned: Callable[[], Fit | None]) -> Iterator[None]:
    """Put what was learned into whatever is raised."""
    try:
        yield
    except BaseException as error:
        fitted = learned()
        if fitted is not None:
            error.fit = fitted  # type: ignore[attr-defined]
            error.add_note(f"fit: what was learned in {fitted.history.loss.shape[-1]} epochs is this error's .fit")
        raise


def _row(history: History, epoch: int, seconds: float, n: int) -> dict[str, Any]:
    """An epoch's line in the log; of an ensemble, the means over its members. JSON has no NaN: it is null."""
    names = ("loss", "penalty", "metric", "validation_loss", "validation_metric")
    columns = {name: getattr(history, name) for name in names}
    numbers = {name: float(np.mean(column)) for name, column in columns.items() if column is not None}
    numbers = {name: number if math.isfinite(number) else None for name, number in numbers.items()}
    return {"epoch": epoch, **numbers, "seconds": seconds, "examples_per_second": n / seconds}


@contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed: after the first the epoch goes on to its end, the second is left to Python.

    Only the main thread gets signals; in any other there is nothing to catch.
    """
    pressed = False
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.getsignal(signal.SIGINT)

    def note(*_: Any) -> None:
        nonlocal pressed
        pressed = True
        signal.signal(signal.SIGINT, before)
        print("\nCtrl-C: this epoch goes on to its end; a second Ctrl-C stops at once", file=sys.stderr, flush=True)

    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _log(path: str | Path | None) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Append rows to a file of JSON lines, each flushed at once."""
    with nullcontext() if path is None else Path(path).open("a", encoding="utf-8") as file:

        def write(row: dict[str, Any]) -> None:
            if file is not None:
                file.write(json.dumps(row) + "\n")
                file.flush()

        yield write


@contextmanager
def _bar(epochs: int, show: bool, metric: Metric | None) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A progress bar of epochs on stderr, with the latest loss and speed."""
    if not show:
        yield lambda row: None
        return
    rich = require("rich.progress", "cli")
    console = require("rich.console", "cli").Console(stderr=True)
    columns = (
        rich.MofNCompleteColumn(),
        rich.BarColumn(bar_width=8),
        rich.TextColumn("{task.fields[words]}"),
        rich.TimeRemainingColumn(),
    )
    with rich.Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=epochs, words="compiling")

        def advance(row: dict[str, Any]) -> None:
            metric_name = getattr(metric, "__name__", "metric")
            shown = {"loss": "loss", "metric": metric_name}
            if "validation_metric" in row:  # a line of 80 columns has no room for both
                shown = {"loss": "loss", "validation_metric": f"validation {metric_name}"}
            words = [f"{word} {row[name]:.4f}" for name, word in shown.items() if row.get(name) is not None]
            words.append(f"{row['examples_per_second']:,.0f} examples/s")
            bar.update(task, advance=1, words=", ".join(words))

        yield advance
