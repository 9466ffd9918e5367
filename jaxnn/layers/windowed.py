"""What layers share whose fields `window`, `stride`, `padding` and `dilation` say where their windows lie."""

from typing import Any

from jaxnn.arrays import Shape
from jaxnn.kernels.windows import Windows, hashable, windows_over

FIELDS = ("window", "stride", "padding", "dilation")


class Windowed:
    """A mixin for recipes with those fields, and `n_axes` where it is fixed; stride None is the size of a window."""

    def __post_init__(self: Any) -> None:
        for field in FIELDS:
            object.__setattr__(self, field, hashable(getattr(self, field)))
        lengths = (len(value) for value in (getattr(self, field) for field in FIELDS) if isinstance(value, tuple))
        self.windows(getattr(self, "n_axes", next(lengths, 1)))

    def windows(self: Any, n_axes: int) -> Windows:
        """The windows over so many axes. Raises: ValueError for fields that make none."""
        stride = self.window if self.stride is None else self.stride
        return windows_over(self, n_axes, self.window, stride, self.padding, self.dilation)

    def counts(self, shape: Shape) -> Shape:
        """How many windows there are on examples of a shape (*spatial, C). Raises: ValueError if none fits."""
        return self.windows(len(shape) - 1).require_fit(self, shape)
