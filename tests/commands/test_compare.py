"""jaxnn compare: exit status 0 where the gradients agree, 1 where they don't."""

import jax
import pytest

from jaxnn.cli import main
from jaxnn.layers import Dense


def test_the_gradients_of_a_run_agree(trained, capsys):
    assert main(["compare", str(trained)]) == 0
    out = capsys.readouterr().out
    assert "[5].weight" in out
    assert "all gradients agree" in out


def test_a_wrong_backward_is_noticed(trained, capsys, monkeypatch):
    right = Dense.backward

    def wrong(self, params, cache, dy):
        dparams, dx = right(self, params, cache, dy)
        return dparams._replace(weight=1.001 * dparams.weight), dx

    monkeypatch.setattr(Dense, "backward", wrong)
    jax.clear_caches()
    assert main(["compare", str(trained)]) == 1
    assert "WRONG" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["config.json", "params.safetensors"])
def test_a_run_without_its_files_is_refused_in_one_line(trained, tmp_path, capsys, name):
    for path in trained.iterdir():
        if path.name != name:
            (tmp_path / path.name).write_bytes(path.read_bytes())
    assert main(["compare", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert f"has no {name}" in err
    assert err.count("\n") == 1
