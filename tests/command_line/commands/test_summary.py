"""jaxnn summary: layers, shapes, parameters and cache bytes."""

import re

from jaxnn.command_line.parser import main


def test_it_counts_what_train_would_make(three_clouds, capsys):
    assert main(["summary", "--data", str(three_clouds), "--hidden", "5", "--batch-size", "10"]) == 0
    out = capsys.readouterr().out
    assert "Network on 10 examples of shape (4,)" in out
    assert re.search(r"\[2\] +Dense\(5\) +\(5,\) +25 +160 ", out)  # 4 * 5 + 5 numbers; keeps x, 10 * 4 float32
    assert re.search(r"total +43 +410 ", out)


def test_it_reads_a_run(trained, capsys):
    assert main(["summary", str(trained)]) == 0
    assert "BatchNorm()" in capsys.readouterr().out


def test_a_run_and_options_are_refused_in_one_line(trained, capsys):
    assert main(["summary", str(trained), "--hidden", "3"]) == 2
    assert capsys.readouterr().err == "jaxnn summary: a run has its own options: give either its folder or options\n"


def test_nothing_is_written(three_clouds, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["summary", "--data", str(three_clouds)]) == 0
    assert not list(tmp_path.iterdir())


def test_the_memory_ledger(three_clouds, capsys):
    assert main(["summary", "--data", str(three_clouds), "--hidden", "5", "--batch-size", "10", "--memory"]) == 0
    out = capsys.readouterr().out
    assert "Bytes kept for backward, on 10 examples" in out
    assert re.search(r"all +each array", out)
