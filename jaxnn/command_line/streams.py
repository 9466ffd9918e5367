"""Standard output that may be lost, and nothing with it: a closed stdout, a broken pipe or a full disk ends no run."""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import Any


class LossyStream:
    """A text stream whose first error is kept in place of being raised; what comes after it is dropped.

    It holds nothing back: what was printed before the process ends in any way is there.
    """

    def __init__(self, stream: Any):
        self._stream = stream
        self.error: Exception | None = None

    def write(self, text: str) -> int:
        if self.error is None and self._stream is not None:
            try:
                self._write(text)
                self._stream.flush()
            except (OSError, ValueError) as error:  # ValueError: it was closed
                self.error = error
                self._discard()
        return len(text)

    def flush(self) -> None:
        """Nothing: every `write` does it."""

    def isatty(self) -> bool:
        return self.error is None and self._stream is not None and self._stream.isatty()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
        except UnicodeEncodeError:
            encoding = self._stream.encoding
            self._stream.write(text.encode(encoding, "replace").decode(encoding))

    def _discard(self) -> None:
        """Python flushes the process's own streams as it ends, and complains of what is still in them."""
        if self._stream in (sys.__stdout__, sys.__stderr__):
            with suppress(OSError, ValueError), open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())


@contextmanager
def lossy_output() -> Iterator[LossyStream]:
    """Print without fear of errors, to stdout and stderr; the value is stdout."""
    with ExitStack() as stack:
        out = LossyStream(sys.stdout)
        stack.enter_context(redirect_stdout(out))  # type: ignore[type-var]
        stack.enter_context(redirect_stderr(LossyStream(sys.stderr)))  # type: ignore[type-var]
        yield out


def open_closed_descriptors() -> None:
    """Descriptors 0 to 2, where the process was started without: a file of ours would get their numbers otherwise."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
