"""What a wrapper around a layer shares with all others: it is the layer, but for what it says itself."""

from dataclasses import dataclass
from typing import Any

import jax

from jaxnn.arrays import Shape
from jaxnn.layer import Init, Layer


@dataclass(frozen=True)
class Wrapped:
    """A layer inside another recipe: same params, same state, same shapes, and all that else is asked of the layer."""

    layer: Layer

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "layer":  # what pickle and copy ask of an object that isn't made yet
            raise AttributeError(name)
        return getattr(self.layer, name)

    def init(self, key: jax.Array, shape: Shape, dtype: Any = None) -> Init:
        return self.layer.init(key, shape, dtype)

    def output_shape(self, shape: Shape) -> Shape:
        return self.layer.output_shape(shape)
