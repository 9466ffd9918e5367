"""Convolution: the worked integers of the article, its shapes, what it is equal to, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from jaxnn import Conv1D, Conv2D, Dense, apply_updates, gradient_descent
from jaxnn.layers.convolution import ConvParams

# PRINCIPLES 2.4 (hanbingtao, part 4; the numbers are those of `init_test` in the author's cnn.py): channels first, as
# printed there.
IMAGE = [
    [[0, 1, 1, 0, 2], [2, 2, 2, 2, 1], [1, 0, 0, 2, 0], [0, 1, 1, 0, 0], [1, 2, 0, 0, 2]],
    [[1, 0, 2, 2, 0], [0, 0, 0, 2, 0], [1, 2, 1, 2, 1], [1, 0, 0, 0, 0], [1, 2, 1, 1, 1]],
    [[2, 1, 2, 0, 0], [1, 0, 0, 1, 0], [0, 2, 1, 0, 1], [0, 1, 2, 2, 2], [2, 1, 0, 0, 1]],
]
FILTERS = [
    [
        [[-1, 1, 0], [0, 1, 0], [0, 1, 1]],
        [[-1, -1, 0], [0, 0, 0], [0, -1, 0]],
        [[0, 0, -1], [0, 1, 0], [1, -1, -1]],
    ],
    [
        [[1, 1, -1], [-1, -1, 1], [0, -1, 1]],
        [[0, 1, 0], [-1, 0, -1], [-1, 1, 0]],
        [[-1, 0, 0], [-1, 0, 1], [-1, 0, 0]],
    ],
]
OUTPUTS = [[[6, 7, 5], [3, -1, -1], [2, -1, 4]], [[2, -5, -8], [1, -4, -4], [0, -5, -5]]]
SENSITIVITY = [[[0, 1, 1], [2, 2, 2], [1, 0, 0]], [[1, 0, 2], [0, 0, 0], [1, 2, 1]]]
DFILTERS = [
    [
        [[8, 10, 9], [5, 6, 6], [6, 5, 4]],
        [[4, 1, 4], [10, 9, 12], [2, 2, 2]],
        [[2, 2, 3], [5, 8, 5], [7, 8, 7]],
    ],
    [
        [[2, 2, 1], [4, 7, 3], [4, 4, 2]],
        [[0, 1, 0], [9, 5, 4], [4, 0, 0]],
        [[4, 6, 5], [2, 5, 2], [2, 1, 0]],
    ],
]
DIMAGE_0 = [[-1, 1, 1, -2, -1], [1, -1, 3, -1, 1], [2, 0, 2, 0, 2], [4, 3, 4, 1, 3], [0, -1, -2, 1, -1]]
ONES = [
    [[5, 6, 5], [5, 7, 5], [5, 6, 5]],
    [[2, 1, 2], [9, 9, 9], [2, 1, 2]],
    [[4, 5, 4], [4, 9, 4], [4, 5, 4]],
]


def channels_last(x):
    return jnp.moveaxis(jnp.asarray(x, jnp.result_type(float)), 0, -1)[None]


@pytest.fixture
def worked():
    """The article's layer, params and forward pass."""
    layer = Conv2D(2, 3, stride=2, padding=1)
    weight = jnp.moveaxis(jnp.asarray(FILTERS, jnp.result_type(float)), (0, 1), (3, 2))
    params = ConvParams(weight, jnp.array([1.0, 0.0]))
    return layer, params, layer.forward(params, (), channels_last(IMAGE))


def test_the_article_s_forward(worked):
    _, _, (y, _, _) = worked
    np.testing.assert_array_equal(y, channels_last(OUTPUTS))


def test_the_article_s_backward(worked):
    layer, params, (_, _, cache) = worked
    (dweight, dbias), dx = layer.backward(params, cache, channels_last(SENSITIVITY))
    np.testing.assert_array_equal(jnp.moveaxis(dweight, (3, 2), (0, 1)), DFILTERS)
    np.testing.assert_array_equal(dbias, [9, 7])
    np.testing.assert_array_equal(dx[0, :, :, 0], DIMAGE_0)


def test_the_article_s_update(worked):
    """Learning rate 0.001: F0[0, 0, 0] from -1 to -1.008, the biases from 1 to 0.991 and from 0 to -0.007."""
    layer, params, (_, _, cache) = worked
    dparams, _ = layer.backward(params, cache, channels_last(SENSITIVITY))
    rule = gradient_descent(0.001)
    updates, _ = rule.update(dparams, rule.init(params), params)
    moved = apply_updates(params, updates)
    np.testing.assert_allclose([moved.weight[0, 0, 0, 0], *moved.bias], [-1.008, 0.991, -0.007], rtol=1e-6)


def test_the_article_s_gradient_check(worked):
    """dE/dF0 for E, the sum of all outputs."""
    layer, params, (y, _, cache) = worked
    (dweight, _), _ = layer.backward(params, cache, jnp.ones_like(y))
    np.testing.assert_array_equal(jnp.moveaxis(dweight[..., 0], 2, 0), ONES)


def test_two_filters_of_3_by_3_by_3_have_56_params():
    params, _ = Conv2D(2, 3).init(jax.random.key(0), (1000, 1000, 3))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 56


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        (Conv2D(1, 3, padding="VALID", stride=2), (5, 5, 1), (2, 2, 1)),  # (5 - 3 + 0) / 2 + 1 = 2
        (Conv2D(1, 3, padding=1, stride=2), (5, 5, 1), (3, 3, 1)),
        (Conv2D(7, (1, 5), padding="VALID"), (4, 9, 2), (4, 5, 7)),
        (Conv2D(7, 3, padding="VALID", dilation=2), (5, 6, 2), (1, 2, 7)),
        (Conv1D(25, 5, stride=2), (40, 1), (20, 25)),
    ],
    ids=str,
)
def test_output_shape(layer, shape, expected):
    assert layer.output_shape(shape) == expected


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (Conv2D(3, (3, 2), stride=(1, 2), padding=((2, 0), (1, 1))), (5, 6, 2)),
        (Conv2D(4, 3, padding="SAME", stride=2, dilation=2, groups=2), (6, 5, 4)),
        (Conv1D(3, 4, padding="SAME", groups=3), (7, 3)),
    ],
    ids=str,
)
def test_it_is_flax_s(layer, shape, x64):
    x = jax.random.normal(jax.random.key(0), (2, *shape))
    params, state = layer.init(jax.random.key(1), shape)
    windows = layer.windows(layer.n_axes)
    theirs = linen.Conv(
        layer.n_out, windows.size, windows.stride, windows.padding,
        kernel_dilation=windows.dilation, feature_group_count=layer.groups, param_dtype=x.dtype,
    )  # fmt: skip
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        truth = theirs.apply({"params": {"kernel": params.weight, "bias": params.bias}}, x)
    np.testing.assert_allclose(layer.forward(params, state, x).y, truth, rtol=1e-12, atol=1e-12)


def test_a_window_of_one_is_a_dense_layer_at_every_place(x64):
    x, dy = (jax.random.normal(jax.random.key(i), (2, 3, 4, n)) for i, n in enumerate((5, 6)))
    conv, dense = Conv2D(6, 1), Dense(6)
    params, _ = conv.init(jax.random.key(2), (3, 4, 5))
    flat = params._replace(weight=params.weight[0, 0])
    y, _, cache = conv.forward(params, (), x)
    np.testing.assert_allclose(y, dense.forward(flat, (), x).y, rtol=1e-12)
    (dweight, dbias), dx = conv.backward(params, cache, dy)
    truth = dense.backward(flat, dense.forward(flat, (), x).cache, dy)
    np.testing.assert_allclose(dweight[0, 0], truth.dparams.weight, rtol=1e-12)
    np.testing.assert_allclose(dbias, truth.dparams.bias, rtol=1e-12)
    np.testing.assert_allclose(dx, truth.dx, rtol=1e-12)


def test_a_shifted_image_gives_a_shifted_output():
    """Away from the edges, bit for bit: the same weights act at every place."""
    layer = Conv2D(3, padding="VALID")
    params, _ = layer.init(jax.random.key(0), (8, 8, 2))
    x = jax.random.normal(jax.random.key(1), (1, 9, 9, 2))
    here, there = (layer.forward(params, (), x[:, i : i + 8, i : i + 8]).y for i in (0, 1))
    np.testing.assert_array_equal(here[:, 1:, 1:], there[:, :-1, :-1])


def test_groups_do_not_see_one_another():
    layer = Conv2D(4, groups=2)
    params, _ = layer.init(jax.random.key(0), (3, 3, 6))
    assert params.weight.shape == (3, 3, 3, 4)
    x = jnp.ones((1, 3, 3, 6)).at[..., :3].set(0)
    assert not layer.forward(params._replace(bias=jnp.zeros(4)), (), x).y[..., :2].any()


def test_he_s_fan_in_is_the_window_s():
    params, _ = Conv2D(2000, (3, 5)).init(jax.random.key(0), (8, 8, 4))
    np.testing.assert_allclose(jnp.var(params.weight), 2 / (3 * 5 * 4), rtol=0.02)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Conv2D(0), "n_out should be a positive int"),
        (lambda: Conv2D(3, groups=2), "groups should divide n_out, got 2 groups of 3 outputs"),
        (lambda: Conv2D(3, 0), "window should be a positive int, or one for each of 2 axes, got 0"),
        (lambda: Conv2D(3, (3, 3, 3)), r"window should be .* got \(3, 3, 3\)"),
        (lambda: Conv1D(3, stride=True), "stride should be"),
        (lambda: Conv2D(3, padding="same"), "padding should be 'SAME', 'VALID'"),
        (lambda: Conv2D(3, padding=((1, -1), (0, 0))), "padding should be"),
        (lambda: Conv2D(3).output_shape((28, 28)), r"x should be \(B, H, W, C\), got examples of shape \(28, 28\)"),
        (lambda: Conv1D(3).output_shape((28, 28, 1)), r"x should be \(B, L, C\)"),
        (lambda: Conv2D(3, 5, padding="VALID").output_shape((4, 9, 1)), "more than the"),
        (lambda: Conv2D(4, groups=2).output_shape((4, 4, 3)), "groups should divide the channels"),
    ],
)
def test_mistakes(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_other_inputs_than_the_params_are_for():
    layer = Conv2D(2)
    params, state = layer.init(jax.random.key(0), (4, 4, 3))
    with pytest.raises(ValueError, match="should have 3 features"):
        layer.forward(params, state, jnp.ones((1, 4, 4, 2)))
    with pytest.raises(TypeError, match="x should be floating, got uint8"):
        layer.forward(params, state, jnp.ones((1, 4, 4, 3), jnp.uint8))


def test_lists_are_as_good_as_tuples():
    assert Conv2D(2, [3, 3], padding=[[1, 1], [0, 2]]) == Conv2D(2, (3, 3), padding=((1, 1), (0, 2)))
