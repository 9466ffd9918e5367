"""Update rules: from a gradient g to the change of the params, params <- params + update.

They have optax's own two methods, `init(params) -> state` and `update(grads, state, params) -> (updates, state)`, so
an optax optimiser can take the place of one of these, and these work in an optax loop. A rule is a small pytree whose
numbers are leaves: a new learning rate recompiles nothing, and `vmap` takes a whole grid of rules. Wherever a rule
takes a learning rate eta, it also takes a schedule.

Lower-case classes, like `functools.partial`: each is used as a function is, and prints as it was written.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from jaxnn.arrays import STATIC, PyTree, added, norm, register_node, scaled, zeros_like
from jaxnn.layer import Layer
from jaxnn.objective.penalties import Mask, OnWeights, for_network, mask_for


class UpdateRule(Protocol):
    """optax.GradientTransformation, structurally.

    Your own rule is a pytree: a frozen dataclass under `register_node`. It may have `of_network(net)`, a copy that
    knows which of a network's params decay.
    """

    def init(self, params: PyTree) -> PyTree: ...

    def update(self, grads: PyTree, state: PyTree, params: PyTree = None) -> tuple[PyTree, PyTree]: ...


class RuleState(NamedTuple):
    """What rules carry: the step, where something depends on it, and running averages."""

    step: Any = None
    velocity: PyTree = None
    second_moment: PyTree = None


@register_node
@dataclass(frozen=True)
class gradient_descent:
    """update = -eta g.

    Source: PRINCIPLES B1; hanbingtao, part 2.  NumPy twin: reference/updates.py.
    """

    learning_rate: Any

    def init(self, params: PyTree) -> RuleState:
        return RuleState(_first_step(self.learning_rate))

    def update(self, grads: PyTree, state: RuleState, params: PyTree = None) -> tuple[PyTree, RuleState]:
        return _descent(self.learning_rate, state.step, grads), RuleState(_next(state.step))


@register_node
@dataclass(frozen=True)
class momentum:
    """v <- mu v + g;  update = -eta v: a heavy ball.

    eta stands outside v, as in optax and PyTorch: a schedule then acts on the whole velocity at once.
    Source: Polyak 1964.  NumPy twin: reference/updates.py.
    """

    learning_rate: Any
    momentum: Any = 0.9

    def init(self, params: PyTree) -> RuleState:
        return RuleState(_first_step(self.learning_rate), zeros_like(params))

    def update(self, grads: PyTree, state: RuleState, params: PyTree = None) -> tuple[PyTree, RuleState]:
        velocity = added(scaled(self.momentum, state.velocity), grads)
        return _descent(self.learning_rate, state.step, velocity), RuleState(_next(state.step), velocity)


@register_node
@dataclass(frozen=True)
class nesterov:
    """v <- mu v + g;  update = -eta (g + mu v): momentum that looks one step ahead.

    Source: Nesterov 1983, in the form of Sutskever et al. 2013, as optax and PyTorch have it.
    NumPy twin: reference/updates.py.
    """

    learning_rate: Any
    momentum: Any = 0.9

    def init(self, params: PyTree) -> RuleState:
        return RuleState(_first_step(self.learning_rate), zeros_like(params))

    def update(self, grads: PyTree, state: RuleState, params: PyTree = None) -> tuple[PyTree, RuleState]:
        velocity = added(scaled(self.momentum, state.velocity), grads)
        ahead = added(grads, scaled(self.momentum, velocity))
        return _descent(self.learning_rate, state.step, ahead), RuleState(_next(state.step), velocity)


@register_node
@dataclass(frozen=True)
class adam:
    """m <- b1 m + (1 - b1) g;  s <- b2 s + (1 - b2) g^2;  update = -eta m^ / (sqrt(s^) + epsilon).

    m^ = m / (1 - b1^t) and s^ = s / (1 - b2^t), with t counted from 1, undo the start at 0.
    Source: Kingma and Ba 2015, algorithm 1.  NumPy twin: reference/updates.py.
    """

    learning_rate: Any
    b1: Any = 0.9
    b2: Any = 0.999
    epsilon: Any = 1e-8

    def init(self, params: PyTree) -> RuleState:
        return RuleState(jnp.zeros((), jnp.int32), zeros_like(params), zeros_like(params))

    def update(self, grads: PyTree, state: RuleState, params: PyTree = None) -> tuple[PyTree, RuleState]:
        direction, new_state = self._direction(grads, state)
        return _descent(self.learning_rate, state.step, direction), new_state

    def _direction(self, grads: PyTree, state: RuleState) -> tuple[PyTree, RuleState]:
        first = _average(self.b1, state.velocity, grads)
        second = _average(self.b2, state.second_moment, jax.tree.map(jnp.square, grads))
        step = state.step + 1

        def direction(m: jax.Array, s: jax.Array) -> jax.Array:
            t = step.astype(m.dtype)
            m_hat = m / (1 - jnp.asarray(self.b1, m.dtype) ** t)
            s_hat = s / (1 - jnp.asarray(self.b2, m.dtype) ** t)
            return m_hat / (jnp.sqrt(s_hat) + jnp.asarray(self.epsilon, m.dtype))

        return jax.tree.map(direction, first, second), RuleState(step, first, second)


@register_node
@dataclass(frozen=True)
class adamw(OnWeights):
    """Adam, with the weights' decay apart from it: update = -eta (m^ / (sqrt(s^) + epsilon) + lambda W).

    The decay doesn't pass through Adam's averages, which would scale it away (an l2 penalty's does).
    Only weights decay; `optax.adamw` decays biases too, unless it is given `mask=jaxnn.weight_mask`. `mask` says which
    they are; None: as the network's layers say, or fields and keys named `weight` (see `penalties`).
    Raises: ValueError if there are none.
    Source: Loshchilov and Hutter 2019, algorithm 2; PRINCIPLES H3.  NumPy twin: reference/updates.py.
    """

    learning_rate: Any
    b1: Any = 0.9
    b2: Any = 0.999
    epsilon: Any = 1e-8
    weight_decay: Any = 1e-4
    mask: Mask | None = field(default=None, metadata=STATIC)

    def init(self, params: PyTree) -> RuleState:
        return self._adam().init(params)

    def update(self, grads: PyTree, state: RuleState, params: PyTree = None) -> tuple[PyTree, RuleState]:
        direction, new_state = self._adam()._direction(grads, state)
        direction = _with_decay(self, self.weight_decay, direction, params)
        return _descent(self.learning_rate, state.step, direction), new_state

    def _adam(self) -> adam:
        return adam(self.learning_rate, self.b1, self.b2, self.epsilon)


# What changes the gradient before a rule sees it: the first links of a chain.


@register_node
@dataclass(frozen=True)
class weight_decay(OnWeights):
    """g <- g + lambda W, on weights alone (see `adamw`). Before the rule: chain(weight_decay(1e-4), momentum(0.1)).

    With plain gradient descent this is W <- (1 - eta lambda) W - eta g, and the same as the penalty l2(lambda); for
    Adam it is not: use `adamw`.  Source: PRINCIPLES H3.  NumPy twin: reference/updates.py.
    """

    rate: Any
    mask: Mask | None = field(default=None, metadata=STATIC)

    def init(self, params: PyTree) -> RuleState:
        return RuleState()

    def update(self, grads: PyTree, state: RuleState, params: PyTree = None) -> tuple[PyTree, RuleState]:
        return _with_decay(self, self.rate, grads, params), state


@register_node
@dataclass(frozen=True)
class clip_by_value:
    """g_i <- min(max(g_i, -limit), limit), each number by itself: it changes the gradient's direction.

    Source: PRINCIPLES E2.  NumPy twin: reference/updates.py.
    """

    limit: Any

    def init(self, params: PyTree) -> RuleState:
        return RuleState()

    def update(self, grads: PyTree, state: RuleState, params: PyTree = None) -> tuple[PyTree, RuleState]:
        def clipped(g: jax.Array) -> jax.Array:
            limit = jnp.asarray(self.limit, g.dtype)
            return jnp.clip(g, -limit, limit)

        return jax.tree.map(clipped, grads), state


@register_node
@dataclass(frozen=True)
class clip_by_norm:
    """g <- g min(1, limit / |g|) for each tensor g by its own norm: each keeps its direction, the whole doesn't.

    NumPy twin: reference/updates.py.
    """

    limit: Any

    def init(self, params: PyTree) -> RuleState:
        return RuleState()

    def update(self, grads: PyTree, state: RuleState, params: PyTree = None) -> tuple[PyTree, RuleState]:
        return jax.tree.map(lambda g: scaled(_shrink(norm(g), self.limit), g), grads), state


@register_node
@dataclass(frozen=True)
class clip_by_global_norm:
    """g <- g min(1, limit / |g|) by the norm of all tensors together: the direction stays.

    Source: Pascanu, Mikolov and Bengio 2013, algorithm 1; PRINCIPLES E2.  NumPy twin: reference/updates.py.
    """

    limit: Any

    def init(self, params: PyTree) -> RuleState:
        return RuleState()

    def update(self, grads: PyTree, state: RuleState, params: PyTree = None) -> tuple[PyTree, RuleState]:
        return scaled(_shrink(norm(grads), self.limit), grads), state


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

    learning_rate: Any
    strength: Any
    mask: Mask | None = field(default=None, metadata=STATIC)

    def init(self, params: PyTree) -> RuleState:
        return RuleState(_first_step(self.learning_rate))

    def update(self, grads: PyTree, state: RuleState, params: PyTree = None) -> tuple[PyTree, RuleState]:
        if params is None:
            raise ValueError("proximal_l1 needs the params: call update(grads, state, params)")
        eta = _rate(self.learning_rate, state.step)

        # At the end of a chain the "gradient" is the update u that the rule before it has made.
        def moved(u: jax.Array, w: jax.Array, is_weight: bool) -> jax.Array:
            if not is_weight:
                return u
            size = jnp.abs(w + u) - jnp.asarray(eta, w.dtype) * jnp.asarray(self.strength, w.dtype)
            # Where S is 0 the update is -w itself, so that w + update is 0 and not a rounding away from it.
            return jnp.where(size > 0, jnp.sign(w + u) * size, 0) - w

        return jax.tree.map(moved, grads, params, mask_for(self, params)), RuleState(_next(state.step))


@jax.tree_util.register_pytree_node_class
class chain:
    """Rules one after another: each takes the result of the one before as its gradient.

    >>> chain(clip_by_global_norm(1.0), momentum(0.1))
    chain(clip_by_global_norm(limit=1.0), momentum(learning_rate=0.1, momentum=0.9))
    """

    def __init__(self, *rules: UpdateRule) -> None:
        self.rules = rules

    def of_network(self, net: Layer) -> "chain":
        return chain(*(for_network(rule, net) for rule in self.rules))

    def init(self, params: PyTree) -> tuple:
        return tuple(rule.init(params) for rule in self.rules)

    def update(self, grads: PyTree, state: tuple, params: PyTree = None) -> tuple[PyTree, tuple]:
        states = []
        for rule, rule_state in zip(self.rules, state, strict=True):
            grads, rule_state = rule.update(grads, rule_state, params)
            states.append(rule_state)
        return grads, tuple(states)

    def tree_flatten(self) -> tuple[tuple, None]:
        return self.rules, None

    @classmethod
    def tree_unflatten(cls, _: None, rules: tuple) -> "chain":
        return cls(*rules)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, chain) and self.rules == other.rules

    def __hash__(self) -> int:
        return hash(self.rules)

    def __repr__(self) -> str:
        return f"chain({', '.join(map(repr, self.rules))})"


def apply_updates(params: PyTree, updates: PyTree) -> PyTree:
    """params + updates, each leaf in its own dtype."""
    return jax.tree.map(lambda p, u: p + u.astype(p.dtype), params, updates)


def _first_step(learning_rate: Any) -> jax.Array | None:
    """A step count where the learning rate is a schedule, nothing where it is a number."""
    return jnp.zeros((), jnp.int32) if callable(learning_rate) else None


def _next(step: jax.Array | None) -> jax.Array | None:
    return None if step is None else step + 1


def _descent(learning_rate: Any, step: jax.Array | None, direction: PyTree) -> PyTree:
    """-eta direction."""
    return scaled(-_rate(learning_rate, step), direction)


def _rate(learning_rate: Any, step: jax.Array | None) -> Any:
    return learning_rate(step) if callable(learning_rate) else learning_rate


def _average(decay: Any, old: PyTree, new: PyTree) -> PyTree:
    return added(scaled(decay, old), scaled(1 - decay, new))


def _shrink(size: jax.Array, limit: Any) -> jax.Array:
    """min(1, limit / size), without dividing by 0; a NaN norm leaves NaN."""
    limit = jnp.asarray(limit, size.dtype)
    return jnp.where(size <= limit, 1, limit / jnp.where(size == 0, 1, size))


def _with_decay(rule: Any, rate: Any, grads: PyTree, params: PyTree) -> PyTree:
    if params is None:
        raise ValueError(f"{type(rule).__name__}: decay needs the params: call update(grads, state, params)")
    return jax.tree.map(
        lambda g, p, is_weight: g + jnp.asarray(rate, p.dtype) * p if is_weight else g,
        grads,
        params,
        mask_for(rule, params),
    )
