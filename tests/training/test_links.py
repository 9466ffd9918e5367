"""Links of a chain: by themselves they don't descend, and clipping keeps its promise at any size of a gradient."""

import jax.numpy as jnp
import numpy as np
import pytest
from small_runs import train

import jaxnn
from jaxnn import gradient_descent


def test_a_chain_that_only_changes_gradients_would_climb():
    for rule in (jaxnn.clip_by_norm(1.0), jaxnn.chain(jaxnn.weight_decay(0.1), jaxnn.chain(jaxnn.clip_by_value(1.0)))):
        with pytest.raises(ValueError, match=r"nothing in it descends.*chain\(clip_by_global_norm"):
            train(update=rule)
    train(update=jaxnn.chain(jaxnn.clip_by_norm(1.0), jaxnn.chain(gradient_descent(0.1))))


@pytest.mark.parametrize(
    "size", [("float32", 1e20), ("float32", 1e38), ("float32", 1e-25), ("bfloat16", 1e25), ("float16", 300.0)], ids=str
)
def test_clipping_where_squares_overflow_or_vanish(size):
    """g limit / |g|, with |g| = 5/5 of the size by float64."""
    dtype, size = size
    grads = {"a": jnp.asarray([0.6 * size], dtype), "b": jnp.asarray([0.8 * size], dtype)}
    limit = 1e-30 if size < 1 else 1.0
    together, _ = jaxnn.clip_by_global_norm(limit).update(grads, ())
    each, _ = jaxnn.clip_by_norm(limit).update(grads, ())
    eps = float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(
        [float(together["a"][0]), float(together["b"][0])], [0.6 * limit, 0.8 * limit], rtol=4 * eps
    )
    np.testing.assert_allclose([float(each["a"][0]), float(each["b"][0])], [limit, limit], rtol=4 * eps)
    whole, _ = jaxnn.clip_by_global_norm(2 * size if size < 1e30 else np.inf).update(grads, ())
    assert whole == grads
