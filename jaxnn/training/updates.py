"""Update rules: from a gradient g to the change of the params, params <- params + update.

They have optax's own two methods, `init(params) -> state` and `update(grads, state, params) -> (updates, state)`, so
an optax optimiser can take the place of one of these, and these work in an optax loop. A rule is a small pytree whose
numbers are leaves: a new learning rate recompiles nothing, and `vmap` takes a whole grid of rules. Wherever a rule
takes a learning rate eta, it also takes a schedule.

A rule's arithmetic is done in float32 at least, and its update has the gradient's dtype. Running averages are float32
at least too, or of the dtype `moment_dtype`: in bfloat16 0.999 is 1, and an average that keeps 0.999 of itself stands
still.

Lower-case classes, like `functools.partial`: each is used as a function is, and prints as it was written.
"""

from dataclasses import dataclass, field
from inspect import Parameter, signature
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from jaxnn.arrays import (
    STATIC,
    PyTree,
    as_typed,
    number,
    register_node,
    scaled,
    wide_dtype,
    wide_like,
    widened,
)
from jaxnn.layer import Layer
from jaxnn.objective.penalties import Mask, OnWeights, for_network, mask_for


class UpdateRule(Protocol):
    """optax.GradientTransformation, structurally.

    Your own rule is a pytree: a frozen dataclass under `register_node`. It may have `of_network(net)`, a copy that
    knows which of a network's params decay, and `descends = False` if it only changes a gradient or an update that
    another rule makes: by itself in a loop it would climb. An `update` that takes `value` is given the step's loss, as
    optax's rules with extra arguments are.
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

    learning_rate: Any = number("[0, inf)")

    def init(self, params: PyTree) -> RuleState:
        return RuleState(first_step(self.learning_rate))

    def update(self, grads: PyTree, state: RuleState, params: PyTree = None) -> tuple[PyTree, RuleState]:
        return _descent(self.learning_rate, state.step, grads, grads), RuleState(next_step(state.step))


@register_node
@dataclass(frozen=True)
class momentum:
    """v <- mu v + g;  update = -eta v: a heavy ball.

    eta stands outside v, as in optax and PyTorch: a schedule then acts on the whole velocity at once.
    Source: Polyak 1964.  NumPy twin: reference/updates.py.
    """

    learning_rate: Any = number("[0, inf)")
    momentum: Any = number("[0, 1)", 0.9)
    moment_dtype: Any = field(default=None, metadata=STATIC)

    def init(self, params: PyTree) -> RuleState:
        return RuleState(first_step(self.learning_rate), _moments(params, self.moment_dtype))

    def update(self, grads: PyTree, state: RuleState, params: PyTree = None) -> tuple[PyTree, RuleState]:
        velocity = _with_velocity(grads, self.momentum, state.velocity)
        descent = _descent(self.learning_rate, state.step, velocity, grads)
        return descent, RuleState(next_step(state.step), as_typed(velocity, state.velocity))


@register_node
@dataclass(frozen=True)
class nesterov:
    """v <- mu v + g;  update = -eta (g + mu v): momentum that looks one step ahead.

    Source: Nesterov 1983, in the form of Sutskever et al. 2013, as optax and PyTorch have it.
    NumPy twin: reference/updates.py.
    """

    learning_rate: Any = number("[0, inf)")
    momentum: Any = number("[0, 1)", 0.9)
    moment_dtype: Any = field(default=None, metadata=STATIC)

    def init(self, params: PyTree) -> RuleState:
        return RuleState(first_step(self.learning_rate), _moments(params, self.moment_dtype))

    def update(self, grads: PyTree, state: RuleState, params: PyTree = None) -> tuple[PyTree, RuleState]:
        velocity = _with_velocity(grads, self.momentum, state.velocity)
        ahead = _with_velocity(grads, self.momentum, velocity)
        descent = _descent(self.learning_rate, state.step, ahead, grads)
        return descent, RuleState(next_step(state.step), as_typed(velocity, state.velocity))


@register_node
@dataclass(frozen=True)
class adam:
    """m <- b1 m + (1 - b1) g;  s <- b2 s + (1 - b2) g^2;  update = -eta m^ / (sqrt(s^) + epsilon).

    m^ = m / (1 - b1^t) and s^ = s / (1 - b2^t), with t counted from 1, undo the start at 0.
    Source: Kingma and Ba 2015, algorithm 1.  NumPy twin: reference/updates.py.
    """

    learning_rate: Any = number("[0, inf)")
    b1: Any = number("[0, 1)", 0.9)
    b2: Any = number("[0, 1)", 0.999)
    epsilon: Any = number("(0, inf)", 1e-8)
    moment_dtype: Any = field(default=None, metadata=STATIC)

    def init(self, params: PyTree) -> RuleState:
        first, second = (_moments(params, self.moment_dtype) for _ in range(2))
        return RuleState(jnp.zeros((), jnp.int32), first, second)

    def update(self, grads: PyTree, state: RuleState, params: PyTree = None) -> tuple[PyTree, RuleState]:
        direction, new_state = self._direction(grads, state)
        return _descent(self.learning_rate, state.step, direction, grads), new_state

    def _direction(self, grads: PyTree, state: RuleState) -> tuple[PyTree, RuleState]:
        grads = jax.tree.map(widened, grads)
        first = _average(self.b1, state.velocity, grads)
        second = _average(self.b2, state.second_moment, jax.tree.map(jnp.square, grads))
        step = state.step + 1

        def direction(m: jax.Array, s: jax.Array) -> jax.Array:
            t = step.astype(m.dtype)
            m_hat = m / (1 - wide_like(self.b1, m) ** t)
            s_hat = s / (1 - wide_like(self.b2, m) ** t)
            return m_hat / (jnp.sqrt(s_hat) + wide_like(self.epsilon, m))

        kept = as_typed(first, state.velocity), as_typed(second, state.second_moment)
        return jax.tree.map(direction, first, second), RuleState(step, *kept)


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

    learning_rate: Any = number("[0, inf)")
    b1: Any = number("[0, 1)", 0.9)
    b2: Any = number("[0, 1)", 0.999)
    epsilon: Any = number("(0, inf)", 1e-8)
    weight_decay: Any = number("[0, inf)", 1e-4)
    mask: Mask | None = field(default=None, metadata=STATIC)
    moment_dtype: Any = field(default=None, metadata=STATIC)

    def init(self, params: PyTree) -> RuleState:
        return self._adam().init(params)

    def update(self, grads: PyTree, state: RuleState, params: PyTree = None) -> tuple[PyTree, RuleState]:
        direction, new_state = self._adam()._direction(grads, state)
        direction = with_decay(self, self.weight_decay, direction, params)
        return _descent(self.learning_rate, state.step, direction, grads), new_state

    def _adam(self) -> adam:
        return adam(self.learning_rate, self.b1, self.b2, self.epsilon, self.moment_dtype)


@jax.tree_util.register_pytree_node_class
class chain:
    """Rules one after another: each takes the result of the one before as its gradient.

    >>> from jaxnn import clip_by_global_norm
    >>> chain(clip_by_global_norm(1.0), momentum(0.1))
    chain(clip_by_global_norm(limit=1.0), momentum(learning_rate=0.1, momentum=0.9))
    """

    def __init__(self, *rules: UpdateRule) -> None:
        if not rules:
            raise ValueError("chain: give at least one rule, such as chain(clip_by_global_norm(1.0), momentum(0.1))")
        self.rules = rules

    @property
    def descends(self) -> bool:
        return any(getattr(rule, "descends", True) for rule in self.rules)

    def of_network(self, net: Layer) -> "chain":
        return chain(*(for_network(rule, net) for rule in self.rules))

    def init(self, params: PyTree) -> tuple:
        return tuple(rule.init(params) for rule in self.rules)

    def update(self, grads: PyTree, state: tuple, params: PyTree = None, **extra: Any) -> tuple[PyTree, tuple]:
        states = []
        for rule, rule_state in zip(self.rules, state, strict=True):
            grads, rule_state = updated(rule, grads, rule_state, params, **extra)
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


def updated(rule: UpdateRule, grads: PyTree, state: PyTree, params: PyTree, **extra: Any) -> tuple[PyTree, PyTree]:
    """rule.update(grads, state, params), with those of some more arguments that it takes: optax's `value`, the
    objective where the step begins; `grad`; and `value_fn`, the step's objective as a function of params.
    """
    parameters = signature(rule.update).parameters
    takes_all = any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters.values())
    taken = {name: value for name, value in extra.items() if takes_all or name in parameters}
    return rule.update(grads, state, params, **taken)


def apply_updates(params: PyTree, updates: PyTree) -> PyTree:
    """params + updates, each leaf in its own dtype, rounded once."""
    return jax.tree.map(lambda p, u: (widened(p) + u.astype(wide_dtype(p.dtype))).astype(p.dtype), params, updates)


def first_step(learning_rate: Any) -> jax.Array | None:
    """A step count where the learning rate is a schedule, nothing where it is a number."""
    return jnp.zeros((), jnp.int32) if callable(learning_rate) else None


def next_step(step: jax.Array | None) -> jax.Array | None:
    return None if step is None else step + 1


def _descent(learning_rate: Any, step: jax.Array | None, direction: PyTree, grads: PyTree) -> PyTree:
    """-eta direction, in the gradients' dtypes."""
    return as_typed(scaled(-rate_at(learning_rate, step), direction), grads)


def rate_at(learning_rate: Any, step: jax.Array | None) -> Any:
    return learning_rate(step) if callable(learning_rate) else learning_rate


def _moments(params: PyTree, dtype: Any) -> PyTree:
    """Zeros like the params: in a dtype, or in float32 at least."""
    return jax.tree.map(lambda p: jnp.zeros_like(p, dtype=wide_dtype(p.dtype) if dtype is None else dtype), params)


def _with_velocity(grads: PyTree, decay: Any, velocity: PyTree) -> PyTree:
    """g + mu v."""
    return jax.tree.map(lambda g, v: wide_like(decay, g) * v.astype(wide_dtype(g.dtype)) + widened(g), grads, velocity)


def _average(decay: Any, old: PyTree, new: PyTree) -> PyTree:
    """decay old + (1 - decay) new, in the dtype of new."""

    def average(a: jax.Array, b: jax.Array) -> jax.Array:
        return wide_like(decay, b) * a.astype(b.dtype) + wide_like(1 - decay, b) * b

    return jax.tree.map(average, old, new)


def with_decay(rule: Any, rate: Any, grads: PyTree, params: PyTree) -> PyTree:
    if params is None:
        raise ValueError(f"{type(rule).__name__}: decay needs the params: call update(grads, state, params)")
    if isinstance(rate, int | float) and rate == 0:  # then no mask can be wrong
        return grads

    def decayed(g: jax.Array, p: jax.Array, is_weight: bool) -> jax.Array:
        wide = widened(g)
        return (wide + wide_like(rate, g) * p.astype(wide.dtype)).astype(g.dtype) if is_weight else g

    return jax.tree.map(decayed, grads, params, mask_for(rule, params))
