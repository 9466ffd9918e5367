"""Layers that change the shape alone: the same numbers in the same order."""

import math
from typing import Any, NamedTuple

import jax

from jaxnn.arrays import PyTree, Shape, Static
from jaxnn.layer import Backward, Forward, Init, recipe


class ShapeCache(NamedTuple):
    shape: Static[Shape]


@recipe
class Reshape:
    """y = x with each example in another shape, row-major; one of its axes may be -1.

    Shapes: x (B, ...), of any dtype -> y (B, *shape).
    Backward: dx = dy in x's shape.  Keeps that shape, which takes no memory.
    Raises: ValueError if the sizes differ.  NumPy twin: reference/layers.py.

    >>> Reshape((4, -1)).output_shape((8, 3))
    (4, 6)
    """

    shape: Shape

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(self.shape))
        if self.shape.count(-1) > 1 or any(n < 1 and n != -1 for n in self.shape):
            raise ValueError(f"Reshape: shape should hold positive ints and at most one -1, got {self.shape}")

    def init(self, key: jax.Array, shape: Shape, dtype: Any = None) -> Init:
        return Init((), ())

    def output_shape(self, shape: Shape) -> Shape:
        known = math.prod(n for n in self.shape if n != -1)
        size = math.prod(shape)
        if size != known and (-1 not in self.shape or size % known):
            raise ValueError(f"{self}: an example of shape {shape} has {size} numbers, which don't fit {self.shape}")
        return tuple(size // known if n == -1 else n for n in self.shape)

    def forward(self, params: PyTree, state: PyTree, x: jax.Array, *, key: Any = None, train: bool = False) -> Forward:
        y = x.reshape(x.shape[0], *self.output_shape(x.shape[1:]))
        return Forward(y, state, ShapeCache(Static(x.shape[1:])))

    def backward(self, params: PyTree, cache: ShapeCache, dy: jax.Array | None) -> Backward:
        return Backward((), None if dy is None else dy.reshape(dy.shape[0], *cache.shape.value))


def Flatten() -> Reshape:
    """Each example as one vector: `Reshape((-1,))`.

    >>> Flatten().output_shape((28, 28, 1))
    (784,)
    """
    return Reshape((-1,))
