"""Downloads, from a server on this machine."""

import functools
import http.server
import struct
import threading

import pytest

from jaxnn.data import download, load
from jaxnn.data.datasets import DEBIAN_FOLDER
from jaxnn.data.downloads import FASHION_MNIST_SHA256

# When the authors compressed each file, in seconds since 1970: the one thing in the published files that Debian's lack.
COMPRESSED_AT = {
    "train-images-idx3-ubyte.gz": 1504176606,
    "train-labels-idx1-ubyte.gz": 1504176606,
    "t10k-images-idx3-ubyte.gz": 1504176627,
    "t10k-labels-idx1-ubyte.gz": 1504176627,
}


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A folder and the address at which it is served."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    folder = tmp_path / "served"
    folder.mkdir()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_the_published_files_arrive_and_load(served, tmp_path):
    """Debian's files under the header that gzip gave the originals (flag 8: a name; RFC 1952) have their checksums."""
    source = DEBIAN_FOLDER / "fashion-mnist"
    if not source.is_dir():
        pytest.skip("Debian's package dataset-fashion-mnist isn't installed")
    folder, url = served
    for file, seconds in COMPRESSED_AT.items():
        start = struct.pack("<4BI2B", 0x1F, 0x8B, 8, 8, seconds, 0, 3) + file.removesuffix(".gz").encode() + b"\0"
        (folder / file).write_bytes(start + (source / file).read_bytes()[10:])

    target = download("fashion-mnist", tmp_path / "data", url)
    assert target == tmp_path / "data"
    assert {path.name for path in target.iterdir()} == set(FASHION_MNIST_SHA256)
    assert len(load("fashion-mnist", target, validation=0).train[0]) == 60_000

    for file in FASHION_MNIST_SHA256:
        (folder / file).unlink()
    assert download("fashion-mnist", target, url) == target, "files that are there are kept"


def test_a_file_with_another_checksum_is_not_kept(served, tmp_path):
    folder, url = served
    for file in FASHION_MNIST_SHA256:
        (folder / file).write_bytes(b"<!DOCTYPE html>")
    with pytest.raises(ValueError, match=r"hash of downloaded file .* does not match the known hash"):
        download("fashion-mnist", tmp_path / "data", url)
    assert list((tmp_path / "data").iterdir()) == []


def test_a_server_that_has_no_such_file_is_an_error(served, tmp_path):
    with pytest.raises(OSError, match="404"):
        download("fashion-mnist", tmp_path / "data", served[1])


@pytest.mark.parametrize("name", ["mnist", "digits"])
def test_only_what_has_known_checksums_is_downloaded(name, tmp_path):
    with pytest.raises(
        ValueError, match=f"only fashion-mnist can be downloaded, not '{name}': give jaxnn.data.load a data_dir"
    ):
        download(name, tmp_path)
