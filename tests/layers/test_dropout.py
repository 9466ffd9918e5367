"""Dropout: what is kept, how often, and what it is scaled by."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import Dropout


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_the_kept_grow_and_the_mean_stays(rate):
    """40,000 numbers: the fraction kept to 5 standard errors."""
    x = jnp.ones((200, 200))
    y, _, cache = Dropout(rate).forward((), (), x, key=jax.random.key(0), train=True)
    np.testing.assert_allclose(np.unique(y), [0, 1 / (1 - rate)], rtol=1e-6)
    assert abs(np.mean(y != 0) - (1 - rate)) <= 5 * np.sqrt(rate * (1 - rate) / x.size)
    assert cache.keep.dtype == bool


def test_backward_drops_what_forward_dropped():
    x = jnp.ones((5, 7))
    y, _, cache = Dropout(0.3).forward((), (), x, key=jax.random.key(3), train=True)
    np.testing.assert_array_equal(Dropout(0.3).backward((), cache, x).dx, y)


def test_keys_decide():
    def dropped(key, train=True):
        return Dropout(0.5).forward((), (), jnp.ones((4, 8)), key=key, train=train).y

    np.testing.assert_array_equal(dropped(jax.random.key(0)), dropped(jax.random.key(0)))
    assert np.any(dropped(jax.random.key(0)) != dropped(jax.random.key(1)))
    rows = dropped(jax.random.key(0))
    assert np.any(rows[0] != rows[1])


def test_evaluation_is_the_identity_and_needs_no_key():
    x = jnp.arange(6.0).reshape(2, 3)
    for layer, train in ((Dropout(0.5), False), (Dropout(0.0), True)):
        y, _, cache = layer.forward((), (), x, train=train)
        assert y is x
        assert cache.keep is None
        assert layer.backward((), cache, x).dx is x


def test_the_same_numbers_are_dropped_in_every_precision():
    kept = []
    for dtype in ("bfloat16", "float32", "float64"):
        with jax.enable_x64(dtype == "float64"):
            y = Dropout(0.3).forward((), (), jnp.ones((3, 5), dtype), key=jax.random.key(0), train=True).y
            assert y.dtype == dtype
            kept.append(np.asarray(y != 0))
    np.testing.assert_array_equal(kept[0], kept[1])
    np.testing.assert_array_equal(kept[1], kept[2])


def test_errors():
    with pytest.raises(ValueError, match=r"Dropout\(\): needs a key in training and got none: pass key="):
        Dropout().forward((), (), jnp.ones((2, 3)), train=True)
    for rate in (1.0, -0.1, float("nan")):
        with pytest.raises(ValueError, match=r"rate is the fraction dropped and should be in \[0, 1\)"):
            Dropout(rate)
    with pytest.raises(TypeError, match="x should be floating"):
        Dropout().forward((), (), jnp.ones((2, 3), jnp.int32))
