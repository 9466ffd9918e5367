"""NumPy twins of the update rules: init(params) -> state, update(grads, state, params) -> (updates, state).

A learning rate eta is a number or a schedule, a function of the step counted from 0.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from jaxnn.reference.arrays import Tree, leaves, map_named, map_tree, zeros_like


class RuleState(NamedTuple):
    step: int = 0
    velocity: Tree = None
    second_moment: Tree = None


@dataclass(frozen=True)
class gradient_descent:
    """update = -eta g."""

    learning_rate: Any

    def init(self, params: Tree) -> RuleState:
        return RuleState()

    def update(self, grads: Tree, state: RuleState, params: Tree = None) -> tuple[Tree, RuleState]:
        eta = _rate(self.learning_rate, state.step)
        return map_tree(lambda g: -eta * g, grads), RuleState(state.step + 1)


@dataclass(frozen=True)
class momentum:
    """v <- mu v + g;  update = -eta v."""

    learning_rate: Any
    momentum: float = 0.9

    def init(self, params: Tree) -> RuleState:
        return RuleState(0, zeros_like(params))

    def update(self, grads: Tree, state: RuleState, params: Tree = None) -> tuple[Tree, RuleState]:
        eta = _rate(self.learning_rate, state.step)
        velocity = map_tree(lambda v, g: self.momentum * v + g, state.velocity, grads)
        return map_tree(lambda v: -eta * v, velocity), RuleState(state.step + 1, velocity)


@dataclass(frozen=True)
class nesterov:
    """v <- mu v + g;  update = -eta (mu v + g), with the new v."""

    learning_rate: Any
    momentum: float = 0.9

    def init(self, params: Tree) -> RuleState:
        return RuleState(0, zeros_like(params))

    def update(self, grads: Tree, state: RuleState, params: Tree = None) -> tuple[Tree, RuleState]:
        eta = _rate(self.learning_rate, state.step)
        velocity = map_tree(lambda v, g: self.momentum * v + g, state.velocity, grads)
        updates = map_tree(lambda v, g: -eta * (self.momentum * v + g), velocity, grads)
        return updates, RuleState(state.step + 1, velocity)


@dataclass(frozen=True)
class adam:
    """m <- b1 m + (1 - b1) g;  s <- b2 s + (1 - b2) g^2;  update = -eta m^ / (sqrt(s^) + epsilon).

    m^ = m / (1 - b1^t) and s^ = s / (1 - b2^t), t = 1, 2, ...
    """

    learning_rate: Any
    b1: float = 0.9
    b2: float = 0.999
    epsilon: float = 1e-8

    def init(self, params: Tree) -> RuleState:
        return RuleState(0, zeros_like(params), zeros_like(params))

    def update(self, grads: Tree, state: RuleState, params: Tree = None) -> tuple[Tree, RuleState]:
        eta, t = _rate(self.learning_rate, state.step), state.step + 1
        m = map_tree(lambda m, g: self.b1 * m + (1 - self.b1) * g, state.velocity, grads)
        s = map_tree(lambda s, g: self.b2 * s + (1 - self.b2) * g**2, state.second_moment, grads)
        m_hat = map_tree(lambda m: m / (1 - self.b1**t), m)
        s_hat = map_tree(lambda s: s / (1 - self.b2**t), s)
        updates = map_tree(lambda m, s: -eta * m / (np.sqrt(s) + self.epsilon), m_hat, s_hat)
        return updates, RuleState(t, m, s)


@dataclass(frozen=True)
class adamw:
    """Adam's update, and in addition -eta lambda W on fields named `weight`."""

    learning_rate: Any
    b1: float = 0.9
    b2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 1e-4

    def init(self, params: Tree) -> RuleState:
        return adam(self.learning_rate).init(params)

    def update(self, grads: Tree, state: RuleState, params: Tree) -> tuple[Tree, RuleState]:
        eta = _rate(self.learning_rate, state.step)
        adaptive = adam(self.learning_rate, self.b1, self.b2, self.epsilon)
        updates, new_state = adaptive.update(grads, state)
        return _with_weights(-eta * self.weight_decay, updates, params), new_state


@dataclass(frozen=True)
class weight_decay:
    """g <- g + lambda W on fields named `weight`."""

    rate: float

    def init(self, params: Tree) -> RuleState:
        return RuleState()

    def update(self, grads: Tree, state: RuleState, params: Tree) -> tuple[Tree, RuleState]:
        return _with_weights(self.rate, grads, params), state


@dataclass(frozen=True)
class clip_by_value:
    """g_i <- min(max(g_i, -limit), limit)."""

    limit: float

    def init(self, params: Tree) -> RuleState:
        return RuleState()

    def update(self, grads: Tree, state: RuleState, params: Tree = None) -> tuple[Tree, RuleState]:
        return map_tree(lambda g: np.minimum(np.maximum(g, -self.limit), self.limit), grads), state


@dataclass(frozen=True)
class clip_by_norm:
    """g <- g limit / |g| for each tensor g that is longer than the limit."""

    limit: float

    def init(self, params: Tree) -> RuleState:
        return RuleState()

    def update(self, grads: Tree, state: RuleState, params: Tree = None) -> tuple[Tree, RuleState]:
        return map_tree(lambda g: _shortened(g, _norm([g]), self.limit), grads), state


@dataclass(frozen=True)
class clip_by_global_norm:
    """g <- g limit / |g|, with |g| the norm of all tensors as one vector, if it is longer than the limit."""

    limit: float

    def init(self, params: Tree) -> RuleState:
        return RuleState()

    def update(self, grads: Tree, state: RuleState, params: Tree = None) -> tuple[Tree, RuleState]:
        norm = _norm(leaves(grads))
        return map_tree(lambda g: _shortened(g, norm, self.limit), grads), state


@dataclass(frozen=True)
class proximal_l1:
    """W <- sign(W + u) max(|W + u| - eta lambda, 0) on fields named `weight`, u the update so far."""

    learning_rate: Any
    strength: float

    def init(self, params: Tree) -> RuleState:
        return RuleState()

    def update(self, grads: Tree, state: RuleState, params: Tree) -> tuple[Tree, RuleState]:
        threshold = _rate(self.learning_rate, state.step) * self.strength

        def moved(name: str, u: np.ndarray, w: np.ndarray) -> np.ndarray:
            if name != "weight":
                return u
            goal = w + u
            return np.sign(goal) * np.maximum(np.abs(goal) - threshold, 0) - w

        return map_named(moved, grads, params), RuleState(state.step + 1)


@dataclass(frozen=True, init=False)
class chain:
    """Rules one after another."""

    rules: tuple

    def __init__(self, *rules: Any) -> None:
        object.__setattr__(self, "rules", rules)

    def init(self, params: Tree) -> tuple:
        return tuple(rule.init(params) for rule in self.rules)

    def update(self, grads: Tree, state: tuple, params: Tree = None) -> tuple[Tree, tuple]:
        states = []
        for rule, rule_state in zip(self.rules, state, strict=True):
            grads, rule_state = rule.update(grads, rule_state, params)
            states.append(rule_state)
        return grads, tuple(states)


def apply_updates(params: Tree, updates: Tree) -> Tree:
    """params + updates."""
    return map_tree(np.add, params, updates)


def _rate(learning_rate: Any, step: int) -> float:
    return learning_rate(step) if callable(learning_rate) else learning_rate


def _norm(tensors: list[np.ndarray]) -> float:
    return float(np.sqrt(sum(np.sum(g**2) for g in tensors)))


def _shortened(g: np.ndarray, norm: float, limit: float) -> np.ndarray:
    return g if norm <= limit else g * (limit / norm)


def _with_weights(rate: float, tree: Tree, params: Tree) -> Tree:
    """tree + rate params on fields named `weight`."""
    return map_named(lambda name, leaf, p: leaf + rate * p if name == "weight" else leaf, tree, params)
