"""What the gates compute of a subject, compiled. Every program is a function of numbers alone, so that one compilation
serves every point of the same shapes; another dtype is another compilation.

Arguments: leaves and others as `Subject` has them; dy, a cotangent of each output; dys, several along a first axis.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxnn.audit.rounding.monte_carlo import rounded_otherwise
from jaxnn.audit.rounding.survey import N_DRAWS, surveyed
from jaxnn.audit.rounding.undecorated import complex_step
from jaxnn.audit.rule.subjects import Leaves, Subject


class Pulled(NamedTuple):
    """Cotangents along several dys, leaf by leaf, with the dys along the first axis; and the outputs.

    sizes, spreads: of the machine's, the largest entry for each leaf and dy (see `survey.py`).
    """

    outputs: Leaves
    by_hand: Leaves
    by_machine: Leaves
    sizes: Leaves
    spreads: Leaves


class Programs:
    """A subject's programs; each compiles when it is first called."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.pulled = jax.jit(self._pulled)
        self.own_spreads = jax.jit(self._own_spreads)
        self.cotangents = jax.jit(self._cotangents)
        self.pushed = jax.jit(self._pushed)
        self.second_order = jax.jit(self._second_order)
        self.own_second_spreads = jax.jit(self._own_second_spreads)
        self.moved = jax.jit(self._moved)
        self.complex_slopes = jax.jit(self._complex_slopes)

    def _pulled(self, leaves: Leaves, others: Leaves, dys: Leaves) -> Pulled:
        def machine(leaves: Leaves, dys: Leaves) -> Leaves:
            _, pull = jax.vjp(lambda leaves: self.subject.plain(leaves, others), leaves)
            return jax.vmap(lambda dy: pull(dy)[0])(dys)

        outputs = self.subject.outputs(leaves, others)
        by_hand = jax.vmap(lambda dy: self._cotangents(leaves, others, dy))(dys)
        by_machine, sizes, spreads = surveyed(machine, (leaves,), dys)
        return Pulled(outputs, by_hand, by_machine, list(map(largest, sizes)), list(map(largest, spreads)))

    def _own_spreads(self, leaves: Leaves, others: Leaves, dys: Leaves) -> Leaves:
        """How far the rule itself goes when all is rounded otherwise."""

        def rule(leaves: Leaves, dys: Leaves) -> Leaves:
            return jax.vmap(lambda dy: self._cotangents(leaves, others, dy))(dys)

        return list(map(largest, surveyed(rule, (leaves,), dys).spread))

    def _cotangents(self, leaves: Leaves, others: Leaves, dy: Leaves) -> Leaves:
        return self.subject.cotangents(leaves, dy, others)

    def _pushed(self, leaves: Leaves, others: Leaves, u: Leaves) -> Leaves:
        """J u by `jax.jvp` of the plain forward."""
        return jax.jvp(lambda leaves: self.subject.plain(leaves, others), (leaves,), (u,))[1]

    def _second_order(self, leaves: Leaves, others: Leaves, dy: Leaves, u: Leaves) -> tuple[Leaves, Leaves, Leaves]:
        """The derivative of the rule along u, that of the machine's, and how far the latter goes when all
        is rounded otherwise.
        """

        def machine(leaves: Leaves, dy: Leaves, u: Leaves) -> Leaves:
            def pulled(leaves: Leaves) -> Leaves:
                return jax.vjp(lambda leaves: self.subject.plain(leaves, others), leaves)[1](dy)[0]

            return jax.jvp(pulled, (leaves,), (u,))[1]

        truth, spreads = _rounded(machine, leaves, dy, u)
        return self.rules_derivative(leaves, others, dy, u), truth, spreads

    def _own_second_spreads(self, leaves: Leaves, others: Leaves, dy: Leaves, u: Leaves) -> Leaves:
        """How far the rule's own derivative along u goes when all is rounded otherwise."""
        return _rounded(lambda leaves, dy, u: self.rules_derivative(leaves, others, dy, u), leaves, dy, u)[1]

    def rules_derivative(self, leaves: Leaves, others: Leaves, dy: Leaves, u: Leaves) -> Leaves:
        """The rule's own derivative along u. Raises: whatever JAX does where a rule has none."""
        return jax.jvp(lambda leaves: self._cotangents(leaves, others, dy), (leaves,), (u,))[1]

    def _moved(self, leaves: Leaves, others: Leaves, directions: Leaves, steps: jax.Array) -> jax.Array:
        """All outputs, flat, at every step along every direction. steps (directions, n) -> (directions, n, outputs)."""

        def at(direction: Leaves, step: jax.Array) -> jax.Array:
            there = [x + step * v for x, v in zip(leaves, direction, strict=True)]
            return jnp.concatenate([jnp.ravel(y) for y in self.subject.outputs(there, others)])

        return jax.vmap(lambda v, row: jax.vmap(lambda step: at(v, step))(row))(directions, steps)

    def _complex_slopes(self, leaves: Leaves, others: Leaves, directions: Leaves) -> Leaves:
        """J v for every direction v, by the complex step."""
        forward = lambda *leaves: self.subject.outputs(leaves, others)  # noqa: E731
        return jax.vmap(lambda v: complex_step(forward, leaves, v))(directions)


def _rounded(function: Callable[..., Leaves], *arguments: Leaves) -> tuple[Leaves, Leaves]:
    """What a function gives, leaf by leaf, and how far it goes when all is rounded otherwise."""
    turns = jnp.arange(1 + N_DRAWS)
    draws = jax.lax.map(lambda turn: rounded_otherwise(function)(turn, jnp.minimum(turn, 1), *arguments), turns)
    return [g[0] for g in draws], [jnp.max(largest(g - g[:1]), initial=0) for g in draws]


def largest(stacked: jax.Array) -> jax.Array:
    """The largest absolute entry of each along the first axis."""
    return jnp.max(jnp.abs(stacked), axis=tuple(range(1, stacked.ndim)), initial=0)
