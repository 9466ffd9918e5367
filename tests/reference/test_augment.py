"""Augmentations of the reference by small images, and jaxnn's against them with the same draws, in float64."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from table import AUGMENTATIONS

from jaxnn.reference import augment as reference
from jaxnn.reference import twin
from jaxnn.training.augment import Compose, Crop, Cutout, Rotate, Shift

pytestmark = pytest.mark.usefixtures("x64")

SHAPES = [(4, 6, 8, 2), (3, 7, 5, 1), (2, 1, 1, 3)]


def drawn(augment, key, shape):
    """The draws of an augmentation; of several, each with its part of the key."""
    if isinstance(augment, Compose):
        keys = jax.random.split(key, len(augment.parts))
        return tuple(drawn(part, own, shape) for part, own in zip(augment.parts, keys, strict=True))
    return augment.draw(key, shape)


MOVING = [augment for augment in AUGMENTATIONS if isinstance(augment, Crop | Shift | Rotate | Cutout)]
CASES = [
    *((augment, SHAPES[0]) for augment in AUGMENTATIONS),
    *((a, shape) for a in MOVING[::2] for shape in SHAPES[1:]),
]


@pytest.mark.parametrize(("augment", "shape"), CASES, ids=str)
def test_jaxnn_matches_its_twin(augment, shape, rng, agree):
    x, target = rng.uniform(0, 255, shape), rng.integers(0, 3, shape[0])
    key = jax.random.key(5)
    draws = jax.tree.map(np.asarray, drawn(augment, key, shape))
    ours, expected = jax.jit(augment)(key, jnp.asarray(x), jnp.asarray(target)), twin(augment)(draws, x, target)
    agree(ours, expected, 1e-5)  # float32: compiled in another context, a draw may differ in its last bit
    if not isinstance(augment, Compose):
        agree(jax.jit(augment.apply)(jax.tree.map(jnp.asarray, draws), jnp.asarray(x)), expected[0])


@pytest.mark.parametrize("augment", AUGMENTATIONS[:-1], ids=str)
def test_whole_numbers_are_the_nearest(augment, rng):
    """Ours are computed in float32: within 1/2 of the twin's real numbers, and a rounding of 255."""
    x = rng.integers(0, 256, SHAPES[0]).astype(np.uint8)
    key, target = jax.random.key(5), np.arange(len(x)) % 3
    draws = jax.tree.map(np.asarray, drawn(augment, key, x.shape))
    ours, _ = jax.jit(augment)(key, jnp.asarray(x), jnp.asarray(target))
    real, _ = twin(augment)(draws, x.astype(float), target)
    whole, _ = twin(augment)(draws, x, target)
    assert ours.dtype == whole.dtype == np.uint8
    assert np.abs(np.asarray(ours, float) - np.clip(real, 0, 255)).max() <= 0.5 + 255e-6
    assert np.abs(whole - np.clip(real, 0, 255)).max() <= 0.5


IMAGE = np.array([[1.0, 2.0], [3.0, 4.0]])[None, :, :, None]
NONE = np.zeros(1, int)


def by_hand(augment, draws, x=IMAGE):
    return augment(np.array([draws]), x, NONE)[0][0, :, :, 0].tolist()


def test_by_hand():
    assert by_hand(reference.Flip(), True) == [[2, 1], [4, 3]]
    assert by_hand(reference.Flip(), False) == [[1, 2], [3, 4]]
    assert by_hand(reference.Crop(1), (0, 2)) == [[0, 0], [2, 0]]
    assert by_hand(reference.Shift(), (1, -1)) == [[0, 0], [2, 0]]
    assert by_hand(reference.Cutout(1), (1, 0)) == [[1, 2], [0, 4]]
    assert by_hand(reference.Cutout(2), (0, 0)) == [[0, 2], [3, 4]]
    assert by_hand(reference.Rotate(), 0.0) == [[1, 2], [3, 4]]
    np.testing.assert_allclose(by_hand(reference.Rotate(), 90.0), [[2, 4], [1, 3]], rtol=1e-15)
    # At 45 degrees the pixels of y lie sqrt(1/2) from the centre, along x's axes: (1/2, 1/2 - sqrt(1/2)) and so on.
    edge = 1.5 - np.sqrt(0.5)  # the part of the image that a pixel beyond the edge still sees
    expected = edge * np.array([[1.5, 3.0], [2.0, 3.5]])
    np.testing.assert_allclose(by_hand(reference.Rotate(), 45.0), expected, rtol=1e-14)


def test_noise_and_mixtures_by_hand():
    x = np.array([[0, 250], [100, 7]], np.uint8)
    noisy, _ = reference.Noise(10.0)(np.array([[-1.0, 1.0], [0.24, 0.26]]), x, NONE)
    assert noisy.tolist() == [[0, 255], [102, 10]]
    draws = SimpleNamespace(share=np.array([0.75, 0.5]), partner=np.array([1, 0]))
    mixed, target = reference.Mixup(n_classes=3)(draws, x.astype(float), np.array([0, 2]))
    assert mixed.tolist() == [[25.0, 189.25], [50.0, 128.5]]
    assert target.tolist() == [[0.75, 0.0, 0.25], [0.5, 0.0, 0.5]]
    _, target = reference.Mixup()(draws, x, np.array([[1.0], [3.0]]))
    assert target.tolist() == [[1.5], [2.0]]
    both = reference.Compose(reference.Noise(10.0), reference.Noise(1.0))
    assert both((np.ones((1, 1)), np.full((1, 1), 2.0)), np.zeros((1, 1)), NONE)[0].tolist() == [[12.0]]
