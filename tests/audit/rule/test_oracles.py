"""Differences, the complex step and slopes at kinks find what is wrong without a rule of differentiation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.audit import Auditor
from jaxnn.audit.rule.evidence import Evidence
from jaxnn.audit.rule.findings import NotHere
from jaxnn.audit.rule.oracles import by_complex_step, differences, kinks
from jaxnn.audit.rule.subjects import subject_of

pytestmark = pytest.mark.usefixtures("x64")
X = np.random.default_rng(0).normal(size=(3, 4))


def evidence(f, backward, x=X, **options):
    return Evidence(subject_of((f, backward), (x,), **options))


@pytest.mark.parametrize("oracle", [differences, by_complex_step])
def test_a_factor_of_a_millionth_is_found(oracle):
    (right,) = oracle(evidence(jnp.tanh, lambda x, dy: (dy * (1 - jnp.tanh(x) ** 2),)))
    (wrong,) = oracle(evidence(jnp.tanh, lambda x, dy: ((1 + 1e-6) * dy * (1 - jnp.tanh(x) ** 2),)))
    assert right.ok
    assert not wrong.ok


def test_the_complex_step_resolves_more():
    (wrong,) = by_complex_step(evidence(jnp.tanh, lambda x, dy: ((1 + 1e-11) * dy * (1 - jnp.tanh(x) ** 2),)))
    assert not wrong.ok


def test_where_there_is_no_complex_step():
    scanned = lambda x: jax.lax.scan(lambda c, _: (jnp.sin(c), None), x, None, length=1)[0]  # noqa: E731
    with pytest.raises(NotHere, match="takes no complex numbers: no complex step through scan"):
        by_complex_step(evidence(scanned, lambda x, dy: (dy * jnp.cos(x),)))


@pytest.mark.parametrize(("at_0", "ok"), [(0.0, True), (0.5, True), (1.0, True), (2.0, False), (-0.1, False)])
def test_a_subgradient_lies_between_its_sides(at_0, ok):
    relu = lambda x: jnp.maximum(x, 0.0)  # noqa: E731
    backward = lambda x, dy: (dy * jnp.where(x > 0, 1.0, jnp.where(x == 0, at_0, 0.0)),)  # noqa: E731
    of_zeros, of_equals = kinks(evidence(relu, backward, declares=False))
    assert (of_zeros.ok, of_equals.ok) == (ok, True)
    written = lambda x: jnp.where(x > 0, x, 0.0)  # noqa: E731
    of_zeros, of_equals = kinks(evidence(written, backward))
    assert (of_zeros.ok, of_equals.ok) == (at_0 == 0, True)


def test_kinks_that_cancel_in_the_sum_are_kinks():
    """Two outputs with the same kink, of slopes 1 and 0 there: where dy is nearly opposite, their sum looks smooth."""
    x = np.zeros(1)
    f = lambda x: jnp.concatenate([jnp.where(x >= 0, x, 0), jnp.where(x > 0, x, 0)])  # noqa: E731
    audit = Auditor((f, lambda x, dy: (dy[:1],)), gates=("differences",), declares=False)
    for seed in range(100):
        assert all(finding.ok for finding in audit(x, seed=seed).findings)
