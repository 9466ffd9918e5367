"""Data sets of your own: `numpy.savez("mine.npz", x_train=..., y_train=..., x_test=..., y_test=...)`."""

import lzma
import os
import struct
import tokenize
import zipfile
import zlib
from pathlib import Path

import numpy as np

from jaxnn.data.idx import MAX_BYTES

Split = tuple[np.ndarray, np.ndarray]

SPLITS = ("train", "validation", "test")

# What zipfile, zlib and NumPy raise for members that are damaged, encrypted, pickled or compressed in other ways
DAMAGE = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, tokenize.TokenError, SyntaxError, EOFError, OSError,
    ValueError, TypeError, KeyError, OverflowError, RecursionError, RuntimeError, MemoryError,
)  # fmt: skip


def read(path: str | os.PathLike[str], max_bytes: int = MAX_BYTES) -> dict[str, Split]:
    """The splits (x, y) of an `.npz` file by name: 'train', and 'validation' and 'test' where it has them.

    Keys: x_train and y_train, with or without the pairs x_validation, y_validation and x_test, y_test; or x and y
    alone, which are all for training. Nothing is ever unpickled.

    Shapes: x (B, ...) of any real type; y either (B,) integers or booleans, which are labels and become
        int32, or (B, ...) floating point, which is kept. All splits agree in type and in one example's shape.
    Raises: FileNotFoundError; ValueError if the file is damaged, has other keys, arrays that don't fit
        together, or more than `max_bytes` of them.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}: give the path of an .npz file of arrays")
    arrays = _arrays(path, max_bytes)
    if arrays.keys() == {"x", "y"}:
        arrays = {"x_train": arrays["x"], "y_train": arrays["y"]}
    names = [split for split in SPLITS if f"x_{split}" in arrays or f"y_{split}" in arrays]
    if "train" not in names or arrays.keys() != {f"{axis}_{split}" for split in names for axis in "xy"}:
        raise ValueError(
            f"{path} has the keys {sorted(arrays)}: expected x_train and y_train, with or without the pairs "
            f"x_validation, y_validation and x_test, y_test; or x and y alone. Save it again with these names"
        )

    splits = {split: (arrays[f"x_{split}"], _targets(arrays[f"y_{split}"], path)) for split in names}
    for split, (x, y) in splits.items():
        _require_fit(split, x, y, splits["train"], path)
    return splits


def _arrays(path: Path, max_bytes: int) -> dict[str, np.ndarray]:
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
    except DAMAGE as error:
        raise ValueError(f"{path} can't be read as .npz ({error}): write it again with numpy.savez") from error
    if size > max_bytes:
        raise ValueError(
            f"{path} unpacks to {size:,} bytes, above the limit of {max_bytes:,}: "
            f"if that is intended, give a larger max_bytes"
        )
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: _native(archive[key]) for key in archive.files}
    except DAMAGE as error:
        raise ValueError(
            f"{path} can't be read as .npz ({error}): write it again with numpy.savez, from arrays of numbers"
        ) from error


def _native(array: np.ndarray) -> np.ndarray:
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "buif":
        raise ValueError("a member isn't an array of real numbers")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _targets(y: np.ndarray, path: Path) -> np.ndarray:
    if y.dtype.kind == "f":
        return y
    if y.ndim != 1:
        raise ValueError(
            f"{path} has {y.dtype} targets of the shape {y.shape}, but integers are labels (B,): "
            f"save labels with one axis, and one-hot or real targets as floating point"
        )
    if y.size and not (y.min() >= 0 and y.max() < np.iinfo(np.int32).max):
        raise ValueError(
            f"{path} has a label outside 0 ... 2**31 - 2: "
            f"number the classes from 0, or save real targets as floating point"
        )
    return y.astype(np.int32)


def _require_fit(split: str, x: np.ndarray, y: np.ndarray, train: Split, path: Path) -> None:
    if x.ndim == 0 or y.ndim == 0 or len(x) != len(y) or x.size == 0 or y.size == 0:
        raise ValueError(
            f"{path} has x_{split} of the shape {x.shape} and y_{split} of {y.shape}: "
            f"expected one row for each example in both, at least one, and no axis of length 0; save them so"
        )
    for name, array, trained in zip("xy", (x, y), train, strict=True):
        if (array.dtype, array.shape[1:]) != (trained.dtype, trained.shape[1:]):
            raise ValueError(
                f"{path} has examples of {array.dtype} {array.shape[1:]} in {name}_{split}, but of "
                f"{trained.dtype} {trained.shape[1:]} in {name}_train: save them with one type and shape"
            )
