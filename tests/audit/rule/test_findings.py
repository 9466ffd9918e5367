"""A finding says whether, by how much, where, and what stood there."""

import math

import numpy as np

from jaxnn.audit.rule.findings import compared, number, worst


def test_two_tensors():
    finding = compared("gate", "w", np.array([[1.0, 2.0], [3.0, 4.5]]), np.array([[1.0, 2.0], [3.0, 4.0]]), 0.1, "why")
    assert (finding.ok, finding.error, finding.index, finding.got, finding.expected) == (False, 0.5, (1, 1), 4.5, 4.0)
    assert "gate: w is wrong at [1, 1]: 4.5 for 4" in str(finding)
    assert "tolerance 1.0e-01 = why" in str(finding)
    assert compared("gate", "w", np.ones(3), np.ones(3), 0.0, "why").ok
    assert compared("gate", "w", np.zeros(0), np.zeros(0), 0.0, "why").ok
    assert not compared("gate", "w", np.ones(3), np.ones(2), 1.0, "why").ok
    assert not compared("gate", "w", np.array([math.nan]), np.ones(1), 1.0, "why").ok
    assert compared("gate", "w", np.array([math.nan, 1.0]), np.array([math.nan, 1.0]), 0.0, "why").ok


def test_the_worst_is_the_first_failure_or_the_nearest_to_one():
    near, far = number("g", "a", 1.9, 1.0, 1.0, "why"), number("g", "b", 1.1, 1.0, 1.0, "why")
    broken = number("g", "c", 3.0, 1.0, 1.0, "why")
    assert worst([far, near]) is near
    assert worst([far, broken, near]) is broken
    assert not number("g", "d", math.nan, 1.0, 1.0, "why").ok
