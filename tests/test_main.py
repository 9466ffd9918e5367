"""`python -m jaxnn`, as a process of its own."""

import json
import subprocess
import sys

import pytest


def run(*words, cwd):
    return subprocess.run([sys.executable, "-m", "jaxnn", *words], capture_output=True, text=True, cwd=cwd, check=False)


@pytest.mark.devices
def test_two_devices_in_a_process_of_its_own(tmp_path):
    """Devices must be asked for before JAX starts: only a new process shows that they are."""
    ended = run("train", "--hidden", "3", "--epochs", "1", "--devices", "2", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "test accuracy" in ended.stdout
    (folder,) = (tmp_path / "runs").iterdir()
    assert json.loads((folder / "config.json").read_text())["config"]["training"]["devices"] == 2


def test_without_the_extra_it_says_how_to_install_it(tmp_path):
    (tmp_path / "tyro.py").write_text("raise ModuleNotFoundError(\"No module named 'tyro'\", name='tyro')")
    ended = run("train", cwd=tmp_path)
    assert ended.returncode == 1
    assert ended.stderr.startswith("jaxnn: tyro is needed for this")
    assert ended.stderr.count("\n") == 1
