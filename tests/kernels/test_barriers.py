"""Barriers stand where they are meant to, on the platforms that they are meant for, and change no number."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.arrays import Static
from jaxnn.kernels.barriers import completed, kept


def test_a_cache_is_kept_by_one_barrier_a_mask():
    """Values, structure, keys and static parts are what they were; what nobody uses is dropped."""
    cache = (jnp.ones(3), jax.random.key(0), Static("x"), None, jnp.zeros(2, bool))
    again = jax.jit(kept)(cache)
    assert jax.tree.structure(again) == jax.tree.structure(cache)
    np.testing.assert_array_equal(again[0], cache[0])
    assert again[1] == cache[1]

    def n_barriers(i, platform):
        traced = jax.jit(lambda cache: kept(cache)[i]).trace(cache)
        return traced.lower(lowering_platforms=(platform,)).as_text().count("optimization_barrier")

    assert [(n_barriers(0, platform), n_barriers(4, platform)) for platform in ("cpu", "cuda", "tpu")] == [
        (0, 1),
        (0, 1),
        (0, 0),
    ]


def test_what_is_completed_waits_on_a_gpu_alone():
    results = (jnp.ones(3), None), jnp.zeros(2)
    assert jax.tree.structure(jax.jit(completed)(*results)) == jax.tree.structure(results)

    def text(platform):
        return jax.jit(completed).trace(*results).lower(lowering_platforms=(platform,)).as_text()

    assert ["optimization_barrier" in text(platform) for platform in ("cpu", "cuda", "tpu")] == [False, True, False]
    assert text("cuda").count("optimization_barrier") == 1  # one around all: none is there before the others
