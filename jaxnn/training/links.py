"""Links of a chain: what changes a gradient before a rule sees it, and a rule's update after it.

None of them descends by itself: see `updates.chain`.
"""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.arrays import STATIC, Length, PyTree, length, number, register_node, wide_like, widened
from jaxnn.objective.penalties import Mask, OnWeights, mask_for
from jaxnn.training.updates import RuleState, first_step, next_step, rate_at, with_decay

# What changes the gradient before a rule sees it: the first links of a chain.


@register_node
@dataclass(frozen=True)
class weight_decay(OnWeights):
    """g <- g + lambda W, on weights alone (see `adamw`). Before the rule: chain(weight_decay(1e-4), momentum(0.1)).
    After a rule it adds to the update, and takes -eta lambda.

    With plain gradient descent this is W <- (1 - eta lambda) W - eta g, and the same as the penalty l2(lambda); for
    Adam it is not: use `adamw`.  Source: PRINCIPLES H3.  NumPy twin: reference/updates.py.
    """

    rate: Any = number("(-inf, inf)")
    mask: Mask | None = field(default=None, metadata=STATIC)

    descends = False

    def init(self, params: PyTree) -> RuleState:
        return RuleState()

    def update(self, grads: PyTree, state: RuleState, params: PyTree = None) -> tuple[PyTree, RuleState]:
        return with_decay(self, self.rate, grads, params), state


@register_node
@dataclass(frozen=True)
class clip_by_value:
    """g_i <- min(max(g_i, -limit), limit), each number by itself: it changes the gradient's direction.

    Source: PRINCIPLES E2.  NumPy twin: reference/updates.py.
    """

    limit: Any = number("(0, inf]")

    descends = False

    def init(self, params: PyTree) -> RuleState:
        return RuleState()

    def update(self, grads: PyTree, state: RuleState, params: PyTree = None) -> tuple[PyTree, RuleState]:
        def clipped(g: jax.Array) -> jax.Array:
            limit = wide_like(self.limit, g)
            return jnp.clip(widened(g), -limit, limit).astype(g.dtype)

        return jax.tree.map(clipped, grads), state


@register_node
@dataclass(frozen=True)
class clip_by_norm:
    """g <- g min(1, limit / |g|) for each tensor g by its own norm: each keeps its direction, the whole doesn't.

    NumPy twin: reference/updates.py.
    """

    limit: Any = number("(0, inf]")

    descends = False

    def init(self, params: PyTree) -> RuleState:
        return RuleState()

    def update(self, grads: PyTree, state: RuleState, params: PyTree = None) -> tuple[PyTree, RuleState]:
        return jax.tree.map(lambda g: _shortened(g, length(g), self.limit), grads), state


@register_node
@dataclass(frozen=True)
class clip_by_global_norm:
    """g <- g min(1, limit / |g|) by the norm of all tensors together: the direction stays.

    Source: Pascanu, Mikolov and Bengio 2013, algorithm 1; PRINCIPLES E2.  NumPy twin: reference/updates.py.
    """

    limit: Any = number("(0, inf]")

    descends = False

    def init(self, params: PyTree) -> RuleState:
        return RuleState()

    def update(self, grads: PyTree, state: RuleState, params: PyTree = None) -> tuple[PyTree, RuleState]:
        return _shortened(grads, length(grads), self.limit), state


# What changes a rule's update: the last link of a chain.


@register_node
@dataclass(frozen=True)
class proximal_l1(OnWeights):
    """W <- S(W + update), S(w) = sign(w) max(|w| - eta lambda, 0), on weights alone: exact zeros.

    The step of the penalty lambda sum |W| where its gradient, lambda sign(W), would jump back and forth over 0. Put it
    last, after a rule of the same learning rate: chain(gradient_descent(0.1), proximal_l1(0.1, 1e-3)). After a rule
    that scales each coordinate by itself, as Adam does, it is another problem's step, still with exact zeros.
    Source: Beck and Teboulle 2009 (ISTA), (1.4) and (1.5); PRINCIPLES H1.  NumPy twin: reference/updates.py.
    """

    learning_rate: Any = number("[0, inf)")
    strength: Any = number("[0, inf)")
    mask: Mask | None = field(default=None, metadata=STATIC)

    descends = False

    def init(self, params: PyTree) -> RuleState:
        return RuleState(first_step(self.learning_rate))

    def update(self, grads: PyTree, state: RuleState, params: PyTree = None) -> tuple[PyTree, RuleState]:
        if params is None:
            raise ValueError("proximal_l1 needs the params: call update(grads, state, params)")
        eta = rate_at(self.learning_rate, state.step)

        # At the end of a chain the "gradient" is the update u that the rule before it has made.
        def moved(u: jax.Array, w: jax.Array, is_weight: bool) -> jax.Array:
            if not is_weight:
                return u
            wide = widened(w)
            goal = wide + u.astype(wide.dtype)
            size = jnp.abs(goal) - wide_like(eta, w) * wide_like(self.strength, w)
            # Where S is 0 the update is -w itself, so that w + update is 0 and not a rounding away from it.
            return (jnp.where(size > 0, jnp.sign(goal) * size, 0) - wide).astype(u.dtype)

        return jax.tree.map(moved, grads, params, mask_for(self, params)), RuleState(next_step(state.step))


def _shortened(grads: PyTree, size: Length, limit: Any) -> PyTree:
    """g min(1, limit / |g|), without dividing by 0; a NaN norm leaves NaN."""
    longest, scale = size
    limit = jnp.asarray(limit, longest.dtype)
    whole = longest <= limit * scale

    def shortened(g: jax.Array) -> jax.Array:
        wide = widened(g).astype(longest.dtype)
        return jnp.where(whole, wide, (wide * scale) * (limit / jnp.where(longest == 0, 1, longest))).astype(g.dtype)

    return jax.tree.map(shortened, grads)
