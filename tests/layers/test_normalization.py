"""LayerNorm, GroupNorm and RMSNorm: what is normalised together, numbers by hand, far from 0, Flax, and errors."""

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import GroupNorm, LayerNorm, RMSNorm
from jaxnn.layers.normalization import NormParams
from jaxnn.reference import twin

LAYERS = [
    (LayerNorm(), (4, 6)),
    (LayerNorm(2), (4, 6)),
    (LayerNorm(3, 0.1), (2, 2, 6)),
    (GroupNorm(1), (4, 4, 6)),
    (GroupNorm(2, 1e-3), (4, 4, 6)),
    (GroupNorm(6), (4, 4, 6)),
    (RMSNorm(), (4, 6)),
]
every_layer = pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=str)


def numbers(*shape, seed=0, mean=0.0, dtype=None):
    return jnp.asarray(mean + np.random.default_rng(seed).normal(size=shape), dtype or jnp.result_type(float))


def params_of(layer, shape):
    params, state = layer.init(jax.random.key(0), shape)
    assert state == ()
    return jax.tree.map(lambda leaf: numbers(*leaf.shape, seed=leaf.size + int(leaf.ravel()[0])), params)


def both(layer, params, x, dy):
    y, _, cache = layer.forward(params, (), x, train=True)
    return y, layer.backward(params, cache, dy)


def test_layer_norm_by_hand(x64):
    """x = (1, 3, 5, 7): mean 4, variance 5, and with epsilon 4 a divisor of 3."""
    layer, x = LayerNorm(epsilon=4.0), jnp.array([[1.0, 3.0, 5.0, 7.0]])
    params = NormParams(jnp.array([1.0, 2.0, 0.0, -1.0]), jnp.array([0.5, 0.0, 1.0, 0.0]))
    y, (dparams, dx) = both(layer, params, x, jnp.array([[3.0, 0.0, 1.0, 0.0]]))
    np.testing.assert_allclose(y, [[-0.5, -2 / 3, 1.0, -1.0]], rtol=1e-15)
    np.testing.assert_allclose(dparams.scale, [-3.0, 0.0, 1 / 3, 0.0], rtol=1e-15)
    np.testing.assert_array_equal(dparams.bias, [3.0, 0.0, 1.0, 0.0])
    # g = (3, 0, 0, 0), mean(g) = 3/4, mean(g x^) = -3/4, x^ = (-1, -1/3, 1/3, 1)
    np.testing.assert_allclose(dx, [[1 / 2, -1 / 3, -1 / 6, 0.0]], rtol=1e-14, atol=1e-16)


def test_group_norm_by_hand(x64):
    """Two groups of two channels at two places: (1, 3, 5, 7) and (2, 2, 2, 2)."""
    layer, x = GroupNorm(2, 4.0), jnp.array([[[1.0, 3.0, 2.0, 2.0], [5.0, 7.0, 2.0, 2.0]]])
    params = NormParams(jnp.array([3.0, 6.0, 1.0, 1.0]), jnp.array([0.0, 1.0, 0.0, 5.0]))
    dy = jnp.array([[[1.0, 0.0, 4.0, 0.0], [0.0, 0.0, 0.0, 0.0]]])
    y, (dparams, dx) = both(layer, params, x, dy)
    np.testing.assert_allclose(y, [[[-3.0, -1.0, 0.0, 5.0], [1.0, 7.0, 0.0, 5.0]]], rtol=1e-15)
    np.testing.assert_allclose(dparams.scale, [-1.0, 0.0, 0.0, 0.0], rtol=1e-15)
    np.testing.assert_array_equal(dparams.bias, [1.0, 0.0, 4.0, 0.0])
    expected = [[[1 / 2, -1 / 3, 3 / 2, -1 / 2], [-1 / 6, 0.0, -1 / 2, -1 / 2]]]
    np.testing.assert_allclose(dx, expected, rtol=1e-14, atol=1e-16)


def test_rms_norm_by_hand(x64):
    """x = (1, 7): a mean square of 25, and with epsilon 11 a divisor of 6."""
    layer, x = RMSNorm(11.0), jnp.array([[1.0, 7.0]])
    y, (dparams, dx) = both(layer, NormParams(jnp.array([6.0, 12.0]), None), x, jnp.array([[1.0, 0.0]]))
    np.testing.assert_allclose(y, [[1.0, 14.0]], rtol=1e-15)
    np.testing.assert_allclose(dparams.scale, [1 / 6, 0.0], rtol=1e-15, atol=1e-16)
    assert dparams.bias is None
    # g = (6, 0), mean(g x^) = 1/2
    np.testing.assert_allclose(dx, [[71 / 72, -7 / 72]], rtol=1e-14)


def test_what_is_normalised_together(x64):
    x = 3 * numbers(2, 4, 4, 6) - 5
    for layer, grouped, axes in (
        (LayerNorm(2, 0.0), x, (2, 3)),
        (GroupNorm(2, 0.0), x.reshape(2, 16, 2, 3), (1, 3)),
        (GroupNorm(1, 0.0), x, (1, 2, 3)),
        (GroupNorm(6, 0.0), x, (1, 2)),
    ):
        params, _ = layer.init(jax.random.key(0), x.shape[1:])
        y = layer.forward(params, (), x).y.reshape(grouped.shape)
        np.testing.assert_allclose(jnp.mean(y, axis=axes), 0, atol=1e-14)
        np.testing.assert_allclose(jnp.var(y, axis=axes), 1, rtol=1e-13)
    params, _ = RMSNorm().init(jax.random.key(0), x.shape[1:])
    y = RMSNorm(0.0).forward(params, (), x).y
    np.testing.assert_allclose(jnp.mean(y**2, axis=-1), 1, rtol=1e-13)


def test_params_that_are_left_out():
    key = jax.random.key(0)
    params, _ = LayerNorm(2).init(key, (5, 3, 4), jnp.bfloat16)
    assert params.scale.shape == params.bias.shape == (3, 4)
    assert params.scale.dtype == params.bias.dtype == jnp.bfloat16
    np.testing.assert_array_equal(params.scale, np.ones((3, 4)))
    np.testing.assert_array_equal(params.bias, np.zeros((3, 4)))
    assert LayerNorm(bias=False).init(key, (4,)).params.bias is None
    assert GroupNorm(2, scale=False).init(key, (4,)).params.scale is None
    assert GroupNorm(2, scale=False, bias=False).init(key, (4,)).params == NormParams(None, None)
    assert RMSNorm().init(key, (4,)).params.bias is None
    assert RMSNorm(scale=False).init(key, (4,)).params == NormParams(None, None)


THEIRS = {
    LayerNorm(): flax.linen.LayerNorm(1e-5, use_fast_variance=False),
    LayerNorm(bias=False): flax.linen.LayerNorm(1e-5, use_fast_variance=False, use_bias=False),
    LayerNorm(2, 0.1): flax.linen.LayerNorm(
        0.1, use_fast_variance=False, reduction_axes=(-2, -1), feature_axes=(-2, -1)
    ),
    GroupNorm(1): flax.linen.GroupNorm(1, epsilon=1e-5, use_fast_variance=False),
    GroupNorm(3, scale=False): flax.linen.GroupNorm(3, epsilon=1e-5, use_fast_variance=False, use_scale=False),
    GroupNorm(6): flax.linen.InstanceNorm(epsilon=1e-5, use_fast_variance=False),
    RMSNorm(): flax.linen.RMSNorm(1e-6),
    RMSNorm(0.1, scale=False): flax.linen.RMSNorm(0.1, use_scale=False),
}


@pytest.mark.parametrize(("layer", "theirs"), THEIRS.items(), ids=lambda value: str(value).split("(")[0])
def test_it_is_that_of_flax(x64, layer, theirs):
    """Outputs, and gradients by their machine."""
    x, dy = 2 * numbers(3, 4, 4, 6) + 1, numbers(3, 4, 4, 6, seed=1)
    params = params_of(layer, x.shape[1:])
    variables = {"params": {name: leaf for name, leaf in params._asdict().items() if leaf is not None}}
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        y, pull = jax.vjp(theirs.apply, variables, x)
        dvariables, dx = pull(dy)
    ours, (dparams, our_dx) = both(layer, params, x, dy)
    np.testing.assert_allclose(ours, y, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(our_dx, dx, rtol=1e-10, atol=1e-13)
    for name, leaf in dvariables.get("params", {}).items():
        np.testing.assert_allclose(getattr(dparams, name), leaf, rtol=1e-11, atol=1e-13)


@every_layer
def test_far_from_zero_it_is_still_its_float64_twin(layer, shape):
    """x near 1e4, in float32: mu is rounded by some u 1e4 = 6e-4, and mean(x^2) - mu^2 would be off by u 1e8 = 6.

    By RMSNorm nothing is subtracted, so nothing is lost.
    """
    x, dy = numbers(3, *shape, mean=1e4), numbers(3, *shape, seed=1)
    params = params_of(layer, shape)
    y, (dparams, dx) = both(layer, params, x, dy)
    exact = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), (params, x, dy))
    expected = twin(layer).forward(exact[0], (), exact[1])
    dexpected = twin(layer).backward(exact[0], expected.cache, exact[2])
    ours, theirs = (jax.tree.leaves(tree) for tree in ((y, dparams, dx), (expected.y, *dexpected)))
    tolerance = 1e-6 if isinstance(layer, RMSNorm) else 4 * 1e4 * 2**-24
    for got, truth in zip(ours, theirs, strict=True):
        assert got.dtype == jnp.float32
        assert np.max(np.abs(np.float64(got) - truth)) <= tolerance * np.max(np.abs(truth))


@every_layer
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_in_half_precision_it_is_float32s_but_for_the_last_rounding(layer, shape, dtype):
    """Params in x's dtype or in float32: y and dx have x's, dparams theirs."""
    x, dy = numbers(3, *shape, mean=9, dtype=dtype), numbers(3, *shape, seed=1, dtype=dtype)
    half = jax.tree.map(lambda leaf: leaf.astype(dtype), params_of(layer, shape))
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), half)
    y, (dparams, dx) = both(layer, single, x.astype(jnp.float32), dy.astype(jnp.float32))
    for params in (half, single):
        ours, (our_dparams, our_dx) = both(layer, params, x, dy)
        assert (ours.dtype, our_dx.dtype) == (dtype, dtype)
        np.testing.assert_array_equal(ours, y.astype(dtype))
        np.testing.assert_array_equal(our_dx, dx.astype(dtype))
        truth = jax.tree.map(lambda leaf, param: leaf.astype(param.dtype), dparams, params)
        jax.tree.map(np.testing.assert_array_equal, our_dparams, truth)


@every_layer
@pytest.mark.parametrize("value", [0.0, 2.0, 0.1])
def test_zero_variance_makes_no_nan(layer, shape, value):
    x, dy = jnp.full((2, *shape), value), numbers(2, *shape)
    params = params_of(layer, shape)
    y, (dparams, dx) = both(layer, params, x, dy)
    truth = jax.vjp(lambda x: layer.forward(params, (), x).y, x)[1](dy)[0]
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves((y, dparams, dx)))
    np.testing.assert_allclose(dx, truth, rtol=1e-4, atol=1e-6 * float(jnp.abs(truth).max()))
    if not isinstance(layer, RMSNorm):
        np.testing.assert_allclose(y, jnp.broadcast_to(params.bias, y.shape), atol=1e-4)


@every_layer
def test_a_nan_stays_in_its_example(layer, shape):
    x = numbers(3, *shape).at[(1,) + (0,) * len(shape)].set(jnp.nan)
    y, (_, dx) = both(layer, params_of(layer, shape), x, jnp.ones((3, *shape)))
    for each in (y, dx):
        assert jnp.isnan(each[1]).any()
        assert jnp.isfinite(each[::2]).all()


def test_what_is_added_or_multiplied_goes(x64):
    """y doesn't see a shift (but RMSNorm) or a factor of x, so dx is orthogonal to both."""
    x, dy = numbers(3, 6), numbers(3, 6, seed=1)
    for layer in (LayerNorm(epsilon=0.0), GroupNorm(2, 0.0), RMSNorm(0.0)):
        params = params_of(layer, (6,))
        y, (_, dx) = both(layer, params, x, dy)
        shift = 0 if isinstance(layer, RMSNorm) else 7
        np.testing.assert_allclose(layer.forward(params, (), 5 * x + shift).y, y, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(jnp.sum(dx * x, axis=-1), 0, atol=1e-13)
        if shift:
            np.testing.assert_allclose(jnp.sum(dx, axis=-1), 0, atol=1e-13)


def test_errors():
    key, layers = jax.random.key(0), (LayerNorm(), GroupNorm(2), RMSNorm())
    for layer in layers:
        params, _ = layer.init(key, (4,))
        with pytest.raises(TypeError, match="x should be floating, got uint8"):
            layer.forward(params, (), jnp.ones((2, 4), jnp.uint8))
        with pytest.raises(
            ValueError, match=r"one example should have (at least one axis|1 or more axes).*x\[:, None\]"
        ):
            layer.init(key, ())
        with pytest.raises(ValueError, match=r"the last ax[ei]s of x should (have 4 features|be \(4,\)).*net.init"):
            layer.forward(params, (), jnp.ones((2, 6)))
        assert layer.output_shape((3, 4)) == (3, 4)
    params, _ = LayerNorm(2).init(key, (3, 4))
    with pytest.raises(ValueError, match=r"LayerNorm\(2\): the last axes of x should be \(3, 4\).*shape \(2, 4, 3\)"):
        LayerNorm(2).forward(params, (), jnp.ones((2, 4, 3)))
    with pytest.raises(ValueError, match=r"LayerNorm\(2.*should have 2 or more axes, got shape \(4,\): use a smaller"):
        LayerNorm(2, scale=False, bias=False).forward(NormParams(None, None), (), jnp.ones((2, 4)))
    with pytest.raises(ValueError, match=r"GroupNorm\(4\): groups should divide the 6 channels.*channels last"):
        GroupNorm(4).init(key, (8, 8, 6))
    with pytest.raises(ValueError, match=r"groups should divide the 6 channels"):
        GroupNorm(4, scale=False, bias=False).forward(NormParams(None, None), (), jnp.ones((2, 6)))
    with pytest.raises(ValueError, match=r"at least two numbers, got one.*use fewer groups"):
        GroupNorm(6).init(key, (6,))
    with pytest.raises(ValueError, match=r"at least two numbers, got one.*use a larger n_axes"):
        LayerNorm().output_shape((6, 1))
    for wrong in (0, -1, 2.0, "2", True):
        with pytest.raises(ValueError, match="n_axes should be a positive int"):
            LayerNorm(wrong)
        with pytest.raises(ValueError, match="groups should be a positive int"):
            GroupNorm(wrong)
