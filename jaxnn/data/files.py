"""Files that are written whole or not at all, and errors that name the file."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BLOCK = 1024**2


def write_whole(path: str | os.PathLike[str], content: bytes | str) -> None:
    """Write a file so that whoever looks finds what was there before, or all of `content`, and never a part of it.

    The content goes to a file beside it first, which then takes its place.
    Raises: OSError, with the path, if it can't be written; what was there before is then still there.
    """
    path = Path(os.path.realpath(path))
    content = content.encode() if isinstance(content, str) else content
    partial = _partial(path)
    with naming(path):
        try:
            # What `reserve` took is written over and not given back first: another program could take it.
            with partial.open("r+b" if partial.exists() else "wb") as file:
                file.write(content)
                file.truncate()
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


def reserve(path: str | os.PathLike[str], n_bytes: int) -> None:
    """Take the space of a file that `write_whole` will write, so that a full disk says so now, and not then.

    Raises: OSError, with the path, if the disk hasn't that much room or the file can't be written.
    """
    path = Path(os.path.realpath(path))
    with naming(path):
        try:
            with _partial(path).open("wb") as file:
                for start in range(0, n_bytes, BLOCK):
                    file.write(bytes(min(BLOCK, n_bytes - start)))
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            _partial(path).unlink(missing_ok=True)
            raise


def require_writable(path: str | os.PathLike[str], *, overwrite: bool = True) -> None:
    """A path that a file can be written to, as far as one can know before there is anything to write.

    Raises: FileExistsError, NotADirectoryError, FileNotFoundError or PermissionError, with the remedy.
    """
    path = Path(path)
    folder = path.parent
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: give the path of a file")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} is there already: give another path, or --overwrite")
    if not folder.exists():
        raise FileNotFoundError(f"{path} can't be written, there is no folder {folder}: make it first")
    if not folder.is_dir():
        raise NotADirectoryError(f"{path} can't be written, {folder} isn't a folder: give another path")
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"{path} can't be written, the folder {folder} doesn't permit it: give another path")


@contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Errors of the operating system name the file, also where a full disk says only that it is full."""
    try:
        yield
    except OSError as error:
        named = OSError(f"{path} can't be written: {error.strerror or error}")
        named.errno = error.errno
        raise named from error


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")
