"""The audit finds every escaped bug and some twenty mutants, and nothing in what is clean.

All mutants, the other checkers and the false alarms are a benchmark, `benchmarks/kill_table.py`, of the same corpus.
"""

import pytest
from seeded_bugs.mutants import one
from seeded_bugs.published import PUBLISHED
from seeded_bugs.targets import TARGETS

from jaxnn.audit import check

# A mutant of every third class, each from another place of its list, so that they are of many kinds.
MUTATED, STRIDE = TARGETS[::3], 11


def found(bug, subject, **options):
    return check(subject, *bug.arguments(0), **bug.options, **options)


@pytest.mark.parametrize("bug", PUBLISHED, ids=str)
def test_an_escaped_bug_is_found(bug):
    assert not found(bug, bug.wrong, until_failure=True).ok


@pytest.mark.parametrize("bug", PUBLISHED[::20], ids=str)
def test_its_clean_twin_passes(bug):
    report = found(bug, bug.clean)
    assert report.ok, str(report)


@pytest.mark.filterwarnings("ignore")  # NumPy's, of what a mutant does
@pytest.mark.parametrize("i", range(len(MUTATED)), ids=[target.name for target in MUTATED])
def test_a_mutant_is_found(i):
    bug = one(MUTATED[i], STRIDE * i)
    assert not found(bug, bug.wrong, until_failure=True).ok, bug.name
