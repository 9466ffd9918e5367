"""Params in a short type, moved by steps that it can't hold.

A step of 0.001 leaves a weight of 1 where it is in bfloat16, every time. So the loops carry what each rounding took
from a short type, and add it to the next step: params and rounding together are the params in float32.
"""

import jax
import jax.numpy as jnp

from jaxnn.arrays import PyTree, is_floating_array, wide_dtype, widened
from jaxnn.training.updates import apply_updates


def first_rounding(params: PyTree) -> PyTree:
    """Zeros in float32 for params of a short type, empty arrays for others; None where no params are short."""
    leaves = jax.tree.leaves(params)
    if not any(is_floating_array(leaf) and wide_dtype(leaf.dtype) != leaf.dtype for leaf in leaves):
        return None

    def zeros(leaf: jax.Array) -> jax.Array:
        dtype = wide_dtype(leaf.dtype)
        return jnp.zeros(leaf.shape if dtype != leaf.dtype else (0,), dtype)

    return jax.tree.map(zeros, params)


def moved_params(params: PyTree, rounding: PyTree, updates: PyTree) -> tuple[PyTree, PyTree]:
    """params + updates, and what rounding takes from it.

    A rounding that can't have come from these params, since they have been replaced, is dropped.
    """
    if rounding is None:
        return apply_updates(params, updates), None

    def moved(p: jax.Array, r: jax.Array, u: jax.Array) -> tuple[jax.Array, jax.Array]:
        wide = widened(p)
        if r.shape == p.shape:
            wide = jnp.where((wide + r).astype(p.dtype) == p, wide + r, wide)
        goal = wide + u.astype(wide.dtype)
        new = goal.astype(p.dtype)
        return new, goal - new.astype(goal.dtype) if r.shape == p.shape else r

    pairs = jax.tree.map(moved, params, rounding, updates)
    return jax.tree.transpose(jax.tree.structure(params), None, pairs)
