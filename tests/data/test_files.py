"""Files are written whole or not at all, and errors name them."""

import os

import pytest

from jaxnn.data import files


def full(*_):
    raise OSError(28, "No space left on device")


def test_a_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "a.txt"
    for content, expected in (("one\n", b"one\n"), (b"\xff", b"\xff"), ("", b"")):
        files.write_whole(path, content)
        assert path.read_bytes() == expected
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_link_stays_one(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "file")
    files.write_whole(tmp_path / "link", "one")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "one"


def test_a_full_disk_leaves_what_was_there_and_is_said_with_the_file(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    files.write_whole(path, "before")
    monkeypatch.setattr(files.os, "fsync", full)
    for act in (lambda: files.write_whole(path, "after"), lambda: files.reserve(path, 9)):
        with pytest.raises(OSError, match=r"a\.txt can't be written: No space left on device") as raised:
            act()
        assert raised.value.errno == 28
    assert path.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("n_bytes", [0, 5, 3 * files.BLOCK + 1])
def test_what_is_reserved_is_written_over(tmp_path, n_bytes):
    files.reserve(tmp_path / "a", n_bytes)
    assert [path.stat().st_size for path in tmp_path.iterdir()] == [n_bytes]
    assert not (tmp_path / "a").exists()
    files.write_whole(tmp_path / "a", "short")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["short"]


def test_what_cannot_be_written_is_said_before(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    files.require_writable(tmp_path / "file")
    refused = {
        tmp_path: "is a folder: give the path of a file",
        tmp_path / "file" / "below": "file isn't a folder: give another path",
        tmp_path / "no" / "below": "there is no folder .*no: make it first",
    }
    for path, words in refused.items():
        with pytest.raises(OSError, match=words):
            files.require_writable(path)
    with pytest.raises(FileExistsError, match="is there already: give another path, or --overwrite"):
        files.require_writable(tmp_path / "file", overwrite=False)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(PermissionError, match="doesn't permit it"):
        files.require_writable(tmp_path / "new")
