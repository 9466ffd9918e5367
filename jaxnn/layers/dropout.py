"""Dropout."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnn.arrays import PyTree, require_floating, require_key
from jaxnn.layer import Backward, Forward, Parameterless, recipe


class DropoutCache(NamedTuple):
    keep: jax.Array | None


@recipe
class Dropout(Parameterless):
    """Inverted dropout: in training each number is dropped with probability `rate`, the others grow to make up for it.

        training    y = keep * x / (1 - rate),  keep ~ Bernoulli(1 - rate)        evaluation  y = x
    So E[y] = x, and evaluation needs no rescaling.

    Shapes: x (B, ...) -> y (B, ...).
    Backward: dx = keep * dy / (1 - rate), with the keep of forward; evaluation: dx = dy.  Keeps one bool a number.
    Raises: ValueError if it has no key in training, or if rate isn't in [0, 1).
    Source: Srivastava et al. 2014, section 10 (inverted form).  NumPy twin: reference/layers.py.
    """

    rate: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.rate < 1:
            raise ValueError(f"Dropout: rate is the fraction dropped and should be in [0, 1), got {self.rate}")

    def forward(self, params: PyTree, state: PyTree, x: jax.Array, *, key: Any = None, train: bool = False) -> Forward:
        require_floating(self, x)
        if not train or self.rate == 0:
            return Forward(x, state, DropoutCache(None))
        require_key(self, key)
        # The probability is float32 in every precision, so that a float64 audit drops the same numbers.
        keep = jax.random.bernoulli(key, jnp.float32(1 - self.rate), x.shape)
        return Forward(self._masked(keep, x), state, DropoutCache(keep))

    def backward(self, params: PyTree, cache: DropoutCache, dy: jax.Array) -> Backward:
        return Backward((), dy if cache.keep is None else self._masked(cache.keep, dy))

    def _masked(self, keep: jax.Array, x: jax.Array) -> jax.Array:
        return jnp.where(keep, x / (1 - self.rate), 0)
