"""Oracles that know no rule of differentiation: differences of the forward, the complex step, slopes at kinks."""

import math
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.audit.evidence import Evidence
from jaxnn.audit.findings import Finding, NotHere, number, worst
from jaxnn.audit.measure import confidence, rounding_bound, unit_roundoff
from jaxnn.audit.subjects import Leaves
from jaxnn.audit.undecorated import complex_step

FEW, N_RANDOM = 16, 2


def differences(evidence: Evidence) -> list[Finding]:
    """Five-point central differences of the forward along directions in one leaf at a time; all, where there are few.

    Their own error is estimated by halving the step, and by the rounding of the values that are subtracted.
    """
    along = _directional(evidence)
    findings = []
    for i, name in enumerate(evidence.subject.leaf_names):
        mine = [d for d in along if d.leaf == i]
        of_leaf = [number("differences", name, d.by_hand, d.difference, d.uncertainty, d.origin) for d in mine]
        findings.append(worst(of_leaf))
    return findings


def by_complex_step(evidence: Evidence) -> list[Finding]:
    """Im f(x + ih) / h, where the forward takes complex numbers and is analytic at the point."""
    subject, leaves = evidence.subject, evidence.leaves
    if not all(leaf.dtype == np.float64 for leaf in leaves):
        raise NotHere("it needs float64")
    along, dy = _directional(evidence), evidence.at(0)
    step = partial(complex_step, lambda *leaves: subject.outputs(leaves), leaves)
    try:
        slopes = jax.vmap(lambda v: step(v))(_stacked([d.direction for d in along]))
    except (TypeError, NotImplementedError, ValueError) as reason:
        raise NotHere(f"the forward takes no complex numbers: {str(reason).splitlines()[0][:80]}") from reason
    findings = []
    for i, name in enumerate(subject.leaf_names):
        of_leaf = []
        for j, d in enumerate(along):
            products = np.concatenate([np.ravel(c * np.asarray(s[j])) for c, s in zip(dy, slopes, strict=True)])
            slope, size = float(products.sum()), float(np.abs(products).sum())
            if d.leaf != i or not abs(slope - d.difference) <= d.uncertainty:
                continue  # not analytic here: the two oracles disagree
            sensitivity = float(np.abs(d.direction[i]).sum()) * float(evidence.pulled.sensitivities[i][0])
            bound = rounding_bound(evidence.n_terms + d.direction[i].size, 1, evidence.dtype)
            tolerance = bound.value * max(size, d.size) + confidence(1) * sensitivity
            of_leaf.append(number("complex step", name, d.by_hand, slope, tolerance, bound.origin))
        if of_leaf:
            findings.append(worst(of_leaf))
    if not findings:
        raise NotHere("the forward isn't analytic at this point")
    return findings


def kinks(evidence: Evidence) -> list[Finding]:
    """Where entries are exactly 0 or equal, the rule gives a derivative between the one from the left and the right."""
    subject = evidence.subject
    n = sum(leaf.size for leaf in evidence.leaves)
    if n > 64 or evidence.dtype != np.float64:
        raise NotHere("it has more than 64 inputs" if n > 64 else "it needs float64")
    dy, h, findings = evidence.at(0), 1e-6, []
    for i, name in enumerate(subject.leaf_names):
        leaf = evidence.leaves[i]
        if leaf.size < 2:
            continue
        flat = jnp.ravel(leaf).at[: max(leaf.size // 2, 2)].set(0.0)
        there = [*evidence.leaves[:i], flat.reshape(leaf.shape), *evidence.leaves[i + 1 :]]

        @jax.jit
        def sides(there: Leaves, i: int = i) -> tuple[Any, ...]:
            def value(x: jax.Array) -> jax.Array:
                return _pairing(dy, subject.outputs([*there[:i], x, *there[i + 1 :]]))

            x = there[i]
            basis = jnp.eye(x.size).reshape(x.size, *x.shape)
            here = value(x)
            moved = [jax.vmap(lambda e, s=s: (value(x + s * h * e) - here) / (s * h))(basis) for s in (-2, -1, 1, 2)]
            return *moved, subject.cotangents(there, dy)[i].ravel(), jnp.abs(here)

        far_left, left, right, far_right, g, size = map(np.asarray, sides(there))
        slack = (
            np.maximum(np.abs(left - far_left), np.abs(right - far_right))
            + 1e3 * unit_roundoff(np.float64) * (1 + size) / h
        )
        below, above = np.minimum(left, right) - slack, np.maximum(left, right) + slack
        outside = np.maximum(below - g, g - above)
        steep = np.abs(left - far_left) + np.abs(right - far_right) > 0.1 * (np.abs(left) + np.abs(right)) + 1e-6
        # Where there is a jump, or a singular point, there is no slope to be held to.
        outside = np.where(steep | ~np.isfinite(outside), -1.0, outside)
        at = int(np.argmax(outside))
        index = tuple(map(int, np.unravel_index(at, leaf.shape)))
        values = float(g[at]), float(left[at])
        ok, off = bool(outside[at] <= 0), float(outside[at])
        findings.append(Finding("kinks", name, ok, off, 0.0, "one-sided differences", index, *values))
    return findings


class Directional(NamedTuple):
    """The slope of <dy, f> along one direction: by the rule, and by differences with their uncertainty."""

    leaf: int
    direction: Leaves
    by_hand: float
    difference: float
    uncertainty: float
    origin: str
    size: float


@lru_cache(maxsize=1)  # the differences and the complex step look along the same directions
def _directional(evidence: Evidence) -> list[Directional]:
    """Directions in one leaf at a time: every entry of a small leaf, random ones in a large one."""
    subject, dy = evidence.subject, evidence.at(0)
    if evidence.dtype != np.float64:
        raise NotHere("it needs float64")
    directions, of_leaf = [], []
    for i, leaf in enumerate(evidence.leaves):
        basis = np.eye(leaf.size) if leaf.size <= FEW else evidence.rng.normal(size=(N_RANDOM, leaf.size))
        for v in basis:
            directions.append(
                [v.reshape(x.shape) if j == i else np.zeros(x.shape) for j, x in enumerate(evidence.leaves)]
            )
            of_leaf.append(i)
    if not directions:
        return []
    steps = np.array([-2.0, -1.0, -0.5, 0.5, 1.0, 2.0])
    lengths = [1e-3 * max(1.0, float(np.sqrt(np.mean(np.square(x))))) if x.size else 1.0 for x in evidence.leaves]

    @jax.jit
    def values(directions: Leaves) -> jax.Array:
        def one(direction: Leaves) -> jax.Array:
            def at(step: jax.Array) -> jax.Array:
                there = [x + step * h * v for x, h, v in zip(evidence.leaves, lengths, direction, strict=True)]
                return _pairing(dy, subject.outputs(there))

            return jax.vmap(at)(jnp.asarray(steps))

        return jax.vmap(one)(directions)

    sampled = np.asarray(values(_stacked(directions)))
    size = sum(float(np.abs(c * y).sum()) for c, y in zip(dy, evidence.outputs, strict=True))
    along = []
    for i, direction, v in zip(of_leaf, directions, sampled, strict=True):
        h, g = lengths[i], evidence.pulled.by_hand[i][0]
        # f' = (f(-2h) - 8 f(-h) + 8 f(h) - f(2h)) / 12h + O(h^4), and the three-point rule at h/2 for its own error.
        wide = (v[0] - 8 * v[1] + 8 * v[4] - v[5]) / (12 * h)
        narrow = (v[1] - 8 * v[2] + 8 * v[3] - v[4]) / (6 * h)
        rounding = (
            confidence(1) * math.sqrt(evidence.n_terms + 8) * unit_roundoff(np.float64) * 4 * max(size, 1e-300) / h
        )
        uncertainty = abs(wide - narrow) + rounding
        by_hand = float(np.sum(g * direction[i]))
        origin = "the difference between steps h and h/2, plus rounding / h"
        along.append(Directional(i, direction, by_hand, float(narrow), float(uncertainty), origin,
                                 float(np.abs(g * direction[i]).sum())))  # fmt: skip
    return along


def _pairing(dy: Leaves, outputs: Leaves) -> jax.Array:
    """<dy, y>."""
    return sum((jnp.sum(c * y) for c, y in zip(dy, outputs, strict=True)), jnp.zeros(()))


def _stacked(directions: list[Leaves]) -> Leaves:
    return [jnp.stack([jnp.asarray(d[i]) for d in directions]) for i in range(len(directions[0]))]
