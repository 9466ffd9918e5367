"""BatchNorm: its statistics, which of them run, its two modes, precisions, devices, and the batch it can't take."""

from functools import partial

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradients import SAME, error

from jaxnn import BatchNorm, as_custom_vjp
from jaxnn.audit.network.idiomatic import idiomatic
from jaxnn.layers.batch_norm import BatchNormParams, BatchNormState
from jaxnn.reference import twin


def made(n=3, **fields):
    layer = BatchNorm(**fields)
    return layer, *layer.init(jax.random.key(0), (n,))


def plain(layer):
    """As `as_custom_vjp` gives it, without the rule."""

    def function(params, state, x, train):
        return layer.forward(params, state, x, train=train)[:2]

    return function


def test_outputs_have_mean_0_and_variance_1(x64):
    layer, params, state = made(epsilon=0.0)
    x = 3 * jax.random.normal(jax.random.key(0), (7, 2, 3)) - 5
    y = layer.forward(params, state, x, train=True).y
    np.testing.assert_allclose(jnp.mean(y, axis=(0, 1)), np.zeros(3), atol=1e-14)
    np.testing.assert_allclose(jnp.var(y, axis=(0, 1)), np.ones(3), rtol=1e-13)


def test_what_runs_is_the_unbiased_variance(x64):
    layer, params, state = made(momentum=0.75)
    x = jax.random.normal(jax.random.key(0), (5, 3))
    _, new, _ = layer.forward(params, state, x, train=True)
    np.testing.assert_allclose(new.mean, 0.25 * np.mean(x, axis=0), rtol=1e-13)
    np.testing.assert_allclose(new.variance, 0.75 + 0.25 * np.var(x, axis=0, ddof=1), rtol=1e-13)


def test_evaluation_uses_what_ran_and_changes_nothing(x64):
    layer = BatchNorm(epsilon=0.5)
    params = BatchNormParams(jnp.array([2.0, 3.0]), jnp.array([0.1, 0.2]))
    state = BatchNormState(jnp.array([1.0, -1.0]), jnp.array([0.25, 1.5]))
    x = jnp.array([[1.0, 2.0]])
    y, new, cache = layer.forward(params, state, x)
    np.testing.assert_allclose(y, [[0.1, 0.2 + 3 * 3 / np.sqrt(2)]], rtol=1e-14)
    assert new is state
    np.testing.assert_allclose(
        layer.backward(params, cache, jnp.ones((1, 2))).dx, [[2 / np.sqrt(0.75), 3 / np.sqrt(2)]], rtol=1e-14
    )


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("shape", [(6, 3), (2, 4, 5, 3)], ids=["rows", "images"])
def test_it_is_that_of_flax_but_for_the_variance_that_runs(x64, shape, train):
    """Outputs, what runs, and gradients by their machine."""
    layer, params, state = made()
    n_rows, (x, dy) = float(np.prod(shape[:-1])), 2 * jax.random.normal(jax.random.key(0), (2, *shape)) + 1
    params = BatchNormParams(*jax.random.normal(jax.random.key(1), (2, 3)))
    theirs = flax.linen.BatchNorm(not train, momentum=0.9, epsilon=1e-5, use_fast_variance=False)

    def apply(params, x):
        stats = {"mean": state.mean, "var": state.variance}
        return theirs.apply({"params": params._asdict(), "batch_stats": stats}, x, mutable=["batch_stats"])

    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        y, pull, changed = jax.vjp(apply, params, x, has_aux=True)
        expected = pull(dy)
    ours, new, cache = layer.forward(params, state, x, train=train)
    np.testing.assert_allclose(ours, y, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(new.mean, changed["batch_stats"]["mean"], rtol=1e-12)
    unbiased = (changed["batch_stats"]["var"] - 0.9) * n_rows / (n_rows - 1) + 0.9 if train else 1.0
    np.testing.assert_allclose(new.variance, jnp.broadcast_to(unbiased, (3,)), rtol=1e-12)
    for got, truth in zip(jax.tree.leaves(layer.backward(params, cache, dy)), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(got, truth, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("train", [True, False])
def test_in_half_precision_it_is_float32s_but_for_the_last_rounding(train):
    """bfloat16 x far from 0, whose neighbours are 2 apart: statistics of bfloat16 would be off by as much.

    Beside x in bfloat16 params may be float32, and what runs too: y and dx have x's dtype, all else keeps its own.
    """
    layer, params, state = made()
    params = BatchNormParams(*jax.random.normal(jax.random.key(1), (2, 3)).astype(jnp.bfloat16))
    state = BatchNormState(state.mean + 256, 4 * state.variance)
    x, dy = jax.random.normal(jax.random.key(0), (2, 500, 3)).astype(jnp.bfloat16)
    x = 4 * x + 300

    def both(params, state, x, dy):
        y, new, cache = layer.forward(params, state, x, train=train)
        return y, new, layer.backward(params, cache, dy)

    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), (params, state, x, dy))
    expected = both(*single)
    np.testing.assert_allclose(expected[1].mean, 256 + train * 0.1 * (np.mean(single[2], axis=0) - 256), rtol=1e-6)
    for mine, running in [
        (params, state),
        (single[0], state),
        (params, jax.tree.map(lambda s: s.astype(x.dtype), state)),
    ]:
        ours = both(mine, running, x, dy)
        dtypes = jax.tree.map(lambda leaf: leaf.dtype, ours)
        assert dtypes == jax.tree.map(lambda leaf: leaf.dtype, (x, running, (mine, x)))
        jax.tree.map(np.testing.assert_array_equal, ours, jax.tree.map(jnp.astype, expected, dtypes))


def test_images_far_from_zero(x64):
    """x near 1e4 in float32: mu is rounded by some u 1e4 = 6e-4, and mean(x^2) - mu^2 would be off by u 1e8 = 6."""
    layer, x = BatchNorm(), 1e4 + np.random.default_rng(0).normal(size=(3, 4, 4, 2)).astype(np.float32)
    dy = np.random.default_rng(1).normal(size=x.shape)
    params, state = jax.tree.map(np.asarray, layer.init(jax.random.key(0), (2,)))
    y, _, cache = twin(layer).forward(params, state, x.astype(np.float64), train=True)
    dx = twin(layer).backward(params, cache, dy).dx
    ours, _, cache = layer.forward(params, state, jnp.asarray(x), train=True)
    our_dx = layer.backward(params, cache, jnp.asarray(dy, np.float32)).dx
    assert ours.dtype == our_dx.dtype == np.float32
    for got, truth in ((ours, y), (our_dx, dx)):
        assert np.max(np.abs(np.float64(got) - truth)) <= 4 * 1e4 * 2**-24 * np.max(np.abs(truth))


def test_a_constant_dy_moves_nothing(x64):
    """y has mean 0 whatever x is, so dx of an equal dy is 0; and so is that of dy = x^, but for epsilon."""
    layer, params, state = made(epsilon=1e-12)
    x = jax.random.normal(jax.random.key(0), (6, 3))
    y, _, cache = layer.forward(params, state, x, train=True)
    for dy in (jnp.ones_like(y), y):
        np.testing.assert_allclose(layer.backward(params, cache, dy).dx, np.zeros((6, 3)), atol=1e-11)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_zero_variance_makes_no_nan(dtype):
    with jax.enable_x64(dtype == "float64"):
        layer, params, state = made()
        x, dy = jnp.full((4, 3), 2.0), jax.random.normal(jax.random.key(0), (4, 3))

        def forward(x):
            return layer.forward(params, state, x, train=True)

        y, new, cache = forward(x)
        dx = layer.backward(params, cache, dy).dx
        truth = jax.vjp(lambda x: forward(x).y, x)[1](dy)[0]
        assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves((y, new, dx)))
        np.testing.assert_array_equal(y, np.zeros((4, 3)))
        np.testing.assert_allclose(dx, truth, rtol=1e-4)


# Over several devices: the statistics of all rows, wherever they lie.

REPLICATED, SHARED = jax.sharding.PartitionSpec(), jax.sharding.PartitionSpec("devices")


def on_devices(n, function, in_specs, out_specs):
    mesh = jax.make_mesh((n,), ("devices",), (jax.sharding.AxisType.Auto,), devices=jax.devices()[:n])
    return jax.jit(jax.shard_map(function, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=True))


def whole_and_shared(shape=(8, 2, 3), **fields):
    """The layer on one device and over an axis, params, state, x far from mean 0, dy."""
    params, state = BatchNorm().init(jax.random.key(0), shape[1:])
    params = BatchNormParams(*jax.random.normal(jax.random.key(1), (2, shape[-1])))
    x, dy = jax.random.normal(jax.random.key(2), (2, *shape))
    return BatchNorm(**fields), BatchNorm(axis_name="devices", **fields), params, state, 2 * x + 5, dy


def both(layer, params, state, x, dy):
    y, state, cache = layer.forward(params, state, x, train=True)
    return y, state, layer.backward(params, cache, dy)


@pytest.mark.devices
@pytest.mark.parametrize(("n_devices", "shape"), [(2, (8, 3)), (4, (8, 2, 2, 3)), (4, (4, 3))], ids=str)
def test_devices_with_their_shares_equal_one_with_all(x64, n_devices, shape):
    """By shard_map, whose types say that what runs is the same everywhere, by pmap and by vmap; dparams add up."""
    alone, layer, params, state, x, dy = whole_and_shared(shape, momentum=0.7)
    y, new, (dparams, dx) = jax.jit(partial(both, alone))(params, state, x, dy)

    def of_each(x, dy):
        y, new, (dparams, dx) = both(layer, params, state, x, dy)
        return y, new, jax.lax.psum(dparams, "devices"), dx

    of_shard_map = on_devices(n_devices, of_each, (SHARED, SHARED), (SHARED, REPLICATED, REPLICATED, SHARED))(x, dy)
    shares = [each.reshape(n_devices, -1, *shape[1:]) for each in (x, dy)]
    joined = lambda y, new, dparams, dx: (y.reshape(shape), new, dparams, dx.reshape(shape))  # noqa: E731
    mapped = {"axis_name": "devices", "out_axes": (0, None, None, 0)}
    of_pmap = joined(*jax.pmap(of_each, **mapped, devices=jax.devices()[:n_devices])(*shares))
    of_vmap = joined(*jax.vmap(of_each, **mapped)(*shares))
    for found in (of_shard_map, of_pmap, of_vmap):
        assert error(found, (y, new, dparams, dx), jax.tree.map(jnp.ones_like, (y, new, dparams, dx))) <= SAME


@pytest.mark.devices
@pytest.mark.parametrize(
    ("form", "specs"),
    [
        (as_custom_vjp, (REPLICATED, SHARED)),
        (as_custom_vjp, (REPLICATED, REPLICATED)),
        (plain, (REPLICATED, SHARED)),
        (lambda layer: plain(idiomatic(layer)), (REPLICATED, REPLICATED)),
    ],
    ids=["by hand", "by hand, all rows", "by machine", "idiomatic, all rows"],
)
def test_jax_grad_on_devices(x64, form, specs):
    """`jax.grad` inside of shard_map, of the rule and of the forward, equals that of the whole batch on one device.

    With all rows on every device they are four times as many, four times over: the same statistics.
    """
    alone, layer, params, state, x, dy = whole_and_shared()
    state = BatchNormState(*jax.random.uniform(jax.random.key(3), (2, 3)))

    def gradients(function, params, x, dy):
        def total(params, x):
            y, new = function(params, state, x, train=True)
            return jnp.sum(dy * jnp.sin(y)), new

        return jax.grad(total, argnums=(0, 1), has_aux=True)(params, x)

    of_each = partial(gradients, form(layer))
    found, new = on_devices(4, of_each, (*specs, specs[1]), (specs, REPLICATED))(params, x, dy)
    truth, expected = jax.jit(partial(gradients, plain(alone)))(params, x, dy)
    assert error(found, truth, jax.tree.map(jnp.ones_like, truth)) <= SAME
    n_rows = 16 * (4 if specs[1] == REPLICATED else 1)
    np.testing.assert_allclose(new.mean, expected.mean, rtol=1e-13)
    factor = n_rows / (n_rows - 1) * 15 / 16
    np.testing.assert_allclose(new.variance - 0.9 * state.variance, factor * (expected.variance - 0.9 * state.variance))


@pytest.mark.devices
def test_params_of_each_devices_own(x64):
    """The rule is the transpose of the forward for these too: another device's scale stands in this one's dx."""
    _, layer, params, state, x, dy = whole_and_shared()
    own = jax.tree.map(lambda leaf: jnp.stack([leaf, -leaf, 2 * leaf, leaf + 1]), params)

    def of_each(own, x, dy):
        params = jax.tree.map(lambda leaf: leaf[0], own)
        _, _, (dparams, dx) = both(layer, params, state, x, dy)
        _, pull = jax.vjp(lambda params, x: layer.forward(params, state, x, train=True).y, params, x)
        return jax.tree.map(lambda leaf: leaf[None], ((dparams, dx), pull(dy)))

    ours, truth = on_devices(4, of_each, (SHARED, SHARED, SHARED), SHARED)(own, x, dy)
    assert error(tuple(ours), tuple(truth)) <= SAME


def test_evaluation_needs_no_axis_and_training_does(x64):
    alone, layer, params, state, x, _ = whole_and_shared()
    np.testing.assert_array_equal(layer.forward(params, state, x).y, alone.forward(params, state, x).y)
    with pytest.raises(
        ValueError, match=r"BatchNorm\(axis_name='devices'\): .*mesh axis 'devices'.*data_parallel.*leave out"
    ):
        layer.forward(params, state, x, train=True)
    with pytest.raises(ValueError, match="needs at least two rows, got 1"):
        jax.vmap(lambda x: layer.forward(params, state, x, train=True).y, axis_name="devices")(jnp.ones((1, 1, 3)))
    two = jax.vmap(lambda x: layer.forward(params, state, x, train=True).y, axis_name="devices")(x[:2, :1, None])
    np.testing.assert_allclose(two[:, 0, 0], alone.forward(params, state, x[:2, 0], train=True).y, rtol=1e-12)


def test_errors():
    layer, params, state = made()
    with pytest.raises(ValueError, match=r"training needs at least two rows, got 1.*ragged"):
        layer.forward(params, state, jnp.ones((1, 3)), train=True)
    layer.forward(params, state, jnp.ones((1, 3)))
    layer.forward(params, state, jnp.ones((1, 2, 3)), train=True)
    with pytest.raises(ValueError, match="the last axis of x should have 3 features"):
        layer.forward(params, state, jnp.ones((2, 4)), train=True)
    with pytest.raises(TypeError, match="x should be floating"):
        layer.forward(params, state, jnp.ones((2, 3), jnp.uint8), train=True)
    with pytest.raises(ValueError, match="at least one axis"):
        layer.init(jax.random.key(0), ())
