"""A few of the damaged files of `benchmarks/fuzz_files.py`, of each kind."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from fuzz_files import main


@pytest.mark.filterwarnings("ignore")  # NumPy's, of damaged headers
def test_damaged_files_are_answered_in_one_line(capsys):
    assert main(["--n", "100"]) == 0
    assert capsys.readouterr().out.count("| 0 | 0 | 0 |") == 5
