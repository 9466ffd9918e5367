"""Dropout."""

import math
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp

from jaxnn.arrays import PyTree, Shape, number, require_floating, require_key, scaled
from jaxnn.layer import Backward, Forward, Parameterless, recipe

Keep = Literal["bits", "bools", "key"]


class DropoutCache(NamedTuple):
    """Which numbers were kept: a bit or a bool for each, or the key that drew them; None where all were kept."""

    keep: jax.Array | None


@recipe
class Dropout(Parameterless):
    """Inverted dropout: in training each number is dropped with probability `rate`, and the others are scaled up.

        training    y = keep * x / (1 - rate),  keep ~ Bernoulli(1 - rate)        evaluation  y = x
    So E[y] = x, and evaluation needs no rescaling.

    Shapes: x (B, ...) -> y (B, ...).
    Backward: dx = keep * dy / (1 - rate), with the keep of forward; evaluation: dx = dy.
    What is kept for backward trades memory for time, and changes no bit of y and dx:
        keep="bits"     one bit a number: the flattened mask, eight to a byte
        keep="bools"    one byte a number
        keep="key"      the key, from which backward draws the mask again
    The last needs the same key and shape to draw the same bits. Keys of JAX's default kind do; those of kind "rbg" draw
    for a whole `vmap` at once, so that forward and backward have to be under the same one.
    Raises: ValueError if it gets no key in training, if rate isn't in [0, 1), or keep is none of the three.
    Source: Srivastava et al. 2014, section 10 (inverted form).  NumPy twin: reference/layers.py.
    """

    rate: float = number("[0, 1)", 0.5)
    keep: Keep = "bits"

    def __post_init__(self) -> None:
        if self.keep not in get_args(Keep):
            raise ValueError(f"Dropout: keep should be one of {', '.join(get_args(Keep))}, got {self.keep!r}")

    def forward(self, params: PyTree, state: PyTree, x: jax.Array, *, key: Any = None, train: bool = False) -> Forward:
        require_floating(self, x)
        if not train or self.rate == 0:
            return Forward(x, state, DropoutCache(None))
        require_key(self, key)
        keep = self._drawn(key, x.shape)
        kept = key if self.keep == "key" else jnp.packbits(keep) if self.keep == "bits" else keep
        return Forward(self._masked(keep, x), state, DropoutCache(kept))

    def backward(self, params: PyTree, cache: DropoutCache, dy: jax.Array) -> Backward:
        kept = cache.keep
        if kept is None:
            return Backward((), dy)
        if self.keep == "key":
            # The draw waits for dy: merged with forward's, or done early, it would keep the mask alive in between.
            kept, dy = jax.lax.optimization_barrier((kept, dy))
        return Backward((), self._masked(self._mask(kept, dy.shape), dy))

    def _masked(self, keep: jax.Array, x: jax.Array) -> jax.Array:
        # Times the reciprocal: a GPU's compiler turns division by a constant into that, so compiled and eager agree.
        return jnp.where(keep, scaled(1 / (1 - self.rate), x), 0)

    def _drawn(self, key: jax.Array, shape: Shape) -> jax.Array:
        # The probability is float32 in every precision, so that a float64 audit drops the same numbers.
        return jax.random.bernoulli(key, jnp.float32(1 - self.rate), shape)

    def _mask(self, kept: jax.Array, shape: Shape) -> jax.Array:
        """Forward's mask, from what the cache has of it."""
        if self.keep == "key":
            return self._drawn(kept, shape)
        if self.keep == "bits":
            return jnp.unpackbits(kept, count=math.prod(shape)).astype(bool).reshape(shape)
        return kept
