"""The IDX reader: every type, and every way in which a file can be wrong."""

import gzip
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from jaxnn.data import idx

DTYPES = ["uint8", "int8", "int16", "int32", "float32", "float64"]
few = settings(derandomize=True, deadline=None, max_examples=40)


def header(code: int, *shape: int) -> bytes:
    return struct.pack(f">HBB{len(shape)}I", 0, code, len(shape), *shape)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("idx")


# ---------------------------------------------------------------------------------------------------- what is right


@pytest.mark.parametrize("name", ["a.idx", "a.idx.gz"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_each_type_comes_back_as_it_was(dtype, name, tmp_path):
    info = np.finfo(dtype) if dtype.startswith("float") else np.iinfo(dtype)
    array = np.array([[info.min, 0, 1], [2, 3, info.max]], dtype)
    idx.write(tmp_path / name, array)
    read = idx.read(tmp_path / name)
    np.testing.assert_array_equal(read, array, strict=True)
    assert read.dtype.isnative
    assert read.flags.writeable
    assert ((tmp_path / name).read_bytes()[:2] == b"\x1f\x8b") == name.endswith(".gz")


@pytest.mark.parametrize(
    ("code", "elements", "expected"),
    [
        (0x08, "00ff", np.array([0, 255], "uint8")),
        (0x09, "80ff", np.array([-128, -1], "int8")),
        (0x0B, "8000 0102", np.array([-32768, 258], "int16")),
        (0x0C, "fffffffe 00000100", np.array([-2, 256], "int32")),
        (0x0D, "3f800000 c0000000", np.array([1, -2], "float32")),
        (0x0E, "3ff0000000000000 c000000000000000", np.array([1, -2], "float64")),
    ],
)
def test_bytes_written_by_hand_are_read_as_the_format_says(code, elements, expected, tmp_path):
    (tmp_path / "a").write_bytes(header(code, 2) + bytes.fromhex(elements))
    np.testing.assert_array_equal(idx.read(tmp_path / "a"), expected, strict=True)


@given(
    st.sampled_from(DTYPES).flatmap(
        lambda dtype: arrays.arrays(
            st.sampled_from([np.dtype(dtype), np.dtype(dtype).newbyteorder()]),
            arrays.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5),
        )
    ),
    st.sampled_from(["a", "a.gz"]),
)
@few
def test_any_array_survives_the_round_trip(folder, array, name):
    idx.write(folder / name, array)
    expected = array.astype(array.dtype.newbyteorder("="))
    np.testing.assert_array_equal(idx.read(folder / name), expected, strict=True)


def test_compression_is_known_by_content_and_not_by_name(tmp_path):
    array = np.arange(6, dtype="int16").reshape(2, 3)
    idx.write(tmp_path / "plain", array)
    (tmp_path / "plain.gz").write_bytes((tmp_path / "plain").read_bytes())
    (tmp_path / "packed").write_bytes(gzip.compress((tmp_path / "plain").read_bytes()))
    for name in ("plain.gz", "packed"):
        np.testing.assert_array_equal(idx.read(tmp_path / name), array, strict=True)


def test_equal_arrays_give_equal_files_at_any_time(tmp_path, monkeypatch):
    for name, now in (("a.gz", 1.0), ("b.gz", 1e9)):
        monkeypatch.setattr("time.time", lambda now=now: now)
        idx.write(tmp_path / name, np.arange(3, dtype="int32"))
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


def test_empty_axes_are_kept(tmp_path):
    idx.write(tmp_path / "a", np.zeros((0, 28, 28), "uint8"))
    assert idx.read(tmp_path / "a").shape == (0, 28, 28)


# ---------------------------------------------------------------------------------------------------- what is wrong

GOOD = header(0x08, 2, 3) + bytes(6)
PAGE = b"<!DOCTYPE html><html><head><title>404 Not Found</title></head></html>"

BAD = {
    "empty": (b"", "truncated within its header: download"),
    "two bytes": (GOOD[:2], "truncated within its header: download"),
    "header cut": (GOOD[:10], "truncated within its header: download"),
    "truncated": (GOOD[:-1], r"truncated: the shape \(2, 3\) of uint8 takes 6 bytes, found 5; download"),
    "no elements": (header(0x0E, 2), r"truncated: the shape \(2,\) of float64 takes 16 bytes, found 0; download"),
    "too long": (GOOD + b"\0", r"too long: the shape \(2, 3\) of uint8 takes 6 bytes, found more; download"),
    "more than none": (header(0x08, 0) + b"\0", "too long"),
    "no zeros": (b"\1\0" + GOOD[2:], "isn't an IDX file: it starts with 0x01000802.*give the path"),
    "unknown type": (header(0x0A, 1) + b"\0", "isn't an IDX file: it starts with 0x00000a01"),
    "no axes": (header(0x08) + b"\0", "isn't an IDX file: it starts with 0x00000800"),
    "65 axes": (header(0x08, *[1] * 65) + b"\0", "isn't an IDX file: it starts with 0x00000841"),
    "page": (PAGE, "looks like an HTML or text page.*: download it again"),
    "page with a byte order mark": (b"\xef\xbb\xbf" + PAGE, "looks like an HTML or text page"),
    "page after blank lines": (b"\r\n\t\n" + PAGE, "looks like an HTML or text page"),
    "huge": (header(0x0E, 2**31, 2**31), r"declares the shape \(2147483648, 2147483648\) of float64.*larger max_bytes"),
    "huge beside none": (header(0x08, 0, *[2**32 - 1] * 3), "above the limit"),
}


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("fault", BAD)
def test_a_bad_file_gives_one_error_that_names_it(fault, compressed, tmp_path):
    content, message = BAD[fault]
    path = tmp_path / "bad-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(content) if compressed else content)
    with pytest.raises(ValueError, match=rf"bad-idx3-ubyte\.gz.*{message}"):
        idx.read(path)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda packed: packed[:-9], "ended before"),
        (lambda packed: packed[:-8] + bytes([packed[-8] ^ 1]) + packed[-7:], "CRC"),
        (lambda packed: packed[:-1] + b"\1", "length"),
        (lambda packed: packed[:10] + b"\xff" * 8 + packed[18:], "invalid block type"),
        (lambda packed: packed[:2] + b"\7" + packed[3:], "compression method"),
        (lambda packed: packed + b"more", "Not a gzipped file"),
        (lambda packed: packed[:5], "ended before"),
    ],
    ids=["truncated", "checksum", "length", "stream", "method", "trailing", "header"],
)
def test_damaged_gzip_says_so(damage, reason, tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(damage(gzip.compress(GOOD, mtime=0)))
    with pytest.raises(ValueError, match=rf"a\.gz is damaged gzip data .*{reason}.*: download it again"):
        idx.read(path)


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*nowhere.*: give the path of an IDX file"):
        idx.read(tmp_path / "nowhere")


def peak_memory(path, **options) -> int:
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"too long|above the limit"):
            idx.read(path, **options)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_bomb_under_a_small_header_is_not_unpacked(tmp_path):
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(header(0x08, 10) + bytes(50_000_000)))
    assert path.stat().st_size < 100_000
    assert peak_memory(path) < 2_000_000


def test_a_bomb_that_declares_itself_is_refused_before_it_is_unpacked(tmp_path):
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(header(0x08, 50_000_000) + bytes(50_000_000)))
    assert peak_memory(path, max_bytes=49_999_999) < 2_000_000
    assert idx.read(path, max_bytes=50_000_000).shape == (50_000_000,)


@given(st.binary(max_size=40), st.sampled_from([b"", b"\0\0\x08", b"\0\0\x0d", b"\x1f\x8b\x08\0"]))
@few
def test_any_bytes_give_an_array_or_a_value_error(folder, content, start):
    path = folder / "any"
    path.write_bytes(start + content)
    try:
        outcome = idx.read(path, max_bytes=1_000_000)
    except ValueError as error:
        outcome = str(error)
    assert isinstance(outcome, np.ndarray) or str(path) in outcome


# ------------------------------------------------------------------------------------------------- what isn't written


@pytest.mark.parametrize("dtype", ["int64", "uint16", "float16", "bool", "complex64", "object", "U3"])
def test_types_that_the_format_lacks_are_refused(dtype, tmp_path):
    with pytest.raises(TypeError, match=r"IDX knows uint8, .*float64: convert it with astype"):
        idx.write(tmp_path / "a", np.zeros(2, dtype))


@pytest.mark.parametrize("array", [np.uint8(3), np.broadcast_to(np.uint8(0), (2**32,))], ids=["no axis", "too long"])
def test_shapes_that_the_format_lacks_are_refused(array, tmp_path):
    with pytest.raises(ValueError, match=r"IDX takes 1 or more axes.*: reshape it"):
        idx.write(tmp_path / "a", array)
