"""Windows: how many there are, what they see, and that `spread` is the adjoint of `seen`."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.kernels.windows import Windows, padded, seen, spread

FORMS = [
    Windows((3,), (1,), (1,), "SAME"),
    Windows((2,), (3,), (1,), "VALID"),
    Windows((3,), (2,), (2,), ((4, 1),)),
    Windows((2, 3), (2, 1), (1, 2), "SAME"),
    Windows((3, 3), (2, 2), (1, 1), ((1, 1), (0, 2))),
    Windows((2, 2), (2, 2), (1, 1), "VALID"),
    Windows((2, 1, 2), (1, 2, 1), (1, 1, 2), "SAME"),
]
SPATIAL = (7, 5, 3)


@pytest.mark.parametrize("windows", FORMS, ids=str)
def test_what_windows_see(windows):
    """Entry by entry, by the definition."""
    spatial = SPATIAL[: len(windows.size)]
    x = np.random.default_rng(0).normal(size=(2, *spatial, 2)).astype(np.float32)
    pads = windows.pads(spatial)
    around = np.pad(x, [(0, 0), *pads, (0, 0)])
    np.testing.assert_array_equal(padded(jnp.asarray(x), windows), around)
    for tap, of_tap in zip(windows.taps, seen(jnp.asarray(x), windows), strict=True):
        assert of_tap.shape == (2, *windows.counts(spatial), 2)
        for window in itertools.product(*map(range, windows.counts(spatial))):
            place = [s * i + d * u for s, i, d, u in zip(windows.stride, window, windows.dilation, tap, strict=True)]
            np.testing.assert_array_equal(of_tap[:, *window], around[:, *place])


@pytest.mark.parametrize("windows", FORMS, ids=str)
def test_spread_is_the_adjoint_of_seen(windows, x64):
    spatial = SPATIAL[: len(windows.size)]
    x = jax.random.normal(jax.random.key(0), (2, *spatial, 2))
    of_taps, pull = jax.vjp(lambda x: list(seen(x, windows)), x)
    given = [jax.random.normal(jax.random.key(i), each.shape) for i, each in enumerate(of_taps)]
    np.testing.assert_allclose(spread(given, windows, spatial), pull(given)[0], rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2])
def test_padding_by_name_is_that_of_jax(padding, stride, dilation):
    for n, k in itertools.product(range(3, 8), range(1, 3)):
        windows = Windows((k,), (stride,), (dilation,), padding)
        [pad] = jax.lax.padtype_to_pads((n,), (dilation * (k - 1) + 1,), (stride,), padding)
        assert windows.pads((n,)) == (tuple(pad),)


def test_two_taps_of_two():
    assert Windows((2, 2), (1, 1), (1, 1), "VALID").taps == ((0, 0), (0, 1), (1, 0), (1, 1))
