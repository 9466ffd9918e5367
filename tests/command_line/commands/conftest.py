"""A small data set, and one run on it that several tests read."""

from types import SimpleNamespace

import numpy as np
import pytest

from jaxnn import audit
from jaxnn.command_line.parser import main


@pytest.fixture(scope="session")
def three_clouds(tmp_path_factory):
    """An .npz file of 60 training, 12 validation and 12 test points in three clouds that lie well apart."""
    rng = np.random.default_rng(0)

    def points(n):
        labels = np.arange(n) % 3
        return (rng.normal(size=(n, 4)) + 6 * np.eye(3, 4)[labels]).astype(np.float32), labels

    splits = {name: points(n) for name, n in (("train", 60), ("validation", 12), ("test", 12))}
    path = tmp_path_factory.mktemp("data") / "clouds.npz"
    np.savez(path, **{f"{axis}_{name}": split[i] for name, split in splits.items() for i, axis in enumerate("xy")})
    return path


@pytest.fixture(scope="session")
def quick(three_clouds):
    """The words of a training that takes no time."""
    words = f"train --data {three_clouds} --hidden 5 --batch-size 20 --epochs 3 --learning-rate 0.1 --no-progress"
    return words.split()


@pytest.fixture(scope="session")
def trained(quick, tmp_path_factory):
    """The folder of a run with batch normalisation, so that it has state; read it only."""
    folder = tmp_path_factory.mktemp("runs") / "trained"
    with pytest.MonkeyPatch.context() as patch:
        _leave_out_the_audit(patch)
        assert main([*quick, "--batch-norm", "--output", str(folder)]) == 0
    return folder


@pytest.fixture
def unaudited(monkeypatch):
    """Leave out the comparison of gradients, which compiles four programs: it is tested where it isn't left out."""
    _leave_out_the_audit(monkeypatch)


def _leave_out_the_audit(patch):
    agreed = SimpleNamespace(ok=True, worst=SimpleNamespace(float64_error=0.0))
    patch.setattr(audit, "compare", lambda *_, **__: agreed)
