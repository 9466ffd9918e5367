"""NumPy twins of the augmentations: pixel by pixel, with whatever is random as an argument.

    augment(draws, x, target) -> (x, target)        draws as jaxnn's `draw` gives them, one for each example

x is (B, H, W, C). Values are computed in float64; integer results are rounded and kept in the range of their dtype.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Result = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Compose:
    """One after another, each with its own draws."""

    parts: tuple

    def __init__(self, *parts: Callable) -> None:
        object.__setattr__(self, "parts", parts)

    def __call__(self, draws: tuple, x: np.ndarray, target: np.ndarray) -> Result:
        for part, drawn in zip(self.parts, draws, strict=True):
            x, target = part(drawn, x, target)
        return x, target


@dataclass(frozen=True)
class Flip:
    """draws[b]: whether the columns of image b are reversed."""

    probability: float = 0.5

    def __call__(self, draws: np.ndarray, x: np.ndarray, target: np.ndarray) -> Result:
        y, width = x.copy(), x.shape[2]
        for b, flipped in enumerate(draws):
            for j in range(width):
                y[b, :, j] = x[b, :, width - 1 - j] if flipped else x[b, :, j]
        return y, target


@dataclass(frozen=True)
class Crop:
    """draws[b]: the corner (top, left) of the window in image b with `padding` zeros on each side."""

    padding: int = 4

    def __call__(self, draws: np.ndarray, x: np.ndarray, target: np.ndarray) -> Result:
        _, height, width, _ = x.shape
        around = (self.padding, self.padding)
        padded = np.pad(x, ((0, 0), around, around, (0, 0)))
        images = [padded[b, top : top + height, left : left + width] for b, (top, left) in enumerate(draws)]
        return np.array(images, x.dtype).reshape(x.shape), target


@dataclass(frozen=True)
class Shift:
    """draws[b]: by how many pixels image b moves (down, right)."""

    pixels: int = 1

    def __call__(self, draws: np.ndarray, x: np.ndarray, target: np.ndarray) -> Result:
        y = np.zeros_like(x)
        for b, (down, right) in enumerate(draws):
            for i, j in np.ndindex(x.shape[1:3]):
                if _inside(x, i + down, j + right):
                    y[b, i + down, j + right] = x[b, i, j]
        return y, target


@dataclass(frozen=True)
class Rotate:
    """draws[b]: by how many degrees image b turns, anticlockwise.

    A pixel of y, seen from the centre with the axes (right, up), came from the place to which the opposite turn takes
    it. Its value is the weighted sum of the pixels around that place, each with the weight (1 - its distance down)
    (1 - its distance to the right).
    """

    degrees: float = 15.0

    def __call__(self, draws: np.ndarray, x: np.ndarray, target: np.ndarray) -> Result:
        _, height, width, _ = x.shape
        y = np.zeros(x.shape)
        for b, degrees in enumerate(draws):
            back = complex(math.cos(math.radians(degrees)), -math.sin(math.radians(degrees)))
            for i, j in np.ndindex(height, width):
                place = complex(j - (width - 1) / 2, (height - 1) / 2 - i) * back
                v, u = (height - 1) / 2 - place.imag, place.real + (width - 1) / 2
                for r in (math.floor(v), math.floor(v) + 1):
                    for c in (math.floor(u), math.floor(u) + 1):
                        if _inside(x, r, c):
                            y[b, i, j] += (1 - abs(v - r)) * (1 - abs(u - c)) * x[b, r, c]
        return _as(x, y), target


@dataclass(frozen=True)
class Noise:
    """draws: standard normal numbers, one for each of x."""

    std: float = 0.1

    def __call__(self, draws: np.ndarray, x: np.ndarray, target: np.ndarray) -> Result:
        return _as(x, x + self.std * draws.astype(float)), target


@dataclass(frozen=True)
class Cutout:
    """draws[b]: the pixel (row, column) about which image b is 0."""

    size: int = 8

    def __call__(self, draws: np.ndarray, x: np.ndarray, target: np.ndarray) -> Result:
        y = x.copy()
        for b, (row, column) in enumerate(draws):
            for i in range(row - self.size // 2, row - self.size // 2 + self.size):
                for j in range(column - self.size // 2, column - self.size // 2 + self.size):
                    if _inside(x, i, j):
                        y[b, i, j] = 0
        return y, target


@dataclass(frozen=True)
class Mixup:
    """draws: share (B,) and partner (B,); example b becomes share[b] of itself and the rest of its partner."""

    alpha: float = 0.2
    n_classes: int | None = None

    def __call__(self, draws: Any, x: np.ndarray, target: np.ndarray) -> Result:
        if target.dtype.kind in "iu" and target.ndim == 1:
            target = np.eye(self.n_classes or 0)[target]
        elif target.dtype.kind in "iu":
            target = target.astype(float)
        return self._mixed(draws, x), self._mixed(draws, target)

    def _mixed(self, draws: Any, x: np.ndarray) -> np.ndarray:
        y = np.zeros(x.shape)
        for b, (share, partner) in enumerate(zip(np.asarray(draws.share, float), draws.partner, strict=True)):
            y[b] = share * x[b] + (1 - share) * x[partner]
        return _as(x, y)


def _inside(x: np.ndarray, i: int, j: int) -> bool:
    return 0 <= i < x.shape[1] and 0 <= j < x.shape[2]


def _as(x: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The values in x's dtype; an integer dtype gets the nearest number that it holds."""
    if x.dtype.kind in "iu":
        values = np.clip(np.rint(values), np.iinfo(x.dtype).min, np.iinfo(x.dtype).max)
    return values.astype(x.dtype)
