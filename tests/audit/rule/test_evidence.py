"""The evidence is what the machine says, with sizes and spreads."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.audit.rule.evidence import N_COTANGENTS, Evidence
from jaxnn.audit.rule.subjects import subject_of

pytestmark = pytest.mark.usefixtures("x64")


def test_random_mixed_and_one_hot_cotangents():
    x = np.random.default_rng(0).normal(size=(2, 3))
    evidence = Evidence(subject_of((jnp.sin, lambda x, dy: (dy * jnp.cos(x),)), (x,)))
    (dys,) = evidence.dys
    assert dys.shape == (N_COTANGENTS + 1 + 6, 2, 3)
    np.testing.assert_allclose(dys[N_COTANGENTS], 2.5 * dys[0] - 0.75 * dys[1])
    np.testing.assert_array_equal(dys[N_COTANGENTS + 1 :].reshape(6, 6), np.eye(6))
    found = evidence.pulled
    np.testing.assert_allclose(found.by_machine[0], dys * np.cos(x), rtol=1e-15)
    np.testing.assert_allclose(found.by_hand[0], found.by_machine[0], rtol=1e-15)
    assert found.sizes[0].shape == found.spreads[0].shape == (len(dys),)


def test_what_is_badly_conditioned_has_room():
    """1 - x at x near 1 has few digits of x's neighbours: its spread says so."""
    x = np.array([1 + 1e-9, 0.5])
    evidence = Evidence(subject_of((lambda x: jnp.log(jnp.abs(1 - x)), lambda x, dy: (-dy / (1 - x),)), (x,)))
    tolerance, bound = evidence.tolerance(0, 0)
    assert tolerance > 1e3 * bound.value * np.abs(evidence.pulled.by_machine[0][0][0])
