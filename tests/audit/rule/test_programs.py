"""Each program computes what it is named after, and compiles once for all points."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.audit.rule.evidence import Evidence
from jaxnn.audit.rule.programs import Programs
from jaxnn.audit.rule.subjects import subject_of

pytestmark = pytest.mark.usefixtures("x64")
RNG = np.random.default_rng(0)


def matmul(x, w):
    return jnp.sin(x @ w)


def backward(x, w, dy):
    dz = dy * jnp.cos(x @ w)
    return dz @ w.T, x.T @ dz


def arguments():
    return RNG.normal(size=(3, 4)), RNG.normal(size=(4, 2))


def test_they_agree_with_jax():
    evidence = Evidence(subject_of((matmul, backward), arguments()))
    programs, leaves, others, dy = evidence.programs, evidence.leaves, evidence.others, evidence.at(0)
    y, pull = jax.vjp(matmul, *leaves)
    pulled = evidence.pulled
    np.testing.assert_array_equal(pulled.outputs[0], y)
    for mine, machine, truth in zip(pulled.by_hand, pulled.by_machine, pull(dy[0]), strict=True):
        np.testing.assert_allclose(mine[0], truth, rtol=1e-12)
        np.testing.assert_allclose(machine[0], truth, rtol=1e-12)
    u = evidence.normal_like(leaves)
    pushed = jax.jvp(matmul, tuple(leaves), tuple(u))[1]
    np.testing.assert_allclose(programs.pushed(leaves, others, u)[0], pushed, rtol=1e-12)
    np.testing.assert_allclose(
        programs.complex_slopes(leaves, others, [each[None] for each in u])[0][0], pushed, rtol=1e-12
    )
    steps = np.array([[0.0, 1e-6]])
    at_0, at_h = programs.moved(leaves, others, [each[None] for each in u], steps)[0]
    np.testing.assert_allclose((at_h - at_0) / 1e-6, pushed.ravel(), rtol=1e-4)
    mine, machine, spreads = programs.second_order(leaves, others, dy, u)
    truth = jax.jvp(lambda *leaves: jax.vjp(matmul, *leaves)[1](dy[0]), tuple(leaves), tuple(u))[1]
    for a, b, c, spread in zip(mine, machine, truth, spreads, strict=True):
        np.testing.assert_allclose(a, c, rtol=1e-10)
        np.testing.assert_allclose(b, c, rtol=1e-12)
        assert 0 < spread < 1e-13


def test_sizes_are_those_of_the_terms_and_spreads_those_of_rounding():
    """The gradient of a sum that cancels is 0, its terms' size isn't, and rounding says how much of 0 is left."""
    x = RNG.normal(size=(50, 1))
    centred = lambda x, b: x + b - jnp.mean(x + b)  # noqa: E731
    rule = lambda x, b, dy: (dy - jnp.mean(dy), jnp.sum(dy - jnp.mean(dy)))  # noqa: E731
    evidence = Evidence(subject_of((centred, rule), (x, np.float64(0.3))))
    pulled = evidence.pulled
    assert np.abs(pulled.by_machine[1][0]) < 1e-13
    assert 1e-17 < pulled.spreads[1][0] < 1e-13
    assert 0.1 < pulled.sizes[0][0] < 10
    tolerance, _ = evidence.tolerance(1, 0)
    assert np.abs(pulled.by_hand[1][0] - pulled.by_machine[1][0]) <= tolerance < 1e-12


def test_another_point_compiles_nothing(compilations):
    programs = Programs(subject_of((matmul, backward), arguments()))
    points = [Evidence(subject_of((matmul, backward), arguments()), seed, programs) for seed in range(3)]
    first = points[0].pulled
    with compilations.none():
        second, third = points[1].pulled, points[2].pulled
    assert not np.array_equal(first.by_hand[0], second.by_hand[0])
    assert not np.array_equal(second.by_hand[0], third.by_hand[0])


def test_integers_and_keys_are_arguments_too(compilations):
    def looked_up(table, i, key):
        return table[i] * jax.random.uniform(key)

    def at(seed):
        return subject_of(looked_up, (RNG.normal(size=(4, 3)), RNG.integers(0, 4, 5), jax.random.key(seed)))

    programs = Programs(at(0))
    first = Evidence(at(0), 0, programs).pulled.outputs[0]
    subject = at(1)
    with compilations.none():
        Evidence(subject, 0, programs).pulled  # noqa: B018
    assert first.shape == (5, 3)
