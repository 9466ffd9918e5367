"""Data sets by name: their facts, their splits, and what is said when they aren't there."""

import hashlib
import shutil
import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

from jaxnn.data import Dataset, idx, load
from jaxnn.data.datasets import DEBIAN_FOLDER


def rows(*splits):
    """The examples of all splits with their labels, one a row, sorted: equal for equal collections."""
    table = np.concatenate([np.column_stack([x.reshape(len(x), -1), y]) for x, y in splits])
    return table[np.lexsort(table.T)]


# ------------------------------------------------------------------------------------------------------------ digits


@pytest.mark.parametrize(("validation", "sizes"), [(None, (1257, 270, 270)), (100, (1427, 100, 270))])
def test_digits_are_split_by_class_without_overlap(validation, sizes):
    digits = load("digits", validation=validation)
    whole = load_digits()
    splits = (digits.train, digits.validation, digits.test)
    assert tuple(len(x) for x, _ in splits) == sizes
    for x, y in splits:
        assert (x.dtype, x.shape[1:], y.dtype, y.shape) == (np.uint8, (8, 8, 1), np.int32, (len(x),))
        share = np.bincount(whole.target) * len(x) / len(whole.target)
        assert np.abs(np.bincount(y, minlength=10) - share).max() <= 1.5
    np.testing.assert_array_equal(rows(*splits), rows((whole.images.astype("uint8"), whole.target)))
    assert (digits.name, digits.n_classes, digits.scale) == ("digits", 10, 1 / 16)
    assert digits.train[0].max() * digits.scale == 1


def test_digits_are_always_the_same_rows():
    """The order as well: what was measured on these splits can be measured again."""
    one, two = load("digits"), load("digits")
    for a, b in zip((one.train, one.validation, one.test), (two.train, two.validation, two.test), strict=True):
        np.testing.assert_array_equal(a[0], b[0])
        np.testing.assert_array_equal(a[1], b[1])
    digest = hashlib.sha256(b"".join(x.tobytes() + y.tobytes() for x, y in (one.train, one.validation, one.test)))
    assert digest.hexdigest()[:16] == "8a70eff89a2d97a6"


def test_digits_without_validation_have_the_same_test_set():
    one, two = load("digits"), load("digits", validation=0)
    assert (len(two.train[0]), two.validation) == (1527, None)
    np.testing.assert_array_equal(one.test[0], two.test[0])
    np.testing.assert_array_equal(rows(one.train, one.validation), rows(two.train))


@pytest.mark.parametrize("validation", [-1, 9, 1518, 5000])
def test_digits_can_hold_out_only_what_they_have(validation):
    with pytest.raises(ValueError, match=f"validation={validation} can't be drawn .*: give 0, or 10 to 1517"):
        load("digits", validation=validation)


def test_digits_without_scikit_learn_say_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r'pip install "jaxnn\[data\]"'):
        load("digits")


# ---------------------------------------------------------------------------------------------------------- MNIST-1D


def test_mnist1d_is_its_authors_set_and_leaves_numpys_generator_alone():
    np.random.seed(0)  # noqa: NPY002
    expected = np.random.random()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    signals = load("mnist1d")
    assert np.random.random() == expected  # noqa: NPY002
    splits = (signals.train, signals.validation, signals.test)
    assert [len(x) for x, _ in splits] == [3500, 500, 1000]
    for x, y in splits:
        assert (x.dtype, x.shape[1:], y.dtype) == (np.float32, (40, 1), np.int32)
        assert np.abs(np.bincount(y, minlength=10) / len(y) - 0.1).max() < 0.03
    whole = np.concatenate([x for x, _ in splits])
    assert (whole.mean(), whole.std()) == pytest.approx((0, 1), abs=1e-4)
    assert (load("mnist1d", validation=0).train[0][:3500] == signals.train[0]).all()
    with pytest.raises(ValueError, match="data_dir is for fashion-mnist and mnist"):
        load("mnist1d", data_dir="here")


# ------------------------------------------------------------------------------------------- fashion-mnist and mnist


@pytest.fixture(scope="module")
def fashion_mnist():
    if not (DEBIAN_FOLDER / "fashion-mnist").is_dir():
        pytest.skip("Debian's package dataset-fashion-mnist isn't installed")
    return load("fashion-mnist")


def test_fashion_mnist_is_what_its_authors_say(fashion_mnist):
    assert repr(fashion_mnist) == (
        "Dataset('fashion-mnist', train=uint8[55000, 28, 28, 1], validation=uint8[5000, 28, 28, 1], "
        "test=uint8[10000, 28, 28, 1], n_classes=10, scale=0.003922)"
    )
    labels = np.concatenate([fashion_mnist.train[1], fashion_mnist.validation[1]])
    np.testing.assert_array_equal(np.bincount(labels), [6000] * 10)
    np.testing.assert_array_equal(np.bincount(fashion_mnist.test[1]), [1000] * 10)
    assert labels[:5].tolist() == [9, 0, 0, 3, 0]
    pixels = fashion_mnist.train[0]
    assert (pixels.min(), pixels.max()) == (0, 255)
    assert abs(pixels.mean() * fashion_mnist.scale - 0.286) < 0.001


def test_fashion_mnist_validation_is_the_end_of_its_training_images(fashion_mnist):
    whole = load("fashion-mnist", validation=0)
    assert (len(whole.train[0]), whole.validation) == (60_000, None)
    np.testing.assert_array_equal(whole.train[0][-5000:], fashion_mnist.validation[0])
    np.testing.assert_array_equal(whole.train[1][-5000:], fashion_mnist.validation[1])


@pytest.fixture
def folder(tmp_path):
    """A small set in MNIST's format: 12 images for training, 4 for test, half of the files compressed."""
    rng = np.random.default_rng(0)
    for split, n in (("train", 12), ("t10k", 4)):
        idx.write(tmp_path / f"{split}-images-idx3-ubyte.gz", rng.integers(0, 256, (n, 28, 28), "uint8"))
        idx.write(tmp_path / f"{split}-labels-idx1-ubyte", (np.arange(n) % 10).astype("uint8"))
    return tmp_path


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_any_folder_with_the_four_files_will_do(name, folder):
    small = load(name, folder, validation=5)
    assert isinstance(small, Dataset)
    assert (small.name, small.n_classes, small.scale) == (name, 10, 1 / 255)
    assert [len(x) for x, _ in (small.train, small.validation, small.test)] == [7, 5, 4]
    assert small.validation[1].tolist() == [7, 8, 9, 0, 1]
    pixels = idx.read(folder / "train-images-idx3-ubyte.gz")[..., None]
    np.testing.assert_array_equal(np.concatenate([small.train[0], small.validation[0]]), pixels, strict=True)


def test_the_folder_of_the_system_is_where_to_look_by_default(folder, monkeypatch, tmp_path):
    shutil.copytree(folder, tmp_path / "share" / "mnist")
    monkeypatch.setattr("jaxnn.data.datasets.DEBIAN_FOLDER", tmp_path / "share")
    assert len(load("mnist", validation=0).train[0]) == 12


def test_a_home_folder_may_be_abbreviated(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    assert len(load("mnist", "~", validation=0).train[0]) == 12


@pytest.mark.parametrize("validation", [None, -1, 12])
def test_only_training_images_can_be_held_out_and_not_all(validation, folder):
    with pytest.raises(ValueError, match=r"can't be held out of the 12 training examples of mnist: give 0 to 11"):
        load("mnist", folder, validation)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        (
            "fashion-mnist",
            r"install Debian's package dataset-fashion-mnist, or download .*data_dir \(--data-dir FOLDER",
        ),
        ("mnist", r"get the four files of MNIST, and give data_dir \(--data-dir FOLDER"),
    ],
)
def test_missing_files_are_named_with_the_remedy(name, remedy, folder):
    (folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match=rf"{name} needs t10k-labels.*{folder} doesn't have it: {remedy}"):
        load(name, folder)


@pytest.mark.parametrize(
    ("file", "array", "message"),
    [
        (
            "train-labels-idx1-ubyte",
            np.zeros(11, "uint8"),
            r"12 images and .* 11 labels: expected one label for each image",
        ),
        ("t10k-images-idx3-ubyte.gz", np.zeros((4, 8, 8), "uint8"), r"uint8 \(4, 8, 8\).*expected uint8 images"),
        ("t10k-images-idx3-ubyte.gz", np.zeros((4, 28, 28), "int32"), "hold int32"),
        ("t10k-images-idx3-ubyte.gz", np.zeros(4, "uint8"), r"hold uint8 \(4,\)"),
        ("t10k-labels-idx1-ubyte", np.zeros((4, 1), "uint8"), r"and uint8 \(4, 1\)"),
        ("t10k-labels-idx1-ubyte", np.zeros(4, "int16"), r"and int16 \(4,\)"),
        (
            "t10k-labels-idx1-ubyte",
            np.array([0, 1, 10, 3], "uint8"),
            r"t10k-labels.* has the label 10: expected 0 to 9",
        ),
    ],
)
def test_files_that_are_not_mnist_are_refused(file, array, message, folder):
    idx.write(folder / file, array)
    with pytest.raises(ValueError, match=message):
        load("mnist", folder)


def test_empty_files_are_refused(folder):
    idx.write(folder / "t10k-images-idx3-ubyte.gz", np.zeros((0, 28, 28), "uint8"))
    idx.write(folder / "t10k-labels-idx1-ubyte", np.zeros(0, "uint8"))
    with pytest.raises(ValueError, match=r"0 images and .* 0 labels: .* at least one"):
        load("mnist", folder)


def test_the_cap_on_memory_is_handed_to_the_reader(folder):
    with pytest.raises(ValueError, match="above the limit of 100 bytes"):
        load("mnist", folder, max_bytes=100)


# --------------------------------------------------------------------------------------------------------------- npz

X = np.arange(12, dtype="float32").reshape(6, 2)
Y = np.array([0, 1, 2, 0, 1, 2])


def saved(path, **arrays):
    np.savez(path, **arrays)
    return str(path)


def test_an_archive_gives_its_splits(tmp_path):
    name = saved(tmp_path / "a.npz", x_train=X, y_train=Y, x_validation=X, y_validation=Y, x_test=X[:1], y_test=[7])
    mine = load(name)
    assert (mine.name, mine.n_classes, mine.scale) == ("a.npz", 8, 1.0)
    assert [len(x) for x, _ in (mine.train, mine.validation, mine.test)] == [6, 6, 1]


def test_a_validation_set_of_its_own_goes_back_to_training_at_0(tmp_path):
    name = saved(tmp_path / "a.npz", x_train=X, y_train=Y, x_validation=X[:2], y_validation=Y[:2])
    mine = load(name, validation=0)
    np.testing.assert_array_equal(mine.train[0], np.concatenate([X, X[:2]]))
    assert mine.train[1].tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert mine.validation is None
    with pytest.raises(ValueError, match=r"validation=3, but .*a\.npz has a validation set of its own"):
        load(name, validation=3)


def test_plain_arrays_are_for_training_until_a_number_is_held_out(tmp_path):
    name = saved(tmp_path / "a.npz", x=X.astype("uint8"), y=Y)
    for validation in (None, 0):
        mine = load(name, validation=validation)
        assert (len(mine.train[0]), mine.validation, mine.test, mine.n_classes, mine.scale) == (
            6,
            None,
            None,
            3,
            1 / 255,
        )
    mine = load(name, validation=2)
    assert (mine.train[1].tolist(), mine.validation[1].tolist()) == ([0, 1, 2, 0], [1, 2])
    assert (
        repr(mine)
        == "Dataset('a.npz', train=uint8[4, 2], validation=uint8[2, 2], test=None, n_classes=3, scale=0.003922)"
    )
    with pytest.raises(ValueError, match=r"of a\.npz: give 0 to 5"):
        load(name, validation=6)


def test_real_targets_have_no_classes(tmp_path):
    assert load(saved(tmp_path / "a.npz", x=X, y=X)).n_classes is None


def test_the_cap_on_memory_is_handed_to_the_archive(tmp_path):
    with pytest.raises(ValueError, match="above the limit of 100: "):
        load(saved(tmp_path / "a.npz", x=X, y=Y), max_bytes=100)


# --------------------------------------------------------------------------------------------------------- arguments


@pytest.mark.parametrize("name", ["", "cifar", "MNIST", "data.npy", "digits/"])
def test_an_unknown_name_lists_the_known(name):
    with pytest.raises(
        ValueError, match=f"no data set '{name}': expected digits, fashion-mnist, mnist, mnist1d or a path ending in"
    ):
        load(name)


@pytest.mark.parametrize("validation", [True, 0.1, "5"])
def test_validation_is_a_number_of_examples(validation):
    with pytest.raises(TypeError, match=f"number of examples, an int; got {type(validation).__name__}"):
        load("digits", validation=validation)


@pytest.mark.parametrize("name", ["digits", "mine.npz"])
def test_a_folder_that_would_be_ignored_is_refused(name, tmp_path):
    with pytest.raises(ValueError, match=f"data_dir is for fashion-mnist and mnist, and {name} is read elsewhere"):
        load(name, tmp_path)
