"""What a gate finds, and how two numbers or tensors become a finding."""

import math
from typing import Any, NamedTuple

import numpy as np

from jaxnn.audit.rounding.measure import error
from jaxnn.audit.rule.patterns import NONE


class Finding(NamedTuple):
    """What a gate found at one argument: ok or not, by how much, where, the two values there, and the tolerance."""

    gate: str
    argument: str
    ok: bool
    error: float
    tolerance: float
    origin: str
    index: tuple[int, ...] = ()
    got: float = math.nan
    expected: float = math.nan
    pattern: str = ""

    def __str__(self) -> str:
        if self.ok:
            return f"{self.gate}: {self.argument} holds ({self.error:.1e}, tolerance {self.tolerance:.1e})"
        values = f": {self.got:.6g} for {self.expected:.6g}" if not math.isnan(self.expected) else ""
        values = f" at {list(self.index)}{values}" if self.index else values
        pattern = f"; likely {self.pattern}" if self.pattern not in ("", NONE) else ""
        how = f"error {self.error:.1e}, tolerance {self.tolerance:.1e} = {self.origin}"
        return f"{self.gate}: {self.argument} is wrong{values} ({how}){pattern}"


class NotHere(Exception):
    """A gate has nothing to say of this subject; the message says why."""


def compared(gate: str, name: str, got: Any, expected: Any, tolerance: float, origin: str) -> Finding:
    """Two tensors, entry by entry; NaN belongs where NaN is."""
    a, b = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    if a.shape != b.shape or math.isnan(error(a, b)):
        return Finding(gate, name, False, math.nan, tolerance, "shapes, or the places of NaN, differ")
    difference = np.where(np.isfinite(b), np.abs(a - np.where(np.isfinite(b), b, 0)), 0)
    if not difference.size:
        return Finding(gate, name, True, 0.0, tolerance, origin)
    index = np.unravel_index(int(np.argmax(difference)), difference.shape)
    off = float(difference[index])
    place = tuple(map(int, index))
    ok = off == 0 or off <= tolerance
    return Finding(gate, name, ok, off, tolerance, origin, place, float(a[index]), float(b[index]))


def number(gate: str, name: str, got: float, expected: float, tolerance: float, origin: str) -> Finding:
    off = abs(got - expected)
    return Finding(gate, name, bool(off <= tolerance), off, tolerance, origin, (), got, expected)


def worst(findings: list[Finding]) -> Finding:
    """The first that failed, or the one nearest to it."""
    failed = [finding for finding in findings if not finding.ok]
    return failed[0] if failed else max(findings, key=lambda f: f.error / f.tolerance if f.tolerance else 0.0)
