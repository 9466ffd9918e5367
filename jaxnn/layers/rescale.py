"""The step from numbers as they are stored to numbers that a network learns from."""

from typing import Any, NamedTuple

import jax

from jaxnn.arrays import PyTree, Static, default_float, is_floating, number, scaled, wide_dtype
from jaxnn.layer import Backward, Forward, Parameterless, changed, recipe


class RescaleCache(NamedTuple):
    integer: Static[bool]


@recipe
class Rescale(Parameterless):
    """y = scale * x + shift: the first layer of a network on images, which stay uint8 until here.

    Shapes: x (B, ...), integer or floating -> y (B, ...) floating: in x's dtype, or in `dtype` where x is integer, and
    None is JAX's default float.
    Backward: dx = scale * dy; None where x is integer.
    Source: PRINCIPLES section 0, fact 2: without it the article's network does not learn.
    NumPy twin: reference/layers.py.
    """

    scale: float = number("(-inf, inf)", 1.0)
    shift: float = number("(-inf, inf)", 0.0)
    dtype: str | None = None

    def in_dtype(self, dtype: str) -> "Rescale":
        return changed(self, dtype=dtype)

    def forward(self, params: PyTree, state: PyTree, x: jax.Array, *, key: Any = None, train: bool = False) -> Forward:
        integer = not is_floating(x)
        dtype = default_float(self.dtype) if integer else x.dtype
        wide = x.astype(wide_dtype(dtype))  # 65,535 is no float16
        return Forward((self.scale * wide + self.shift).astype(dtype), state, RescaleCache(Static(integer)))

    def backward(self, params: PyTree, cache: RescaleCache, dy: jax.Array) -> Backward:
        return Backward((), None if cache.integer.value else scaled(self.scale, dy))
