"""Learning rates that change with the step, counted from 0.

A schedule is a function of the step, and a pytree whose numbers are leaves. An update rule takes one wherever it takes
a learning rate, and new numbers recompile nothing. Each starts with a linear warm-up of `warmup` steps,
    eta(t) = value (t + 1) / warmup        for t < warmup,
after which its own decay counts s = t - warmup from 0.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.arrays import default_float, number, register_node


@register_node
@dataclass(frozen=True)
class constant:
    """eta = value.

    >>> [float(constant(0.5, warmup=2)(t)) for t in range(4)]
    [0.25, 0.5, 0.5, 0.5]
    """

    value: Any = number("[0, inf)")
    warmup: Any = number("[0, inf)", 0)

    def __call__(self, step: Any) -> jax.Array:
        return _warmed(self.value, self.warmup, step, lambda s: jnp.ones_like(s))


@register_node
@dataclass(frozen=True)
class step_decay:
    """eta = value factor^floor(s / every): a cut by `factor` every so many steps."""

    value: Any = number("[0, inf)")
    every: Any = number("(0, inf)")
    factor: Any = number("[0, inf)", 0.1)
    warmup: Any = number("[0, inf)", 0)

    def __call__(self, step: Any) -> jax.Array:
        return _warmed(self.value, self.warmup, step, lambda s: _real(self.factor) ** jnp.floor(s / _real(self.every)))


@register_node
@dataclass(frozen=True)
class exponential:
    """eta = value factor^(s / every), smooth where `step_decay` has steps."""

    value: Any = number("[0, inf)")
    every: Any = number("(0, inf)")
    factor: Any = number("[0, inf)", 0.1)
    warmup: Any = number("[0, inf)", 0)

    def __call__(self, step: Any) -> jax.Array:
        return _warmed(self.value, self.warmup, step, lambda s: _real(self.factor) ** (s / _real(self.every)))


@register_node
@dataclass(frozen=True)
class cosine:
    """eta = value (final + (1 - final) (1 + cos(pi s / steps)) / 2), and value final from s = steps on.

    Source: Loshchilov and Hutter 2017 (SGDR), equation 5, without restarts.
    """

    value: Any = number("[0, inf)")
    steps: Any = number("(0, inf)")
    final: Any = number("[0, inf)", 0.0)
    warmup: Any = number("[0, inf)", 0)

    def __call__(self, step: Any) -> jax.Array:
        def decay(s: jax.Array) -> jax.Array:
            falling = (1 + jnp.cos(jnp.pi * jnp.minimum(s / _real(self.steps), 1))) / 2
            return _real(self.final) + (1 - _real(self.final)) * falling

        return _warmed(self.value, self.warmup, step, decay)


@register_node
@dataclass(frozen=True)
class inverse_time:
    """eta = value / (1 + s / every): the 1/t schedule, under which SGD's noise dies out.

    Source: Robbins and Monro 1951; PRINCIPLES B9.
    """

    value: Any = number("[0, inf)")
    every: Any = number("(0, inf)")
    warmup: Any = number("[0, inf)", 0)

    def __call__(self, step: Any) -> jax.Array:
        return _warmed(self.value, self.warmup, step, lambda s: 1 / (1 + s / _real(self.every)))


def _real(number: Any) -> jax.Array:
    return jnp.asarray(number, default_float())


def _warmed(value: Any, warmup: Any, step: Any, decay: Any) -> jax.Array:
    step, warmup = _real(step), _real(warmup)
    rising = (step + 1) / jnp.maximum(warmup, 1)
    return _real(value) * jnp.where(step < warmup, rising, decay(jnp.maximum(step - warmup, 0)))
