"""Local connections: a convolution whose weights have come apart, and a fully connected layer with most of it cut."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import Conv1D, Conv2D, Dense, LocallyConnected1D, LocallyConnected2D
from jaxnn.arrays import size
from jaxnn.layers.locally_connected import LocallyConnectedParams

OPTIONS = [{}, {"stride": 2, "padding": "VALID"}, {"window": (2, 3), "padding": ((0, 1), (2, 0)), "dilation": (1, 2)}]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_with_equal_weights_it_is_a_convolution(options, x64):
    """Forward; and backward: the convolution's dW is the sum of the windows', dx is the same."""
    conv, local = Conv2D(3, **options), LocallyConnected2D(3, **options)
    shared, _ = conv.init(jax.random.key(0), (5, 6, 2))
    counts = local.output_shape((5, 6, 2))[:-1]
    apart = LocallyConnectedParams(*(jnp.broadcast_to(leaf, (*counts, *leaf.shape)) for leaf in shared))
    x = jax.random.normal(jax.random.key(1), (2, 5, 6, 2))
    dy = jax.random.normal(jax.random.key(2), (2, *counts, 3))
    y, _, cache = local.forward(apart, (), x)
    truth, _, cache_of_conv = conv.forward(shared, (), x)
    np.testing.assert_allclose(y, truth, rtol=1e-11, atol=1e-12)
    (dweight, dbias), dx = local.backward(apart, cache, dy)
    (dshared, dshared_bias), dx_of_conv = conv.backward(shared, cache_of_conv, dy)
    np.testing.assert_allclose(jnp.sum(dweight, axis=(0, 1)), dshared, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(jnp.sum(dbias, axis=(0, 1)), dshared_bias, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(dx, dx_of_conv, rtol=1e-11, atol=1e-12)


def test_one_window_over_all_is_a_dense_layer(x64):
    local, dense = LocallyConnected1D(4, 3, padding="VALID"), Dense(4)
    params, _ = local.init(jax.random.key(0), (3, 2))
    x = jax.random.normal(jax.random.key(1), (5, 3, 2))
    flat = params._replace(weight=params.weight.reshape(6, 4), bias=params.bias[0])
    np.testing.assert_allclose(
        local.forward(params, (), x).y[:, 0], dense.forward(flat, (), x.reshape(5, 6)).y, rtol=1e-12
    )


def test_how_many_params_the_three_have():
    """PRINCIPLES G6 and G7: 28 x 28 to as many outputs, all to all, 3 x 3 to each, and 3 x 3 for all."""
    shape = (28, 28, 1)
    assert size(Dense(784).init(KEY, (784,)).params) == 784 * 785
    assert size(LocallyConnected2D(1).init(KEY, shape).params) == 784 * 10
    assert size(Conv2D(1).init(KEY, shape).params) == 10


KEY = jax.random.key(0)


def test_windows_start_apart_with_the_fan_in_of_one():
    params, _ = LocallyConnected2D(40, (3, 5)).init(KEY, (9, 7, 4))
    np.testing.assert_allclose(jnp.var(params.weight), 2 / (3 * 5 * 4), rtol=0.02)
    assert (params.weight[0, 0] != params.weight[0, 1]).all()


def test_params_for_another_size():
    layer = LocallyConnected1D(2)
    params, _ = layer.init(KEY, (6, 3))
    with pytest.raises(ValueError, match=r"params are for \(6,\) windows, but x of shape \(1, 5, 3\) has \(5,\)"):
        layer.forward(params, (), jnp.ones((1, 5, 3)))
    with pytest.raises(ValueError, match="should have 3 features"):
        layer.forward(params, (), jnp.ones((1, 6, 2)))
    with pytest.raises(TypeError, match="x should be floating"):
        layer.forward(params, (), jnp.ones((1, 6, 3), int))


def test_mistakes():
    with pytest.raises(ValueError, match="LocallyConnected2D: n_out should be a positive int"):
        LocallyConnected2D(0)
    with pytest.raises(ValueError, match="LocallyConnected1D: window should be"):
        LocallyConnected1D(3, (3, 3))


def test_a_sequence_is_an_image_of_one_row(x64):
    line, image = LocallyConnected1D(2, 3, stride=2), LocallyConnected2D(2, (1, 3), stride=(1, 2))
    params, _ = line.init(KEY, (7, 3))
    x = jax.random.normal(KEY, (2, 7, 3))
    wide = params._replace(weight=params.weight[None, :, None], bias=params.bias[None])
    np.testing.assert_allclose(line.forward(params, (), x).y, image.forward(wide, (), x[:, None]).y[:, 0], rtol=1e-12)


def test_conv1d_and_conv2d_agree_likewise(x64):
    line, image = Conv1D(2, 3, stride=2), Conv2D(2, (1, 3), stride=(1, 2))
    params, _ = line.init(KEY, (7, 3))
    x = jax.random.normal(KEY, (2, 7, 3))
    wide = params._replace(weight=params.weight[None])
    np.testing.assert_allclose(line.forward(params, (), x).y, image.forward(wide, (), x[:, None]).y[:, 0], rtol=1e-12)
