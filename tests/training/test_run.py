"""A run: its start, what it carries, and its rule as an argument."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from gradients import error
from small_runs import LOSS, NET, N, examples, same_bits, train

import jaxnn
from jaxnn import (
    BatchNorm,
    Dense,
    Dropout,
    Keys,
    ReLU,
    Rescale,
    Serial,
    Static,
    Tanh,
    adam,
    gradient_descent,
    momentum,
)
from jaxnn.training import augment
from jaxnn.training.run import as_argument

# The start.


def test_start_is_the_networks_init():
    key = jax.random.key(0)
    run = jaxnn.start(NET, (2,), key=key, update=adam(0.1))
    keys = Keys.of(key)
    assert same_bits(run.keys, keys)
    assert same_bits(Keys.of(keys), keys)
    # Compiled or not, a draw may differ in its last bit.
    assert error(run.params, NET.init(keys.init, (2,)).params) <= 1e-6
    assert (run.epoch, run.step, run.update_state.step) == (0, 0, 0)
    assert error(run.update_state.velocity, jax.tree.map(jnp.zeros_like, run.params)) == 0


def test_keys_are_three_sources_of_chance():
    """Another order leaves the init as it is, and another noise both."""
    keys = Keys.of(jax.random.key(0))
    net = Serial(Dense(4), Dropout(0.5), Dense(3))
    first, _ = train(keys, net=net, epochs=1)
    for name in ("order", "noise"):
        other, _ = train(keys._replace(**{name: jax.random.key(9)}), net=net, epochs=1)
        assert not same_bits(other.params, first.params)
    shape, rule = (2,), momentum(0.1)
    begin = jaxnn.start(net, shape, key=keys._replace(order=jax.random.key(9)), update=rule)
    assert same_bits(begin.params, jaxnn.start(net, shape, key=keys, update=rule).params)


def test_other_params_may_be_where_a_run_begins():
    run = jaxnn.start(NET, (2,), key=jax.random.key(0), update=momentum(0.1))
    zeros = run._replace(params=jax.tree.map(jnp.zeros_like, run.params))
    _, history = train(key=None, run=zeros, loop=jaxnn.bgd, epochs=1)
    np.testing.assert_allclose(history.loss, [np.log(3)], rtol=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("x64", "dtype", "params_dtype"),
    [
        (False, "float64", "float32"),
        (True, "float64", "float64"),
        (False, "uint8", "float32"),
        (True, "uint8", "float64"),
        (True, "float32", "float32"),
    ],
)
def test_params_take_the_dtype_of_floating_x(x64, dtype, params_dtype, weighted):
    """Of integers they take JAX's default float, and float64 numbers are float32 where x64 is off."""
    with jax.enable_x64(x64):
        x, labels = examples()
        x = x.astype(jnp.dtype(dtype))
        data = (x, labels, np.ones(N)) if weighted else (x, labels)
        net = Serial(Rescale(), *NET.layers)
        run, history = jax.eval_shape(lambda: train(data=data, net=net, epochs=1, validation=data, record="step"))
    assert {leaf.dtype.name for leaf in jax.tree.leaves((run.params, history))} == {params_dtype}


@pytest.mark.parametrize("weighted", [False, True])
def test_it_trains_in_bfloat16(weighted):
    x, labels = examples()
    data = (jnp.asarray(x, jnp.bfloat16), labels, *((np.ones(N),) if weighted else ()))
    run, history = train(data=data, net=Serial(Rescale(), *NET.layers), validation=data, record="step")
    assert {leaf.dtype.name for leaf in jax.tree.leaves(run.params)} == {"bfloat16"}
    assert {leaf.dtype.name for leaf in jax.tree.leaves(history)} == {"float32"}
    assert history.loss[-1] < history.loss[0]


# Going on.


@pytest.mark.parametrize("loop", [jaxnn.bgd, jaxnn.mbgd, jaxnn.sgd])
def test_going_on_gives_the_bits_of_never_having_stopped(loop):
    """2 + 3 epochs are 5: params, state, rule, dropout, order and history; also from a run that was on the host."""
    norm = BatchNorm() if loop is not jaxnn.sgd else Tanh()
    net = Serial(Dense(4), norm, Dropout(0.3), Dense(3))
    options = {"net": net, "loop": loop, "update": adam(jaxnn.schedules.cosine(0.1, 10)), "batch_size": 5}
    options = options if loop is jaxnn.mbgd else {k: v for k, v in options.items() if k != "batch_size"}
    whole, history = train(epochs=5, validation=examples(1), **options)
    first, beginning = train(epochs=2, validation=examples(1), **options)
    second, rest = train(None, epochs=3, validation=examples(1), run=first, **options)
    assert same_bits(second, whole)
    assert same_bits(jax.tree.map(lambda *parts: jnp.concatenate(parts), beginning, rest), history)
    assert int(second.epoch) == 5


@pytest.mark.parametrize("loop", [jaxnn.bgd, jaxnn.mbgd, jaxnn.sgd])
def test_twice_the_same_bits(loop):
    net = Serial(Dense(4), ReLU(), Dropout(0.3), Dense(3))
    assert same_bits(train(loop=loop, net=net), train(loop=loop, net=net))
    assert not same_bits(train(loop=loop, net=net)[0].params, train(1, loop=loop, net=net)[0].params)


@pytest.mark.parametrize("as_array", [np.asarray, jnp.asarray, lambda a: a.tolist()], ids=["numpy", "jax", "lists"])
def test_data_of_any_kind_gives_the_same_bits(as_array):
    x, labels = examples()
    assert same_bits(train(data=(as_array(x), as_array(labels))), train())
    assert same_bits(train(data=[x.astype(np.float32), labels.astype(np.uint8)]), train())


# Augmentation.


@pytest.mark.parametrize("loop", [jaxnn.mbgd, jaxnn.sgd])
def test_augmentation_that_does_nothing_changes_no_bit(loop):
    """Dropout's masks and the order are those of a run without; validation sees the examples as they are."""
    net = Serial(Dense(4), Tanh(), Dropout(0.3), Dense(3))
    options = {"loop": loop, "net": net, "validation": examples(1)}
    for nothing in (augment.Compose(), lambda key, x, target: (x, target)):
        assert same_bits(train(augment=nothing, **options), train(**options))


def test_validation_is_never_augmented(x64):
    run, history = train(validation=examples(1), augment=augment.Noise(10.0))
    found = jaxnn.evaluate(NET, LOSS, run.params, run.state, examples(1))
    np.testing.assert_allclose(history.validation_loss[-1], found.loss, rtol=1e-13)
    np.testing.assert_allclose(history.validation_metric[-1], found.metric, rtol=1e-13)


@pytest.mark.parametrize("loop", [jaxnn.bgd, jaxnn.mbgd, jaxnn.sgd])
def test_an_augmented_run_goes_on_with_the_same_bits_and_compiles_once(loop, compilations):
    noise, options = augment.Noise(0.3), {"loop": loop, "net": Serial(Dense(4), Tanh(), Dropout(0.3), Dense(3))}
    whole, _ = train(epochs=3, augment=noise, **options)
    first, _ = train(epochs=1, augment=noise, **options)
    with compilations.none():
        second, _ = train(None, epochs=2, augment=augment.Noise(0.3), run=first, **options)
        other, _ = train(1, epochs=3, augment=augment.Noise(0.3), **options)
    assert same_bits(second, whole)
    assert not same_bits(other.params, whole.params)


@pytest.mark.parametrize(
    ("loss", "targets"),
    [
        (LOSS, np.arange(N) % 3),
        (jaxnn.SigmoidCrossEntropy(), np.eye(3, dtype=int)[np.arange(N) % 3]),
    ],
    ids=["labels", "yes or no"],
)
def test_mixed_targets_have_a_loss_and_an_accuracy(loss, targets):
    """Floating mixtures, whatever the targets were; on a network that is always right about the larger share."""
    data = examples()[0], targets
    _, history = train(data=data, loss=loss, augment=augment.Mixup(1.0, n_classes=3), validation=data, epochs=3)
    assert np.isfinite(history.loss).all()
    assert ((history.metric >= 0) & (history.metric <= 1)).all()


def test_accuracy_of_mixtures_is_about_the_larger_share(x64):
    """Examples that are their own one-hot labels, mixed: the network that passes them on is right about all."""
    x = 100 * np.eye(3)[np.arange(9) % 3]
    begin = jaxnn.start(Dense(3), (3,), key=jax.random.key(0), update=momentum(0.0), dtype=jnp.float64)
    identity = begin._replace(params=begin.params._replace(weight=jnp.eye(3)))
    changes = augment.Mixup(1.0, n_classes=3)
    given = {"net": Dense(3), "data": (x, np.arange(9) % 3), "update": momentum(0.0), "augment": changes, "epochs": 3}
    _, history = train(None, run=identity, **given)
    np.testing.assert_array_equal(history.metric, 1.0)
    assert (history.loss > 1).all()  # sure of what has but the larger share


# A rule as an argument of a compiled program.


def test_rules_as_arguments():
    assert as_argument(momentum(1, 0), NET) == momentum(1.0, 0.0)
    given = [1, 0.5, np.float32(1), np.float64(2), np.int64(3)]  # all are one kind of number, and share one program
    rates = [as_argument(momentum(rate), NET).learning_rate for rate in given]
    assert {(rate.dtype, rate.shape) for rate in rates} == {(np.dtype(np.float32), ())}
    static = as_argument(optimiser := optax.sgd(0.1), NET)
    assert static == Static(optimiser)
    assert as_argument(static, NET) == static
    assert isinstance(as_argument(gradient_descent(lambda step: 0.1), NET), Static)


@dataclass(frozen=True)
class Plain:
    """A rule that is no pytree."""

    rate: float

    def init(self, params):
        return ()

    def update(self, grads, state, params=None):
        return jax.tree.map(lambda g: -self.rate * g, grads), state


def test_a_rule_that_is_no_pytree_is_answered_by_name_and_remedy():
    with pytest.raises(TypeError, match=r"update: Plain isn't a pytree.*@jaxnn.register_node above @dataclass"):
        train(update=Plain(0.1))
    run, _ = train(update=jaxnn.register_node(Plain)(0.1))
    truth, _ = train(update=gradient_descent(0.1))
    assert same_bits(run.params, truth.params)


def test_more_steps_than_a_run_counts_are_refused(key):
    """An int32 counts them, and a schedule that is asked for step -2147483648 climbs back to its first rate."""
    data = jnp.ones((4, 2)), jnp.arange(4) % 2
    given = {"key": key, "update": jaxnn.gradient_descent(0.1)}
    most = 2**31 - 1
    for loop, epochs, words in ((jaxnn.bgd, 2**31, f"at most {most:,}"), (jaxnn.sgd, 2**30, f"at most {most // 4:,}")):
        with pytest.raises(ValueError, match=f"steps that a run counts: give {words}"):
            loop(jaxnn.Dense(2), jaxnn.SoftmaxCrossEntropy(), data, epochs=epochs, **given)
    with pytest.raises(ValueError, match="steps that a run counts"):
        jaxnn.fit(jaxnn.sgd, jaxnn.Dense(2), jaxnn.SoftmaxCrossEntropy(), data, epochs=2**31, **given)


@pytest.mark.parametrize(
    ("given", "kind", "words"),
    [
        (
            {"update": jaxnn.gradient_descent(jnp.array([0.1, 0.2]))},
            ValueError,
            r"array of \(2,\) as its learning_rate",
        ),
        (
            {"update": jaxnn.chain(jaxnn.clip_by_norm(1.0), jaxnn.adam(jaxnn.schedules.cosine(jnp.ones(3), 9)))},
            ValueError,
            r"cosine has an array of \(3,\) as its value, and a run has one: train as many runs by `ensemble`",
        ),
        ({"penalty": jaxnn.l2(jnp.ones(2))}, ValueError, "penalty: l2 has an array of"),
        (
            {"run": (1, 2), "key": None},
            TypeError,
            "run should be a Run, the first part of what a loop gives, got a tuple",
        ),
    ],
    ids=["rate", "schedule", "penalty", "run"],
)
def test_what_is_no_run_or_is_several_is_said(key, given, kind, words):
    given = {"key": key, "update": jaxnn.gradient_descent(0.1), "epochs": 1} | given
    with pytest.raises(kind, match=words):
        jaxnn.bgd(NET, LOSS, examples(), **given)
    with pytest.raises(TypeError, match="ensemble: loop should be a function such as mbgd, got 'bgd'"):
        jaxnn.ensemble("bgd", NET, LOSS, examples(), keys=jax.random.split(key, 2), epochs=1, update=given["update"])
