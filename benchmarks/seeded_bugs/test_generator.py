"""The generator of mutants: what it makes, what it leaves out and why; and the other checkers run.

    python -m pytest benchmarks/seeded_bugs

A few minutes. It is no part of the suite, which has the published bugs and a mutant of every other class.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from seeded_bugs.checkers import CHECKERS
from seeded_bugs.mutants import corpus, made
from seeded_bugs.operators import KINDS
from seeded_bugs.published import PUBLISHED
from seeded_bugs.targets import TARGETS
from seeded_bugs.trials import Trials
from table import CASES, LOSSES

from jaxnn import Tanh, l1, l2, walk
from jaxnn.audit.rule.subjects import subject_of
from jaxnn.kernels.convolution import weight_gradient as weight_gradient_of_kernels
from jaxnn.layer import Backward
from jaxnn.layers import convolution

# One mutant in so many of every class, whose sort is asked. A held-out draw has fewer of each class.
EVERY_SORTED = 8
EVERY_HELD_OUT = 3


def class_of(name):
    return name.split(".")[0]


LAYERS = {type(layer) for case in CASES for _, layer in walk(case.layer)}
CLASSES = {kind.__name__ for kind in LAYERS | {type(case.loss) for case in LOSSES} | {l1, l2}}


def test_every_class_of_the_tables_has_a_rule_to_mutate():
    assert [target.name for target in TARGETS] == list(dict.fromkeys(target.name for target in TARGETS))
    assert {target.name for target in TARGETS} == CLASSES
    assert all(len(list(made(target, seed))) > 1 for target in TARGETS for seed in (0, 1))


def test_a_seed_makes_the_same_mutants_again():
    def names(seed):
        return [mutant.name for target in TARGETS[::3] for mutant in made(target, seed)]

    held_out = names(1)
    assert names(1) == held_out
    assert names(2) != held_out
    assert not {*names(0)} & {*held_out}


def test_the_corpus():
    bugs, same, twins, raised = corpus(0, EVERY_SORTED)
    names = [bug.name for bug in bugs]
    assert len(names) + len(PUBLISHED) >= 150
    assert {class_of(name) for name in names} == CLASSES
    assert {bug.source.removeprefix("mutant: ") for bug in bugs} == set(KINDS)
    assert len(same) <= 0.05 * (len(bugs) + len(same))
    sorted_ones = [*names, *(e.name for e in same), *(twin for twin, _ in twins), *raised]
    everything = [mutant.name for target in TARGETS for mutant in made(target, 0)]
    assert len(set(everything)) == len(everything)
    assert len(set(sorted_ones)) == len(sorted_ones) >= len(everything) / EVERY_SORTED
    assert {first for _, first in twins} <= set(names)


def test_a_held_out_draw_is_of_pairs_and_of_other_factors():
    bugs, same, *_ = corpus(1, EVERY_HELD_OUT)
    assert {class_of(bug.name) for bug in bugs} == CLASSES
    assert len(same) <= 0.05 * (len(bugs) + len(same))
    assert not {bug.name for bug in bugs} & {bug.name for bug in corpus(0, EVERY_SORTED).mutants}


def with_backward(backward):
    """A verdict on Tanh with another rule, a function of y and dy."""

    class Other(Tanh):
        def backward(self, params, cache, dy):
            return Backward((), backward(cache.y, dy))

    (target,) = [target for target in TARGETS if target.name == "Tanh"]
    return Trials(target.cases).of(lambda _: Other())


def test_two_changes_that_cancel_are_no_bug():
    assert with_backward(lambda y, dy: (1 - y) * (1 + y) * dy).reason.startswith("equal bit for bit in float64 on 1000")


def test_another_rounding_is_no_bug():
    assert re.match(r"at most \d\.\d ulp .* apart", with_backward(lambda y, dy: dy * (1 - y * y)).reason)
    assert with_backward(lambda y, dy: (1 + 1e-12) * (1 - y) * (1 + y) * dy).case


def test_what_raises_is_no_bug_and_what_has_another_form_is():
    assert with_backward(lambda y, dy: y @ dy[:2]).raised
    assert with_backward(lambda y, dy: None).case
    assert with_backward(lambda y, dy: ((1 - y) * (1 + y) * dy).astype(jnp.float32)).case


def test_a_bug_is_told_by_its_first_seed():
    """y > 0.9 is not for every point to have: the arguments start at one that has it."""
    verdict = with_backward(lambda y, dy: jnp.where(y > 0.9, 1, (1 + y) * (1 - y)) * dy)
    assert jnp.any(jnp.tanh(verdict.arguments(0)[2]) > 0.9)


def test_only_backward_is_mutated():
    """Also where forward calls the same function."""
    (target,) = [target for target in TARGETS if target.name == "Dropout"]
    wrong = [mutant.wrong(target.cases[0].recipe) for mutant in made(target, 0) if "through _masked" in mutant.name]
    assert wrong
    x, key = jnp.ones((2, 3)), jax.random.key(0)
    right = target.cases[0].recipe.forward((), (), x, key=key, train=True).y
    assert all(np.array_equal(each.forward((), (), x, key=key, train=True).y, right) for each in wrong)


def test_a_form_for_another_platform_is_left_as_it_is(monkeypatch):
    """It doesn't run here, so that whatever is wrong in it would pass for equivalent."""

    def weight_gradient(x, dy, windows, groups, precision):
        def here(x, dy):
            return weight_gradient_of_kernels(x, 3 * dy / 3, windows, groups, precision)

        def elsewhere(x, dy):
            return weight_gradient_of_kernels(x, 5 * dy / 5, windows, groups, precision)

        return jax.lax.platform_dependent(x, dy, tpu=elsewhere, default=here)

    weight_gradient.__module__ = "jaxnn.kernels.by_platform"
    monkeypatch.setattr(convolution, "weight_gradient", weight_gradient)
    (target,) = [target for target in TARGETS if target.name == "Conv1D"]
    names = [mutant.name for mutant in made(target, 0) if "through weight_gradient" in mutant.name]
    assert any("3 * dy" in name for name in names)
    assert not any("5 * dy" in name for name in names)


@pytest.mark.parametrize("checker", CHECKERS, ids=lambda checker: checker.name)
def test_the_other_checkers_run(checker):
    """What is right passes, and a wrong sign doesn't: in more they differ, and that is what is compared."""
    x = np.linspace(-1, 1, 6).reshape(2, 3)
    assert not checker(subject_of((jnp.sin, lambda x, dy: (dy * jnp.cos(x),)), (x,)))
    assert checker(subject_of((jnp.sin, lambda x, dy: (-dy * jnp.cos(x),)), (x,)))
