"""`check`: the gates of `gates.py` for anybody's rule."""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.audit.rounding.measure import apart, scale_factor
from jaxnn.audit.rule.evidence import Evidence, largest
from jaxnn.audit.rule.findings import Finding, NotHere, compared
from jaxnn.audit.rule.gates import GATES, judged_by_scale, pattern_along, require_machine
from jaxnn.audit.rule.programs import Programs
from jaxnn.audit.rule.subjects import Subject, subject_of
from jaxnn.layer import Design

PRECISIONS = ("float32", "bfloat16")
# How many tolerances off an error is still worth a closer look in float64: it may be rounding of the rule itself.
# In lower precisions a rule that rounds more than the machine's is what the gate is there to find.
NEAR = 1e4
# The gates that know a derivative of their own; the others ask whether the rule agrees with itself.
ORACLES = ("autodiff", "differences", "complex step")
OF_VALUES = ("differences", "complex step")  # a derivative from the forward's values alone
OF_ITSELF = ("structure", "linearity", "additivity", "transforms")  # no derivative at all


class Skipped(NamedTuple):
    """A gate that had nothing to say, and why."""

    gate: str
    reason: str


@dataclass(frozen=True)
class Report:
    """What `check` found. `ok` says whether every gate held; `print` it for what failed, with argument and place.

    Where no oracle had anything to say (the point is singular, or the forward isn't finite there), nothing is ok. A
    rule that is meant to differ from the derivative (design "from autodiff") is ok if it agrees with itself; it isn't
    `judged`, and the verdict says so.
    """

    name: str
    findings: tuple[Finding, ...]
    skipped: tuple[Skipped, ...]
    design: Design | None = None

    @property
    def ok(self) -> bool:
        judged = bool(self.findings) if self.design == "from autodiff" else self.judged
        return judged and all(finding.ok for finding in self.findings)

    @property
    def judged(self) -> bool:
        """Whether some oracle that was asked had something to say: whether the rule was held against a derivative."""
        if self.design == "from autodiff":
            return False
        asked = any(skipped.gate in ORACLES for skipped in self.skipped)
        return not asked or any(finding.gate in ORACLES for finding in self.findings)

    @property
    def failures(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if not finding.ok)

    def __str__(self) -> str:
        gates = list(dict.fromkeys(finding.gate for finding in self.findings))
        verdict = "every gate holds" if self.ok else f"{len(self.failures)} FAILURES"
        if self.design == "from autodiff":
            itself = "the rule agrees with itself" if self.ok else verdict if self.findings else "no gate was run"
            verdict = f"{itself}; NOT JUDGED is whether it is the derivative, from which it is meant to differ"
        elif not self.judged:
            verdict = "NOTHING TO HOLD IT AGAINST at this point: take another"
        lines = [f"audit of {self.name}: {verdict}"]
        for gate in gates:
            mine = [finding for finding in self.findings if finding.gate == gate]
            failed = [finding for finding in mine if not finding.ok]
            if not failed:
                close = max((f.error / f.tolerance for f in mine if f.tolerance), default=0.0)
                lines.append(f"  {gate:13} holds for {len(mine)}, nearest to its tolerance {close:.2f}")
            lines += [f"  {finding}" for finding in failed]
        lines += [f"  {gate:13} skipped: {reason}" for gate, reason in self.skipped]
        return "\n".join(lines)


def asked(name: str, evidence: Evidence) -> list[Finding]:
    """What a gate of float64 finds, with a closer look where that may explain it.

    Raises: NotHere, as the gate does, and where the rule is meant to differ from what the gate holds it against.
    """
    require_meant(name, evidence.subject)
    findings = GATES[name](evidence)
    failed = [finding for finding in findings if not finding.ok]
    if failed and all(finding.error <= NEAR * finding.tolerance for finding in failed):
        evidence.look_closer()
        findings = GATES[name](evidence)
    return findings


def require_meant(gate: str, subject: Subject) -> None:
    """Raises: NotHere where the subject says that its rule is meant to differ from what a gate holds it against."""
    if subject.design == "from values" and gate in OF_VALUES:
        raise NotHere("the layer says that its rule is meant to differ from the derivative of the forward's values")
    if subject.design == "from autodiff" and gate not in OF_ITSELF:
        raise NotHere("the layer says that its rule is meant to differ from the derivative")


class Auditor:
    """`check` for many points: what it compiles for a rule is compiled once.

    >>> audit = Auditor((jnp.sin, lambda x, dy: (dy * jnp.cos(x),)), gates=("autodiff", "differences"))
    >>> all(audit(np.random.default_rng(seed).normal(size=5), seed=seed).ok for seed in range(20))
    True
    """

    def __init__(
        self,
        subject: Any,
        *,
        key: jax.Array | None = None,
        train: bool = True,
        rows: tuple[int, ...] = (),
        couples: bool = False,
        declares: bool | None = None,
        gates: tuple[str, ...] | None = None,
        until_failure: bool = False,
    ) -> None:
        unknown = set(gates or ()) - {*GATES, *PRECISIONS}
        if unknown:
            raise ValueError(f"check: unknown gates {sorted(unknown)}: there are {', '.join([*GATES, *PRECISIONS])}")
        options = {"key": key, "train": train, "rows": rows, "couples": couples, "declares": declares}
        self.subject_at = partial(subject_of, subject, **options)
        self.gates = tuple(GATES) + PRECISIONS if gates is None else gates
        self.until_failure = until_failure
        self.programs: Programs | None = None

    def __call__(self, *arguments: Any, seed: int = 0) -> Report:
        """The report at these arguments; the seed draws cotangents and directions."""
        whole = self.subject_at(arguments)
        if not whole.leaves:
            raise TypeError(f"check: {whole.name} has no floating argument, so no gradient to audit")
        findings: list[Finding] = []
        skipped: list[Skipped] = []
        # A foreign rule may rely on both promotions.
        promotions = jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow")
        with jax.enable_x64(True), jax.default_matmul_precision("highest"), promotions[0], promotions[1]:
            double = whole.cast(np.float64)
            self.programs = self.programs or Programs(double.with_machine_or_without())
            evidence = Evidence(double, seed, self.programs)
            for name in [*GATES, *PRECISIONS]:
                if name not in self.gates:
                    continue
                try:
                    findings += asked(name, evidence) if name in GATES else self._in_precision(whole, name, evidence)
                except NotHere as reason:
                    skipped.append(Skipped(name, str(reason)))
                broken = any(not finding.ok for finding in findings)
                if broken and (self.until_failure or name == "structure"):
                    break
        return Report(whole.name, tuple(findings), tuple(skipped), whole.design)

    def _in_precision(self, whole: Subject, precision: str, double: Evidence) -> list[Finding]:
        """No worse than twice the machine's own error in this precision plus the rounding bound; the scale likewise."""
        require_meant(precision, whole)
        require_machine(double)
        low = whole.cast(jnp.dtype(precision))
        try:
            evidence = Evidence(low, 0, self.programs)
            pulled = evidence.pulled
        except (TypeError, NotImplementedError) as reason:
            raise NotHere(str(reason).splitlines()[0][:100]) from reason
        if evidence.dtype != jnp.dtype(precision):
            raise NotHere(f"the forward gives {evidence.dtype} for {precision}")
        truth = Evidence(low.cast(np.float64), 0, self.programs)
        truth.dys = [np.asarray(dy, np.float64) for dy in evidence.dys]
        findings = []
        for i, name in enumerate(whole.leaf_names):
            for k in range(2) if not double.jumps[i] else ():
                mine, machine, right = pulled.by_hand[i][k], pulled.by_machine[i][k], truth.pulled.by_machine[i][k]
                if not np.isfinite(right).all():
                    continue
                room, bound = evidence.tolerance(i, k)
                tolerance = 2 * apart(machine, right) + room
                finding = compared(precision, name, mine, right, tolerance, f"twice automatic + {bound.origin}")
                vanishes = largest(right) <= truth.tolerance(i, k)[0]
                if vanishes and not finding.ok:  # the gradient is 0, and what is left of it is each one's own rounding
                    close = Evidence(low, 0, self.programs)
                    close.dys, close.closer = evidence.dys, True
                    tolerance += close.tolerance(i, k)[0]
                    finding = compared(precision, name, mine, right, tolerance, finding.origin)
                elif finding.ok and not vanishes:
                    beside = 2 * abs(scale_factor(machine, right) - 1)
                    finding = judged_by_scale(finding, mine, right, evidence, i, k, beside)
                if not finding.ok:
                    noise = 4 * apart(machine, right)
                    pattern = pattern_along(k, pulled.by_hand[i], truth.pulled.by_machine[i], noise=noise)
                    finding = finding._replace(pattern=pattern)
                findings.append(finding)
        return findings


def check(subject: Any, *arguments: Any, seed: int = 0, **options: Any) -> Report:
    """Audit a rule for cotangents at a point: a layer's, a loss's, a pair's, a function's, a Flax or Equinox module's.

    The gates run in float64, on the arguments in float64: structure, shapes and dtypes; against `jax.vjp` of the
    forward without its custom rules, along random and one-hot cotangents; five-point differences; the complex step;
    adjointness to `jax.jvp`; linearity; additivity over rows; purity, `jit` and `vmap`; second order; extremes; kinks.
    Then in float32 and bfloat16 against the float64 truth, no worse than twice the machine's own error there.
    A layer that says `differs_by_design` is held against what its rule is meant to be: not against differences and the
    complex step ("from values"), or against no derivative at all ("from autodiff").

    Args:
        subject: see `subjects.py`: a layer takes (params, state, x), a loss (y, target), a penalty (params), a pair
            (f, backward) and a function their own arguments, a Flax or Equinox module its inputs (linen: variables
            first).
        key, train: as a layer's forward takes them.
        rows: which arguments have the examples of a batch along their first axis, for additivity; layers and losses
            know. couples: whether rows have a say in one another's outputs.
        declares: whether at a kink the forward's own derivative is what the rule has to give; None: for layers, losses,
            penalties and pairs, whose forward is written for it. Else any slope between those to both sides will do.
        gates: names of `GATES` and of the precisions to run; None for all.
        until_failure: stop at the first gate that fails.
        seed: draws cotangents and directions.
    Returns: a `Report`; `print(it)`.
    Raises: TypeError for what has no rule to audit; whatever the forward raises.

    >>> import jaxnn
    >>> report = check((jnp.sin, lambda x, dy: (1.001 * dy * jnp.cos(x),)), np.linspace(0.1, 1, 5), gates=("autodiff",))
    >>> report.ok, report.failures[0].pattern
    (False, 'a factor: times 1.001')
    """
    return Auditor(subject, **options)(*arguments, seed=seed)
