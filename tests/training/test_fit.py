"""The host around a loop: same bits, early stopping, log, Ctrl-C."""

import json
import os
import signal
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn

NET = jaxnn.Serial(jaxnn.Dense(5), jaxnn.Tanh(), jaxnn.Dense(3))
LOSS = jaxnn.SoftmaxCrossEntropy()


def examples(n=22, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 4)).astype(np.float32), rng.integers(0, 3, n).astype(np.int32)


GIVEN = {"update": jaxnn.momentum(0.1), "batch_size": 8}


def assert_same_bits(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_fit_and_loop_give_the_same_bits():
    key, validation = jax.random.key(0), examples(9, seed=1)
    run, history = jaxnn.mbgd(NET, LOSS, examples(), key=key, epochs=4, validation=validation, **GIVEN)
    fitted = jaxnn.fit(jaxnn.mbgd, NET, LOSS, examples(), key=key, epochs=4, validation=validation, **GIVEN)
    assert fitted.ended == "epochs"
    assert_same_bits(fitted.run.params, run.params)
    assert_same_bits(fitted.history, history)


def test_fit_goes_on_from_a_run():
    key = jax.random.key(0)
    whole, _ = jaxnn.mbgd(NET, LOSS, examples(), key=key, epochs=4, **GIVEN)
    half, _ = jaxnn.mbgd(NET, LOSS, examples(), key=key, epochs=2, **GIVEN)
    assert_same_bits(jaxnn.fit(jaxnn.mbgd, NET, LOSS, examples(), run=half, epochs=2, **GIVEN).run.params, whole.params)


def test_early_stopping_restores_the_best():
    """Random labels: the validation loss soon rises, and what is returned is the network from before."""
    key, validation = jax.random.key(0), examples(40, seed=1)
    given = GIVEN | {"update": jaxnn.momentum(0.3), "validation": validation}
    stopping = jaxnn.early_stopping(patience=3)
    fitted = jaxnn.fit(jaxnn.mbgd, NET, LOSS, examples(), key=key, epochs=60, stopping=stopping, **given)
    losses = np.asarray(fitted.history.validation_loss)
    best = int(losses.argmin())
    assert fitted.ended == "early"
    assert len(losses) == best + 1 + 3
    at_best, _ = jaxnn.mbgd(NET, LOSS, examples(), key=key, epochs=best + 1, **given)
    assert_same_bits(fitted.run.params, at_best.params)


def test_early_stopping_wants_a_minimal_improvement_and_no_nan():
    rule = jaxnn.early_stopping(patience=2, min_improvement=0.5)
    stopping = rule.init(jnp.zeros(()))
    for epoch, loss in enumerate([2.0, 1.6, 1.4, jnp.nan, 0.0], start=1):
        stopping = rule.update(stopping, jnp.asarray(float(epoch)), jnp.asarray(loss))
    # 1.6 is no improvement by more than 0.5, 1.4 is; then a NaN, then 0.0, the improvement that comes in time.
    assert (float(stopping.best), bool(stopping.stopped)) == (5.0, False)


def test_early_stopping_under_vmap():
    """Two members: one stops and keeps its best, the other goes on."""
    rule = jaxnn.early_stopping(patience=1)
    losses = jnp.array([[3.0, 4.0, 1.0], [3.0, 2.0, 1.0]])

    def all_epochs(losses):
        def epoch(stopping, number_and_loss):
            return rule.update(stopping, *number_and_loss), None

        stopping, _ = jax.lax.scan(epoch, rule.init(jnp.zeros(())), (jnp.arange(1.0, 4.0), losses))
        return stopping

    stopping = jax.vmap(all_epochs)(losses)
    np.testing.assert_array_equal(stopping.best, [1.0, 3.0])
    np.testing.assert_array_equal(stopping.stopped, [True, False])


def test_fit_of_an_ensemble_stops_when_all_have_stopped():
    keys = jax.random.split(jax.random.key(0), 3)
    fitted = jaxnn.fit(
        partial(jaxnn.ensemble, jaxnn.mbgd),
        NET,
        LOSS,
        examples(),
        keys=keys,
        epochs=60,
        validation=examples(40, seed=1),
        stopping=jaxnn.early_stopping(patience=2),
        **(GIVEN | {"update": jaxnn.momentum(jnp.array([0.1, 0.2, 0.3]))}),
    )
    losses = np.asarray(fitted.history.validation_loss)
    assert fitted.ended == "early"
    assert losses.shape[0] == 3
    for i in range(3):
        best = int(losses[i].argmin())  # of an early stop: nobody improves after having stopped
        member = jaxnn.member(fitted.run, i)
        reached = jaxnn.evaluate(NET, LOSS, member.params, member.state, examples(40, seed=1)).loss
        assert float(reached) <= losses[i][: best + 1].min() + 1e-6 or best > 2


def test_the_log_has_a_line_an_epoch(tmp_path):
    log = tmp_path / "metrics.jsonl"
    fitted = jaxnn.fit(jaxnn.mbgd, NET, LOSS, examples(), key=jax.random.key(0), epochs=3, log=log, **GIVEN)
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    np.testing.assert_allclose([row["loss"] for row in rows], fitted.history.loss)
    assert rows[0]["examples_per_second"] > 0
    assert "validation_loss" not in rows[0]
    jaxnn.fit(jaxnn.mbgd, NET, LOSS, examples(), run=fitted.run, epochs=1, log=log, **GIVEN)  # it is appended to
    assert [json.loads(line)["epoch"] for line in log.read_text().splitlines()] == [1, 2, 3, 4]


def test_a_loss_that_diverges_ends_the_run_and_the_log_is_still_json(tmp_path):
    log = tmp_path / "metrics.jsonl"
    net = jaxnn.Dense(3)
    given = GIVEN | {"update": jaxnn.gradient_descent(1e30)}
    loss = jaxnn.HalfSquaredError()
    x, labels = examples()
    data = x, np.eye(3, dtype=np.float32)[labels]
    fitted = jaxnn.fit(jaxnn.mbgd, net, loss, data, key=jax.random.key(0), epochs=50, log=log, **given)
    rows = [json.loads(line, parse_constant=pytest.fail) for line in log.read_text().splitlines()]
    assert fitted.ended == "diverged"
    assert len(rows) == len(fitted.history.loss) < 50
    assert rows[-1]["loss"] is None


def interrupting(loop, at_epoch):
    """The loop, with somebody pressing Ctrl-C while that epoch runs."""
    epochs = 0

    def pressed(*arguments, **options):
        nonlocal epochs
        epochs += 1
        if epochs == at_epoch:
            os.kill(os.getpid(), signal.SIGINT)
        return loop(*arguments, **options)

    return pressed


def test_ctrl_c_ends_with_what_was_learned_so_far(tmp_path):
    log = tmp_path / "metrics.jsonl"
    before = signal.getsignal(signal.SIGINT)
    loop = interrupting(jaxnn.mbgd, at_epoch=2)
    fitted = jaxnn.fit(loop, NET, LOSS, examples(), key=jax.random.key(0), epochs=50, log=log, **GIVEN)
    assert fitted.ended == "interrupted"
    assert int(fitted.run.epoch) == 2
    assert len(log.read_text().splitlines()) == 2
    assert signal.getsignal(signal.SIGINT) is before
    after_two, _ = jaxnn.mbgd(NET, LOSS, examples(), key=jax.random.key(0), epochs=2, **GIVEN)
    assert_same_bits(fitted.run.params, after_two.params)


def test_a_second_ctrl_c_is_raised_with_what_was_learned():
    def pressed_twice(net, loss, data, **options):
        if "run" in options:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        return jaxnn.mbgd(net, loss, data, **options)

    with pytest.raises(KeyboardInterrupt) as raised:
        jaxnn.fit(pressed_twice, NET, LOSS, examples(), key=jax.random.key(0), epochs=50, **GIVEN)
    fitted = raised.value.fit
    assert (fitted.ended, int(fitted.run.epoch), len(fitted.history.loss)) == ("interrupted", 1, 1)
    assert "attribute fit" in raised.value.__notes__[0]


def test_where_ctrl_c_is_ignored_it_stays_so():
    """As in a process in the background."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        given = {"key": jax.random.key(0), "epochs": 3}
        fitted = jaxnn.fit(interrupting(jaxnn.mbgd, 1), NET, LOSS, examples(), **given, **GIVEN)
    finally:
        signal.signal(signal.SIGINT, before)
    assert (fitted.ended, len(fitted.history.loss)) == ("epochs", 3)


def test_ctrl_c_is_acknowledged(capsys):
    jaxnn.fit(interrupting(jaxnn.mbgd, 1), NET, LOSS, examples(), key=jax.random.key(0), epochs=50, **GIVEN)
    assert "Ctrl-C: this epoch goes on to its end" in capsys.readouterr().err


def test_a_full_disk_under_the_log_is_named(tmp_path):
    log = tmp_path / "full"
    log.symlink_to("/dev/full")
    with pytest.raises(OSError, match="full") as raised:
        jaxnn.fit(jaxnn.mbgd, NET, LOSS, examples(), key=jax.random.key(0), epochs=2, log=log, **GIVEN)
    assert int(raised.value.fit.run.epoch) == 1


def test_a_run_that_diverges_keeps_its_last_finite_params():
    """Half squared error under a rate of 1e30: an error of 1e30 after one step, and infinite after two."""
    x = np.ones((8, 1), np.float32)
    given = {"update": jaxnn.gradient_descent(1e30), "batch_size": 8, "metric": None}
    start = jaxnn.training.run.start(jaxnn.Dense(1), (1,), key=jax.random.key(0), update=given["update"])
    fitted = jaxnn.fit(jaxnn.mbgd, jaxnn.Dense(1), jaxnn.HalfSquaredError(), (x, x), run=start, epochs=50, **given)
    assert fitted.ended == "diverged"
    assert not np.isfinite(fitted.history.loss[-1])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(fitted.run.params))
    epoch = int(fitted.run.epoch)
    assert 0 < epoch < len(fitted.history.loss)
    there, _ = jaxnn.mbgd(jaxnn.Dense(1), jaxnn.HalfSquaredError(), (x, x), run=start, epochs=epoch, **given)
    assert_same_bits(fitted.run.params, there.params)
    one_more, _ = jaxnn.mbgd(jaxnn.Dense(1), jaxnn.HalfSquaredError(), (x, x), run=there, epochs=1, **given)
    assert not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(one_more.params))


def test_the_caller_may_watch_and_end_it():
    seen = []
    given = {"key": jax.random.key(0), "epochs": 50, "after_epoch": seen.append, "interrupted": lambda: len(seen) == 2}
    fitted = jaxnn.fit(jaxnn.mbgd, NET, LOSS, examples(), **given, **GIVEN)
    assert (fitted.ended, [int(then.run.epoch) for then in seen]) == ("interrupted", [1, 2])
    assert_same_bits(fitted.run.params, seen[-1].run.params)


def test_progress_shows_loss_and_speed(capsys):
    jaxnn.fit(jaxnn.mbgd, NET, LOSS, examples(), key=jax.random.key(0), epochs=2, progress=True, **GIVEN)
    shown = capsys.readouterr().err
    assert "2/2" in shown
    assert "loss" in shown
    assert "examples/s" in shown


def test_fit_compiles_no_more_than_its_loop(compilations):
    key, other = jax.random.key(0), jax.random.key(7)
    jaxnn.mbgd(NET, LOSS, examples(), key=key, epochs=5, **GIVEN)
    with compilations.none():
        jaxnn.fit(jaxnn.mbgd, NET, LOSS, examples(), key=other, epochs=5, **GIVEN)


def test_what_fit_refuses():
    with pytest.raises(ValueError, match="early stopping watches the validation loss: pass validation"):
        jaxnn.fit(
            jaxnn.mbgd,
            NET,
            LOSS,
            examples(),
            key=jax.random.key(0),
            epochs=1,
            stopping=jaxnn.early_stopping(1),
            **GIVEN,
        )
    given = {"key": jax.random.key(0), "epochs": 1, **GIVEN}
    with pytest.raises(TypeError, match="stopping should be such as early_stopping"):
        jaxnn.fit(jaxnn.mbgd, NET, LOSS, examples(), stopping=3, **given)
    with pytest.raises(TypeError, match="fit: loop should be a function such as mbgd, got 'mbgd'"):
        jaxnn.fit("mbgd", NET, LOSS, examples(), **given)
    with pytest.raises(ValueError, match="epochs should be a positive int, got 0"):
        jaxnn.fit(jaxnn.mbgd, NET, LOSS, examples(), key=jax.random.key(0), epochs=0, **GIVEN)


def test_what_fails_between_epochs_gives_back_what_was_learned():
    """A disk that is full under the log, in the third epoch: two epochs are in the error, as a run of two has them."""

    class Full(Exception):
        pass

    calls = []

    def loop(*arguments, **given):
        if len(calls) == 2:
            raise Full("no space left on device")
        calls.append(1)
        return jaxnn.mbgd(*arguments, **given)

    given = GIVEN | {"key": jax.random.key(0)}
    with pytest.raises(Full) as raised:
        jaxnn.fit(loop, NET, LOSS, examples(), epochs=5, **given)
    learned, (run, history) = raised.value.fit, jaxnn.mbgd(NET, LOSS, examples(), epochs=2, **given)
    assert learned.ended == "failed"
    assert_same_bits(learned.run.params, run.params)
    assert_same_bits(learned.history, history)
    calls[:] = [1, 1]
    with pytest.raises(Full) as raised:  # before the first epoch is over there is nothing
        jaxnn.fit(loop, NET, LOSS, examples(), epochs=5, **given)
    assert not hasattr(raised.value, "fit")


@pytest.mark.devices
@pytest.mark.parametrize("stopping", [None, jaxnn.early_stopping(3)])
def test_what_it_gives_lies_where_the_run_does(stopping):
    place = jax.devices()[2]
    data = jax.device_put(examples(), place)
    given = {"key": jax.random.key(0), "epochs": 2, "validation": data, "stopping": stopping}
    fitted = jaxnn.fit(jaxnn.mbgd, NET, LOSS, data, **given, **GIVEN)
    leaves = jax.tree.leaves((fitted.run.params, fitted.history))
    assert {device for leaf in leaves for device in leaf.devices()} == {place}
