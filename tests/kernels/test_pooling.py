"""Pooling against what `jax.lax` has for it, for odd sizes, strides and paddings, value and gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.kernels.pooling import avg_pool, avg_pool_gradient, max_pool, max_pool_by_library, max_pool_gradient
from jaxnn.kernels.windows import Windows

FORMS = [
    Windows((2, 2), (2, 2), (1, 1), "VALID"),
    Windows((3, 2), (3, 2), (1, 1), "VALID"),
    Windows((3, 3), (2, 2), (1, 1), "SAME"),
    Windows((2, 3), (1, 2), (1, 1), ((1, 0), (2, 2))),
    Windows((1, 1), (2, 1), (1, 1), "VALID"),
    Windows((2, 2), (2, 2), (1, 1), "SAME"),
]
EVERY_FORM = pytest.mark.parametrize("windows", FORMS, ids=str)
SPATIAL = pytest.mark.parametrize("spatial", [(6, 6), (7, 5), (3, 4)], ids=str)


@EVERY_FORM
@SPATIAL
@pytest.mark.parametrize("draw", ["normal", "ties"])
def test_max_pool_is_the_library_s(windows, spatial, draw):
    """With ties too: the first place of several has the gradient there and here."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, *spatial, 3)) if draw == "normal" else rng.integers(0, 3, size=(2, *spatial, 3))
    x = jnp.asarray(x, jnp.float32)
    dy = rng.integers(-9, 9, size=(2, *windows.counts(spatial), 3))  # integers add up without rounding

    @jax.jit
    def compared(x, dy):
        truth, pull = jax.vjp(lambda x: max_pool_by_library(x, windows), x)
        y, winner = max_pool(x, windows)
        _, pull_of_ours = jax.vjp(lambda x: max_pool(x, windows).y, x)
        return y, truth, max_pool_gradient(winner, dy, windows, spatial), pull(dy)[0], pull_of_ours(dy)[0]

    y, truth, mine, *automatic = compared(x, jnp.asarray(dy, jnp.float32))
    np.testing.assert_array_equal(y, truth)
    for dx in automatic:
        np.testing.assert_array_equal(mine, dx)


@EVERY_FORM
@SPATIAL
@pytest.mark.parametrize("count_include_pad", [True, False])
def test_the_mean_and_its_gradient(windows, spatial, count_include_pad, x64):
    x = jax.random.normal(jax.random.key(0), (2, *spatial, 3))
    dy = jax.random.normal(jax.random.key(1), (2, *windows.counts(spatial), 3))
    places = (1, *windows.size, 1), (1, *windows.stride, 1), ((0, 0), *windows.pads(spatial), (0, 0))

    @jax.jit
    def compared(x, dy):
        y, pull = jax.vjp(lambda x: avg_pool(x, windows, count_include_pad), x)
        sums = [jax.lax.reduce_window(each, 0.0, jax.lax.add, *places) for each in (x, jnp.ones_like(x))]
        return y, avg_pool_gradient(dy, windows, spatial, count_include_pad), pull(dy)[0], *sums

    y, mine, automatic, totals, counts = compared(x, dy)
    np.testing.assert_allclose(mine, automatic, rtol=1e-12, atol=1e-14)
    counts = windows.size[0] * windows.size[1] if count_include_pad else counts
    np.testing.assert_allclose(y, totals / counts, rtol=1e-12)
