"""A bar on a terminal, lines elsewhere, and nothing where none is asked for."""

import pytest

import jaxnn
from jaxnn.training import progress


def row(i):
    return {"loss": 1 / i, "metric": i / 100, "examples_per_second": 1234.5}


def test_a_line_for_the_first_and_the_last_epoch_and_every_few_seconds(capsys, monkeypatch):
    now = iter([0.0, 1.0, 9.0, 10.0, 12.0, 19.0, 20.5, 21.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    with progress.shown(8, True, jaxnn.accuracy) as advance:
        for i in range(1, 9):
            advance(row(i))
    shown = capsys.readouterr().err.splitlines()
    assert [line.split("/")[0] for line in shown] == ["1", "4", "7", "8"]
    assert shown[1] == "4/8 loss 0.2500, accuracy 0.0400, 1,234 examples/s"


def test_validation_stands_in_place_of_the_metric_where_there_is_any(capsys):
    with progress.shown(1, True, None) as advance:
        advance(row(1) | {"validation_metric": 0.5, "metric": None})
    assert capsys.readouterr().err == "1/1 loss 1.0000, validation metric 0.5000, 1,234 examples/s\n"


def test_a_bar_on_a_terminal(capsys, monkeypatch):
    pytest.importorskip("rich")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with progress.shown(2, True, jaxnn.accuracy) as advance:
        advance(row(1))
        advance(row(2))
    assert "2/2" in capsys.readouterr().err


def test_nothing_where_none_is_asked_for(capsys):
    with progress.shown(1, False, None) as advance:
        advance(row(1))
    assert capsys.readouterr() == ("", "")
