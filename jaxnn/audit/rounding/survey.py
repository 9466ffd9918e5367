"""A rule looked at many times over, in one loop: what it gives, how large the terms are, how far rounding takes it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnn.arrays import PyTree, zeros_like
from jaxnn.audit.rounding.monte_carlo import hashed, rounded_otherwise

N_PROBES = 16
N_DRAWS = 8


class Survey(NamedTuple):
    """value: what the rule gives. size: entry by entry, of the terms that are summed into it: their root mean square
    over random signs of dy. spread: how far it goes when all is rounded otherwise (see `monte_carlo.py`).
    """

    value: PyTree
    size: PyTree
    spread: PyTree


def surveyed(rule: Callable[..., PyTree], arguments: tuple, dy: PyTree) -> Survey:
    """rule(*arguments, dy), which is linear in dy, once as it is, N_PROBES times with signs, N_DRAWS times rounded."""

    def turn(carried: Survey, i: jax.Array) -> tuple[Survey, None]:
        probing, rounding = (i > 0) & (i <= N_PROBES), i > N_PROBES
        signed = jax.tree.map(lambda d: jnp.where(probing, d * signs(d, i), d), dy)
        cotangents = rounded_otherwise(rule)(i, rounding.astype(int), *arguments, signed)
        value = jax.tree.map(lambda g, v: jnp.where(i == 0, g, v), cotangents, carried.value)
        squares = jax.tree.map(lambda g, s: s + jnp.where(probing, jnp.square(g), 0), cotangents, carried.size)
        away = jax.tree.map(lambda g, v: jnp.where(rounding, jnp.abs(g - v), 0), cotangents, value)
        return Survey(value, squares, jax.tree.map(jnp.maximum, carried.spread, away)), None

    zeros = zeros_like(jax.eval_shape(rule, *arguments, dy))
    survey, _ = jax.lax.scan(turn, Survey(zeros, zeros, zeros), jnp.arange(1 + N_PROBES + N_DRAWS))
    return survey._replace(size=jax.tree.map(lambda s: jnp.sqrt(s / N_PROBES), survey.size))


def sizes(rule: Callable[[PyTree], PyTree], dy: PyTree) -> PyTree:
    """Of the terms that a rule, which is linear in dy, sums into each tensor: the largest entry of a survey's size."""

    def add_probe(sums: PyTree, i: jax.Array) -> tuple[PyTree, None]:
        cotangents = rule(jax.tree.map(lambda d: d * signs(d, i), dy))
        return jax.tree.map(lambda total, g: total + jnp.square(g), sums, cotangents), None

    sums, _ = jax.lax.scan(add_probe, zeros_like(jax.eval_shape(rule, dy)), jnp.arange(N_PROBES))
    return jax.tree.map(lambda total: jnp.sqrt(jnp.max(total, initial=0) / N_PROBES), sums)


def signs(like: Any, draw: jax.Array) -> jax.Array:
    """1 or -1 for every entry, as if at random; a random generator would take long to compile."""
    order = jax.lax.iota(jnp.int32, like.size).reshape(like.shape)
    return jnp.where(hashed(order, draw) < 0, -1, 1).astype(like.dtype)
