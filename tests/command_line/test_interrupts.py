"""Ctrl-C and requests to end: answered by a thread, and what there is to save is saved first."""

import os
import signal
import subprocess
import sys
import time

import pytest

from jaxnn.command_line import interrupts
from jaxnn.command_line.run_folder import METRICS, PARAMS, RESULT


class Left(Exception):
    """In place of the end of the process."""


@pytest.fixture
def left(monkeypatch):
    """The exit statuses with which the process would have ended."""
    statuses = []

    def leave(status):
        statuses.append(status)
        raise Left  # ends the thread that answers

    monkeypatch.setattr(interrupts.os, "_exit", leave)
    monkeypatch.setattr("threading.excepthook", lambda _: None)
    return statuses


def until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(("number", "words"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "ended by SIGTERM")])
def test_a_signal_ends_the_process_after_what_is_to_be_done_first(left, capfd, number, words):
    done = []
    with interrupts.watched():
        with interrupts.before_leaving(lambda: done.append("never")):
            pass
        with interrupts.before_leaving(lambda: done.append("outer")), interrupts.before_leaving(lambda: 1 / 0):
            signal.raise_signal(number)
            until(lambda: left)
    assert (left, done) == ([128 + number], ["outer"])
    assert capfd.readouterr().err == f"\njaxnn: {words}\n"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_first_control_c_lets_an_epoch_finish_and_a_second_one_does_not(left, capfd):
    with interrupts.watched(), interrupts.letting_an_epoch_finish() as interrupted:
        assert not interrupted()
        signal.raise_signal(signal.SIGINT)
        until(interrupted)
        assert left == []
        assert "Ctrl-C: this epoch goes on to its end" in capfd.readouterr().err
        signal.raise_signal(signal.SIGINT)
        until(lambda: left)
    assert left == [130]


def test_nobody_watches_in_a_script():
    with interrupts.before_leaving(pytest.fail), interrupts.letting_an_epoch_finish() as interrupted:
        assert interrupted is None


@pytest.fixture(scope="module")
def interrupted_runs(three_clouds, tmp_path_factory):
    """Processes that train, and get signals when they have trained a while: status, stderr and folder of each."""
    words = f"train --data {three_clouds} --hidden 5 --epochs 1000000 --no-compare --no-progress --output run"
    started, ended = {}, {}
    for name in ("once", "twice"):
        folder = tmp_path_factory.mktemp(name)
        command = [sys.executable, "-m", "jaxnn", *words.split()]
        started[name] = folder, subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
    try:
        for name, (folder, process) in started.items():
            metrics = folder / "run" / METRICS
            until(lambda metrics=metrics: metrics.exists() and metrics.stat().st_size > 1000, seconds=300)
            process.send_signal(signal.SIGSTOP if name == "twice" else signal.SIGINT)
            if name == "twice":  # both are there before the process can come to the end of an epoch
                os.kill(process.pid, signal.SIGINT)
                os.kill(process.pid, signal.SIGTERM)
                process.send_signal(signal.SIGCONT)
            _, err = process.communicate(timeout=300)
            ended[name] = process.returncode, err, folder / "run"
    finally:
        for _, process in started.values():
            process.kill()
    return ended


def test_control_c_in_a_process_of_its_own(interrupted_runs):
    status, err, folder = interrupted_runs["once"]
    assert status == 130
    assert "Traceback" not in err
    assert "Ctrl-C: this epoch goes on to its end" in err
    assert (folder / PARAMS).exists()
    assert '"ended": "interrupted"' in (folder / RESULT).read_text()


def test_a_process_that_is_ended_at_once_keeps_what_was_learned(interrupted_runs):
    status, _, folder = interrupted_runs["twice"]
    assert status in (130, 143)
    assert (folder / PARAMS).exists()
    assert not list(folder.glob(".*"))
