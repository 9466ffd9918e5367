"""Values, kinks and extremes of the activation functions; their derivatives elsewhere are in test_laws.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import Identity, LeakyReLU, ReLU, Sigmoid, Softmax, Tanh

ALL = [Identity(), Sigmoid(), Tanh(), ReLU(), LeakyReLU(), LeakyReLU(0.3), Softmax()]
SUBNORMAL = 1e-310


def forward(layer, x):
    return layer.forward((), (), x)


def by_hand(layer, x, dy):
    return layer.backward((), forward(layer, x).cache, dy).dx


def by_machine(layer, x, dy):
    return jax.vjp(lambda x: forward(layer, x).y, x)[1](dy)[0]


@pytest.mark.parametrize(
    ("layer", "foreign"),
    [
        (Sigmoid(), jax.nn.sigmoid),
        (Tanh(), jnp.tanh),
        (ReLU(), jax.nn.relu),
        (LeakyReLU(0.2), lambda x: jax.nn.leaky_relu(x, 0.2)),
        (Softmax(), jax.nn.softmax),
    ],
    ids=["sigmoid", "tanh", "relu", "leaky_relu", "softmax"],
)
def test_values_and_gradients_are_those_of_jax_nn(x64, layer, foreign):
    """Away from kinks, where `jax.nn.leaky_relu` has declared another subgradient."""
    x, dy = jax.random.normal(jax.random.key(0), (2, 3, 5))
    np.testing.assert_allclose(forward(layer, x).y, foreign(x), rtol=1e-14)
    np.testing.assert_allclose(by_hand(layer, x, dy), jax.vjp(foreign, x)[1](dy)[0], rtol=1e-12)


# Kinks: the subgradient that the docstring declares, by hand and by machine alike.


@pytest.mark.parametrize(
    ("layer", "at_most_zero"), [(ReLU(), 0.0), (LeakyReLU(), 0.01), (LeakyReLU(0.3), 0.3), (LeakyReLU(-1.0), -1.0)]
)
@pytest.mark.parametrize("jit", [False, True])
def test_kinks_are_as_declared(x64, layer, at_most_zero, jit):
    x = jnp.array([-SUBNORMAL, -0.0, 0.0, SUBNORMAL, -1.0, 1.0])
    # XLA on a CPU may take subnormal numbers for zeros; a positive one then has the derivative of zero.
    of_subnormal = 1.0 if SUBNORMAL * jnp.ones(()) > 0 else at_most_zero
    expected = np.array([at_most_zero, at_most_zero, at_most_zero, of_subnormal, at_most_zero, 1.0])
    for rule in (by_hand, by_machine):
        compiled = jax.jit(rule, static_argnums=0) if jit else rule
        np.testing.assert_array_equal(compiled(layer, x, jnp.full(x.shape, 3.0)), 3 * expected)


def test_relu_keeps_the_sign_of_nothing():
    y = forward(ReLU(), jnp.array([-0.0, 0.0, -1.0])).y
    np.testing.assert_array_equal(y, [0.0, 0.0, 0.0])


@pytest.mark.parametrize("layer", ALL, ids=str)
def test_nan_is_not_swallowed(layer):
    """A NaN in x is a NaN in y, and a NaN in dy one in dx where the branch isn't flat."""
    x = jnp.array([[jnp.nan, 1.0, -1.0]])
    y = forward(layer, x).y
    assert jnp.isnan(y[0, 0])
    dy = jnp.array([[1.0, jnp.nan, 1.0]])
    dx = by_hand(layer, x, dy)
    assert jnp.isnan(dx[0, 1])
    if not isinstance(layer, Softmax):
        np.testing.assert_array_equal(jnp.isnan(y), [[True, False, False]])
    if isinstance(layer, Sigmoid | Tanh | Softmax):
        assert jnp.isnan(dx[0, 0])
    np.testing.assert_array_equal(jnp.isnan(dx), jnp.isnan(by_machine(layer, x, dy)))


def test_masks_take_one_byte_and_nan_is_not_in_them():
    cache = forward(ReLU(), jnp.array([jnp.nan, -1.0, 2.0])).cache
    assert cache.negative.dtype == bool
    np.testing.assert_array_equal(cache.negative, [False, True, False])
    np.testing.assert_array_equal(by_hand(ReLU(), jnp.array([jnp.nan, -1.0, 2.0]), jnp.ones(3)), [1.0, 0.0, 1.0])


@pytest.mark.parametrize("layer", ALL, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_extremes_make_no_nan(layer, dtype):
    """At +-1e4, saturated on both sides, nothing overflows; and dx is finite wherever that of `jax.grad` is."""
    with jax.enable_x64(dtype == "float64"):
        x = jnp.array([[-1e4, 0.0, 1e4], [1e4, 1e4, 1e4], [-1e4, -1e4, 3.0]], dtype)
        dy = jnp.array([[1.0, -2.0, 0.5]] * 3, dtype)
        y, dx, truth = forward(layer, x).y, by_hand(layer, x, dy), by_machine(layer, x, dy)
    assert bool(jnp.isfinite(y).all())
    assert bool(jnp.isfinite(dx).all())
    np.testing.assert_allclose(dx.astype(float), truth.astype(float), rtol=2e-2 if dtype == "bfloat16" else 1e-6)


def test_saturated_tanh_keeps_its_digits():
    """(1 + y)(1 - y) is exact to 4 u for the y that was kept; 1 - y^2 loses two digits and more."""
    x = jnp.array([3.0, 4.0, 5.0, 6.0])
    y = np.asarray(forward(Tanh(), x).y, np.float64)
    np.testing.assert_allclose(by_hand(Tanh(), x, jnp.ones(4)), 1 - y**2, rtol=4 * 2**-24)


def test_softmax_sums_to_one_and_an_equal_dy_changes_nothing():
    x = jax.random.normal(jax.random.key(0), (4, 3, 5))
    np.testing.assert_allclose(jnp.sum(forward(Softmax(), x).y, axis=-1), np.ones((4, 3)), rtol=1e-6)
    np.testing.assert_allclose(by_hand(Softmax(), x, jnp.ones_like(x)), np.zeros(x.shape), atol=1e-7)


@pytest.mark.parametrize("layer", [Sigmoid(), Tanh(), ReLU(), LeakyReLU(), Softmax()], ids=str)
def test_integers_are_refused(layer):
    with pytest.raises(TypeError, match=f"{type(layer).__name__}.*x should be floating, got uint8"):
        forward(layer, jnp.ones((2, 3), jnp.uint8))
