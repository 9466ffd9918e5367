"""Pooling: the worked integers, ties, NaN and infinities, what it is equal to, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from jaxnn import AvgPool, GlobalAvgPool, MaxPool, ReLU, Serial
from jaxnn.arrays import n_bytes

# PRINCIPLES 2.4 (hanbingtao, part 4, `init_pool_test` in the author's cnn.py), channels first as printed there.
IMAGE = [
    [[1, 1, 2, 4], [5, 6, 7, 8], [3, 2, 1, 0], [1, 2, 3, 4]],
    [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 1], [3, 4, 5, 6]],
]
MAXIMA = [[[6, 8], [3, 4]], [[5, 7], [9, 6]]]
SENSITIVITY = [[[1, 2], [2, 4]], [[3, 5], [8, 2]]]
WON = {0: {(1, 1): 1, (1, 3): 2, (2, 0): 2, (3, 3): 4}, 1: {(1, 1): 3, (1, 3): 5, (2, 1): 8, (3, 3): 2}}


def channels_last(x):
    return jnp.moveaxis(jnp.asarray(x, jnp.result_type(float)), 0, -1)[None]


def test_the_article_s_max_pool():
    layer = MaxPool(2, stride=2)
    y, _, cache = layer.forward((), (), channels_last(IMAGE))
    np.testing.assert_array_equal(y, channels_last(MAXIMA))
    dx = np.array(layer.backward((), cache, channels_last(SENSITIVITY)).dx)
    for channel, places in WON.items():
        for place, value in places.items():
            assert dx[0, *place, channel] == value
            dx[0, *place, channel] = 0
    assert not dx.any()


def test_mean_pooling_spreads_by_the_kronecker_product():
    """PRINCIPLES G8: dx = dy x 1/n^2, the Kronecker product with a block of 1/n^2."""
    layer = AvgPool(2)
    y, _, cache = layer.forward((), (), channels_last(IMAGE))
    np.testing.assert_array_equal(y[0, :, :, 0], [[13 / 4, 21 / 4], [2, 2]])
    dx = layer.backward((), cache, channels_last(SENSITIVITY)).dx
    np.testing.assert_array_equal(dx[0, :, :, 1], np.kron(SENSITIVITY[1], np.full((2, 2), 1 / 4)))


@pytest.mark.parametrize("layer", [MaxPool(2), MaxPool(2, stride=1), MaxPool(3, stride=2, padding="SAME")], ids=str)
def test_a_tie_goes_to_the_first_place(layer):
    y, _, cache = layer.forward((), (), jnp.ones((1, 4, 4, 1)))
    dx = layer.backward((), cache, jnp.ones_like(y)).dx[0, :, :, 0]
    first = {
        MaxPool(2): (2, 2),
        MaxPool(2, stride=1): (1, 3),
        MaxPool(3, stride=2, padding="SAME"): (2, 2),
    }[layer]
    expected = np.zeros((4, 4))
    expected[:: first[0], :: first[0]][: first[1], : first[1]] = 1
    np.testing.assert_array_equal(dx, expected)


@pytest.mark.parametrize("layer", [MaxPool(2), MaxPool(2, stride=1), MaxPool(3, 2, "SAME"), MaxPool(2, 1, 1)], ids=str)
def test_padding_never_wins(layer):
    """Not against -inf: every dy goes to a place inside."""
    y, _, cache = layer.forward((), (), jnp.full((2, 4, 6, 1), -jnp.inf))
    assert (y == -jnp.inf).all()
    assert jnp.sum(layer.backward((), cache, jnp.ones_like(y)).dx) == y.size


@pytest.mark.parametrize("layer", [MaxPool(2), MaxPool(2, stride=1), MaxPool(3, 2, "SAME")], ids=str)
@pytest.mark.parametrize("place", [(0, 0), (1, 0), (1, 1), (3, 2)])
def test_nan_wins_forward_and_backward(layer, place):
    """y has it in every window that sees it, the first of several wins, and the gradient goes where it is."""
    x = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
    x[0, *place, 0] = np.nan
    y, _, cache = layer.forward((), (), jnp.asarray(x))
    average = AvgPool(layer.window, layer.stride, layer.padding).forward((), (), jnp.asarray(x)).y
    np.testing.assert_array_equal(jnp.isnan(y), jnp.isnan(average))
    dx = np.array(layer.backward((), cache, jnp.where(jnp.isnan(y), 1.0, 0.0)).dx)
    assert dx[0, *place, 0] == dx.sum() == np.isnan(y).sum()


def test_the_first_nan_of_several_wins():
    x = jnp.array([[jnp.inf], [jnp.nan], [jnp.nan]])[None]
    y, _, cache = MaxPool(3).forward((), (), x)
    assert jnp.isnan(y).all()
    np.testing.assert_array_equal(MaxPool(3).backward((), cache, jnp.ones((1, 1, 1))).dx[0, :, 0], [0, 1, 0])


def test_overlapping_windows_add_up():
    """The museum's cnn.py assigned where it should have added (PRINCIPLES 2.6)."""
    x = jnp.array([0.0, 1.0, 5.0, 2.0, 1.0]).reshape(1, 5, 1)
    layer = MaxPool(3, stride=1)
    _, _, cache = layer.forward((), (), x)
    np.testing.assert_array_equal(
        layer.backward((), cache, jnp.array([1.0, 2.0, 4.0]).reshape(1, 3, 1)).dx[0, :, 0], [0, 0, 7, 0, 0]
    )


def test_the_cache_is_a_byte_a_window():
    _, _, cache = MaxPool(2).forward((), (), jnp.ones((2, 6, 4, 3)))
    assert cache.winner.dtype == jnp.uint8
    assert n_bytes(cache) == 2 * 3 * 2 * 3
    assert MaxPool(17).forward((), (), jnp.ones((1, 17, 17, 1))).cache.winner.dtype == jnp.uint16


def test_before_a_relu_or_after_it_is_the_same(x64):
    """Value and gradient, for every monotone function; before it, there is a quarter of the work."""
    x, dy = jax.random.normal(jax.random.key(0), (2, 6, 6, 3)), jax.random.normal(jax.random.key(1), (2, 3, 3, 3))
    before, after = Serial(MaxPool(2), ReLU()), Serial(ReLU(), MaxPool(2))
    results = []
    for net in (before, after):
        y, _, cache = net.forward(((), ()), ((), ()), x)
        results.append((y, net.backward(((), ()), cache, dy).dx))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    np.testing.assert_array_equal(results[0][1], results[1][1])


@pytest.mark.parametrize("padding", ["SAME", "VALID", ((1, 0), (1, 1))], ids=str)
@pytest.mark.parametrize("stride", [1, 2, (1, 3)], ids=str)
def test_it_is_flax_s(stride, padding, x64):
    x = jax.random.normal(jax.random.key(0), (2, 5, 7, 3))
    strides = stride if isinstance(stride, tuple) else (stride, stride)
    pairs = [
        (MaxPool((2, 3), stride, padding), lambda x: linen.max_pool(x, (2, 3), strides, padding)),
        (AvgPool((2, 3), stride, padding), lambda x: linen.avg_pool(x, (2, 3), strides, padding)),
        (
            AvgPool((2, 3), stride, padding, count_include_pad=False),
            lambda x: linen.avg_pool(x, (2, 3), strides, padding, count_include_pad=False),
        ),
    ]
    for layer, theirs in pairs:
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            truth, pull = jax.vjp(theirs, x)
            y, _, cache = layer.forward((), (), x)
            dy = jax.random.normal(jax.random.key(1), y.shape)
            np.testing.assert_allclose(y, truth, rtol=1e-13)
            np.testing.assert_allclose(layer.backward((), cache, dy).dx, pull(dy)[0], rtol=1e-12, atol=1e-14)


def test_the_global_mean_is_one_window_over_all(x64):
    x = jax.random.normal(jax.random.key(0), (2, 3, 4, 5))
    whole = AvgPool((3, 4)).forward((), (), x).y
    np.testing.assert_allclose(GlobalAvgPool().forward((), (), x).y, whole[:, 0, 0], rtol=1e-13)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MaxPool(0), "window should be a positive int"),
        (lambda: AvgPool(2, stride=(1, 0)), "stride should be a positive int, or one for each of 2 axes"),
        (lambda: MaxPool(2, padding=2).output_shape((4, 4, 1)), "padding should be less than a window spans"),
        (lambda: MaxPool(5).output_shape((4, 4, 1)), "a window spans"),
        (lambda: MaxPool((2, 2)).output_shape((4, 4)), "window should be"),
        (lambda: MaxPool(2).output_shape((4,)), "x should be"),
        (lambda: GlobalAvgPool().output_shape((4,)), "with places to average"),
    ],
)
def test_mistakes(make, message):
    with pytest.raises(ValueError, match=message):
        make()
