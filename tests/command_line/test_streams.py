"""A stdout or stderr that is closed, full or a broken pipe ends nothing."""

import io
import os
import subprocess
import sys

import pytest

from jaxnn.command_line.streams import LossyStream, lossy_output


def broken(error):
    stream = io.StringIO()

    def write(text):
        raise error

    stream.write = write
    return stream


@pytest.mark.parametrize("error", [BrokenPipeError(32, "Broken pipe"), OSError(28, "No space"), ValueError("closed")])
def test_the_first_error_is_kept_and_the_rest_dropped(error):
    stream = LossyStream(broken(error))
    assert stream.write("one") == 3
    assert stream.write("two") == 3
    assert stream.error is error
    assert not stream.isatty()


def test_a_stream_that_is_not_there():
    """pythonw and a daemon have no stdout at all: sys.stdout is None."""
    stream = LossyStream(None)
    assert stream.write("one") == 3
    assert (stream.error, stream.isatty()) == (None, False)


def test_what_a_terminal_has_no_letters_for_is_replaced():
    raw = io.BytesIO()
    stream = LossyStream(io.TextIOWrapper(raw, encoding="ascii"))
    stream.write("┃ 5 µs\n")
    assert raw.getvalue() == b"? 5 ?s\n"
    assert stream.encoding == "ascii"


def test_everything_is_there_at_once(capsys):
    with lossy_output() as out:
        print("now", end="")
        assert capsys.readouterr().out == "now"
        print("then", file=sys.stderr)
    assert out.error is None
    assert capsys.readouterr().err == "then\n"


COMMAND = f"'{sys.executable}' -m jaxnn summary --data '{{data}}' --hidden 3"


@pytest.mark.parametrize(
    ("redirection", "status", "words"),
    [
        (">&-", 0, ""),
        ("2>&- >&- <&-", 0, ""),
        ("| true; exit ${PIPESTATUS[0]}", 0, ""),
        ("> /dev/full", 2, "jaxnn summary: what was printed got lost: [Errno 28] No space left on device\n"),
    ],
)
def test_a_process_whose_output_goes_nowhere(three_clouds, redirection, status, words):
    if "/dev/full" in redirection and not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    command = ["bash", "-c", f"{COMMAND.format(data=three_clouds)} {redirection}"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (status, words)
