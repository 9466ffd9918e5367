"""Data sets by name: digits, fashion-mnist, mnist, mnist1d, or an `.npz` file of your own.

Images are uint8 and NHWC, labels int32. Images stay uint8 until the first layer, `Rescale(dataset.scale)`: that takes
a quarter of the memory, and the scaling is stated in one place.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxnn.data import idx, npz
from jaxnn.data.npz import Split
from jaxnn.optional import require

DEBIAN_FOLDER = Path("/usr/share/datasets")  # where the package dataset-fashion-mnist keeps its files

DIGITS_HELD_OUT = 270  # of 1797, for validation and for test each
MNIST_VALIDATION = 5_000  # of 60,000
MNIST1D_VALIDATION = 500  # of 4,000


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Examples and targets, split; every split is (x, y).

    Shapes: x (B, H, W, C) uint8 for images, y (B,) int32 for labels.
    `n_classes` is None where the targets are real numbers; `scale` times x gives numbers of order 1.
    """

    name: str
    train: Split
    validation: Split | None
    test: Split | None
    n_classes: int | None
    scale: float

    def __repr__(self) -> str:
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        shapes = ", ".join(
            f"{name}={split and f'{split[0].dtype}{list(split[0].shape)}'}" for name, split in splits.items()
        )
        return f"Dataset({self.name!r}, {shapes}, n_classes={self.n_classes}, scale={self.scale:.4g})"


def load(
    name: str,
    data_dir: str | os.PathLike[str] | None = None,
    validation: int | None = None,
    *,
    max_bytes: int = idx.MAX_BYTES,
) -> Dataset:
    """The data set of that name, split for training, validation and test.

    name             train     validation  test      where it comes from
    'digits'         1,257     270         270       scikit-learn; stratified, always the same rows
    'fashion-mnist'  55,000    5,000       10,000    `data_dir`, or where the system's package puts it
    'mnist'          55,000    5,000       10,000    likewise
    'mnist1d'        3,500     500         1,000     made by the package mnist1d: float32 (B, 40, 1), of deviation 1
    'PATH.npz'       as the arrays in it say         see `jaxnn.data.npz.read`

    MNIST-1D is ten shapes as signals, each moved, scaled, sheared and blurred: its authors' default set.
    `validation` is the number of training examples to hold out, where it isn't the table's: the last ones, of digits a
    stratified draw. 0 holds out none, so that every example that isn't for test is for training.
    A file, or the arrays in it, may have at most `max_bytes`.

    Raises: ValueError for an unknown name, a number of validation examples that the set can't give, a damaged file or
        one that is too large; TypeError if `validation` isn't an int; FileNotFoundError where files are missing;
        ImportError for digits without scikit-learn, or mnist1d without its package.

    >>> load("digits")
    Dataset('digits', train=uint8[1257, 8, 8, 1], validation=uint8[270, 8, 8, 1], test=uint8[270, 8, 8, 1],
            n_classes=10, scale=0.0625)
    >>> x, y = load("digits", validation=0).train
    >>> x.shape, y.dtype
    ((1527, 8, 8, 1), dtype('int32'))
    """
    is_npz = Path(name).suffix == ".npz"
    if name not in ("digits", "fashion-mnist", "mnist", "mnist1d") and not is_npz:
        raise ValueError(
            f"there is no data set {name!r}: expected digits, fashion-mnist, mnist, mnist1d or a path ending in .npz"
        )
    if isinstance(validation, bool) or not isinstance(validation, int | None):
        raise TypeError(f"validation must be a number of examples, an int; got {type(validation).__name__}")
    if data_dir is not None and (is_npz or name in ("digits", "mnist1d")):
        raise ValueError(f"data_dir is for fashion-mnist and mnist, and {name} is read elsewhere: leave it out")

    if name == "digits":
        return _digits(DIGITS_HELD_OUT if validation is None else validation)
    if name == "mnist1d":
        return _mnist1d(MNIST1D_VALIDATION if validation is None else validation)
    if is_npz:
        return _npz(Path(name).expanduser(), validation, max_bytes)
    folder = DEBIAN_FOLDER / name if data_dir is None else Path(data_dir).expanduser()
    return _mnist(name, folder, MNIST_VALIDATION if validation is None else validation, max_bytes)


def _digits(n_validation: int) -> Dataset:
    digits = require("sklearn.datasets", extra="data").load_digits()
    train_test_split = require("sklearn.model_selection", extra="data").train_test_split
    x, y = digits.images.astype(np.uint8)[..., None], digits.target.astype(np.int32)

    def held_out(rows: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
        return train_test_split(rows, test_size=n, random_state=0, stratify=y[rows])

    # The test rows are drawn first, so that they don't depend on how many are held out for validation.
    train, test = held_out(np.arange(len(y)), DIGITS_HELD_OUT)
    validation = None
    if n_validation != 0:
        if not 10 <= n_validation <= len(train) - 10:
            raise ValueError(
                f"validation={n_validation} can't be drawn from the {len(train)} training examples of digits "
                f"with each of the 10 classes in both: give 0, or 10 to {len(train) - 10}"
            )
        train, rows = held_out(train, n_validation)
        validation = (x[rows], y[rows])
    return Dataset("digits", (x[train], y[train]), validation, (x[test], y[test]), n_classes=10, scale=1 / 16)


def _mnist1d(n_validation: int) -> Dataset:
    mnist1d = require("mnist1d.data", extra="data")
    before = np.random.get_state()  # noqa: NPY002 (the package seeds NumPy's one global generator)
    try:
        arrays = mnist1d.make_dataset(mnist1d.get_dataset_args())
    finally:
        np.random.set_state(before)  # noqa: NPY002
    train, test = (
        (arrays[x].astype(np.float32)[..., None], arrays[y].astype(np.int32))
        for x, y in (("x", "y"), ("x_test", "y_test"))
    )
    train, validation = _last_held_out(train, n_validation, "mnist1d")
    return Dataset("mnist1d", train, validation, test, n_classes=10, scale=1.0)


def _mnist(name: str, folder: Path, n_validation: int, max_bytes: int) -> Dataset:
    def images_and_labels(split: str) -> Split:
        x_path, y_path = (
            _path_of(name, folder, f"{split}-{stem}") for stem in ("images-idx3-ubyte", "labels-idx1-ubyte")
        )
        x, y = idx.read(x_path, max_bytes), idx.read(y_path, max_bytes)
        if x.dtype != np.uint8 or x.shape[1:] != (28, 28) or y.dtype != np.uint8 or y.ndim != 1:
            raise ValueError(
                f"{x_path} and {y_path} hold {x.dtype} {x.shape} and {y.dtype} {y.shape}: expected uint8 "
                f"images (B, 28, 28) and labels (B,); give the folder of {name}"
            )
        if len(x) != len(y) or len(x) == 0:
            raise ValueError(
                f"{x_path} holds {len(x)} images and {y_path} {len(y)} labels: expected one label for each image, "
                f"and at least one; give a folder where both come from the same set"
            )
        if y.max() > 9:
            raise ValueError(f"{y_path} has the label {y.max()}: expected 0 to 9; give the folder of {name}")
        return x[..., None], y.astype(np.int32)

    train, test = images_and_labels("train"), images_and_labels("t10k")
    train, validation = _last_held_out(train, n_validation, name)
    return Dataset(name, train, validation, test, n_classes=10, scale=1 / 255)


def _path_of(name: str, folder: Path, stem: str) -> Path:
    for path in (folder / f"{stem}.gz", folder / stem):
        if path.is_file():
            return path
    remedy = {
        "fashion-mnist": "install Debian's package dataset-fashion-mnist, or download them by "
        "jaxnn.data.download('fashion-mnist', FOLDER), and give data_dir",
        "mnist": "get the four files of MNIST, and give data_dir",
    }
    raise FileNotFoundError(
        f"{name} needs {stem}.gz (or without .gz) and its three companions, and {folder} doesn't have it: "
        f"{remedy[name]} (--data-dir FOLDER on the command line)"
    )


def _npz(path: Path, n_validation: int | None, max_bytes: int) -> Dataset:
    splits = npz.read(path, max_bytes)
    train, validation = splits["train"], splits.get("validation")
    if validation is None:
        train, validation = _last_held_out(train, n_validation or 0, path.name)
    elif n_validation == 0:
        (x, y), (held_x, held_y) = train, validation
        train, validation = (np.concatenate([x, held_x]), np.concatenate([y, held_y])), None
    elif n_validation is not None:
        raise ValueError(
            f"validation={n_validation}, but {path} has a validation set of its own: "
            f"leave validation out to use that, or give 0 to train on it"
        )

    x, y = train
    is_labelled = y.dtype == np.int32
    n_classes = 1 + max(int(labels.max()) for _, labels in splits.values()) if is_labelled else None
    scale = 1 / 255 if x.dtype == np.uint8 else 1.0
    return Dataset(path.name, train, validation, splits.get("test"), n_classes, scale)


def _last_held_out(train: Split, n: int, name: str) -> tuple[Split, Split | None]:
    x, y = train
    if not 0 <= n < len(x):
        raise ValueError(
            f"validation={n} can't be held out of the {len(x)} training examples of {name}: give 0 to {len(x) - 1}"
        )
    if n == 0:
        return train, None
    return (x[:-n], y[:-n]), (x[-n:], y[-n:])
