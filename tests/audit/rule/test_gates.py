"""Each gate holds for what is right, and finds alone what it is there for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn
from jaxnn.audit.rule.evidence import Evidence
from jaxnn.audit.rule.findings import NotHere
from jaxnn.audit.rule.gates import GATES
from jaxnn.audit.rule.subjects import subject_of

pytestmark = pytest.mark.usefixtures("x64")
X = np.random.default_rng(0).normal(size=(3, 4))
CALLS = []


def sine(backward):
    return jnp.sin, backward


def ok(gate, subject, *arguments, **options):
    found = GATES[gate](Evidence(subject_of(subject, arguments or (X,), **options)))
    assert found
    return all(finding.ok for finding in found)


def noisy(x, dy):
    CALLS.append(0)
    return (dy * jnp.cos(x) * (1 + 1e-9 * len(CALLS)),)


@pytest.mark.parametrize(
    ("gate", "backward"),
    [
        ("structure", lambda x, dy: ((dy * jnp.cos(x)).astype(jnp.float32),)),
        ("structure", lambda x, dy: (jnp.sum(dy * jnp.cos(x), axis=0),)),
        ("structure", lambda x, dy: dy * jnp.cos(x)),
        ("autodiff", lambda x, dy: (dy * jnp.cos(x) * (1 + 1e-12),)),
        ("differences", lambda x, dy: (dy * jnp.cos(x) * (1 + 1e-6),)),
        ("complex step", lambda x, dy: (dy * jnp.cos(x) * (1 + 1e-11),)),
        ("adjointness", lambda x, dy: (dy * jnp.cos(x) * (1 + 1e-9),)),
        ("linearity", lambda x, dy: (dy * jnp.cos(x) + 1e-9 * dy**2,)),
        ("additivity", lambda x, dy: (dy * jnp.cos(x) + 1e-9 * jnp.sum(dy, axis=0, keepdims=True) * jnp.ones_like(x),)),
        ("transforms", noisy),
        ("second order", lambda x, dy: (dy * jax.lax.stop_gradient(jnp.cos(x)),)),
        ("extremes", lambda x, dy: (dy * jnp.cos(x) * (x / x),)),
        ("kinks", lambda x, dy: (jnp.where(x == 0, 2.0, dy * jnp.cos(x)),)),
    ],
)
def test_a_gate_finds_what_it_is_there_for(gate, backward):
    assert ok(gate, sine(lambda x, dy: (dy * jnp.cos(x),)), rows=(0,))
    assert not ok(gate, sine(backward), rows=(0,))


def test_rows_that_couple_must_fail_additivity():
    x = np.random.default_rng(0).normal(size=(6, 3))
    layer = jaxnn.BatchNorm()
    params, state = layer.init(jax.random.key(0), (3,))
    assert ok("additivity", layer, params, state, x)
    assert not ok("additivity", sine(lambda x, dy: (dy * jnp.cos(x),)), x, rows=(0,), couples=True)
    with pytest.raises(NotHere, match="no argument is said to have rows"):
        ok("additivity", sine(lambda x, dy: (dy * jnp.cos(x),)))
