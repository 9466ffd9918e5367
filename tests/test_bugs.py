"""The audit finds every escaped bug and a fixed sample of the mutants, and nothing in what is clean."""

import jax.numpy as jnp
import numpy as np
import pytest
from bugs.checkers import CHECKERS
from bugs.mutants import mutants
from bugs.published import PUBLISHED
from table import slow_unless

from jaxnn.audit import check
from jaxnn.audit.subjects import subject_of

# One mutant in so many; every class is among them.
EVERY = 23


def found(bug, subject, **options):
    return check(subject, *bug.arguments(0), **bug.options, **options)


@pytest.mark.parametrize("bug", slow_unless(PUBLISHED, PUBLISHED[::6]), ids=str)
def test_an_escaped_bug_is_found(bug):
    assert not found(bug, bug.wrong, until_failure=True).ok


# Some of the corpus stands on kinks and ties, where differences of the forward say nothing.
SMOOTH = ("structure", "autodiff", "adjointness", "linearity", "transforms")


@pytest.mark.slow
@pytest.mark.parametrize("bug", PUBLISHED[::4], ids=str)
def test_its_clean_twin_passes(bug):
    report = found(bug, bug.clean, gates=SMOOTH)
    assert report.ok, str(report)


@pytest.mark.slow
def test_mutants_are_found():
    corpus = mutants()
    assert len(corpus) + len(PUBLISHED) >= 150
    assert len({bug.name for bug in corpus}) == len(corpus)
    assert [bug.name for bug in corpus[::EVERY] if found(bug, bug.wrong, until_failure=True).ok] == []


@pytest.mark.parametrize("checker", CHECKERS, ids=lambda checker: checker.name)
def test_the_other_checkers_run(checker):
    """What is right passes, and a wrong sign doesn't: in more they differ, and that is what is compared."""
    x = np.linspace(-1, 1, 6).reshape(2, 3)
    assert not checker(subject_of((jnp.sin, lambda x, dy: (dy * jnp.cos(x),)), (x,)))
    assert checker(subject_of((jnp.sin, lambda x, dy: (-dy * jnp.cos(x),)), (x,)))
