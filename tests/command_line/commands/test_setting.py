"""Precision, devices and data as a config asks for them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.command_line.commands.setting import COMPARED_ROWS, first_batch, prepare, setting
from jaxnn.command_line.options import Config, Data, Objective, Precision, Problem, Training


def test_the_setting_holds_within_and_not_after():
    with setting(Config(precision=Precision("float64", "highest"))):
        assert jnp.zeros(()).dtype == jnp.float64
        assert jax.config.jax_default_matmul_precision == "highest"
    assert jnp.zeros(()).dtype == jnp.float32
    assert jax.config.jax_default_matmul_precision != "highest"


def test_images_stay_bytes_and_labels_labels():
    prepared = prepare(Config())
    assert prepared.problem == Problem((8, 8, 1), 10, 10, 1 / 16)
    assert prepared.name == "digits"
    assert (prepared.x_dtype, prepared.train[1].dtype) == (np.uint8, np.int32)


@pytest.mark.parametrize("loss", ["half-squared-error", "absolute-error", "huber"])
def test_for_a_loss_of_numbers_labels_are_one_hot(loss):
    prepared = prepare(Config(objective=Objective(loss)))
    labels = prepare(Config()).test[1]
    assert prepared.test[1].dtype == np.float32
    np.testing.assert_array_equal(prepared.test[1], np.eye(10)[labels])


@pytest.mark.parametrize("loss", ["half-squared-error", "softmax-cross-entropy"])
def test_real_targets_have_as_many_outputs_as_numbers(tmp_path, loss):
    np.savez(tmp_path / "soft.npz", x=np.zeros((4, 3)), y=np.full((4, 2), 0.5))
    prepared = prepare(Config(Data(str(tmp_path / "soft.npz")), objective=Objective(loss)))
    assert prepared.problem == Problem((3,), 2, None, 1.0)
    assert prepared.x_dtype == np.float32


def test_yes_or_no_has_one_output(tmp_path):
    np.savez(tmp_path / "binary.npz", x=np.zeros((4, 3)), y=np.arange(4) % 2)
    config = Config(Data(str(tmp_path / "binary.npz")), objective=Objective("sigmoid-cross-entropy"))
    assert prepare(config).problem == Problem((3,), 1, 2, 1.0)
    assert prepare(Config(Data(str(tmp_path / "binary.npz")))).problem == Problem((3,), 2, 2, 1.0)


@pytest.mark.parametrize(
    ("y", "words"),
    [
        (np.linspace(0, 1, 4), "has a real number for each example, .* --loss half-squared-error for quantities"),
        (np.zeros(4, int), "has the label 0 alone"),
    ],
)
def test_targets_that_are_no_classes_are_answered_with_the_loss_to_take(tmp_path, y, words):
    np.savez(tmp_path / "line.npz", x=np.zeros((4, 3)), y=y)
    with pytest.raises(ValueError, match=words):
        prepare(Config(Data(str(tmp_path / "line.npz"))))


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
