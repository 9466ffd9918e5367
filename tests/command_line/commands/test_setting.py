"""Precision, devices and data as a recipe asks for them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.command_line.commands.setting import COMPARED_ROWS, examples, first_batch, setting
from jaxnn.command_line.config import Data, Objective, Precision, Problem, Recipe, Training
from jaxnn.training.evaluation import accuracy


def test_the_setting_holds_within_and_not_after():
    with setting(Recipe(precision=Precision("float64", "highest"))):
        assert jnp.zeros(()).dtype == jnp.float64
        assert jax.config.jax_default_matmul_precision == "highest"
    assert jnp.zeros(()).dtype == jnp.float32
    assert jax.config.jax_default_matmul_precision != "highest"


def test_images_stay_bytes_and_labels_labels():
    found = examples(Recipe())
    assert found.problem == Problem((8, 8, 1), 10, 10, 1 / 16)
    assert (found.name, found.x_dtype, found.train[1].dtype, found.metric) == ("digits", np.uint8, np.int32, accuracy)


@pytest.mark.parametrize("loss", ["half-squared-error", "absolute-error", "huber"])
def test_for_a_loss_of_numbers_labels_are_one_hot(loss):
    found = examples(Recipe(objective=Objective(loss)))
    labels = examples(Recipe()).test[1]
    assert found.test[1].dtype == np.float32
    np.testing.assert_array_equal(found.test[1], np.eye(10)[labels])
    assert found.metric is accuracy


@pytest.mark.parametrize(("loss", "metric"), [("half-squared-error", None), ("softmax-cross-entropy", accuracy)])
def test_real_targets_are_right_or_wrong_only_as_distributions(tmp_path, loss, metric):
    np.savez(tmp_path / "soft.npz", x=np.zeros((4, 3)), y=np.full((4, 2), 0.5))
    found = examples(Recipe(Data(str(tmp_path / "soft.npz")), objective=Objective(loss)))
    assert (found.problem, found.metric) == (Problem((3,), 2, None, 1.0), metric)
    assert found.x_dtype == np.float32


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
    recipe = Recipe(training=training)
    x, y = first_batch(recipe, examples(recipe))
    assert (len(x), len(y)) == (n_rows, n_rows)
    assert len(first_batch(recipe, examples(recipe), 9)[0]) == 9
