"""A run as one compiled program: what its history tells, what compiles nothing, and what is refused before it."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from gradients import SAME, error
from small_runs import LOSS, NET, examples, same_bits, train

import jaxnn
from jaxnn import (
    Dense,
    Dropout,
    HalfSquaredError,
    Serial,
    l2,
    momentum,
)
from jaxnn.layer import recipe
from jaxnn.training import augment
from jaxnn.training.program import _trained

# The history.


def test_columns_and_their_shapes():
    _, history = train(epochs=3)
    assert (history.loss.shape, history.penalty.shape, history.metric.shape) == ((3,),) * 3
    assert history[3:] == (None,) * 4
    _, history = train(epochs=3, metric=None, validation=examples(1), record="step")
    assert (history.metric, history.validation_metric) == (None, None)
    assert history.validation_loss.shape == (3,)
    assert history.step_loss.shape == history.step_gradient_norm.shape == (3, 3)


def test_validation_is_at_the_params_after_the_epoch(x64):
    for epochs in (1, 2):
        run, history = train(epochs=epochs, validation=examples(1), penalty=l2(0.1))
        found = jaxnn.evaluate(NET, LOSS, run.params, run.state, examples(1))
        np.testing.assert_allclose(history.validation_loss[-1], found.loss, rtol=1e-13)
        np.testing.assert_allclose(history.validation_metric[-1], found.metric, rtol=1e-13)


def test_a_history_may_be_longer_than_a_thousand_epochs():
    _, history = train(loop=jaxnn.bgd, epochs=1030)
    assert history.loss.shape == (1030,)
    assert np.all(np.asarray(history.loss) > 0)
    assert history.loss[-1] < history.loss[1023] < history.loss[0]


def test_rows_of_the_history_are_those_of_shorter_runs():
    _, long = train(epochs=4)
    _, short = train(epochs=3)
    assert same_bits(jax.tree.map(lambda column: column[:3], long), short)


# What compiles nothing.


@pytest.mark.parametrize("loop", [jaxnn.bgd, jaxnn.mbgd, jaxnn.sgd])
def test_keys_rates_and_strengths_compile_nothing(loop, compilations):
    net = Serial(Dense(4), Dropout(0.3), Dense(3))
    keys = [jax.random.key(seed) for seed in range(2)]
    rule = lambda rate, mu: jaxnn.chain(jaxnn.clip_by_global_norm(rate), momentum(rate, mu))  # noqa: E731
    run, _ = train(keys[0], loop, net=net, update=rule(0.1, 0.9), penalty=l2(0.1), epochs=2)
    with compilations.none():
        train(keys[1], loop, net=net, update=rule(0.1, 0.9), penalty=l2(0.1), epochs=2)
        train(keys[0], loop, net=net, update=rule(1, 0), penalty=l2(1), epochs=2)
        train(None, loop, net=net, update=rule(0.1, 0.9), penalty=l2(0.1), epochs=2, run=run)
        train(keys[0], loop, net=Serial(*net.layers), data=examples(5), update=rule(0.5, 0.5), penalty=l2(0.0))


@pytest.mark.parametrize(("loop", "epochs"), [(jaxnn.bgd, 23), (jaxnn.mbgd, 29), (jaxnn.sgd, 31)])
def test_another_number_of_epochs_compiles_the_slice_of_a_history_alone(loop, epochs, compilations):
    """Also with the steps in the history; a slice on the device is a program of one operation, and blocks nothing."""
    for record in ("epoch", "step"):
        train(loop=loop, record=record)
        before, programs = compilations.count, _trained._cache_size()
        train(loop=loop, record=record, epochs=epochs)
        assert _trained._cache_size() == programs
        assert compilations.count - before <= 2


def test_optax_compiles_once_for_each_optimiser(compilations):
    optimiser = optax.adam(0.1)
    with jax.numpy_dtype_promotion("standard"):
        first, _ = train(update=optimiser)
        with compilations.none():
            again, _ = train(update=optimiser)
    assert same_bits(first.params, again.params)


# A loop under a user's own transformations.


def test_a_run_can_be_differentiated(x64):
    """The gradient of a validation loss with respect to the rate and the penalty, against central differences."""

    def held_out(numbers):
        rate, strength = numbers
        given = {"update": momentum(rate), "penalty": jaxnn.l2(strength), "validation": examples(1)}
        return train(epochs=3, **given)[1].validation_loss[-1]

    at, h = jnp.array([0.1, 0.01]), 1e-5
    slopes = jax.grad(held_out)(at)
    for i, step in enumerate(h * jnp.eye(2)):
        np.testing.assert_allclose(slopes[i], (held_out(at + step) - held_out(at - step)) / (2 * h), rtol=1e-6)


def test_a_grid_of_rules_and_keys_in_one_vmap(x64):
    """8 runs at once: each is its separate twin."""
    keys = jax.random.split(jax.random.key(0), 2)
    rates = jnp.array([0.05, 0.1, 0.2, 0.4])
    x, labels = map(jnp.asarray, examples())

    def losses(key, rate):
        return jaxnn.mbgd(
            NET, LOSS, (x, labels), key=key, epochs=3, batch_size=3, update=momentum(rate), penalty=l2(rate / 10)
        )[1].loss

    grid = jax.vmap(jax.vmap(losses, in_axes=(None, 0)), in_axes=(0, None))(keys, rates)
    alone = jnp.stack([jnp.stack([losses(key, rate) for rate in rates]) for key in keys])
    assert error(grid, alone) <= SAME


def test_under_a_users_jit():
    inside = jax.jit(lambda key: train(key, validation=examples(1)))
    run, history = inside(jax.random.key(0))
    truth, expected = train(validation=examples(1))
    assert error((run.params, history), (truth.params, expected)) <= 1e-5  # float32, compiled in another context


# What is refused.


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"key": None}, r"pass either key=jax.random.key\(seed\) or run="),
        ({"epochs": 0}, "epochs should be a positive int, got 0"),
        ({"epochs": 2.0}, "epochs should be a positive int, got 2.0"),
        ({"record": "batch"}, 'record should be "epoch" or "step", got \'batch\''),
        ({"data": (np.zeros((7, 2)), np.full(7, 3))}, "labels should be 0 to 2"),
        ({"validation": (np.zeros((7, 2)), np.full(7, -1))}, "validation: labels should be 0 to 2.*got -1"),
        ({"validation": (np.zeros((7, 5)), np.zeros(7, int))}, r"validation: one example should have the shape \(2,\)"),
        ({"loss": HalfSquaredError()}, "outputs' shape"),
        ({"weights": 1}, "unexpected keyword"),
        ({"augment": (augment.Noise(), augment.Noise())}, r"augment: got a tuple .*write Compose\(\*augmentations\)"),
        ({"augment": augment.Noise}, r"augment: got the class Noise: write Noise\(...\)"),
        ({"augment": augment.Flip()}, r"Flip\(\): x should be images \(B, H, W, C\), got shape \(7, 2\)"),
        ({"augment": augment.Mixup()}, "labels are made one-hot, which needs the number of classes"),
        (
            {"augment": augment.Mixup(n_classes=4)},
            r"integer labels \(B,\) or floating distributions \(B, 3\), got float",
        ),
        ({"augment": augment.Mixup(n_classes=3), "batch_size": 1}, "mbgd: .* mixes the examples of a batch"),
        (
            {"augment": lambda key, x, target: (x[:, :1], target)},
            r"makes float32\[7, 1\] of x, which is float32\[7, 2\]",
        ),
        ({"augment": lambda key, x, target: (x > 0, target)}, r"makes bool\[7, 2\] of x.*keep shape and dtype"),
    ],
)
def test_mistakes(options, words):
    with pytest.raises((ValueError, TypeError), match=words):
        train(**options)


class NoPenalty:
    """Value and gradient, but no pytree."""

    def value(self, params):
        return jnp.zeros(())

    def gradient(self, params):
        return jax.tree.map(jnp.zeros_like, params)


class OnAll(NamedTuple):
    """A penalty of one's own as a NamedTuple: one, and not several."""

    strength: float

    def value(self, params):
        return self.strength * sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(params))

    def gradient(self, params):
        return jax.tree.map(lambda leaf: 2 * self.strength * leaf, params)


@recipe
class WithList:
    """A metric with a field that can't be hashed."""

    classes: Any

    def __call__(self, outputs, target):
        return outputs[:, 0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"penalty": 0.1}, "penalty should be such as l2.*got a float"),
        ({"penalty": NoPenalty()}, "penalty: NoPenalty isn't a pytree.*register_node"),
        (
            {"metric": WithList([1])},
            "metric: WithList isn't hashable, because its field 'classes' isn't: make it a frozen",
        ),
        ({"loss": WithList(1)}, "takes a loss, got a WithList without forward and backward and check"),
        ({"update": 0.1}, "update should be an update rule such as gradient_descent.*got a float"),
    ],
)
def test_parts_of_ones_own_are_answered_by_name_and_remedy(options, words):
    with pytest.raises(TypeError, match=words):
        train(**options)


def test_a_penalty_of_ones_own_may_be_a_named_tuple(x64):
    run, history = train(penalty=OnAll(0.05))
    everything = lambda params: jax.tree.map(lambda _: True, params)  # noqa: E731
    truth, expected = train(penalty=l2(0.1, mask=everything))
    assert error((run.params, history.penalty), (truth.params, expected.penalty)) <= SAME


def test_a_remainder_of_another_name_is_refused():
    with pytest.raises(ValueError, match=r'remainder should be "step", "drop" or "merge", got "keep"|got \'keep\''):
        train(remainder="keep")
