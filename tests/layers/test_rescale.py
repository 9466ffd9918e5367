"""Rescale: integers become real numbers here."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn import Rescale


def test_images():
    x = jnp.array([[0, 51, 255]], jnp.uint8)
    y, _, cache = Rescale(1 / 255, -0.5).forward((), (), x)
    np.testing.assert_allclose(y, [[-0.5, -0.3, 0.5]], rtol=1e-6)
    assert y.dtype == jnp.float32
    assert Rescale(1 / 255).backward((), cache, y).dx is None


def test_floats_keep_their_dtype_and_have_a_gradient():
    x = jnp.array([[1.0, 2.0]], jnp.bfloat16)
    y, _, cache = Rescale(2.0, 1.0).forward((), (), x)
    dx = Rescale(2.0, 1.0).backward((), cache, jnp.ones_like(y)).dx
    assert y.dtype == dx.dtype == jnp.bfloat16
    np.testing.assert_array_equal(y.astype(float), [[3.0, 5.0]])
    np.testing.assert_array_equal(dx.astype(float), [[2.0, 2.0]])


def test_integers_follow_x64():
    with jax.enable_x64(True):
        assert Rescale().forward((), (), jnp.ones((1, 2), jnp.int32)).y.dtype == jnp.float64


def test_integers_become_the_dtype_that_is_asked_for():
    x = jnp.arange(6, dtype=jnp.uint8).reshape(2, 3)
    y, _, cache = Rescale(0.5, dtype="bfloat16").forward((), (), x)
    assert y.dtype == jnp.bfloat16
    assert Rescale(0.5, dtype="bfloat16").backward((), cache, y).dx is None
    assert Rescale(0.5, dtype="bfloat16").forward((), (), x.astype(jnp.float32)).y.dtype == jnp.float32
