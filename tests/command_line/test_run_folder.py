"""A run's folder: written, read back, and refused where it is damaged."""

import json

import jax
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

import jaxnn
from jaxnn.command_line import run_folder
from jaxnn.command_line.json_fields import as_json
from jaxnn.command_line.options import Config, Network, Problem
from jaxnn.command_line.run_folder import CONFIG, METRICS, PARAMS, Learned

SMALL = Config(network=Network(hidden=(3,), batch_norm=True))
PROBLEM = Problem((4,), 2, 2, 1.0)
NET = SMALL.net(PROBLEM)


@pytest.fixture
def learned(key):
    return Learned(*NET.init(key, PROBLEM.shape))


@pytest.fixture
def folder(tmp_path, learned):
    run_folder.write_config(tmp_path, SMALL, PROBLEM)
    run_folder.write_params(tmp_path, NET, SMALL, PROBLEM, learned)
    return tmp_path


def test_what_is_written_is_read(folder, learned):
    assert run_folder.read_config(folder) == (SMALL, PROBLEM)
    read = run_folder.read_params(folder, NET, SMALL, PROBLEM)
    assert jax.tree.structure(read) == jax.tree.structure(learned)
    jax.tree.map(np.testing.assert_array_equal, read, learned)


def test_arrays_stand_under_their_tree_paths_beside_config_and_versions(folder):
    with safe_open(folder / PARAMS, framework="numpy") as file:
        names, metadata = set(file.keys()), file.metadata()
    assert names == {
        "params[2].weight",
        "params[3].scale",
        "params[3].bias",
        "params[5].weight",
        "params[5].bias",
        "state[3].mean",
        "state[3].variance",
    }
    metadata = json.loads(metadata["jaxnn"])
    assert metadata["network"] == repr(NET)
    assert metadata["versions"]["jaxnn"] == jaxnn.__version__
    assert metadata["config"] == json.loads(json.dumps(as_json(SMALL)))


def test_equal_runs_give_equal_bytes(folder, learned):
    once = (folder / PARAMS).read_bytes()
    for _ in range(5):
        run_folder.write_params(folder, NET, SMALL, PROBLEM, learned)
        assert (folder / PARAMS).read_bytes() == once


def arrays_and_metadata(folder):
    with safe_open(folder / PARAMS, framework="numpy") as file:
        return {name: file.get_tensor(name) for name in list(file.keys())}, file.metadata()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda arrays: arrays.pop("state[3].mean"), "names should be"),
        (lambda arrays: arrays.update(more=np.zeros(1)), "names should be"),
        (lambda arrays: arrays.update({"params[5].bias": np.zeros(3, np.float32)}), r"float32\[2\], got float32\[3\]"),
        (lambda arrays: arrays.update({"params[5].bias": np.zeros(2)}), r"float32\[2\], got float64\[2\]"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(folder, change, words):
    arrays, metadata = arrays_and_metadata(folder)
    change(arrays)
    save_file(arrays, folder / PARAMS, metadata=metadata)
    with pytest.raises(ValueError, match=words):
        run_folder.read_params(folder, NET, SMALL, PROBLEM)


def test_another_network_of_the_same_shapes_is_refused(folder):
    other = Network(hidden=(3,), activation="tanh", batch_norm=True).net(2, 1.0)
    with pytest.raises(ValueError, match=r"network should be .*Tanh.* got .*ReLU"):
        run_folder.read_params(folder, other, SMALL, PROBLEM)


@pytest.mark.parametrize("content", [b"", b"not safetensors", b"\xff" * 64])
def test_what_is_not_safetensors_is_refused(folder, content):
    (folder / PARAMS).write_bytes(content)
    with pytest.raises(ValueError, match="isn't a whole safetensors file"):
        run_folder.read_params(folder, NET, SMALL, PROBLEM)


def test_a_flipped_bit_is_found_wherever_it_is(folder):
    """In a number it is the checksum's to find; elsewhere something else may be wrong first."""
    whole = (folder / PARAMS).read_bytes()
    assert run_folder.read_params(folder, NET, SMALL, PROBLEM)
    for place in (-1, -30, len(whole) // 2, 20, 200):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        (folder / PARAMS).write_bytes(damaged)
        with pytest.raises(ValueError, match="another checksum" if place < 0 else "params.safetensors"):
            run_folder.read_params(folder, NET, SMALL, PROBLEM)


@pytest.mark.parametrize(("was", "is_now"), [('"seed": 0', '"seed": 1'), ('"n_classes": 2', '"n_classes": 3')])
def test_a_config_that_was_changed_no_longer_fits(folder, was, is_now):
    path = folder / CONFIG
    text = path.read_text()
    path.write_text(text.replace(was, is_now))
    assert path.read_text() != text
    with pytest.raises(ValueError, match="was written with another (config|problem)"):
        run_folder.read_params(folder, NET, *run_folder.read_config(folder))


def test_what_another_version_wrote_is_named(folder):
    path = folder / CONFIG
    content = json.loads(path.read_text())
    content["config"]["recipe"] = 1
    path.write_text(json.dumps(content | {"versions": {"jaxnn": "0.0.9"}}))
    with pytest.raises(ValueError, match=f"jaxnn 0.0.9 wrote it, and this is {jaxnn.__version__}: read it with that"):
        run_folder.read_config(folder)
    arrays, metadata = arrays_and_metadata(folder)
    plain = json.loads(metadata["jaxnn"]) | {"versions": {"jaxnn": "0.0.9"}}
    del plain["sha256"]
    save_file(arrays, folder / PARAMS, metadata={"jaxnn": json.dumps(plain)})
    with pytest.raises(ValueError, match="has no checksum; jaxnn 0.0.9 wrote it"):
        run_folder.read_params(folder, NET, SMALL, PROBLEM)


def test_a_truncated_file_is_refused(folder):
    whole = (folder / PARAMS).read_bytes()
    (folder / PARAMS).write_bytes(whole[:-4])
    with pytest.raises(ValueError, match="isn't a whole safetensors file"):
        run_folder.read_params(folder, NET, SMALL, PROBLEM)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "isn't JSON"),
        ("[]", "should have a config and a problem"),
        ('{"config": {}, "problem": {}}', "config should have the fields of a Config"),
    ],
)
def test_a_damaged_config_is_refused(tmp_path, content, words):
    (tmp_path / CONFIG).write_text(content)
    with pytest.raises(ValueError, match=words):
        run_folder.read_config(tmp_path)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"has no {CONFIG}"):
        run_folder.read_config(tmp_path)
    with pytest.raises(FileNotFoundError, match=f"has no {PARAMS}"):
        run_folder.read_params(tmp_path, NET, SMALL, PROBLEM)


def test_a_new_folder_is_never_an_old_one(tmp_path):
    with pytest.raises(FileExistsError, match="no run is overwritten"), run_folder.new_folder(tmp_path, "digits"):
        pass


def test_folders_made_in_one_second_have_names_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with run_folder.new_folder(None, "digits") as a, run_folder.new_folder(None, "digits") as b:
        assert a != b
    assert {path.parent.name for path in (a, b)} == {"runs"}
    assert a.name.startswith("digits-")


@pytest.mark.parametrize("metrics", [None, "", "{}\n"])
def test_a_folder_stays_after_an_error_if_an_epoch_was_finished(tmp_path, metrics):
    with pytest.raises(RuntimeError), run_folder.new_folder(tmp_path / "run", "digits") as folder:  # noqa: PT012
        if metrics is not None:
            (folder / METRICS).write_text(metrics)
        raise RuntimeError
    assert folder.exists() == bool(metrics)


def test_json_knows_no_nan(tmp_path):
    run_folder.write_json(tmp_path / "a.json", {"a": float("nan"), "b": {"c": float("inf"), "d": [1]}})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": None, "b": {"c": None, "d": [1]}}


def test_a_file_is_there_whole_or_not_at_all(folder, monkeypatch):
    """A disk that is full leaves what was there before, and says which file it is about."""
    before = (folder / PARAMS).read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run_folder.os, "fsync", full)
    with pytest.raises(OSError, match=r"config\.json can't be written: No space left on device"):
        run_folder.write_json(folder / CONFIG, {"config": 1})
    assert run_folder.read_config(folder) == (SMALL, PROBLEM)
    assert (folder / PARAMS).read_bytes() == before
    assert not list(folder.glob("*.part*"))


@pytest.mark.parametrize("metadata", ["[]", "3", "null", "[" * 100_000])
def test_metadata_that_is_no_object_is_refused(folder, metadata):
    with safe_open(folder / PARAMS, framework="numpy") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(arrays, folder / PARAMS, metadata={"jaxnn": metadata})
    with pytest.raises(ValueError, match=r"params\.safetensors isn't a whole safetensors file"):
        run_folder.read_params(folder, NET, SMALL, PROBLEM)


def test_nested_json_is_refused(folder):
    (folder / CONFIG).write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"config\.json isn't JSON"):
        run_folder.read_config(folder)
