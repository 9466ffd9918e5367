"""What a training has learned is written once, however it ends."""

from types import SimpleNamespace

import jax
import pytest

from jaxnn.command_line import interrupts
from jaxnn.command_line.keeping import KEPT, Keeper, saying_what_is_kept
from jaxnn.command_line.options import Config, Network, Problem
from jaxnn.command_line.run_folder import PARAMS, read_params

CONFIG, PROBLEM = Config(network=Network(hidden=(3,))), Problem((4,), 2, 2, 1.0)
NET = CONFIG.net(PROBLEM)


def fitted(seed):
    params, state = NET.init(jax.random.key(seed), PROBLEM.shape)
    return SimpleNamespace(run=SimpleNamespace(params=params, state=state))


def kept(folder):
    return read_params(folder, NET, CONFIG, PROBLEM).params[2].weight.tolist()


def weight(seed):
    return fitted(seed).run.params[2].weight.tolist()


def test_the_newest_is_written_at_the_end_or_what_an_error_has(tmp_path):
    keeper = Keeper(tmp_path, NET, CONFIG, PROBLEM)
    with keeper.keeping():
        keeper.note(fitted(0))
        keeper.note(fitted(1))
        assert not (tmp_path / PARAMS).exists()
    assert kept(tmp_path) == weight(1)

    error = RuntimeError("no more")
    error.fit = fitted(2)
    with pytest.raises(RuntimeError), keeper.keeping():  # noqa: PT012
        keeper.note(fitted(1))
        raise error
    assert kept(tmp_path) == weight(2)


def test_without_an_epoch_nothing_is_written(tmp_path):
    with pytest.raises(RuntimeError), Keeper(tmp_path, NET, CONFIG, PROBLEM).keeping():
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_a_signal_finds_the_newest_too(tmp_path):
    keeper = Keeper(tmp_path, NET, CONFIG, PROBLEM)
    with interrupts.watched(), keeper.keeping():
        keeper.note(fitted(3))
        (write,) = interrupts._watch.before_leaving
        write()
        assert kept(tmp_path) == weight(3)


def test_an_error_says_where_it_is(tmp_path):
    with pytest.raises(RuntimeError) as raised, saying_what_is_kept(tmp_path):
        raise RuntimeError
    assert not hasattr(raised.value, "__notes__")
    (tmp_path / PARAMS).touch()
    with pytest.raises(RuntimeError) as raised, saying_what_is_kept(tmp_path):
        raise RuntimeError
    assert raised.value.__notes__ == [f"{KEPT} {tmp_path / PARAMS}"]
