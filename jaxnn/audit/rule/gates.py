"""The gates: what a right rule does, one function each. A gate gives the findings it has, and says why it has none.

Each takes the `Evidence` of a subject and gives `Finding`s, one for each thing that it looked at; it raises `NotHere`
where it has nothing to say. The order is that of `GATES`: from what is cheap and plain to what is expensive.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.audit.rounding.measure import confidence, rounding_bound, scale_bound, scale_factor
from jaxnn.audit.rule.evidence import MIXTURE, N_COTANGENTS, Evidence, differs, largest
from jaxnn.audit.rule.findings import Finding, NotHere, compared, number, worst
from jaxnn.audit.rule.oracles import by_complex_step, differences, kinks
from jaxnn.audit.rule.patterns import likely_pattern
from jaxnn.audit.rule.subjects import Leaves

MOST_ROWS = 32  # of a batch that is taken apart row by row; a larger one is halved


def structure(evidence: Evidence) -> list[Finding]:
    """Cotangents of the arguments' structure, shapes and dtypes."""
    subject, leaves = evidence.subject, evidence.leaves
    try:
        given = jax.eval_shape(subject.cotangents, leaves, evidence.at(0), evidence.others)
    except TypeError as wrong:
        return [Finding("structure", subject.name, False, math.nan, 0.0, str(wrong))]
    return [
        Finding("structure", name, (g.shape, g.dtype) == (leaf.shape, leaf.dtype), 0.0, 0.0,
                f"should be {leaf.dtype}{list(leaf.shape)}, is {g.dtype}{list(g.shape)}")
        for name, leaf, g in zip(subject.leaf_names, leaves, given, strict=True)
    ]  # fmt: skip


def autodiff(evidence: Evidence) -> list[Finding]:
    """The rule is `jax.vjp` of the plain forward, along random and one-hot cotangents, in error and in scale."""
    require_machine(evidence)
    pulled, findings = evidence.pulled, []
    n_rows = evidence.shapes[0].shape[0] if evidence.shapes and evidence.shapes[0].ndim else 1
    for i, name in enumerate(evidence.subject.leaf_names):
        of_leaf = []
        for k in range(len(evidence.dys[0])) if not evidence.jumps[i] else ():
            g, truth = pulled.by_hand[i][k], pulled.by_machine[i][k]
            tolerance, bound = evidence.tolerance(i, k)
            finding = compared("autodiff", name, g, truth, tolerance, bound.origin)
            if finding.ok and k < N_COTANGENTS:
                finding = judged_by_scale(finding, g, truth, evidence, i, k)
            of_leaf.append(finding)
        failed = [k for k, finding in enumerate(of_leaf) if not finding.ok]
        if failed:
            pattern = pattern_along(failed[0], pulled.by_hand[i], pulled.by_machine[i], n_rows)
            findings.append(of_leaf[failed[0]]._replace(pattern=pattern))
        elif of_leaf:
            findings.append(worst(of_leaf))
    return findings


def pattern_along(k: int, cotangents: Any, truths: Any, n_rows: int = 1, noise: float = 0.0) -> str:
    """What is wrong along the k-th dy. Along one dy a single number is always a multiple: it is looked at along all."""
    if truths[k].size == 1:
        return likely_pattern(cotangents.ravel(), truths.ravel(), n_rows, noise)
    return likely_pattern(cotangents[k], truths[k], n_rows, noise)


def require_machine(evidence: Evidence, of_all: bool = False) -> None:
    """Raises: NotHere where the machine's derivative says nothing of any leaf, or doesn't of all."""
    if not evidence.programs.subject.has_machine:
        raise NotHere("JAX can't differentiate the forward without its rules")
    if (any if of_all else all)(evidence.jumps):
        raise NotHere("the machine's derivative jumps at this point: it lies on a kink or a branch")


def judged_by_scale(
    finding: Finding, g: Any, truth: Any, evidence: Evidence, i: int, k: int, beside: float = 0.0
) -> Finding:
    """The finding of leaf i along dy k, or what the scale <g, truth> / <truth, truth> says against it.

    beside: what is allowed beside the bound.
    """
    length = float(np.linalg.norm(np.asarray(truth, np.float64)))
    if length == 0:
        return finding
    bound = scale_bound(truth, float(evidence.pulled.sizes[i][k]), evidence.n_terms, evidence.dtype)
    drift = confidence(1) * math.sqrt(truth.size) * float(evidence.pulled.spreads[i][k]) / length
    off, tolerance = abs(scale_factor(g, truth) - 1), beside + bound.value + drift
    if off <= tolerance:
        return finding
    return finding._replace(ok=False, error=off, tolerance=tolerance, origin=f"scale: {bound.origin}")


def adjointness(evidence: Evidence) -> list[Finding]:
    """<dy, J u> = <J^T dy, u>, with J u by `jax.jvp` of the plain forward."""
    require_machine(evidence, of_all=True)
    u = evidence.normal_like(evidence.leaves)
    pushed = evidence.programs.pushed(evidence.leaves, evidence.others, u)
    findings = []
    for k in range(N_COTANGENTS):
        left, left_size = _inner(evidence.at(k), pushed)
        right, right_size = _inner([g[k] for g in evidence.pulled.by_hand], u)
        n = evidence.n_terms + sum(leaf.size for leaf in evidence.leaves)
        bound = rounding_bound(n, 1, evidence.dtype)
        drift = sum(float(s[k]) * float(np.abs(v).sum()) for s, v in zip(evidence.pulled.spreads, u, strict=True))
        tolerance = bound.value * max(left_size, right_size) + confidence(1) * drift
        findings.append(number("adjointness", "all", right, left, tolerance, bound.origin))
    return [worst(findings)]


def linearity(evidence: Evidence) -> list[Finding]:
    """backward(a v + b w) = a backward(v) + b backward(w)."""
    findings, a, b = [], *MIXTURE
    for i, name in enumerate(evidence.subject.leaf_names):
        g = evidence.pulled.by_hand[i].astype(np.float64)
        g = np.where(np.isfinite(g[:2]).all(axis=0), g, 0)  # the sum of two infinities is what it is
        tolerance = sum(abs(c) * evidence.own_tolerance(i, k) for c, k in ((a, 0), (b, 1), (1, N_COTANGENTS)))
        bound = evidence.tolerance(i, 0)[1]
        findings.append(compared("linearity", name, g[N_COTANGENTS], a * g[0] + b * g[1], tolerance, bound.origin))
    return findings


def additivity(evidence: Evidence) -> list[Finding]:
    """A batch's cotangents are its examples': summed for what all share, side by side for what has rows.

    A subject that couples the rows must fail this, or it doesn't do what it says.
    """
    subject, programs = evidence.subject, evidence.programs
    if not subject.rows or subject.draws:
        raise NotHere(
            "no argument is said to have rows"
            if not subject.rows
            else "its random numbers are drawn for the whole batch"
        )
    n_rows = len(jax.tree.leaves(subject.arguments[subject.rows[0]])[0])
    if not all(y.shape[:1] == (n_rows,) for y in evidence.shapes):
        raise NotHere(f"its outputs don't have the {n_rows} rows of its arguments")
    piece = 2 if subject.couples else 1 if n_rows <= MOST_ROWS else -(-n_rows // 2)
    if n_rows < 2 * piece:
        raise NotHere("it has too few rows to take apart")
    edges = [*range(0, n_rows - n_rows % piece if subject.couples else n_rows, piece)]
    pieces = []
    for edge in edges:
        rows = slice(edge, n_rows if edge == edges[-1] else edge + piece)
        part = subject.at(_take(subject, rows))
        leaves = [jnp.asarray(leaf) for leaf in part.leaves]
        pieces.append(programs.cotangents(leaves, part.others, [dy[0][rows] for dy in evidence.dys]))
    findings = []
    for i, name in enumerate(subject.leaf_names):
        parts = [np.asarray(part[i], np.float64) for part in pieces]
        together = np.concatenate(parts) if subject.leaf_arguments[i] in subject.rows else np.sum(parts, axis=0)
        tolerance, bound = 2 * evidence.own_tolerance(i, 0), evidence.tolerance(i, 0)[1]
        whole = evidence.pulled.by_hand[i][0]
        findings.append(compared("additivity", name, whole, together, tolerance, bound.origin))
    if not subject.couples:
        return findings
    coupled = any(not finding.ok for finding in findings)
    return [
        Finding("additivity", "all", coupled, 0.0, 0.0, "rows are said to be coupled, and a batch is its rows' sum")
    ]


def transforms(evidence: Evidence) -> list[Finding]:
    """Eager is compiled, `vmap` is a loop, and the same call gives the same bits."""
    arguments = evidence.leaves, evidence.others, evidence.at(0)
    once, twice = evidence.programs.cotangents(*arguments), evidence.programs.cotangents(*arguments)
    eager = evidence.subject.cotangents(evidence.leaves, evidence.at(0), evidence.others)
    findings = []
    for i, name in enumerate(evidence.subject.leaf_names):
        same = np.array_equal(once[i], twice[i], equal_nan=True)
        tolerance, bound = 2 * evidence.own_tolerance(i, 0), evidence.tolerance(i, 0)[1]
        findings += [
            Finding("purity", name, same, 0.0, 0.0, "two calls, two results"),
            compared("jit", name, np.asarray(once[i]), np.asarray(eager[i]), tolerance, bound.origin),
            compared("vmap", name, evidence.pulled.by_hand[i][0], np.asarray(once[i]), tolerance, bound.origin),
        ]
    return findings


def second_order(evidence: Evidence) -> list[Finding]:
    """The rule's own derivative, along a direction, is that of `jax.vjp` of the plain forward."""
    require_machine(evidence)
    arguments = evidence.leaves, evidence.others, evidence.at(0), evidence.normal_like(evidence.leaves)
    try:
        jax.eval_shape(evidence.programs.rules_derivative, *arguments)
    except (TypeError, NotImplementedError, ValueError) as reason:
        raise NotHere(f"the rule can't be differentiated: {str(reason).splitlines()[0][:80]}") from reason
    mine, machine, spreads = evidence.programs.second_order(*arguments)
    if evidence.closer:
        spreads = map(np.maximum, spreads, evidence.programs.own_second_spreads(*arguments))
    near = machine
    if not evidence.subject.declares:
        _, near, _ = evidence.programs.second_order(evidence.nudged(0), *arguments[1:])
    size = max(map(largest, machine), default=0.0)
    findings = []
    for name, g, truth, spread, there in zip(evidence.subject.leaf_names, mine, machine, spreads, near, strict=True):
        if differs(truth, there):
            continue
        bound = rounding_bound(evidence.n_terms + sum(x.size for x in evidence.leaves), truth.size, evidence.dtype)
        tolerance = bound.value * size + confidence(truth.size) * (math.inf if np.isnan(spread) else float(spread))
        findings.append(compared("second order", name, np.asarray(g), np.asarray(truth), tolerance, bound.origin))
    return findings


def extremes(evidence: Evidence) -> list[Finding]:
    """At huge, tiny, equal and zero arguments: NaN nowhere where the forward and the machine's cotangent are finite."""
    findings: list[Finding] = []
    places = {"times 1e4": lambda x: 1e4 * x, "times 1e-30": lambda x: 1e-30 * x, "all 0": jnp.zeros_like,
              "all 1": jnp.ones_like}  # fmt: skip
    for place, move in places.items():
        try:
            there = evidence.elsewhere([move(leaf).astype(leaf.dtype) for leaf in evidence.leaves]).pulled
        except NotHere:
            continue
        for name, g, truth in zip(evidence.subject.leaf_names, there.by_hand, there.by_machine, strict=True):
            new = np.isnan(g[0]) & ~np.isnan(truth[0])
            index = tuple(map(int, np.argwhere(new)[0])) if new.any() else ()
            origin = f"no new NaN, {place}"
            findings.append(Finding("extremes", name, not new.any(), float(new.sum()), 0.0, origin, index))
    return findings


Gate = Callable[[Evidence], list[Finding]]
GATES: dict[str, Gate] = {
    "structure": structure,
    "autodiff": autodiff,
    "differences": differences,
    "complex step": by_complex_step,
    "adjointness": adjointness,
    "linearity": linearity,
    "additivity": additivity,
    "transforms": transforms,
    "second order": second_order,
    "extremes": extremes,
    "kinks": kinks,
}


def _inner(a: Leaves, b: Leaves) -> tuple[float, float]:
    products = [np.ravel(np.asarray(x, np.float64) * np.asarray(y, np.float64)) for x, y in zip(a, b, strict=True)]
    flat = np.concatenate(products) if products else np.zeros(1)
    return float(flat.sum()), float(np.abs(flat).sum())


def _take(subject: Any, rows: slice) -> tuple[Any, ...]:
    return tuple(
        jax.tree.map(lambda leaf: leaf[rows], argument) if i in subject.rows else argument
        for i, argument in enumerate(subject.arguments)
    )
