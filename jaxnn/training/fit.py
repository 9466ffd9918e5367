"""Running a loop from the host: progress, early stopping, a log, and a stop on Ctrl-C that loses nothing.

`fit` runs a loop one epoch at a time and gives the same bits as the loop by itself; the loop's program compiles once.
"""

import errno
import json
import math
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.arrays import PyTree, is_floating_array, kind_of, number, register_node, require_positive
from jaxnn.layer import Layer
from jaxnn.objective.losses import Loss
from jaxnn.training.evaluation import metric_for
from jaxnn.training.examples import checked_splits
from jaxnn.training.progress import shown
from jaxnn.training.run import History, Run, require_counted, require_loop

ENDING = "Ctrl-C: this epoch goes on to its end, and with it the run; a second Ctrl-C stops at once"


class Fit(NamedTuple):
    """What `fit` gives: the run, the history of the epochs that were run, and why it ended.

    ended is "epochs" (all were run), "early" (the validation loss stopped improving), "diverged" (the loss, in an
    ensemble every loss, or the params became NaN or infinite), "interrupted" (Ctrl-C) or "failed" (by an exception,
    which has this Fit as its attribute `fit`). With early stopping, best_epoch counts from 1 in this fit, and the run
    has the params, the state and the rule's state of that epoch. Without, a run that diverged is the last one whose
    params are finite, if need be the one that `fit` was given; the history has the epochs after it too.
    """

    run: Run
    history: History
    ended: str
    best_epoch: jax.Array | None = None


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
    after_epoch: Callable[[Fit], None] | None = None,
    interrupted: Callable[[], bool] | None = None,
    **options: Any,
) -> Fit:
    """Run a loop for `epochs` epochs, or until its validation loss stops improving, its loss is NaN, or Ctrl-C.

    The first Ctrl-C lets the epoch come to its end. A second one, and any other exception, is raised at once, with
    what was learned by the end of the last epoch as its attribute `fit`.

    Args:
        loop: `bgd`, `mbgd`, `sgd`, or one of them made parallel, such as `partial(ensemble, mbgd)`; `options`
            (key, update, batch_size, ...) go to it.
        stopping: `early_stopping(patience)`; what it kept is in the run that is returned.
        log: a file to which each epoch, once it is over, appends one line with a JSON object.
        progress: whether to show loss and examples per second: a bar on a terminal (needs the extra `cli`), and
            elsewhere a line every few seconds.
        after_epoch: called after each epoch with what there is: the Fit of a run that would end there.
        interrupted: asked after each epoch whether to end; None means that Ctrl-C is caught.
    Raises: ValueError if there is early stopping and no validation data; and what the loop raises.
    """
    require_loop("fit", loop)
    data, validation = checked_splits(data, validation, net, loss)
    if stopping is not None and not hasattr(stopping, "update"):
        raise TypeError(f"stopping should be such as early_stopping(3), got {kind_of(stopping)}")
    if stopping is not None and validation is None:
        raise ValueError("early stopping watches the validation loss: pass validation=(x, target)")
    require_positive("epochs", epochs)
    require_counted(epochs, 1)
    seeds = {name: options.pop(name) for name in ("key", "keys") if name in options}
    if run is not None and seeds:
        raise ValueError("a run that goes on has its own keys: pass either run=, or a key to start from")
    options["metric"] = metric_for(options.get("metric", "auto"), net, loss, data)
    learned, ended = _Learned(run, stopping), "epochs"
    with (
        _giving_back(learned),
        nullcontext(interrupted) if interrupted is not None else _interrupts() as is_interrupted,
        shown(epochs, progress, options["metric"]) as advance,
        _log(log) as write,
    ):
        for _ in range(epochs):
            began = time.perf_counter()
            source = seeds if run is None else {"run": run}
            run, history = loop(net, loss, data, epochs=1, validation=validation, **source, **options)
            jax.block_until_ready(history)
            row = _row(history, int(run.epoch), time.perf_counter() - began, data.n)
            stopped = learned.add(run, history)
            if after_epoch is not None:
                after_epoch(learned.fit("interrupted"))
            advance(row)
            write(row)
            if stopped:
                ended = "early"
                break
            if not np.isfinite(history.loss).any():
                ended = "diverged"
                break
            if is_interrupted():
                ended = "interrupted"
                break
    return learned.finite_fit(ended)


class _Learned:
    """What there is at the end of each epoch, and so what `fit` can give at any time."""

    def __init__(self, run: Run | None, stopping: early_stopping | None):
        # The newest, and two before it: a loss is that of the params before its step, and so a finite loss says that
        # the params of the epoch before the last one are finite.
        self._runs: deque[Run] = deque([] if run is None else [run], maxlen=3)
        self._histories: list[History] = []
        self._rule, self._stopping = stopping, None

    @property
    def n_epochs(self) -> int:
        return len(self._histories)

    def add(self, run: Run, history: History) -> bool:
        """After one more epoch; whether early stopping ends the run."""
        self._runs.append(run)
        self._histories.append(history)
        if self._rule is None:
            return False
        begin, watch = (_begin_each, _watch_each) if history.loss.ndim > 1 else (_begin, _watch)
        learned = {name: getattr(run, name) for name in ("params", "state", "update_state", "rounding")}
        if self._stopping is None:
            self._stopping = begin(self._rule, learned)
        assert history.validation_loss is not None
        self._stopping = watch(self._rule, self._stopping, learned, history.validation_loss[..., 0])
        return bool(self._stopping.stopped.all())

    def fit(self, ended: str) -> Fit:
        """The newest params, or with early stopping the best."""
        run, history, best = self._runs[-1], _joined(self._histories), self._stopping
        return Fit(run if best is None else run._replace(**best.best), history, ended, best and best.best_epoch)

    def finite_fit(self, ended: str) -> Fit:
        """The same, but for a run that diverged, which is that of the last finite params."""
        fit = self.fit(ended)
        if fit.history.loss.ndim > 1 or _is_finite(fit.run):
            return fit
        run = next((earlier for earlier in reversed(self._runs) if _is_finite(earlier)), fit.run)
        return fit._replace(run=run, ended=ended if ended == "failed" else "diverged")


def _is_finite(run: Run) -> bool:
    """Whether params and state are numbers; on the host, where it compiles nothing."""
    arrays = (np.asarray(leaf) for leaf in jax.tree.leaves((run.params, run.state)) if is_floating_array(leaf))
    return all(bool(np.isfinite(array).all()) for array in arrays)


@contextmanager
def _giving_back(learned: _Learned) -> Iterator[None]:
    """Whatever is raised after the first epoch has what was learned by then, as its attribute `fit`."""
    try:
        yield
    except BaseException as error:
        if learned.n_epochs:
            ended = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            error.fit = learned.finite_fit(ended)  # type: ignore[attr-defined]
            error.add_note(f"fit: what was learned in {learned.n_epochs} epochs is this exception's attribute fit")
        raise


def _joined(histories: list[History]) -> History:
    """One history from those of single epochs, along the epochs' axis, the one after an ensemble's, where they are."""
    axis = histories[0].loss.ndim - 1

    def joined(*columns: jax.Array) -> jax.Array:
        return jax.device_put(np.concatenate(columns, axis=axis), getattr(columns[0], "sharding", None))

    return jax.tree.map(joined, *histories)


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

    The first is answered as soon as Python has its turn, which is when JAX has done what it was asked for.
    Only the main thread gets signals, and a process in the background, or under nohup, ignores this one.
    """
    pressed, before = False, signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is signal.SIG_IGN:
        yield lambda: False
        return

    def note(*_: Any) -> None:
        nonlocal pressed
        pressed = True
        signal.signal(signal.SIGINT, before)
        with suppress(OSError, RuntimeError, ValueError):  # closed, or interrupted in the middle of a line
            print(f"\n{ENDING}", file=sys.stderr, flush=True)

    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _log(path: str | Path | None) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Append rows to a file of JSON lines, each whole or not at all, and at once. Errors name the file."""
    with nullcontext() if path is None else Path(path).open("ab", buffering=0) as file:

        def write(row: dict[str, Any]) -> None:
            if file is None:
                return
            line, end = f"{json.dumps(row)}\n".encode(), file.tell()
            try:
                if file.write(line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError as error:
                with suppress(OSError):
                    file.truncate(end)
                error.filename = str(path)
                raise

        yield write
