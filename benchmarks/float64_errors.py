"""How far every hand-written rule is from the machine's gradient in float64, and from two oracles that know no rules.

    PYTHONPATH=tests python benchmarks/float64_errors.py [--seeds 10] [--only Dense ...]

Every case of tests/table.py at several points. By machine is `jax.vjp` of the forward without its custom rules, along
random and one-hot cotangents; errors are relative to the size that rounding acts on (see `jaxnn.audit.measure`), those
against differences and the complex step absolute. Expect: every error within its bound, or the script exits with 1, as
it does if a rule of jaxnn is in no table. Writes results/float64_errors.json and .md. About 4 minutes on 2 cores.
"""

import argparse
import inspect
import json
import math
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

import jax
import numpy as np
import table
import timing

import jaxnn
from jaxnn.audit.rounding.measure import error
from jaxnn.audit.rule.check import asked
from jaxnn.audit.rule.evidence import Evidence
from jaxnn.audit.rule.findings import NotHere
from jaxnn.audit.rule.programs import Programs
from jaxnn.audit.rule.subjects import subject_of

RESULTS = Path(__file__).parent / "results"
COUNTS, ORACLES = ("cases", "points", "tensors", "cotangents"), ("differences", "complex step")


def named(rule):
    """A rule's class; for Recurrent, with its cell's."""
    return f"Recurrent({named(rule.inner)})" if isinstance(rule, jaxnn.Recurrent) else type(rule).__name__


def look(evidence, pairs):
    """Adds (error, bound) of every tensor at one point to `pairs`, by oracle; returns the findings that aren't ok."""
    findings = []
    for gate in ("structure", "autodiff", *ORACLES):
        with suppress(NotHere):
            findings += asked(gate, evidence)
    for i, truths in enumerate(evidence.pulled.by_machine):
        for k, truth in enumerate(truths):
            size = max(float(np.max(np.abs(truth), initial=0)), float(evidence.pulled.sizes[i][k]))
            tolerance = evidence.tolerance(i, k)[0]
            # Where rounding is all there is (a bias before BatchNorm, a saturated tanh) errors are absolute.
            size = size if tolerance < size else 1.0
            pairs["machine"].append((error(evidence.pulled.by_hand[i][k], truth, size), tolerance / size))
    for oracle in ORACLES:
        pairs[oracle] += [(finding.error, finding.tolerance) for finding in findings if finding.gate == oracle]
    return [str(finding) for finding in findings if not finding.ok]


def worst(pairs):
    """The largest error with its bound, and the largest error / bound of any pair. NaN counts as the largest."""
    if not pairs:
        return None
    largest = max(pairs, key=lambda pair: math.inf if math.isnan(pair[0]) else pair[0])
    ratios = [value / bound if bound else 0.0 if value == 0 else math.inf for value, bound in pairs]
    return {"error": largest[0], "bound": largest[1], "ratio": float(np.max(ratios))}


def in_no_table(names):
    """Rules among jaxnn's public names that no case has looked at."""
    seen = " ".join(names)
    return [
        name
        for name, rule in vars(jaxnn).items()
        if inspect.isclass(rule) and not getattr(rule, "_is_protocol", False) and name not in seen
        if hasattr(rule, "backward") or (hasattr(rule, "gradient") and hasattr(rule, "value"))
    ]


def as_markdown(result):
    heads = ["rule", *COUNTS[:1], *COUNTS[2:], "error against the machine", "its bound", "largest error / bound"]
    for oracle in ORACLES:
        heads += [f"error against the {oracle.removesuffix('s')}", "its tolerance", "largest error / tolerance"]
    lines = [heads, ["---"] * len(heads)]
    for row in result["rows"]:
        cells = [row["rule"], str(row["cases"]), f"{row['tensors']:,}", f"{row['cotangents']:,}"]
        for oracle in ("machine", *ORACLES):
            numbers = row[oracle]
            cells += [f"{numbers[key]:.1e}" for key in ("error", "bound")] if numbers else ["", ""]
            cells.append(f"{numbers['ratio']:.2f}" if numbers else "")
        lines.append(cells)
    head = f"Every rule at {result['seeds']} points a case, in float64; the largest over cases, points and tensors."
    environment = ", ".join(f"{name} {value}" for name, value in result["environment"].items() if name != "dtype")
    return "\n".join([head, "", *(f"| {' | '.join(line)} |" for line in lines), "", environment, ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10, help="points a case")
    parser.add_argument("--only", nargs="+", help="classes; then nothing is written")
    options = parser.parse_args()
    counts, pairs, broken = defaultdict(lambda: np.zeros(4, int)), defaultdict(lambda: defaultdict(list)), []
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        for case in table.AUDITED:
            rule = named(case.subject)
            if rule not in (options.only or [rule]):
                continue
            seeds = range(options.seeds)
            subjects = [subject_of(case.subject, case.arguments(seed), **case.options) for seed in seeds]
            programs = Programs(subjects[0])
            for seed, subject in enumerate(subjects):
                evidence = Evidence(subject.cast(np.float64), seed, programs)
                broken += [f"{case.name}, seed {seed}: {finding}" for finding in look(evidence, pairs[rule])]
                n = len(evidence.leaves)
                counts[rule] += (seed == 0, 1, n, n * len(evidence.dys[0]))
            print(case.name, worst(pairs[rule]["machine"]), flush=True)
    rows = [
        {"rule": rule, **dict(zip(COUNTS, map(int, counts[rule]), strict=True))}
        | {oracle: worst(pairs[rule][oracle]) for oracle in ("machine", *ORACLES)}
        for rule in counts
    ]
    judges = ("machine", *ORACLES)
    above = [row["rule"] for row in rows for judge in judges if row[judge] and not row[judge]["ratio"] <= 1]
    broken += [f"{rule} is above its bound" for rule in above]
    broken += [] if options.only else [f"{rule} is in no table" for rule in in_no_table(counts)]
    result = {"environment": timing.environment(), "seeds": options.seeds, "rows": rows, "broken": broken}
    if options.only is None:
        (RESULTS / "float64_errors.json").write_text(json.dumps(result, indent=1) + "\n")
        (RESULTS / "float64_errors.md").write_text(as_markdown(result))
    print(as_markdown(result) + "\n".join(broken or ["every rule is within its bounds"]))
    raise SystemExit(1 if broken else 0)


if __name__ == "__main__":
    main()
