"""`torch.autograd.gradcheck` written anew on (f, backward) pairs, with its own defaults.

eps = 1e-6, atol = 1e-5, rtol = 1e-3, float64, central differences of two points. It makes four checks, in this order:
    the Jacobian by differences against the Jacobian by backward, entry by entry (slow mode), or v^T J u for one random
    u and v of norm 1 for each pair of input and output (fast mode, atol then times sum(u) sum(v));
    backward run twice gives the same bits;
    cotangents have the inputs' shapes and dtypes;
    a cotangent of zeros gives zeros.
Not here, because nothing on this side has it: sparse layouts, complex numbers, undefined gradients.
Source: PyTorch, torch/autograd/gradcheck.py.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

EPSILON, ABSOLUTE, RELATIVE = 1e-6, 1e-5, 1e-3

Leaves = list[jax.Array]
Forward = Callable[[Leaves], Leaves]
Rule = Callable[[Leaves, Leaves], Leaves]


def gradcheck(forward: Forward, rule: Rule, leaves: Leaves, *, fast: bool = False) -> bool:
    """Whether it passes. forward(leaves) -> outputs; rule(leaves, dys) -> one cotangent a leaf."""
    outputs = forward(leaves)
    agrees = _fast if fast else _slow
    return (
        agrees(forward, rule, leaves, outputs)
        and _reproduces(rule, leaves, outputs)
        and _has_the_inputs_form(rule, leaves, outputs)
        and _keeps_zero(rule, leaves, outputs)
    )


def _slow(forward: Forward, rule: Rule, leaves: Leaves, outputs: Leaves) -> bool:
    """All entries: numerical[i, j] = dy_j / dx_i against analytical[j, i]."""

    @jax.jit
    def analytical(leaves: Leaves) -> Leaves:
        return jax.vmap(lambda dys: rule(leaves, dys))(_basis(outputs))

    @jax.jit
    def numerical(leaves: Leaves) -> Leaves:
        return jax.vmap(lambda step: _differences(forward, leaves, [EPSILON * s for s in step]))(_basis(leaves))

    return _close(_matrix(analytical(leaves)), _matrix(numerical(leaves)).T / EPSILON)


def _fast(forward: Forward, rule: Rule, leaves: Leaves, outputs: Leaves) -> bool:
    """One number a pair of input i and output j: v_j^T J_ji u_i."""
    generator = np.random.default_rng(0)
    us, vs = ([_unit_vector(generator, leaf) for leaf in tree] for tree in (leaves, outputs))
    numerical, analytical = jax.jit(lambda xs, s: _differences(forward, xs, s)), jax.jit(rule)
    by_rule = [analytical(leaves, _only(j, vs)) for j in range(len(vs))]
    for i, u in enumerate(us):
        by_steps = numerical(leaves, _only(i, [EPSILON * each for each in us]))
        for j, v in enumerate(vs):
            absolute = ABSOLUTE * float(jnp.sum(u)) * float(jnp.sum(v))
            one, other = jnp.sum(by_rule[j][i] * u), jnp.sum(by_steps[j] * v) / EPSILON
            if not _close(np.asarray(one), np.asarray(other), absolute):
                return False
    return True


def _reproduces(rule: Rule, leaves: Leaves, outputs: Leaves) -> bool:
    ones = [jnp.ones_like(y) for y in outputs]
    twice = rule(leaves, ones), rule(leaves, ones)
    return all(np.array_equal(a, b) for a, b in zip(*twice, strict=True))


def _has_the_inputs_form(rule: Rule, leaves: Leaves, outputs: Leaves) -> bool:
    cotangents = rule(leaves, outputs)
    return all(a.shape == b.shape and a.dtype == b.dtype for a, b in zip(cotangents, leaves, strict=True))


def _keeps_zero(rule: Rule, leaves: Leaves, outputs: Leaves) -> bool:
    return all(np.all(np.asarray(a) == 0) for a in rule(leaves, [jnp.zeros_like(y) for y in outputs]))


def _differences(forward: Forward, leaves: Leaves, step: Leaves) -> Leaves:
    """(f(x + step) - f(x - step)) / 2."""
    above = forward([x + s for x, s in zip(leaves, step, strict=True)])
    below = forward([x - s for x, s in zip(leaves, step, strict=True)])
    return [(a - b) / 2 for a, b in zip(above, below, strict=True)]


def _basis(leaves: Leaves) -> Leaves:
    """Every tree of one 1 and zeros, stacked along a leading axis."""
    total = sum(leaf.size for leaf in leaves)
    rows = np.split(np.eye(total), np.cumsum([leaf.size for leaf in leaves])[:-1], axis=1)
    return [jnp.asarray(row.reshape(total, *leaf.shape), leaf.dtype) for row, leaf in zip(rows, leaves, strict=True)]


def _matrix(stacked: Leaves) -> np.ndarray:
    return np.concatenate([np.asarray(each).reshape(len(each), -1) for each in stacked], axis=1)


def _only(i: int, leaves: Leaves) -> Leaves:
    return [leaf if k == i else jnp.zeros_like(leaf) for k, leaf in enumerate(leaves)]


def _unit_vector(generator: np.random.Generator, leaf: Any) -> jax.Array:
    """Uniform in [0, 1), divided by its norm."""
    vector = generator.uniform(size=leaf.shape)
    return jnp.asarray(vector / np.linalg.norm(vector), leaf.dtype)


def _close(a: np.ndarray, b: np.ndarray, absolute: float = ABSOLUTE) -> bool:
    return np.allclose(a, b, rtol=RELATIVE, atol=absolute)
