"""Oracles that know no rule of differentiation: differences of the forward, the complex step, slopes at kinks."""

import math
from functools import lru_cache
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxnn.audit.rounding.measure import TINY, confidence, rounding_bound, unit_roundoff
from jaxnn.audit.rounding.undecorated import n_kinks
from jaxnn.audit.rule.evidence import N_COTANGENTS, Evidence
from jaxnn.audit.rule.findings import Finding, NotHere, compared, number, worst
from jaxnn.audit.rule.subjects import Leaves

# Of a subject with few inputs every entry is moved, of one with many every entry of its small leaves.
FEW_INPUTS, SMALL_LEAF, N_RANDOM = 64, 16, 2
STEPS = np.array([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0])


def differences(evidence: Evidence) -> list[Finding]:
    """Five-point central differences of the forward along directions in one leaf at a time; all, where there are few.

    Their own error is estimated by halving the step, by the rounding of the values that are subtracted, and by what a
    polynomial leaves of seven values: at a kink, a jump, or where the forward itself is noisy, they say little.
    """
    findings = []
    origin = "four times the difference between steps h and h/2, plus (rounding + 16 times what no polynomial fits) / h"
    for i, name in enumerate(evidence.subject.leaf_names):
        mine = [slope for slope in _slopes(evidence) if slope.leaf == i]
        of_leaf = [number("differences", name, s.by_hand, s.difference, s.uncertainty, origin) for s in mine]
        findings += [worst(of_leaf)] if of_leaf else []
    return findings


def by_complex_step(evidence: Evidence) -> list[Finding]:
    """Im f(x + ih) / h, where the forward takes complex numbers and is analytic at the point."""
    slopes, dy = _slopes(evidence), evidence.at(0)
    directions = _stacked([slope.direction for slope in slopes])
    try:
        pushed = evidence.programs.complex_slopes(evidence.leaves, evidence.others, directions)
    except (TypeError, NotImplementedError, ValueError) as reason:
        raise NotHere(f"the forward takes no complex numbers: {str(reason).splitlines()[0][:80]}") from reason
    pushed = list(map(np.asarray, pushed))
    findings = []
    for i, name in enumerate(evidence.subject.leaf_names):
        of_leaf = []
        for j, slope in enumerate(slopes):
            products = np.concatenate([np.ravel(c * slopes_of_y[j]) for c, slopes_of_y in zip(dy, pushed, strict=True)])
            right, size = float(products.sum()), float(np.abs(products).sum())
            if slope.leaf != i or not slope.smooth or not abs(right - slope.difference) <= slope.uncertainty:
                continue  # not analytic here: the two oracles disagree
            v = slope.direction[i]
            bound = rounding_bound(evidence.n_terms + v.size, 1, evidence.dtype)
            size = max(size, float(np.abs(evidence.pulled.by_hand[i][0] * v).sum()))
            spread = float(np.abs(v).sum()) * float(evidence.pulled.spreads[i][0])
            tolerance = bound.value * size + confidence(1) * spread
            of_leaf.append(number("complex step", name, slope.by_hand, right, tolerance, bound.origin))
        findings += [worst(of_leaf)] if of_leaf else []
    if not findings:
        raise NotHere("the forward isn't analytic at this point")
    return findings


def kinks(evidence: Evidence) -> list[Finding]:
    """Where entries are exactly 0, or equal, the rule gives what is declared there.

    Where the forward declares it, the rule is its derivative by machine. Else, where the forward has one kink at the
    most, every entry of the Jacobian lies between the slopes to the left and the right.
    """
    subject, findings = evidence.subject, []
    _require_float64_and_few(evidence)
    if not subject.declares and n_kinks(subject.outputs, evidence.leaves, evidence.others) > 1:
        raise NotHere("its forward has several kinks, and which of them meet isn't known")
    for i, leaf in enumerate(evidence.leaves):
        n = max(leaf.size // 2, 2)
        for place in ("entries of 0", "equal entries") if leaf.size > 1 else ():
            flat = jnp.ravel(leaf).at[:n].set(0.0 if place == "entries of 0" else jnp.ravel(leaf)[0])
            leaves = [*evidence.leaves[:i], flat.reshape(leaf.shape), *evidence.leaves[i + 1 :]]
            there = evidence.elsewhere(leaves)
            where = f"{subject.leaf_names[i]} with {place}"
            findings += _as_declared(there, where) if subject.declares else _between_sides(there, i, where)
    return findings


def _as_declared(there: Evidence, where: str) -> list[Finding]:
    findings = []
    for i, name in enumerate(there.subject.leaf_names):
        k = there.farthest(i)
        tolerance, bound = there.tolerance(i, k)
        g, truth = there.pulled.by_hand[i][k], there.pulled.by_machine[i][k]
        findings.append(compared("kinks", name, g, truth, tolerance, f"{bound.origin}, at {where}"))
    return findings


@np.errstate(all="ignore")
def _between_sides(there: Evidence, i: int, where: str) -> list[Finding]:
    h = 1e-6
    directions, of_leaf = _directions(there)
    steps = np.tile(h * STEPS, (len(of_leaf), 1))
    moved = np.asarray(there.programs.moved(there.leaves, there.others, _stacked(directions), steps))
    moved = moved[np.array(of_leaf) == i]
    here = moved[:, 3]
    far_left, left, right, far_right = ((moved[:, at] - here) / (h * STEPS[at]) for at in (0, 1, 5, 6))
    g = there.pulled.by_hand[i][N_COTANGENTS + 1 :].reshape(there.n_terms, -1).T
    curved = np.maximum(np.abs(left - far_left), np.abs(right - far_right))
    slack = curved + 1e3 * unit_roundoff(np.float64) * (1 + np.abs(here)) / h
    below, above = np.minimum(left, right) - slack, np.maximum(left, right) + slack
    outside = np.maximum(below - g, g - above)
    # Where there is a jump, or a singular point, there is no slope to be held to.
    steep = curved > 0.1 * (np.abs(left) + np.abs(right)) + 1e-6
    outside = np.where(steep | ~np.isfinite(outside), -1.0, outside)
    entry, output = np.unravel_index(int(np.argmax(outside)), outside.shape)
    index = tuple(map(int, np.unravel_index(entry, there.leaves[i].shape)))
    off, got, expected = (float(numbers[entry, output]) for numbers in (outside, g, left))
    origin = f"slopes to the left and to the right, at {where}"
    return [Finding("kinks", there.subject.leaf_names[i], off <= 0, off, 0.0, origin, index, got, expected)]


class Slope(NamedTuple):
    """The slope of <dy, f> along one direction: by the rule, and by differences with their uncertainty.

    smooth: whether a polynomial fits the values but for rounding.
    """

    leaf: int
    direction: Leaves
    by_hand: float
    difference: float
    uncertainty: float
    smooth: bool


# What is left of values at the steps when a polynomial of fourth degree has been fitted to them.
_POWERS = np.vander(STEPS, 5)
_LEFT = np.eye(len(STEPS)) - _POWERS @ np.linalg.pinv(_POWERS)


@np.errstate(all="ignore")  # over the edge of a domain
@lru_cache(maxsize=1)  # the differences and the complex step look along the same directions
def _slopes(evidence: Evidence) -> list[Slope]:
    if evidence.dtype != np.float64:
        raise NotHere("it needs float64")
    directions, of_leaf = _directions(evidence)
    rms = [float(np.sqrt(np.mean(np.square(leaf)))) if leaf.size else 1.0 for leaf in evidence.leaves]
    lengths = [1e-3 * max(1.0, rms[i]) for i in of_leaf]
    steps = np.outer(lengths, STEPS)
    moved = np.asarray(evidence.programs.moved(evidence.leaves, evidence.others, _stacked(directions), steps))
    products = moved * np.concatenate([np.ravel(dy) for dy in evidence.at(0)])
    rounding = confidence(1) * math.sqrt(evidence.n_terms + 8) * unit_roundoff(np.float64) * 4
    slopes = []
    for i, v, h, terms in zip(of_leaf, directions, lengths, products, strict=True):
        f, size = terms.sum(-1), np.abs(terms).sum(-1)
        if not np.isfinite(f).all():
            continue  # over the edge of the domain
        # f' = (f(-2h) - 8 f(-h) + 8 f(h) - f(2h)) / 12h + O(h^4), at h and at h/2 for its own error.
        wide = (f[0] - 8 * f[1] + 8 * f[5] - f[6]) / (12 * h)
        narrow = (f[1] - 8 * f[2] + 8 * f[4] - f[5]) / (6 * h)
        # Output by output: kinks of several may cancel in the sum, though their slopes don't.
        noise, left = rounding * max(float(np.max(size)), TINY), float(np.max(np.abs(_LEFT @ terms).sum(-1)))
        uncertainty = 4 * abs(wide - narrow) + (noise + 16 * left) / h
        by_hand = float(np.sum(np.where(v[i] == 0, 0, evidence.pulled.by_hand[i][0]) * v[i]))  # infinity is no 0 of it
        smooth = left <= noise + 1e-6 * float(np.max(np.abs(f - f[3])))
        slopes.append(Slope(i, v, by_hand, float(narrow), float(uncertainty), smooth))
    if not slopes:
        raise NotHere("there is no direction in which the forward is finite")
    return slopes


def _directions(evidence: Evidence) -> tuple[list[Leaves], list[int]]:
    """Directions in one leaf at a time, and which leaf: every entry of a small leaf, random ones in a large one."""
    directions, of_leaf = [], []
    few = sum(leaf.size for leaf in evidence.leaves) <= FEW_INPUTS
    for i, leaf in enumerate(evidence.leaves):
        whole = few or leaf.size <= SMALL_LEAF
        for v in np.eye(leaf.size) if whole else evidence.rng.normal(size=(N_RANDOM, leaf.size)):
            directions.append(
                [v.reshape(x.shape) if j == i else np.zeros(x.shape) for j, x in enumerate(evidence.leaves)]
            )
            of_leaf.append(i)
    if not directions:
        raise NotHere("it has no numbers to move")
    return directions, of_leaf


def _require_float64_and_few(evidence: Evidence) -> None:
    if evidence.dtype != np.float64:
        raise NotHere("it needs float64")
    if sum(leaf.size for leaf in evidence.leaves) > FEW_INPUTS or not evidence.has_jacobian:
        raise NotHere(f"it has more than {FEW_INPUTS} inputs, or too many outputs for its Jacobian")


def _stacked(directions: list[Leaves]) -> Leaves:
    return [jnp.stack([jnp.asarray(d[i]) for d in directions]) for i in range(len(directions[0]))]
