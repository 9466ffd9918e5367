"""Augmentation: what is random by its statistics, what is done by exact numbers, all of it a function of the key."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradients import SAME, error
from table import AUGMENTATIONS

from jaxnn.training.augment import AUGMENTATIONS as NAMES
from jaxnn.training.augment import Compose, Crop, Cutout, Flip, Mixture, Mixup, Noise, Rotate, Shift, named

SHAPES = [(5, 6, 8, 3), (4, 7, 7, 1), (3, 1, 1, 2), (1, 4, 3, 1)]
every_augmentation = pytest.mark.parametrize("augment", AUGMENTATIONS, ids=str)
every_image = pytest.mark.parametrize("augment", [Flip(), Crop(), Shift(), Rotate(), Cutout()], ids=str)
LEAVES_ALL = (Crop(0), Rotate(0.0), Compose())


def batch(shape=(5, 6, 8, 3), dtype="float32", seed=0):
    """Numbers of 0..255, none of them 0, and labels of three classes."""
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.integers(1, 256, shape), dtype), jnp.asarray(rng.integers(0, 3, shape[0]), jnp.int32)


def draws_of(augment, n, shape=(1, 6, 8, 1)):
    """n draws from n keys, for a batch of one; they are to be what one key gives a batch of n."""
    keys = jax.random.split(jax.random.key(7), n)
    return jax.jit(jax.vmap(lambda key: augment.draw(key, shape)))(keys)[:, 0]


# A pure function of the key.


@every_augmentation
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", ["uint8", "float32", "bfloat16"])
def test_shape_and_dtype_stay(augment, shape, dtype):
    x, target = batch(shape, dtype)
    y, t = jax.eval_shape(augment, jax.random.key(0), x, target)
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    if not augment.couples_batch:
        assert (t.shape, t.dtype) == (target.shape, target.dtype)


@every_augmentation
def test_the_key_decides(augment):
    compiled = jax.jit(augment)
    first, again, other = (compiled(jax.random.key(seed), *batch()) for seed in (0, 0, 1))
    assert error(again, first) == 0
    changes = augment not in (*LEAVES_ALL, Flip(1.0))
    assert np.array_equal(first[0], other[0]) != changes
    assert np.array_equal(first[0], batch()[0]) == (augment in LEAVES_ALL)


@pytest.mark.parametrize(
    ("augment", "dtype"),
    [*((augment, "float32") for augment in AUGMENTATIONS[::4]), (Rotate(), "uint8"), (AUGMENTATIONS[-1], "uint8")],
    ids=str,
)
def test_jit_vmap_and_scan_change_nothing(augment, dtype):
    """But for rounding: whole numbers by one, others by the last bit of an angle of 180 degrees at the edge."""
    x, target = batch(dtype=dtype)
    keys = jax.random.split(jax.random.key(0), 3)
    eager = jax.tree.map(lambda *each: jnp.stack(each), *(augment(key, x, target) for key in keys))
    mapped = jax.jit(jax.vmap(augment, (0, None, None)))(keys, x, target)
    _, scanned = jax.jit(lambda keys: jax.lax.scan(lambda _, key: (None, augment(key, x, target)), None, keys))(keys)
    for found in (mapped, scanned):
        assert error(found[1], eager[1]) <= 1e-6
        differences = np.abs(np.asarray(found[0], float) - np.asarray(eager[0], float))
        assert differences.max() <= (1 if dtype == "uint8" else 255e-5)
        assert (differences > 255e-5).mean() <= 0.01


@pytest.mark.parametrize("augment", AUGMENTATIONS[1::3], ids=str)
def test_the_same_draws_in_every_precision(augment):
    """Float64 and bfloat16 images are those of float32 but for rounding: nothing is drawn in x's dtype."""
    x, target = batch()
    truth = np.asarray(jax.jit(augment)(jax.random.key(3), x, target)[0])
    with jax.enable_x64(True):
        found, t = jax.jit(augment)(jax.random.key(3), x.astype(jnp.float64), target)
        assert t.dtype in (jnp.float64, jnp.int32)
        np.testing.assert_allclose(found, truth, atol=255e-5)
    found, _ = jax.jit(augment)(jax.random.key(3), x.astype(jnp.bfloat16), target)
    np.testing.assert_allclose(
        found.astype(jnp.float32), truth, atol=2.0
    )  # half a bfloat16's step at 255, rounded twice


@every_augmentation
def test_each_example_is_its_own(augment):
    """With the same draws a row depends on its own row of x alone, but where the augmentation says otherwise."""
    x, target = batch()
    others = x.at[0].set(x[0] + 1)
    changed = jax.jit(augment)
    a, b = changed(jax.random.key(0), x, target), changed(jax.random.key(0), others, target)
    rest = np.array_equal(a[0][1:], b[0][1:])
    assert rest or augment.couples_batch


def test_who_couples_the_batch():
    assert {type(augment) for augment in AUGMENTATIONS if augment.couples_batch} == {Mixup, Compose}
    assert Compose(Flip(), Compose(Mixup())).couples_batch
    assert not Compose(Flip(), lambda key, x, target: (x, target)).couples_batch


def test_compose_splits_its_key():
    x, target = batch()
    first, second = jax.random.split(jax.random.key(0))
    once = Crop(2)(first, x, target)
    twice = Noise(3.0)(second, *once)
    assert error(Compose(Crop(2), Noise(3.0))(jax.random.key(0), x, target), twice) == 0


# What is drawn. Frequencies of 20,000 draws with fixed keys, to 5 standard errors; chi-squared with k degrees of
# freedom has the mean k and the standard deviation sqrt(2 k).

N = 20_000


def assert_uniform(values, low, high):
    counts = np.bincount(np.asarray(values) - low, minlength=high - low + 1)
    assert counts.size == high - low + 1
    expected = len(values) / counts.size
    chi_squared = np.sum((counts - expected) ** 2 / expected)
    assert abs(chi_squared - (counts.size - 1)) <= 5 * np.sqrt(2 * (counts.size - 1))


def assert_uncorrelated(a, b):
    assert abs(np.corrcoef(np.asarray(a, float), np.asarray(b, float))[0, 1]) <= 5 / np.sqrt(len(a))


@pytest.mark.parametrize("probability", [0.0, 0.2, 0.5, 1.0])
def test_how_often_it_flips(probability):
    for flipped in (draws_of(Flip(probability), N), Flip(probability).draw(jax.random.key(0), (N, 6, 8, 1))):
        assert flipped.dtype == bool
        assert abs(np.mean(flipped) - probability) <= 5 * np.sqrt(probability * (1 - probability) / N)
        if 0 < probability < 1:
            assert_uncorrelated(flipped[1:], flipped[:-1])


@pytest.mark.parametrize(
    ("augment", "lows", "highs"),
    [
        (Crop(2), (0, 0), (4, 4)),
        (Shift(), (-1, -1), (1, 1)),
        (Shift(3), (-3, -3), (3, 3)),
        (Cutout(3), (0, 0), (5, 7)),
    ],
    ids=str,
)
def test_places_are_uniform(augment, lows, highs):
    """Each axis alone, both together, and from example to example."""
    for draws in (draws_of(augment, N), augment.draw(jax.random.key(1), (N, 6, 8, 1))):
        assert draws.dtype == jnp.int32
        rows, columns = np.asarray(draws).T
        assert_uniform(rows, lows[0], highs[0])
        assert_uniform(columns, lows[1], highs[1])
        width = highs[1] - lows[1] + 1
        assert_uniform((rows - lows[0]) * width + columns - lows[1], 0, (highs[0] - lows[0] + 1) * width - 1)
        assert_uncorrelated(rows[1:], rows[:-1])
        assert_uncorrelated(columns[1:], rows[:-1])


def test_angles_are_uniform():
    for degrees in (draws_of(Rotate(30.0), N), Rotate(30.0).draw(jax.random.key(2), (N, 6, 8, 1))):
        assert degrees.dtype == jnp.float32
        assert np.abs(degrees).max() <= 30
        assert_uniform(np.floor(np.asarray(degrees) / 3).astype(int), -10, 9)
        assert_uncorrelated(degrees[1:], degrees[:-1])


def test_noise_is_standard_normal():
    draws = np.asarray(Noise(3.0).draw(jax.random.key(0), (100, 10, 20)))
    assert abs(draws.mean()) <= 5 / np.sqrt(N)
    assert abs(draws.var() - 1) <= 5 * np.sqrt(2 / N)
    assert_uncorrelated(draws[1:].ravel(), draws[:-1].ravel())
    x = jnp.zeros((100, 10, 20))
    np.testing.assert_allclose(Noise(3.0)(jax.random.key(0), x, x)[0], 3 * draws, rtol=1e-6)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 8.0])
def test_shares_are_beta(alpha):
    """Mean 1/2, variance 1 / (4 (2 alpha + 1)); a square's standard error is at most that of what lies in 0..1/4."""
    share, partner = Mixup(alpha).draw(jax.random.key(0), (N,))
    assert share.dtype == jnp.float32
    assert ((share >= 0) & (share <= 1)).all()
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(np.mean(share) - 0.5) <= 5 * np.sqrt(variance / N)
    assert abs(np.var(share) - variance) <= 5 * 0.125 / np.sqrt(N)
    assert_uncorrelated(share[1:], share[:-1])
    assert partner.dtype == jnp.int32
    assert (np.sort(partner) == np.arange(N)).all()
    assert_uncorrelated(partner, np.arange(N))
    assert_uncorrelated(partner, share)


# What is done with it.


def test_a_flip_of_some():
    x, _ = batch()
    y = Flip().apply(jnp.array([True, False, True, False, False]), x)
    np.testing.assert_array_equal(y[0], np.fliplr(x[0]))
    np.testing.assert_array_equal(y[2], np.fliplr(x[2]))
    np.testing.assert_array_equal(y[jnp.array([1, 3, 4])], x[jnp.array([1, 3, 4])])


def test_windows_by_hand():
    x = jnp.arange(1, 10, dtype=jnp.uint8).reshape(1, 3, 3, 1)
    crop = lambda top, left: Crop(2).apply(jnp.array([[top, left]]), x)[0, :, :, 0].tolist()  # noqa: E731
    assert crop(2, 2) == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert crop(0, 0) == [[0, 0, 0], [0, 0, 0], [0, 0, 1]]
    assert crop(4, 1) == [[0, 7, 8], [0, 0, 0], [0, 0, 0]]
    shift = lambda down, right: Shift(2).apply(jnp.array([[down, right]]), x)[0, :, :, 0].tolist()  # noqa: E731
    assert shift(0, 0) == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert shift(1, 0) == [[0, 0, 0], [1, 2, 3], [4, 5, 6]]
    assert shift(-1, 2) == [[0, 0, 4], [0, 0, 7], [0, 0, 0]]
    beyond = Shift(5).apply(jnp.array([[0, 4]]), x)
    assert not beyond.any()


def test_a_crop_is_a_shift():
    x, _ = batch((9, 6, 8, 3))
    by = jnp.asarray(np.random.default_rng(0).integers(-2, 3, (9, 2)), jnp.int32)
    np.testing.assert_array_equal(Crop(2).apply(2 - by, x), Shift(2).apply(by, x))


@pytest.mark.parametrize("augment", [Flip(0.0), Crop(0), Shift(0), Rotate(0.0), Noise(0.0), Cutout(0)], ids=str)
@pytest.mark.parametrize("dtype", ["uint8", "float32", "bfloat16"])
def test_nothing_is_the_identity_bit_for_bit(augment, dtype):
    x, target = batch(dtype=dtype)
    for form in (augment, jax.jit(augment)):
        y, t = form(jax.random.key(0), x, target)
        np.testing.assert_array_equal(y, x)
        assert t is target or np.array_equal(t, target)


@pytest.mark.parametrize("n", [1, 2, 7, 8])
def test_quarter_turns(n, x64):
    quarters = range(-2, 4)
    x, _ = batch((len(quarters), n, n, 3), "float64")
    truth = np.stack([np.rot90(image, k) for image, k in zip(x, quarters, strict=True)])
    turn = jax.jit(Rotate(180.0).apply)
    degrees = jnp.array([90.0 * k for k in quarters])
    np.testing.assert_allclose(turn(degrees, x), truth, rtol=0, atol=255 * n * SAME)
    np.testing.assert_array_equal(turn(degrees, x.astype(jnp.uint8)), truth)


def test_half_a_turn_of_an_oblong():
    x, _ = batch((1, 5, 2, 1))
    y = Rotate(180.0).apply(jnp.array([180.0]), x)
    np.testing.assert_allclose(y, x[:, ::-1, ::-1], atol=255e-5)


def test_between_pixels_by_hand():
    """1 x 2, upright: both pixels of y lie between x's two, and half a pixel above or below them, half in the zeros."""
    x = jnp.array([4.0, 8.0]).reshape(1, 1, 2, 1)
    y = Rotate(90.0).apply(jnp.array([90.0]), x)
    np.testing.assert_allclose(y.ravel(), [3.0, 3.0], rtol=1e-6)


def test_a_turn_keeps_what_is_even_and_cuts_the_corners():
    y = Rotate(180.0).apply(jnp.array([45.0]), jnp.full((1, 9, 9, 1), 7.0))[0, :, :, 0]
    np.testing.assert_allclose(y[2:7, 2:7], 7.0, rtol=1e-6)
    assert y[0, 0] == y[0, -1] == y[-1, 0] == y[-1, -1] == 0


def test_whole_numbers_are_rounded_and_stay_in_their_range():
    x = jnp.array([[[[0], [255]], [[254], [100]]]], jnp.uint8)
    draws = jnp.array([-3.0, 2.0, 1.0, 0.06]).reshape(1, 2, 2, 1)
    assert Noise(10.0).apply(draws, x).ravel().tolist() == [0, 255, 255, 101]
    signed = jnp.full((1, 2, 2, 1), -120, jnp.int8)
    assert Noise(10.0).apply(draws, signed).ravel().tolist() == [-128, -100, -110, -119]
    halves = Mixup().apply(Mixture(jnp.array([0.5, 0.5]), jnp.array([1, 0])), jnp.array([[1], [4]], jnp.uint8))
    assert halves.ravel().tolist() == [2, 2]  # 2.5, to the even one


@pytest.mark.parametrize("size", [0, 1, 3, 4, 20])
def test_the_square_and_its_clipping(size):
    """Every centre: the zeros are the square's pixels inside of the image, `size` to a side where none is cut off."""
    height, width = 6, 8
    centres = jnp.asarray(np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), -1).reshape(-1, 2))
    x = jnp.ones((height * width, height, width, 2))
    y = np.asarray(Cutout(size).apply(centres.astype(jnp.int32), x))
    for (row, column), image in zip(np.asarray(centres), y, strict=True):
        first = row - size // 2, column - size // 2
        inside = [min(start + size, n) - max(start, 0) for start, n in zip(first, (height, width), strict=True)]
        assert (image == 0).sum() == 2 * np.prod(np.maximum(inside, 0))
        if size:
            assert image[row, column].tolist() == [0, 0]
    whole = [(image == 0).sum() == 2 * size**2 for image in y]
    assert sum(whole) == max(height - size + 1, 0) * max(width - size + 1, 0) or size == 0


def test_mixtures_by_hand(x64):
    x = jnp.array([[0.0, 10.0], [20.0, 30.0], [40.0, 50.0]])
    draws = Mixture(jnp.array([1.0, 0.25, 0.5]), jnp.array([2, 0, 1]))
    assert Mixup().apply(draws, x).tolist() == [[0.0, 10.0], [5.0, 15.0], [30.0, 40.0]]
    of_all = Mixture(jnp.ones(3), jnp.array([1, 2, 0]))
    np.testing.assert_array_equal(Mixup().apply(of_all, x), x)


def test_targets_are_mixed_as_the_images_are(monkeypatch):
    """A share of 1 leaves x and makes labels one-hot; a target knows its class by the share that it has."""
    x, labels = batch()
    augment, key = Mixup(1.0, n_classes=4), jax.random.key(0)
    share, partner = augment.draw(key, x.shape)
    y, t = augment(key, x, labels)
    assert (t.shape, t.dtype) == ((5, 4), jnp.float32)
    np.testing.assert_allclose(t.sum(axis=1), 1, rtol=1e-6)
    for b in range(5):
        expected = np.zeros(4)
        expected[labels[b]] += share[b]
        expected[labels[partner[b]]] += 1 - share[b]
        np.testing.assert_allclose(t[b], expected, rtol=1e-6)
        np.testing.assert_allclose(y[b], share[b] * x[b] + (1 - share[b]) * x[partner[b]], rtol=1e-5)
    monkeypatch.setattr(Mixup, "draw", lambda self, key, shape: Mixture(jnp.ones(shape[0]), partner))
    y, t = augment(key, x, labels)
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(t, jax.nn.one_hot(labels, 4))


@pytest.mark.parametrize(
    ("target", "shape"),
    [
        (np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1]], (5, 3)),
        (np.linspace(0, 1, 5, dtype=np.float32)[:, None], (5, 1)),
        (np.array([[0, 1]] * 5), (5, 2)),
    ],
    ids=["distributions", "real numbers", "several labels"],
)
def test_other_targets_need_no_number_of_classes(target, shape):
    x, _ = batch()
    _, t = Mixup()(jax.random.key(0), x, jnp.asarray(target))
    assert (t.shape, t.dtype) == (shape, jnp.float32)
    share, partner = Mixup().draw(jax.random.key(0), x.shape)
    share = np.asarray(share)[:, None]
    np.testing.assert_allclose(t, share * target + (1 - share) * target[partner], rtol=1e-6)


def test_one_example_alone_is_mixed_with_itself():
    x, labels = batch((1, 4, 3, 1))
    y, t = Mixup(n_classes=3)(jax.random.key(0), x, labels)
    np.testing.assert_allclose(y, x, rtol=1e-6)
    np.testing.assert_allclose(t, jax.nn.one_hot(labels, 3), rtol=1e-6)


# By name.


def test_strengths_go_with_the_size_of_the_images():
    def parts(shape):
        return named(tuple(NAMES), shape, 10, 0.5).parts

    mixup = Mixup(n_classes=10)
    assert parts((32, 32, 3)) == (Flip(), Crop(), Shift(), Rotate(), Cutout(16), mixup, Noise(0.2))
    assert parts((28, 20, 1)) == (Flip(), Crop(3), Shift(), Rotate(), Cutout(14), mixup, Noise(0.2))
    assert parts((4, 4, 1)) == (Flip(), Crop(1), Shift(), Rotate(), Cutout(2), mixup, Noise(0.2))
    assert named((), (4,), 10, 0.5) is None
    with pytest.raises(ValueError, match="there is no augmentation 'mirror': choose from flip, crop, shift"):
        named(("flip", "mirror"), (4, 4, 1), 10, 1.0)
    with pytest.raises(ValueError, match=r"flip, crop: augmentation is for images .*one example is \(4,\)"):
        named(("flip", "crop"), (4,), 10, 1.0)


# What is refused.


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Flip(1.1), r"Flip: probability should be in \[0, 1\], got 1.1"),
        (lambda: Flip(float("nan")), "Flip: probability"),
        (lambda: Crop(-1), "Crop: padding should be a whole number, 0 or more, got -1"),
        (lambda: Shift(1.5), "Shift: pixels should be a whole number, 0 or more, got 1.5"),
        (lambda: Cutout(True), "Cutout: size should be a whole number"),
        (lambda: Rotate(-1.0), "Rotate: degrees should be 0 or positive, and finite, got -1.0"),
        (lambda: Noise(float("inf")), "Noise: std should be 0 or positive, and finite, got inf"),
        (lambda: Noise(float("nan")), "Noise: std"),
        (lambda: Mixup(0.0), "Mixup: alpha should be positive and finite, got 0.0"),
        (lambda: Mixup(n_classes=0.5), "Mixup: n_classes should be a whole number"),
    ],
)
def test_bad_strengths(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@every_image
@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 4)], ids=str)
def test_what_is_no_image(augment, shape):
    with pytest.raises(ValueError, match=r"\(\): x should be images \(B, H, W, C\), got shape \(5, 4"):
        augment(jax.random.key(0), jnp.ones(shape), jnp.zeros(5, jnp.int32))


def test_labels_without_a_number_of_classes():
    with pytest.raises(
        ValueError, match=r"Mixup\(\): labels are made one-hot, which needs the number of classes: give it n_cl"
    ):
        Mixup()(jax.random.key(0), *batch())


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ([Flip(), Crop()], r"Compose: got a list of augmentations: write Compose\(\*augmentations\)"),
        (Flip, r"Compose: got the class Flip: write Flip\(...\)"),
        (0.5, r"Compose: an augmentation is called as augment\(key, x, target\), got a float"),
    ],
)
def test_what_is_no_augmentation(part, words):
    with pytest.raises(TypeError, match=words):
        Compose(part)
