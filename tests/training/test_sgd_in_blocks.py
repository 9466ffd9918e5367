"""SGD with delayed updates against the plain loop: the same iterates, and the reasons why it is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradients import error

import jaxnn
from jaxnn import (
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    HalfSquaredError,
    ReLU,
    Rescale,
    Serial,
    Sigmoid,
    SoftmaxCrossEntropy,
    Tanh,
    gradient_descent,
    l2,
    momentum,
)
from jaxnn.training import augment, schedules

N = 23
NET, LOSS = Serial(Dense(5), Tanh(), Dense(3)), SoftmaxCrossEntropy()


def examples(shape=(4,), weighted=False, dtype=np.float64):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, size=(N, *shape)).astype(np.uint8) if dtype is np.uint8 else rng.normal(size=(N, *shape))
    weights = (rng.uniform(0.5, 2.0, size=N),) if weighted else ()
    return (x, rng.integers(0, 3, size=N), *weights)


def both(net, data, block, loss=LOSS, **options):
    options = {"key": jax.random.key(0), "epochs": 2, "update": gradient_descent(0.1), "record": "step"} | options
    return [jaxnn.sgd(net, loss, data, block=each, **options) for each in (None, block)]


def assert_same(plain, delayed, tolerance=1e-12):
    """Runs and histories. The tolerance is that of 46 steps in float64, as in reference/test_loops.py."""
    unit = jax.tree.map(lambda leaf: jnp.ones(()), plain)
    as_numbers = lambda tree: jax.tree.map(  # noqa: E731 (keys have no difference)
        lambda leaf: jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf, tree
    )
    assert error(as_numbers(delayed), as_numbers(plain), unit) <= tolerance


@pytest.mark.parametrize("block", [1, 4, N, 100])
def test_the_iterates_are_those_of_plain_sgd(block, x64):
    """Blocks of one, blocks that leave a rest, one block of all."""
    assert_same(*both(NET, examples(), block))


@pytest.mark.parametrize(
    ("net", "shape", "dtype"),
    [
        (Serial(Dense(3)), (4,), np.float64),
        (Serial(Dense(5, bias=False), Sigmoid(), Dense(3, bias=False)), (4,), np.float64),
        (Serial(Flatten(), Rescale(1 / 255, -0.5), Dense(6), ReLU(), Dropout(0.5), Dense(3)), (2, 3), np.uint8),
        (Serial(Flatten(), Dense(5), Tanh(), Dense(4), Tanh(), Dense(3)), (2, 2), np.float64),
    ],
    ids=str,
)
def test_other_networks(net, shape, dtype, x64):
    """Without biases, of integers, with dropout that has to draw the same masks, deeper."""
    assert_same(*both(net, examples(shape, dtype=dtype), 5))


@pytest.mark.parametrize(
    "options",
    [
        {"update": gradient_descent(schedules.exponential(0.2, 5, 0.5))},
        {"gradient": jaxnn.autodiff},
        {"shuffle": False},
        {"metric": None, "record": "epoch"},
        {"validation": examples()},
    ],
    ids=lambda options: next(iter(options)),
)
def test_options(options, x64):
    assert_same(*both(NET, examples(), 5, **options))


def test_weights(x64):
    assert_same(*both(NET, examples(weighted=True), 5))


def test_squared_error(x64):
    rng = np.random.default_rng(0)
    data = rng.normal(size=(N, 4)), rng.normal(size=(N, 3))
    assert_same(*both(NET, data, 5, HalfSquaredError(), metric=None))


def test_augmentation(x64):
    """Images of a block are changed by the keys that their steps have, and dropout's masks stay."""
    net = Serial(Flatten(), Rescale(1 / 255), Dense(6), ReLU(), Dropout(0.5), Dense(3))
    changes = augment.Compose(augment.Flip(), augment.Shift(), augment.Cutout(2))
    assert_same(*both(net, examples((4, 5, 1), weighted=True, dtype=np.uint8), 5, augment=changes))


def test_going_on_is_never_having_stopped(x64):
    data = examples()
    whole, _ = jaxnn.sgd(NET, LOSS, data, block=5, epochs=3, key=jax.random.key(0), update=RULE)
    run, _ = jaxnn.sgd(NET, LOSS, data, block=5, epochs=1, key=jax.random.key(0), update=RULE)
    run, _ = jaxnn.sgd(NET, LOSS, data, block=5, epochs=2, run=run, update=RULE)
    assert all(jax.tree.leaves(jax.tree.map(lambda a, b: bool(jnp.all(a == b)), run, whole)))


RULE = gradient_descent(0.1)


def test_an_epoch_of_4096_updates_in_float32():
    """784-16-10: rounding walks, in the last digits, as it does between any two orders of a sum."""
    rng = np.random.default_rng(0)
    data = rng.normal(size=(4096, 784)).astype(np.float32) / 28, rng.integers(0, 10, size=4096)
    net = Serial(Dense(16), Sigmoid(), Dense(10))
    plain, delayed = both(net, data, 64, epochs=1, record="epoch")
    # 4096 steps, each rounded in u = 6e-8, walk by about sqrt(4096) u = 4e-6 of the weights' size.
    assert_same(plain[0].params, delayed[0].params, 2e-5)


def test_an_ensemble_delays_too(x64):
    data, keys = examples(), jax.random.split(jax.random.key(0), 3)

    def trained(key, block):
        return jaxnn.sgd(NET, LOSS, data, key=key, epochs=1, update=RULE, block=block)[0].params

    plain, delayed = (jax.vmap(lambda key, block=block: trained(key, block))(keys) for block in (None, 5))
    assert_same(plain, delayed)


@pytest.mark.parametrize(
    ("net", "options", "reason"),
    [
        (NET, {"update": momentum(0.1)}, "it needs plain gradient_descent, got momentum"),
        (NET, {"penalty": l2(0.1)}, "a penalty's gradient changes"),
        (Dense(3), {}, "should be Serial and begin with Dense"),
        (Serial(Dropout(0.5), Dense(3)), {}, "should be Serial and begin with Dense"),
        (Serial(Serial(Dense(3)), Dense(3)), {}, "should be Serial and begin with Dense"),
        (NET, {"block": 0}, "block should be a positive int"),
        (Serial(Dense(3), BatchNorm()), {}, "couples the rows"),
        (NET, {"augment": augment.Mixup(n_classes=3)}, r"sgd: Mixup\(n_classes=3\) mixes the examples"),
    ],
    ids=str,
)
def test_where_it_is_refused(net, options, reason):
    options = {"key": jax.random.key(0), "epochs": 1, "update": RULE, "block": 4} | options
    with pytest.raises(ValueError, match=reason):
        jaxnn.sgd(net, LOSS, examples(), **options)


@pytest.mark.parametrize(
    ("net", "shape", "reason"),
    [
        (Serial(Conv2D(2), Flatten(), Dense(3)), (4, 4, 1), "begin with Dense"),
        (Serial(Dense(3), Flatten(), Dense(3)), (4, 4), "should see vectors"),
    ],
    ids=str,
)
def test_images_are_refused(net, shape, reason):
    options = {"key": jax.random.key(0), "epochs": 1, "update": RULE, "block": 4}
    with pytest.raises(ValueError, match=reason):
        jaxnn.sgd(net, LOSS, examples(shape), **options)
