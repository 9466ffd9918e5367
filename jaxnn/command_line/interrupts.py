"""Ctrl-C in a process of the command line: answered at once, and nothing that was learned is lost.

Python runs the handler of a signal between two of its own instructions, and so not while JAX compiles or computes; and
an exception out of the middle of a compilation can crash the interpreter as it ends. So a thread waits for signals:
it answers, saves what there is to save, and ends the process without taking JAX apart. A request to end (SIGTERM) or
a terminal that is closed (SIGHUP) is answered in the same way as a second Ctrl-C.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

from jaxnn.training.fit import ENDING

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
INTERRUPTED = 128 + signal.SIGINT  # exit status


class _Watch:
    """The process's one watch: what is done before it ends, and whether an epoch may come to its end first."""

    def __init__(self) -> None:
        self.before_leaving: list[Callable[[], object]] = []
        self.may_finish = False
        self.pressed = False

    def wait(self, descriptor: int) -> None:
        """In a thread: answer each signal, whose number Python writes to the descriptor as it comes."""
        while signals := os.read(descriptor, 1):
            if signals[0] in SIGNALS:
                self._answer(signals[0])

    def _answer(self, number: int) -> None:
        if number == signal.SIGINT and self.may_finish and not self.pressed:
            self.pressed = True
            _say(ENDING)
        else:
            self._leave(number)

    def _leave(self, number: int) -> NoReturn:
        _say("jaxnn: interrupted" if number == signal.SIGINT else f"jaxnn: ended by {signal.Signals(number).name}")
        for act in reversed(self.before_leaving):
            with suppress(Exception):
                act()
        os._exit(128 + number)


_watch: _Watch | None = None


@contextmanager
def watched() -> Iterator[None]:
    """Watch for signals; for the main thread of a process that is the command line's own."""
    global _watch
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    _watch = _Watch()
    threading.Thread(target=_watch.wait, args=(reading,), daemon=True).start()
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, lambda *_: None)
    descriptor = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(descriptor)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(writing)
        _watch = None


@contextmanager
def before_leaving(act: Callable[[], object]) -> Iterator[None]:
    """Do this before a signal ends the process; nothing where nobody watches, as in a script or a notebook."""
    watch = _watch
    if watch is None:
        yield
        return
    watch.before_leaving.append(act)
    try:
        yield
    finally:
        watch.before_leaving.remove(act)


@contextmanager
def letting_an_epoch_finish() -> Iterator[Callable[[], bool] | None]:
    """Whether a first Ctrl-C has come, which here ends nothing by itself; None where nobody watches."""
    watch = _watch
    if watch is None:
        yield None
        return
    watch.may_finish = True
    try:
        yield lambda: watch.pressed
    finally:
        watch.may_finish = False


def _say(line: str) -> None:
    """Past Python's own streams, which the main thread may hold."""
    with suppress(OSError):
        os.write(2, f"\n{line}\n".encode())
