"""Precision, devices and data as a config asks for them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.command_line.commands.setting import COMPARED_ROWS, first_batch, prepare, setting
from jaxnn.command_line.options import Config, Data, Objective, Precision, Problem, Training
from jaxnn.training.evaluation import accuracy


def test_the_setting_holds_within_and_not_after():
    with setting(Config(precision=Precision("float64", "highest"))):
        assert jnp.zeros(()).dtype == jnp.float64
        assert jax.config.jax_default_matmul_precision == "highest"
    assert jnp.zeros(()).dtype == jnp.float32
    assert jax.config.jax_default_matmul_precision != "highest"


def test_images_stay_bytes_and_labels_labels():
    prepared = prepare(Config())
    assert prepared.problem == Problem((8, 8, 1), 10, 10, 1 / 16)
    assert (prepared.name, prepared.metric) == ("digits", accuracy)
    assert (prepared.x_dtype, prepared.train[1].dtype) == (np.uint8, np.int32)


@pytest.mark.parametrize("loss", ["half-squared-error", "absolute-error", "huber"])
def test_for_a_loss_of_numbers_labels_are_one_hot(loss):
    prepared = prepare(Config(objective=Objective(loss)))
    labels = prepare(Config()).test[1]
    assert prepared.test[1].dtype == np.float32
    np.testing.assert_array_equal(prepared.test[1], np.eye(10)[labels])
    assert prepared.metric is accuracy


@pytest.mark.parametrize(("loss", "metric"), [("half-squared-error", None), ("softmax-cross-entropy", accuracy)])
def test_real_targets_are_right_or_wrong_only_as_distributions(tmp_path, loss, metric):
    np.savez(tmp_path / "soft.npz", x=np.zeros((4, 3)), y=np.full((4, 2), 0.5))
    prepared = prepare(Config(Data(str(tmp_path / "soft.npz")), objective=Objective(loss)))
    assert (prepared.problem, prepared.metric) == (Problem((3,), 2, None, 1.0), metric)
    assert prepared.x_dtype == np.float32


@pytest.mark.parametrize(
    ("training", "n_rows"),
    [
        (Training(batch_size=20), 20),
        (Training(batch_size=500), COMPARED_ROWS),
        (Training("bgd"), COMPARED_ROWS),
        (Training("sgd"), COMPARED_ROWS),
    ],
)
def test_gradients_are_compared_on_a_batch_of_bounded_size(training, n_rows):
    config = Config(training=training)
    x, y = first_batch(config, prepare(config))
    assert (len(x), len(y)) == (n_rows, n_rows)
    assert len(first_batch(config, prepare(config), 9)[0]) == 9
