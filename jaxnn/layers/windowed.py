"""The common part of layers whose fields `window`, `stride`, `padding` and `dilation` say where their windows lie."""

from collections.abc import Callable
from typing import Any, ClassVar

import jax

from jaxnn.arrays import Shape, require_positive
from jaxnn.kernels.windows import Padding, PerAxis, Windows, hashable, windows_over
from jaxnn.layer import recipe
from jaxnn.layers.initializers import He, Zeros

FIELDS = ("window", "stride", "padding", "dilation")


class Windowed:
    """A mixin for recipes with those fields, and `n_axes` where it is fixed; stride None is the size of a window."""

    def __post_init__(self: Any) -> None:
        for field in FIELDS:
            object.__setattr__(self, field, hashable(getattr(self, field)))
        lengths = (len(value) for value in (getattr(self, field) for field in FIELDS) if isinstance(value, tuple))
        self.windows(getattr(self, "n_axes", next(lengths, 1)))

    def windows(self: Any, n_axes: int) -> Windows:
        """The windows over n_axes axes. Raises: ValueError for a wrong field."""
        stride = self.window if self.stride is None else self.stride
        return windows_over(self, n_axes, self.window, stride, self.padding, self.dilation)

    def counts(self, shape: Shape) -> Shape:
        """How many windows there are on examples of a shape (*spatial, C). Raises: ValueError if none fits."""
        return self.windows(len(shape) - 1).require_fit(self, shape)


@recipe
class WeighedWindows(Windowed):
    """The common part of layers that multiply what each window sees by a weight: the fields that all of them have."""

    n_out: int
    window: PerAxis = 3
    stride: PerAxis = 1
    padding: Padding = "SAME"
    dilation: PerAxis = 1
    weight_init: Callable[..., jax.Array] = He()
    bias_init: Callable[..., jax.Array] = Zeros()
    bias: bool = True
    precision: str | None = None

    n_axes: ClassVar[int]

    def __post_init__(self) -> None:
        require_positive(f"{type(self).__name__}: n_out", self.n_out)
        super().__post_init__()

    @property
    def _windows(self) -> Windows:
        return self.windows(self.n_axes)
