"""A small data set, and one run on it that several tests read."""

import numpy as np
import pytest

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
    """The words of a training that takes no time: without the comparison, which compiles four programs."""
    words = f"train --data {three_clouds} --hidden 5 --batch-size 20 --epochs 3 --learning-rate 0.1"
    return [*words.split(), "--no-progress", "--no-compare"]


@pytest.fixture(scope="session")
def trained(quick, tmp_path_factory):
    """The folder of a run with batch normalisation, so that it has state; read it only."""
    folder = tmp_path_factory.mktemp("runs") / "trained"
    assert main([*quick, "--batch-norm", "--output", str(folder)]) == 0
    return folder
