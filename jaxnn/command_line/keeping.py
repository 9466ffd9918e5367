"""What a training on the command line has learned is kept, however it ends."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jaxnn.command_line.interrupts import before_leaving
from jaxnn.command_line.options import Config, Problem
from jaxnn.command_line.run_folder import PARAMS, Learned, write_params
from jaxnn.layer import Layer
from jaxnn.training.fit import Fit

KEPT = "what was learned is in"


class Keeper:
    """Writes what was learned, once: when training is over, fails, or is ended by a signal."""

    def __init__(self, folder: Path, net: Layer, config: Config, problem: Problem):
        self._run = folder, net, config, problem
        self._latest: Fit | None = None
        self._lock = threading.Lock()  # a signal is answered by another thread

    def note(self, fitted: Fit) -> None:
        self._latest = fitted

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Write the params after the body, however it ends."""
        with before_leaving(self._write):
            try:
                yield
            except BaseException as error:
                self._latest = getattr(error, "fit", self._latest)
                raise
            finally:
                self._write()

    def _write(self) -> None:
        with self._lock:
            fitted, self._latest = self._latest, None
            if fitted is not None:
                write_params(*self._run, Learned(fitted.run.params, fitted.run.state))


@contextmanager
def saying_what_is_kept(folder: Path) -> Iterator[None]:
    """An error that comes after something was learned says where that is, in a note that begins with `KEPT`."""
    try:
        yield
    except Exception as error:
        if (folder / PARAMS).exists():
            error.add_note(f"{KEPT} {folder / PARAMS}")
        raise
