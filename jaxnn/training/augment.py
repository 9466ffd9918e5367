"""Augmentation: each step's examples changed at random, on the device, before its gradient is taken.

An augmentation is a recipe that is called on a batch, as a pure function of a key:
    augment(key, x, target) -> (x, target)
x keeps its shape and dtype, and only `Mixup` changes the target. The random draw is separate from what is done with it,
so that each can be looked at alone:
    draw(key, shape of x) -> draws        one for each example; float32, int32 or bool in every precision
    apply(draws, x) -> x
Numbers are those of x, before `Rescale`. Images are (B, H, W, C); where an image is moved, zeros come in. What isn't a
whole number is computed in float32 at least; integers are then rounded to the nearest and clipped to the range of their
dtype. Nothing is differentiated here: the loops call this before the gradient, and never in evaluation.

Your own function with the same arguments and results can be used wherever an augmentation can.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates

from jaxnn.arrays import Shape, default_float, is_floating, is_integer, widened
from jaxnn.layer import recipe

Augment = Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]


class _Augmentation:
    """What all augmentations share: a call draws, then applies what was drawn."""

    couples_batch = False

    def __call__(self, key: jax.Array, x: jax.Array, target: jax.Array) -> tuple[jax.Array, jax.Array]:
        return self.apply(self.draw(key, x.shape), x), target

    def draw(self, key: jax.Array, shape: Shape) -> Any:
        raise NotImplementedError

    def apply(self, draws: Any, x: jax.Array) -> jax.Array:
        raise NotImplementedError


@dataclass(frozen=True, init=False, repr=False)
class Compose:
    """Augmentations one after another; the key is split among them.

    `couples_batch` if one of them does.
    Raises: TypeError if a part can't be called.  NumPy twin: reference/augment.py.

    >>> Compose(Flip(), Crop(2))
    Compose(Flip(), Crop(2))
    """

    parts: tuple[Augment, ...]

    def __init__(self, *parts: Augment) -> None:
        object.__setattr__(self, "parts", parts)
        for part in parts:
            require_augment("Compose", part)

    def __repr__(self) -> str:
        return f"Compose({', '.join(map(repr, self.parts))})"

    @property
    def couples_batch(self) -> bool:
        return any(getattr(part, "couples_batch", False) for part in self.parts)

    def __call__(self, key: jax.Array, x: jax.Array, target: jax.Array) -> tuple[jax.Array, jax.Array]:
        for part, part_key in zip(self.parts, jax.random.split(key, len(self.parts)), strict=True):
            x, target = part(part_key, x, target)
        return x, target


@recipe
class Flip(_Augmentation):
    """Left and right are exchanged, with the given probability.

    Shapes: x (B, H, W, C), draws (B,) bool.
    Raises: ValueError if x isn't of images, or probability isn't in [0, 1].
    NumPy twin: reference/augment.py.
    """

    probability: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ValueError(f"Flip: probability should be in [0, 1], got {self.probability}")

    def draw(self, key: jax.Array, shape: Shape) -> jax.Array:
        return jax.random.bernoulli(key, jnp.float32(self.probability), shape[:1])

    def apply(self, draws: jax.Array, x: jax.Array) -> jax.Array:
        _require_images(self, x)
        return jnp.where(_each_image(draws), x[:, :, ::-1], x)


@recipe
class Crop(_Augmentation):
    """A window of the image's own size, anywhere in the image with `padding` zeros around it.

        y[i, j] = x[i + top - padding, j + left - padding],  top and left uniform in 0..2 padding
    The images are those of `Shift(padding)`, in the form that is usual for CIFAR.

    Shapes: x (B, H, W, C), draws (B, 2) int32: (top, left).
    Raises: ValueError if x isn't of images, or padding isn't a whole number.
    Source: He et al. 2016, section 4.2.  NumPy twin: reference/augment.py.
    """

    padding: int = 4

    def __post_init__(self) -> None:
        _require_whole("Crop: padding", self.padding)

    def draw(self, key: jax.Array, shape: Shape) -> jax.Array:
        return jax.random.randint(key, (shape[0], 2), 0, 2 * self.padding + 1, jnp.int32)

    def apply(self, draws: jax.Array, x: jax.Array) -> jax.Array:
        _require_images(self, x)
        return _windows(x, draws, self.padding)


@recipe
class Shift(_Augmentation):
    """The image moved by whole pixels, at most `pixels` up or down and at most as many left or right.

        y[i, j] = x[i - down, j - right],  down and right uniform in -pixels..pixels

    Shapes: x (B, H, W, C), draws (B, 2) int32: (down, right).
    Raises: ValueError if x isn't of images, or pixels isn't a whole number.
    Source: Nielsen 2015, chapter 6, where one of the two is 0; PRINCIPLES H4.  NumPy twin: reference/augment.py.
    """

    pixels: int = 1

    def __post_init__(self) -> None:
        _require_whole("Shift: pixels", self.pixels)

    def draw(self, key: jax.Array, shape: Shape) -> jax.Array:
        return jax.random.randint(key, (shape[0], 2), -self.pixels, self.pixels + 1, jnp.int32)

    def apply(self, draws: jax.Array, x: jax.Array) -> jax.Array:
        _require_images(self, x)
        return _windows(x, self.pixels - draws, self.pixels)


@recipe
class Rotate(_Augmentation):
    """The image turned about its centre, anticlockwise by an angle t, uniform in -degrees..degrees.

        y[i, j] = x[v, u],   v = m + cos t (i - m) + sin t (j - n)      m = (H - 1) / 2
                             u = n - sin t (i - m) + cos t (j - n)      n = (W - 1) / 2
    x between its pixels is bilinear: with r = floor(v), a = v - r, and c = floor(u), b = u - c,
        x[v, u] = (1 - a) ((1 - b) x[r, c] + b x[r, c+1]) + a ((1 - b) x[r+1, c] + b x[r+1, c+1]),
    and beyond its edge it is 0. An angle of 0 leaves every bit as it is.

    Shapes: x (B, H, W, C), draws (B,) float32: t in degrees.
    Raises: ValueError if x isn't of images, or degrees is negative or infinite.
    NumPy twin: reference/augment.py.
    """

    degrees: float = 15.0

    def __post_init__(self) -> None:
        _require_size("Rotate: degrees", self.degrees)

    def draw(self, key: jax.Array, shape: Shape) -> jax.Array:
        return self.degrees * jax.random.uniform(key, shape[:1], jnp.float32, -1.0, 1.0)

    def apply(self, draws: jax.Array, x: jax.Array) -> jax.Array:
        _require_images(self, x)
        return jax.vmap(_rotated)(draws, x)


@recipe
class Noise(_Augmentation):
    """y = x + std e, e ~ N(0, 1): one for each number of x, and `std` in x's own unit (for uint8 of 0..255).

    Shapes: x (B, ...), draws like x, float32: e.
    Raises: ValueError if std is negative or infinite.
    NumPy twin: reference/augment.py.
    """

    std: float = 0.1

    def __post_init__(self) -> None:
        _require_size("Noise: std", self.std)

    def draw(self, key: jax.Array, shape: Shape) -> jax.Array:
        return jax.random.normal(key, shape, jnp.float32)

    def apply(self, draws: jax.Array, x: jax.Array) -> jax.Array:
        real = _real(x)
        return _as(x, real + self.std * draws.astype(real.dtype))


@recipe
class Cutout(_Augmentation):
    """A square of `size` by `size` zeros about a pixel that is uniform in the image; clipped at its edge.

        y[i, j] = 0  where  0 <= i - row + size // 2 < size  and  0 <= j - column + size // 2 < size

    Shapes: x (B, H, W, C), draws (B, 2) int32: (row, column).
    Raises: ValueError if x isn't of images, or size isn't a whole number.
    Source: DeVries and Taylor 2017, section 3.  NumPy twin: reference/augment.py.
    """

    size: int = 8

    def __post_init__(self) -> None:
        _require_whole("Cutout: size", self.size)

    def draw(self, key: jax.Array, shape: Shape) -> jax.Array:
        edges = jnp.broadcast_to(jnp.asarray(shape[1:3], jnp.int32), (shape[0], 2))
        return jax.random.randint(key, edges.shape, jnp.zeros_like(edges), edges, jnp.int32)

    def apply(self, draws: jax.Array, x: jax.Array) -> jax.Array:
        _require_images(self, x)
        rows, columns = (self._cut(draws[:, axis], x.shape[1 + axis]) for axis in range(2))
        return jnp.where(rows[:, :, None, None] & columns[:, None, :, None], jnp.zeros((), x.dtype), x)

    def _cut(self, centre: jax.Array, n: int) -> jax.Array:
        """(B, n): which of n places along an axis the square covers."""
        place = jnp.arange(n, dtype=centre.dtype)[None, :] - centre[:, None] + self.size // 2
        return (place >= 0) & (place < self.size)


class Mixture(NamedTuple):
    """What `Mixup` draws: the share of itself that each example keeps, float32 (B,), and its partner, int32 (B,)."""

    share: jax.Array
    partner: jax.Array


@recipe
class Mixup(_Augmentation):
    """Each example mixed with another of its batch, and their targets likewise.

        x_b <- s_b x_b + (1 - s_b) x_p(b)        t_b <- s_b t_b + (1 - s_b) t_p(b)
    s_b ~ Beta(alpha, alpha), one for each example (the paper's code has one for the whole batch); p a permutation of
    the batch, or of the part of it that a device holds. Targets are then distributions: a label (B,) stands for its
    one-hot vector of `n_classes`, other integers become floating. `accuracy` counts the class with the larger share.
    An example keeps its own weight; its partner's isn't used.

    Shapes: x (B, ...), target (B,) or (B, ...) -> x (B, ...), target (B, n_classes) or (B, ...); draws `Mixture`.
    Raises: ValueError if alpha isn't positive and finite, or there are labels and no n_classes.
    `couples_batch`: a single example has only itself for a partner.
    Source: Zhang et al. 2018, equation 1 of section 1.  NumPy twin: reference/augment.py.
    """

    alpha: float = 0.2
    n_classes: int | None = None

    couples_batch = True

    def __post_init__(self) -> None:
        if not 0 < self.alpha < math.inf:
            raise ValueError(f"Mixup: alpha should be positive and finite, got {self.alpha}")
        if self.n_classes is not None:
            _require_whole("Mixup: n_classes", self.n_classes)

    def __call__(self, key: jax.Array, x: jax.Array, target: jax.Array) -> tuple[jax.Array, jax.Array]:
        draws = self.draw(key, x.shape)
        return self.apply(draws, x), self.apply(draws, self._distribution(target))

    def draw(self, key: jax.Array, shape: Shape) -> Mixture:
        share_key, partner_key = jax.random.split(key)
        share = jax.random.beta(share_key, jnp.float32(self.alpha), jnp.float32(self.alpha), shape[:1], jnp.float32)
        return Mixture(share, jax.random.permutation(partner_key, jnp.arange(shape[0], dtype=jnp.int32)))

    def apply(self, draws: Mixture, x: jax.Array) -> jax.Array:
        real = _real(x)
        share = jnp.broadcast_to(draws.share.astype(real.dtype).reshape(-1, *[1] * (x.ndim - 1)), x.shape)
        return _as(x, share * real + (1 - share) * real[draws.partner])

    def _distribution(self, target: jax.Array) -> jax.Array:
        if is_floating(target):
            return target
        if target.ndim > 1:
            return target.astype(default_float())
        if self.n_classes is None:
            raise ValueError(f"{self}: labels are made one-hot, which needs the number of classes: give it n_classes=")
        return jax.nn.one_hot(target, self.n_classes, dtype=default_float())


# By name, at strengths that scale with the image: on CIFAR's 32 x 32, a padding of 4 and a square of 16.
AUGMENTATIONS: dict[str, Callable[[Shape, int | None, float], Augment]] = {
    "flip": lambda shape, n_classes, scale: Flip(),
    "crop": lambda shape, n_classes, scale: Crop(max(shape[0] // 8, 1)),
    "shift": lambda shape, n_classes, scale: Shift(),
    "rotate": lambda shape, n_classes, scale: Rotate(),
    "cutout": lambda shape, n_classes, scale: Cutout(shape[0] // 2),
    "mixup": lambda shape, n_classes, scale: Mixup(n_classes=n_classes),
    "noise": lambda shape, n_classes, scale: Noise(0.1 / scale),
}


def named(names: tuple[str, ...], shape: Shape, n_classes: int | None, scale: float) -> Augment | None:
    """Augmentations by name, in that order, for images of a shape (H, W, C); None where there are no names.

    crop's padding is H / 8, cutout's square H / 2, and noise has the std 0.1 after Rescale(scale).
    Raises: ValueError if there is none of that name, or the examples aren't images.

    >>> named(("flip", "crop"), (32, 32, 3), n_classes=10, scale=1 / 255)
    Compose(Flip(), Crop())
    """
    for name in names:
        if name not in AUGMENTATIONS:
            raise ValueError(f"there is no augmentation {name!r}: choose from {', '.join(AUGMENTATIONS)}")
    if not names:
        return None
    if len(shape) != 3:
        raise ValueError(f"{', '.join(names)}: augmentation is for images (H, W, C), and one example is {shape}")
    return Compose(*(AUGMENTATIONS[name](shape, n_classes, scale) for name in names))


def require_augment(owner: str, candidate: Any) -> None:
    """Refuse what can't be called as an augmentation is, or is the class of one."""
    if isinstance(candidate, tuple | list):
        raise TypeError(f"{owner}: got a {type(candidate).__name__} of augmentations: write Compose(*augmentations)")
    if isinstance(candidate, type):
        raise TypeError(f"{owner}: got the class {candidate.__name__}: write {candidate.__name__}(...)")
    if not callable(candidate):
        raise TypeError(
            f"{owner}: an augmentation is called as augment(key, x, target), got a {type(candidate).__name__}: "
            "pass one such as augment.Flip()"
        )


def _require_images(owner: object, x: jax.Array) -> None:
    if x.ndim != 4:
        raise ValueError(
            f"{owner}: x should be images (B, H, W, C), got shape {x.shape}: reshape the examples, or leave it out"
        )


def _require_whole(what: str, number: Any) -> None:
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        raise ValueError(f"{what} should be a whole number, 0 or more, got {number!r}")


def _require_size(what: str, number: float) -> None:
    if not 0 <= number < math.inf:
        raise ValueError(f"{what} should be 0 or positive, and finite, got {number}")


def _each_image(draws: jax.Array) -> jax.Array:
    """(B,) as (B, 1, 1, 1)."""
    return draws[:, None, None, None]


def _windows(x: jax.Array, corners: jax.Array, padding: int) -> jax.Array:
    """A window of each zero-padded image: of the image's own size, beginning at its corner."""
    around = ((padding, padding), (padding, padding), (0, 0))

    def window(corner: jax.Array, image: jax.Array) -> jax.Array:
        start = (corner[0], corner[1], jnp.zeros_like(corner[0]))
        return jax.lax.dynamic_slice(jnp.pad(image, around), start, image.shape)

    return jax.vmap(window)(corners, x)


def _rotated(degrees: jax.Array, x: jax.Array) -> jax.Array:
    """One image turned: a gather for each of the four pixels around every (v, u)."""
    height, width, _ = x.shape
    real = _real(x)
    t = jnp.deg2rad(degrees.astype(real.dtype))
    down = jnp.arange(height, dtype=real.dtype)[:, None] - (height - 1) / 2  # i - m
    right = jnp.arange(width, dtype=real.dtype)[None, :] - (width - 1) / 2  # j - n
    v = jnp.cos(t) * down + jnp.sin(t) * right + (height - 1) / 2
    u = -jnp.sin(t) * down + jnp.cos(t) * right + (width - 1) / 2

    def channel(plane: jax.Array) -> jax.Array:
        return map_coordinates(plane, [v, u], order=1, mode="constant", cval=0.0)

    return _as(x, jax.vmap(channel, in_axes=-1, out_axes=-1)(real))


def _real(x: jax.Array) -> jax.Array:
    """x in the type to compute in: floating, float32 at least."""
    return widened(x) if is_floating(x) else x.astype(jnp.float32)


def _as(x: jax.Array, values: jax.Array) -> jax.Array:
    """Values in x's dtype: for integers, the nearest ones that it holds."""
    if is_integer(x):
        limits = jnp.iinfo(x.dtype)
        values = jnp.clip(jnp.round(values), limits.min, limits.max)
    return values.astype(x.dtype)
