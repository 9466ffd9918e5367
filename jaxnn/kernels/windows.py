"""Windows that slide over an image, or over a sequence: where they lie, and what they see.

Along one axis of n numbers, window i of k taps sees the numbers at

    stride i + dilation u - low,    u = 0, ..., k - 1

of which those outside 0, ..., n - 1 are padding: `low` numbers before the first, `high` after the last. `padding` is
"VALID" (none), "SAME" (as much as makes ceil(n / stride) windows, the odd one after the last), or (low, high) for each
axis, as in `jax.lax`.

Arrays are (B, *spatial, C), with any number of spatial axes. All sizes are Python ints: only arrays are traced.
"""

import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.arrays import Shape, widened

Pads = tuple[tuple[int, int], ...]
PerAxis = int | tuple[int, ...]
Padding = str | int | Pads

_NAMES = {1: ("L",), 2: ("H", "W"), 3: ("D", "H", "W")}


@dataclass(frozen=True)
class Windows:
    """The windows of a convolution or a pooling: taps, stride, dilation and padding along each spatial axis."""

    size: Shape
    stride: Shape
    dilation: Shape
    padding: str | Pads

    @property
    def taps(self) -> tuple[Shape, ...]:
        """The places in a window, u of each axis, in row-major order."""
        return tuple(itertools.product(*map(range, self.size)))

    @property
    def extent(self) -> Shape:
        """How many numbers a window spans along each axis: dilation (k - 1) + 1."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.size, self.dilation, strict=True))

    def pads(self, spatial: Shape) -> Pads:
        """(low, high) of each axis."""
        if not isinstance(self.padding, str):
            return self.padding
        if self.padding == "VALID":
            return ((0, 0),) * len(self.size)
        sizes = zip(spatial, self.stride, self.extent, strict=True)
        missing = (max((-(-n // s) - 1) * s + extent - n, 0) for n, s, extent in sizes)
        return tuple((total // 2, total - total // 2) for total in missing)

    def counts(self, spatial: Shape) -> Shape:
        """How many windows there are along each axis: floor((n + low + high - extent) / stride) + 1."""
        sizes = zip(spatial, self.pads(spatial), self.extent, self.stride, strict=True)
        return tuple((n + low + high - extent) // s + 1 for n, (low, high), extent, s in sizes)

    def require_fit(self, owner: Any, shape: Shape) -> Shape:
        """The counts for examples of a shape (*spatial, C). Raises: ValueError if it has other axes, or none fits."""
        if len(shape) != len(self.size) + 1 or len(shape) == 1:
            axes = ", ".join([*_NAMES.get(len(self.size), ("...",)), "C"])
            raise ValueError(
                f"{owner}: x should be (B, {axes}), got examples of shape {tuple(shape)}: "
                f"put Reshape(({axes})) before it"
            )
        *spatial, _ = shape
        counts = self.counts(tuple(spatial))
        if min(counts) < 1:
            raise ValueError(
                f"{owner}: a window spans {self.extent}, more than the {tuple(spatial)} of x and its padding: "
                "take a smaller window or dilation, or more padding"
            )
        return counts


def padded(x: jax.Array, windows: Windows, fill: float = 0.0) -> jax.Array:
    """x (B, *spatial, C) with its padding around it."""
    pads = windows.pads(x.shape[1:-1])
    if not any(itertools.chain(*pads)):
        return x
    return jax.lax.pad(x, jnp.asarray(fill, x.dtype), [(0, 0, 0), *((low, high, 0) for low, high in pads), (0, 0, 0)])


def seen(x: jax.Array, windows: Windows, fill: float = 0.0) -> Iterator[jax.Array]:
    """What the windows see at each tap in turn: one (B, *counts, C) for each of `windows.taps`."""
    counts, x = windows.counts(x.shape[1:-1]), padded(x, windows, fill)
    for tap in windows.taps:
        first = [d * u for d, u in zip(windows.dilation, tap, strict=True)]
        last = [start + s * (n - 1) + 1 for start, s, n in zip(first, windows.stride, counts, strict=True)]
        yield jax.lax.slice(x, (0, *first, 0), (len(x), *last, x.shape[-1]), (1, *windows.stride, 1))


def summed(terms: Iterable[jax.Array], dtype: Any) -> jax.Array:
    """The sum of some arrays, taken in float32 at least, in a dtype."""
    return functools.reduce(jnp.add, map(widened, terms)).astype(dtype)


def spread(seen: Sequence[jax.Array], windows: Windows, spatial: Shape) -> jax.Array:
    """The adjoint of `seen`: the numbers of each tap, added where they came from: (B, *spatial, C)."""
    pads = windows.pads(spatial)

    def placed(tap: Shape, numbers: jax.Array) -> jax.Array:
        # Number i came from s i + d u - low: s - 1 zeros go between numbers, d u - low before them, the rest after.
        edges = []
        for (low, _), s, d, u, n, count in zip(
            pads, windows.stride, windows.dilation, tap, spatial, numbers.shape[1:-1], strict=True
        ):
            before = d * u - low
            edges.append((before, n - before - s * (count - 1) - 1, s - 1))
        return jax.lax.pad(numbers, jnp.zeros((), numbers.dtype), [(0, 0, 0), *edges, (0, 0, 0)])

    return summed(map(placed, windows.taps, seen), seen[0].dtype)


def windows_over(layer: Any, n_axes: int, size: PerAxis, stride: PerAxis, padding: Any, dilation: PerAxis) -> Windows:
    """The windows of a layer over n_axes axes; an int holds for all of them. Raises: ValueError for a wrong field."""
    name = type(layer).__name__
    sizes, strides, dilations = (
        _positive(name, field, value, n_axes)
        for field, value in (("window", size), ("stride", stride), ("dilation", dilation))
    )
    if isinstance(padding, int) and not isinstance(padding, bool):
        padding = ((padding, padding),) * n_axes
    if padding not in ("SAME", "VALID") and not (
        isinstance(padding, tuple) and len(padding) == n_axes and all(map(_is_pair, padding))
    ):
        raise ValueError(
            f"{name}: padding should be 'SAME', 'VALID', an int, or (low, high) for each of {n_axes} axes, "
            f"got {padding!r}"
        )
    return Windows(sizes, strides, dilations, padding)


def hashable(value: Any) -> Any:
    """Lists as tuples, to any depth, so that the value may be a field of a recipe."""
    return tuple(map(hashable, value)) if isinstance(value, list | tuple) else value


def _positive(owner: str, name: str, value: PerAxis, n_axes: int) -> Shape:
    values = (value,) * n_axes if isinstance(value, int) else value
    if not isinstance(values, tuple) or len(values) != n_axes or any(not _is_int(v) or v < 1 for v in values):
        raise ValueError(f"{owner}: {name} should be a positive int, or one for each of {n_axes} axes, got {value!r}")
    return values


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(_is_int(v) and v >= 0 for v in value)


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
