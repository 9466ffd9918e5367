"""The IDX format, in which MNIST and Fashion-MNIST are published: one array a file.

    bytes 0, 1    zero
    byte  2       type: 0x08 uint8, 0x09 int8, 0x0B int16, 0x0C int32, 0x0D float32, 0x0E float64
    byte  3       number of axes, N
    4 N bytes     the length of each axis, unsigned
    the rest      the elements in row-major order

All numbers are big-endian. Files usually come compressed by gzip.

Source: Y. LeCun, C. Cortes, C. J. C. Burges, "The MNIST database of handwritten digits", its web page.
"""

import gzip
import math
import os
import re
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from jaxnn.data.files import write_whole

MAX_BYTES = 2 * 1024**3
"""The largest array that is read by default: 2 GiB."""

MAX_AXES = 64  # of a NumPy array, since NumPy 2.0

TYPES = {
    0x08: np.dtype(">u1"),
    0x09: np.dtype(">i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
CODES = {dtype: code for code, dtype in TYPES.items()}

GZIP_MAGIC = b"\x1f\x8b"
TEXT = re.compile(rb"(\xef\xbb\xbf)?[\t\n\r -~]+")  # with or without UTF-8's byte order mark


def read(path: str | os.PathLike[str], max_bytes: int = MAX_BYTES) -> np.ndarray:
    """The array in an IDX file, plain or gz (as its content says, not its name), in native byte order.

    The header is read first, and after it at most one byte more than it declares, so that neither a false header nor a
    small file that unpacks to a huge one can fill the memory.

    Raises: FileNotFoundError; ValueError if the file isn't IDX, is truncated, too long or damaged, or if it
        declares more than `max_bytes` of elements.
    """
    path = Path(path)
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {path}: give the path of an IDX file, plain or gz") from None
    with file:
        compressed = file.read(2) == GZIP_MAGIC
        file.seek(0)
        if not compressed:
            return _read(file, path, max_bytes)
        try:
            with gzip.GzipFile(fileobj=file) as stream:
                return _read(stream, path, max_bytes)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{path} is damaged gzip data ({error}): download it again") from error


def _read(stream: BinaryIO | gzip.GzipFile, path: Path, max_bytes: int) -> np.ndarray:
    start = stream.read(4)
    if TEXT.fullmatch(start):
        raise ValueError(
            f"{path} looks like an HTML or text page, which a server may send in place of a file: download it again"
        )
    if len(start) < 4:
        raise ValueError(f"{path} is truncated within its header: download it again")
    zero, code, n_axes = struct.unpack(">HBB", start)
    if zero != 0 or code not in TYPES or not 1 <= n_axes <= MAX_AXES:
        raise ValueError(
            f"{path} isn't an IDX file: it starts with 0x{start.hex()}, expected two zeros, a type "
            f"({', '.join(f'0x{known:02x}' for known in TYPES)}) and 1 to {MAX_AXES} axes; "
            f"give the path of an IDX file"
        )

    lengths = stream.read(4 * n_axes)
    if len(lengths) < 4 * n_axes:
        raise ValueError(f"{path} is truncated within its header: download it again")
    shape, dtype = struct.unpack(f">{n_axes}I", lengths), TYPES[code]
    # An axis of length 0 makes the file empty, but the other axes may still be too long for NumPy.
    if math.prod(length or 1 for length in shape) * dtype.itemsize > max_bytes:
        raise ValueError(
            f"{path} declares the shape {shape} of {dtype.name}, above the limit of {max_bytes:,} bytes: "
            f"if that is intended, give a larger max_bytes"
        )

    declared = math.prod(shape) * dtype.itemsize
    elements = stream.read(declared + 1)  # reading to the end also makes gzip check its checksum
    if len(elements) != declared:
        fault, got = ("truncated", len(elements)) if len(elements) < declared else ("too long", "more")
        raise ValueError(
            f"{path} is {fault}: the shape {shape} of {dtype.name} takes {declared:,} bytes, found {got}; "
            f"download it again"
        )
    return np.frombuffer(elements, dtype).astype(dtype.newbyteorder("=")).reshape(shape)


def write(path: str | os.PathLike[str], array: np.ndarray) -> None:
    """Write an array as an IDX file, compressed if the name ends in `.gz`; equal arrays give equal bytes.

    Raises: TypeError if IDX has no such type; ValueError without axes or with one of 2**32 or more.
    """
    path, array = Path(path), np.asarray(array)
    big_endian = array.dtype.newbyteorder(">")
    if big_endian not in CODES:
        known = ", ".join(dtype.name for dtype in CODES)
        raise TypeError(f"array has the type {array.dtype}, and IDX knows {known}: convert it with astype first")
    if array.ndim == 0 or max(array.shape) >= 2**32:
        raise ValueError(
            f"array has the shape {array.shape}, and IDX takes 1 or more axes, each below 2**32: reshape it"
        )
    header = struct.pack(f">HBB{array.ndim}I", 0, CODES[big_endian], array.ndim, *array.shape)
    content = header + array.astype(big_endian).tobytes()
    write_whole(path, gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
