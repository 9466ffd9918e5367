"""Archives of one's own: what is accepted, and one clear error for the rest."""

import pickle
import zipfile

import numpy as np
import pytest

from jaxnn.data import npz

X = np.arange(12, dtype="float32").reshape(6, 2)
Y = np.array([0, 1, 2, 0, 1, 2])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "mine.npz"


def save(path, **arrays):
    np.savez_compressed(path, **arrays)
    return path


def test_all_splits_are_read(path):
    save(path, x_train=X, y_train=Y, x_validation=X[:2], y_validation=Y[:2], x_test=X[:1], y_test=Y[:1])
    splits = npz.read(path)
    assert list(splits) == ["train", "validation", "test"]
    for (x, y), n in zip(splits.values(), (6, 2, 1), strict=True):
        np.testing.assert_array_equal(x, X[:n], strict=True)
        np.testing.assert_array_equal(y, Y[:n].astype("int32"), strict=True)


def test_plain_x_and_y_are_for_training(path):
    assert list(npz.read(save(path, x=X, y=Y))) == ["train"]


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", ">i2", "uint32", "int64", "uint64"])
def test_integers_are_labels(path, dtype):
    y = npz.read(save(path, x=X, y=(Y > 0).astype(dtype)))["train"][1]
    np.testing.assert_array_equal(y, (Y > 0).astype("int32"), strict=True)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(6,), (6, 1), (6, 2, 2)])
def test_real_targets_stay_as_they_are(path, dtype, shape):
    assert npz.read(save(path, x=X, y=np.zeros(shape, dtype)))["train"][1].dtype == dtype


def test_byte_order_becomes_native(path):
    x, y = npz.read(save(path, x=X.astype(">f4"), y=X.astype(">f8")))["train"]
    np.testing.assert_array_equal(x, X, strict=True)
    assert (x.dtype.isnative, y.dtype.isnative) == (True, True)


@pytest.mark.parametrize(
    "keys",
    [
        [],
        ["x"],
        ["x_train"],
        ["images", "labels"],
        ["x_test", "y_test"],
        ["x", "y", "x_train", "y_train"],
        ["x", "y", "x_test", "y_test"],
        ["x_train", "y_train", "x_test"],
        ["x_train", "y_train", "x_valid", "y_valid"],
    ],
)
def test_other_keys_are_refused(path, keys):
    save(path, **{key: X if key.startswith("x") else Y for key in keys})
    with pytest.raises(ValueError, match=r"mine\.npz has the keys \[.*\]: expected x_train and y_train"):
        npz.read(path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x_train": X, "y_train": Y[:5]}, r"x_train of the shape \(6, 2\) and y_train of \(5,\).*at least one"),
        ({"x_train": X[:0], "y_train": Y[:0]}, "at least one"),
        ({"x_train": np.float32(1), "y_train": np.float32(1)}, r"x_train of the shape \(\) and y_train of \(\)"),
        ({"x_train": X, "y_train": np.float32(1)}, r"y_train of \(\)"),
        ({"x_train": X, "y_train": np.int32(1)}, r"int32 targets of the shape \(\), but integers are labels"),
        ({"x_train": X, "y_train": Y[:, None]}, r"int64 targets of the shape \(6, 1\), but integers are labels"),
        ({"x_train": X, "y_train": Y - 1}, r"label outside 0 \.\.\. 2\*\*31 - 2: number the classes from 0"),
        ({"x_train": X, "y_train": Y + 2**31 - 3}, "label outside"),
        ({"x_train": X, "y_train": Y.astype("uint64") + np.uint64(2**63)}, "label outside"),
        ({"x_train": X, "y_train": Y, "x_test": X[:, :1], "y_test": Y}, r"float32 \(1,\) in x_test.*\(2,\) in x_train"),
        (
            {"x_train": X, "y_train": Y, "x_test": X.astype("float64"), "y_test": Y},
            "float64 .* in x_test, but of float32",
        ),
        ({"x_train": X, "y_train": Y, "x_test": X, "y_test": X[:, 0]}, r"float32 \(\) in y_test, but of int32"),
        ({"x_train": X + 1j, "y_train": Y}, "a member isn't an array of real numbers.*numpy.savez"),
        ({"x_train": X, "y_train": np.array(list("abcabc"))}, "a member isn't an array of real numbers"),
        ({"x_train": X, "y_train": Y.astype(object)}, "Object arrays cannot be loaded.*from arrays of numbers"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(path, arrays, message):
    with pytest.raises(ValueError, match=rf"mine\.npz.*{message}"):
        npz.read(save(path, **arrays))


def test_nothing_is_unpickled(path, tmp_path):
    class Trap:
        def __reduce__(self):
            return (tmp_path.joinpath("sprung").write_text, ("",))

    trap = np.empty(1, object)
    trap[0] = Trap()
    save(path, x=X, y=trap)
    (tmp_path / "bare.npz").write_bytes(pickle.dumps(Trap()))
    for name in ("mine.npz", "bare.npz"):
        with pytest.raises(ValueError, match="can't be read as"):
            npz.read(tmp_path / name)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html>", b"\x93NUMPY\x01\x00"], ids=["empty", "page", "npy"])
def test_what_is_no_archive_is_refused(path, content):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"mine\.npz can't be read as \.npz .*zip.*: write it again"):
        npz.read(path)


@pytest.mark.parametrize("compressed", [False, True])
def test_damage_is_noticed(path, compressed):
    (np.savez_compressed if compressed else np.savez)(path, x=np.arange(1000.0), y=np.zeros(1000))
    content = bytearray(path.read_bytes())
    content[400:410] = bytes(byte ^ 0xFF for byte in content[400:410])
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"mine\.npz can't be read as \.npz"):
        npz.read(path)


@pytest.mark.parametrize("shape", [(10**15,), (2**63,), (6, 3)])
def test_a_member_whose_header_promises_more_than_it_holds_is_refused(path, shape):
    save(path, x=X)
    with zipfile.ZipFile(path, "a") as archive, archive.open("y.npy", "w") as member:
        np.lib.format.write_array_header_1_0(member, {"shape": shape, "fortran_order": False, "descr": "<f8"})
    with pytest.raises(ValueError, match=r"mine\.npz can't be read as \.npz"):
        npz.read(path)


def test_a_member_that_is_no_array_is_refused(path):
    save(path, x=X)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("y", "not an array")
    with pytest.raises(ValueError, match="a member isn't an array"):
        npz.read(path)


def test_an_archive_that_unpacks_to_too_much_is_refused(path):
    save(path, x=np.zeros((1000, 1000)), y=np.zeros(1000))
    assert path.stat().st_size < 20_000
    with pytest.raises(ValueError, match=r"unpacks to 8,008,\d+ bytes, above the limit of 8,000,000.*larger max_bytes"):
        npz.read(path, max_bytes=8_000_000)


def test_a_missing_file_says_so(path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*mine\.npz: give the path"):
        npz.read(path)


@pytest.mark.parametrize("shape", [(6, 0), (6, 2, 0)])
def test_examples_without_numbers_are_refused(path, shape):
    np.savez(path, x=np.zeros(shape), y=np.arange(6))
    with pytest.raises(ValueError, match="no axis of length 0"):
        npz.read(path)


@pytest.mark.parametrize(
    "header", [b"{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999999999999,), }", b"(((("]
)
def test_a_header_that_is_no_header_is_refused(path, header):
    """NumPy's own errors for these are OverflowError and tokenize.TokenError."""
    content = b"\x93NUMPY\x01\x00" + (len(header) + 1).to_bytes(2, "little") + header + b"\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", content)
        archive.writestr("y.npy", content)
    with pytest.raises(ValueError, match="can't be read as .npz"):
        npz.read(path)
