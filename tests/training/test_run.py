"""A run: its start, what it carries, what its history tells, and what it never compiles twice."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from gradients import SAME, error

import jaxnn
from jaxnn import (
    BatchNorm,
    Dense,
    Dropout,
    HalfSquaredError,
    Keys,
    ReLU,
    Rescale,
    Serial,
    SoftmaxCrossEntropy,
    Static,
    Tanh,
    adam,
    gradient_descent,
    l2,
    momentum,
)
from jaxnn.training import augment
from jaxnn.training.run import as_argument

NET, LOSS = Serial(Dense(4), Tanh(), Dense(3)), SoftmaxCrossEntropy()
N, BATCH_SIZE = 7, 3
COMMON = {"update": momentum(0.1), "epochs": 2}


def examples(seed=0, n=N):
    generator = np.random.default_rng(seed)
    return generator.normal(size=(n, 2)), generator.integers(0, 3, size=n)


def train(key=0, loop=jaxnn.mbgd, net=NET, loss=LOSS, data=None, **options):
    options = COMMON | ({"batch_size": BATCH_SIZE} if loop is jaxnn.mbgd else {}) | options
    key = jax.random.key(key) if isinstance(key, int) else key
    return loop(net, loss, examples() if data is None else data, key=key, **options)


def same_bits(a, b):
    return all(jax.tree.leaves(jax.tree.map(lambda x, y: np.array_equal(numbers(x), numbers(y)), a, b)))


def numbers(leaf):
    return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


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
    assert {leaf.dtype.name for leaf in jax.tree.leaves((run.params, history))} == {"bfloat16"}
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


@pytest.mark.parametrize("loop", [jaxnn.bgd, jaxnn.mbgd, jaxnn.sgd])
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
        (SoftmaxCrossEntropy(0.1), np.eye(3)[np.arange(N) % 3]),
        (jaxnn.SigmoidCrossEntropy(), np.arange(N) % 3),
        (jaxnn.SigmoidCrossEntropy(), np.eye(3, dtype=int)[np.arange(N) % 3]),
        (HalfSquaredError(), np.eye(3)[np.arange(N) % 3]),
    ],
    ids=["labels", "distributions", "one-hot of sigmoids", "yes or no", "real numbers"],
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
def test_another_number_of_epochs_compiles_nothing(loop, epochs, compilations):
    train(loop=loop)
    with compilations.none():
        train(loop=loop, epochs=epochs)


def test_optax_compiles_once_for_each_optimiser(compilations):
    optimiser = optax.adam(0.1)
    with jax.numpy_dtype_promotion("standard"):
        first, _ = train(update=optimiser)
        with compilations.none():
            again, _ = train(update=optimiser)
    assert same_bits(first.params, again.params)


def test_rules_as_arguments():
    assert as_argument(momentum(1, 0)) == momentum(1.0, 0.0)
    assert isinstance(as_argument(momentum(1)).learning_rate, float)
    static = as_argument(optimiser := optax.sgd(0.1))
    assert static == Static(optimiser)
    assert as_argument(static) is static
    assert isinstance(as_argument(gradient_descent(lambda step: 0.1)), Static)


# A loop under a user's own transformations.


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
        ({"augment": augment.Mixup()}, "labels are made one-hot, and of how many classes"),
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
