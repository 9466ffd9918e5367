"""What wrappers around a layer share: each behaves as that layer, except where it defines something itself."""

from dataclasses import dataclass
from typing import Any

import jax

from jaxnn.arrays import Shape
from jaxnn.layer import Init, Layer


@dataclass(frozen=True)
class Wrapped:
    """A layer inside another recipe: params, state, shapes and every other attribute are the layer's."""

    layer: Layer

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "layer":  # pickle and copy ask for these before the fields are set
            raise AttributeError(name)
        return getattr(self.layer, name)

    def init(self, key: jax.Array, shape: Shape, dtype: Any = None) -> Init:
        return self.layer.init(key, shape, dtype)

    def output_shape(self, shape: Shape) -> Shape:
        return self.layer.output_shape(shape)
