"""N devices equal one, and each member of an ensemble equals its twin that was trained alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn

pytestmark = pytest.mark.devices
NET = jaxnn.Serial(jaxnn.Dense(5), jaxnn.Tanh(), jaxnn.Dense(3))
LOSS = jaxnn.SoftmaxCrossEntropy()
# Programs that differ in rounding alone: 1e-12 after 20 steps, and here after the whole run, because a rate of 0.1 is
# well below half the smallest unstable one (VERIFICATION.md, "Chaos").
TOLERANCE = 1e-12


def examples(n=22, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 4)), rng.integers(0, 3, n).astype(np.int32)


def largest_difference(a, b):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return max(float(jnp.max(jnp.abs(x - y))) for x, y in pairs)


def keys(n, seed=0):
    return jax.random.split(jax.random.key(seed), n)


SPREADS = [{}, {"devices": 4, "by": "shard_map"}, {"devices": 2, "by": "pmap"}]


@pytest.mark.parametrize(("spread", "share_order"), list(zip(SPREADS, [True, False, True], strict=True)), ids=str)
def test_each_member_equals_its_twin(x64, spread, share_order):
    rates, strengths = jnp.linspace(0.02, 0.1, 4), jnp.array([0.0, 1e-3, 1e-2, 1e-1])
    given = {"epochs": 3, "batch_size": 8, "validation": examples(9, seed=1)}
    run, history = jaxnn.ensemble(
        jaxnn.mbgd,
        NET,
        LOSS,
        examples(),
        keys=keys(4),
        update=jaxnn.momentum(rates),
        penalty=jaxnn.l2(strengths),
        share_order=share_order,
        **given,
        **spread,
    )
    own = [jaxnn.Keys.of(key) for key in keys(4)]
    for i in range(4):
        key = own[i]._replace(order=own[0].order) if share_order else own[i]
        update, penalty = jaxnn.momentum(rates[i]), jaxnn.l2(strengths[i])
        twin, alone = jaxnn.mbgd(NET, LOSS, examples(), key=key, update=update, penalty=penalty, **given)
        assert largest_difference(jaxnn.member(run, i).params, twin.params) <= TOLERANCE
        assert largest_difference(jax.tree.map(lambda column, i=i: column[i], history), alone) <= TOLERANCE
        assert jaxnn.member(run, i).epoch == 3


@pytest.mark.parametrize("spread", SPREADS[::2], ids=str)
def test_an_ensemble_goes_on_with_the_same_bits(spread):
    x, labels = examples()
    given = {"update": jaxnn.momentum(jnp.linspace(0.01, 0.1, 4)), "batch_size": 8} | spread
    data = x.astype(np.float32), labels
    whole, _ = jaxnn.ensemble(jaxnn.mbgd, NET, LOSS, data, keys=keys(4), epochs=4, **given)
    part, _ = jaxnn.ensemble(jaxnn.mbgd, NET, LOSS, data, keys=keys(4), epochs=2, **given)
    rest, _ = jaxnn.ensemble(jaxnn.mbgd, NET, LOSS, data, run=part, epochs=2, **given)
    assert largest_difference(rest.params, whole.params) == 0
    assert rest.epoch == whole.epoch == 4


CHUNKS = {"chunk_size": 8}
SHARED = [  # each two options meet
    (jaxnn.mbgd, {"batch_size": 8}, jaxnn.backprop, "shard_map", True),
    (jaxnn.mbgd, {"batch_size": 8}, jaxnn.autodiff, "pmap", False),
    (jaxnn.bgd, {}, jaxnn.backprop, "pmap", True),
    (jaxnn.bgd, {}, jaxnn.autodiff, "shard_map", False),
    (jaxnn.bgd, CHUNKS, jaxnn.autodiff, "shard_map", True),
    (jaxnn.bgd, CHUNKS, jaxnn.backprop, "pmap", False),
]


@pytest.mark.parametrize(("loop", "options", "gradient", "by", "weighted"), SHARED)
def test_four_devices_equal_one(x64, loop, options, gradient, by, weighted):
    """22 examples: neither the ragged batch of 6 nor the whole set is a multiple of 4."""
    x, labels = examples()
    data = (x, labels, np.random.default_rng(2).uniform(0, 2, 22)) if weighted else (x, labels)
    given = {"update": jaxnn.momentum(0.1), "penalty": jaxnn.l2(1e-2), "epochs": 5, "gradient": gradient, **options}
    one, alone = loop(NET, LOSS, data, key=jax.random.key(0), **given)
    many, together = jaxnn.data_parallel(loop, NET, LOSS, data, key=jax.random.key(0), devices=4, by=by, **given)
    assert largest_difference(many.params, one.params) <= TOLERANCE
    assert largest_difference(together, alone) <= TOLERANCE


def test_data_parallel_goes_on_with_the_same_bits():
    x, labels = examples()
    data = x.astype(np.float32), labels
    given = {"update": jaxnn.adam(0.01), "batch_size": 8, "devices": 2}
    whole, _ = jaxnn.data_parallel(jaxnn.mbgd, NET, LOSS, data, key=jax.random.key(0), epochs=2, **given)
    part, _ = jaxnn.data_parallel(jaxnn.mbgd, NET, LOSS, data, key=jax.random.key(0), epochs=1, **given)
    rest, _ = jaxnn.data_parallel(jaxnn.mbgd, NET, LOSS, data, run=part, epochs=1, **given)
    assert largest_difference(rest.params, whole.params) == 0


def test_devices_draw_their_own_dropout_masks():
    """With one mask for all, two devices that hold the same rows would report the same loss on both."""
    net = jaxnn.Serial(jaxnn.Dropout(0.5), jaxnn.Dense(2))
    x, labels = np.ones((64, 8), np.float32), np.zeros(64, np.int32)
    given = {"update": jaxnn.gradient_descent(0.0), "batch_size": 64, "epochs": 1, "record": "step"}
    one, _ = jaxnn.data_parallel(jaxnn.mbgd, net, LOSS, (x, labels), key=jax.random.key(0), devices=1, **given)
    _, two = jaxnn.data_parallel(jaxnn.mbgd, net, LOSS, (x, labels), run=one, devices=2, **given)
    _, half = jaxnn.data_parallel(
        jaxnn.mbgd, net, LOSS, (x[:32], labels[:32]), run=one, devices=1, **(given | {"batch_size": 32})
    )
    assert float(two.loss[0]) != float(half.loss[0])


def test_devices_augment_by_keys_of_their_own():
    """As with dropout; and what one device does, it does to its own share."""
    x, labels = np.ones((64, 8), np.float32), np.zeros(64, np.int32)
    noise = jaxnn.augment.Noise(3.0)
    given = {"update": jaxnn.gradient_descent(0.0), "epochs": 1, "augment": noise}
    one, _ = jaxnn.data_parallel(
        jaxnn.mbgd, NET, LOSS, (x, labels), key=jax.random.key(0), devices=1, batch_size=64, **given
    )
    _, two = jaxnn.data_parallel(jaxnn.mbgd, NET, LOSS, (x, labels), run=one, devices=2, batch_size=64, **given)
    half = x[:32], labels[:32]
    losses = []
    for device in range(2):
        key = jax.random.fold_in(jax.random.fold_in(one.keys.noise, 1), device)
        seen, _ = noise(jax.random.fold_in(key, 2**32 - 1), *map(jnp.asarray, half))
        losses.append(jaxnn.evaluate(NET, LOSS, one.params, one.state, (seen, half[1])).loss)
    np.testing.assert_allclose(two.loss[0], np.mean(losses), rtol=1e-5)
    assert abs(losses[0] - losses[1]) > 1e-3


def test_mixing_on_devices():
    """A ragged batch has padding, which is a real example; every draw varies from device to device."""
    x, labels = examples()
    mixup = jaxnn.augment.Compose(jaxnn.augment.Noise(), jaxnn.augment.Mixup(n_classes=3))
    data = x.astype(np.float32), labels
    given = {"update": jaxnn.gradient_descent(0.1), "epochs": 2, "augment": mixup, "batch_size": 8}
    by = {
        by: jaxnn.data_parallel(jaxnn.mbgd, NET, LOSS, data, key=jax.random.key(0), devices=4, by=by, **given)[1]
        for by in ("shard_map", "pmap")
    }
    np.testing.assert_allclose(by["shard_map"].loss, by["pmap"].loss, rtol=1e-5)


def test_optax_in_an_ensemble_and_on_devices():
    optax = pytest.importorskip("optax")
    x, labels = examples()
    data = x.astype(np.float32), labels
    with jax.numpy_dtype_promotion("standard"):
        _, history = jaxnn.ensemble(jaxnn.sgd, NET, LOSS, data, keys=keys(2), update=optax.sgd(0.1), epochs=1)
        assert history.loss.shape == (2, 1)
        _, history = jaxnn.data_parallel(
            jaxnn.bgd, NET, LOSS, data, key=jax.random.key(0), update=optax.adam(0.1), epochs=2, devices=2
        )
        assert history.loss[1] < history.loss[0]


def refused(match, call, **options):
    x, labels = examples()
    given = {"update": jaxnn.gradient_descent(0.1), "epochs": 1} | options
    with pytest.raises(ValueError, match=match):
        call(NET, LOSS, (x.astype(np.float32), labels), **given)


def test_what_cannot_be_shared_is_refused():
    def parallel(loop):
        return lambda *data, **given: jaxnn.data_parallel(loop, *data, key=jax.random.key(0), **given)

    def many(*data, **given):
        return jaxnn.ensemble(jaxnn.sgd, *data, **given)

    refused(
        "batch of 6 examples can't be shared equally by 4 devices.*multiple of 4", parallel(jaxnn.mbgd), batch_size=6
    )
    refused("sgd: a step has one example.*ensemble", parallel(jaxnn.sgd))
    for wrong in (0, -1, 2.0, "2"):
        refused("devices, if a number, should be a positive int", parallel(jaxnn.bgd), devices=wrong)
    refused("99 devices were asked for, but JAX has 4.*jax_num_cpu_devices", parallel(jaxnn.bgd), devices=99)
    refused("ensemble of 6 members can't be shared equally by 4 devices", many, keys=keys(6), devices=4)
    refused(
        r"single or one per member, \(3,\), got shape \(2,\)", many, keys=keys(3), update=jaxnn.momentum(jnp.ones(2))
    )
    refused("either keys=.* or run=", many)
    refused('by should be "shard_map" or "pmap"', many, keys=keys(4), devices=4, by="vmap")


def with_batch_norm(axis_name=None):
    """BatchNorm alone, recomputed in backward, and under a scan."""
    return jaxnn.Serial(
        jaxnn.Dense(5),
        jaxnn.BatchNorm(axis_name=axis_name),
        jaxnn.Remat(jaxnn.Serial(jaxnn.Dense(4), jaxnn.BatchNorm(0.8, axis_name=axis_name), jaxnn.Tanh())),
        jaxnn.Repeat(jaxnn.Serial(jaxnn.Dense(4), jaxnn.BatchNorm(axis_name=axis_name)), 2),
        jaxnn.Dense(3),
    )


SHARED_STATISTICS = [
    (jaxnn.mbgd, {"batch_size": 8}, jaxnn.backprop, "shard_map", 4, True),
    (jaxnn.mbgd, {"batch_size": 8}, jaxnn.autodiff, "pmap", 2, False),
    (jaxnn.bgd, {}, jaxnn.autodiff, "shard_map", 4, True),
]


@pytest.mark.parametrize(("loop", "options", "gradient", "by", "devices", "weighted"), SHARED_STATISTICS)
def test_batch_norm_over_devices_equals_one(x64, loop, options, gradient, by, devices, weighted):
    """Params, running statistics and history; batches of 8 and a last one of 4.

    Weights differ from device to device, and in BGD one of them has only weights of 0: its rows have a say in the
    statistics alone.
    """
    weights = np.random.default_rng(2).uniform(0, 2, 20) * (np.arange(20) >= 5)
    data = (*examples(20), weights)[: 3 if weighted else 2]
    given = {"update": jaxnn.momentum(0.1), "penalty": jaxnn.l2(1e-2), "epochs": 3, "gradient": gradient, **options}
    one, alone = loop(with_batch_norm(), LOSS, data, key=jax.random.key(0), validation=examples(9, seed=1), **given)
    given |= {"devices": devices, "by": by, "validation": examples(9, seed=1)}
    net = with_batch_norm(jaxnn.parallel.AXIS)
    many, together = jaxnn.data_parallel(loop, net, LOSS, data, key=jax.random.key(0), **given)
    assert largest_difference((many.params, many.state), (one.params, one.state)) <= TOLERANCE
    assert largest_difference(together, alone) <= TOLERANCE


def test_batch_norm_where_its_rows_would_be_too_few_or_too_many():
    given = {"key": jax.random.key(0)}

    def parallel(loop, axis_name):
        net = with_batch_norm(axis_name)
        return lambda _, *data, **options: jaxnn.data_parallel(loop, net, *data, **given, devices=4, **options)

    def alone(loop):
        return lambda _, *data, **options: loop(with_batch_norm("devices"), *data, **given, **options)

    def many(_, *data, **options):
        return jaxnn.ensemble(jaxnn.bgd, with_batch_norm("devices"), *data, keys=keys(4), devices=4, **options)

    refused("couples the rows of a batch.*axis_name='devices'.*one device", parallel(jaxnn.bgd, None))
    refused("couples the rows of a batch.*axis_name='devices'.*one device", parallel(jaxnn.mbgd, "other"), batch_size=8)
    padding = "examples can't be shared equally by 4 devices, and padding would enter the statistics.*ragged last"
    refused(f"mbgd: a batch of 6 {padding}", parallel(jaxnn.mbgd, "devices"), batch_size=8)
    refused(f"bgd: a batch of 22 {padding}", parallel(jaxnn.bgd, "devices"))
    refused("mbgd: .*mesh axis 'devices', and this run is on no axis.*data_parallel", alone(jaxnn.mbgd), batch_size=8)
    refused("bgd: .*mesh axis 'devices', and this run is on no axis.*leave out", alone(jaxnn.bgd))
    refused("bgd: .*mesh axis 'devices', and this run is on no axis", many)  # members would share statistics


def test_repeat_in_an_ensemble_on_devices():
    """Inside shard_map its params vary from the start, and x doesn't yet."""
    net = jaxnn.Serial(jaxnn.Repeat(jaxnn.Serial(jaxnn.Dense(3), jaxnn.Tanh()), 2), jaxnn.Dense(2))
    x, labels = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32), np.arange(8) % 2
    given = {"keys": keys(4), "update": jaxnn.gradient_descent(0.1), "epochs": 1}
    spread, _ = jaxnn.ensemble(jaxnn.bgd, net, LOSS, (x, labels), devices=4, **given)
    alone, _ = jaxnn.ensemble(jaxnn.bgd, net, LOSS, (x, labels), **given)
    assert largest_difference(spread.params, alone.params) <= 1e-6
