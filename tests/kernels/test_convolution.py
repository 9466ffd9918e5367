"""The forms of a convolution's gradients: each against the others, and against the machine's."""

import jax
import numpy as np
import pytest

from jaxnn.kernels import convolution as kernels
from jaxnn.kernels.windows import Windows

FORMS = [
    (Windows((3, 3), (1, 1), (1, 1), "SAME"), (5, 6), 1),
    (Windows((3, 2), (2, 1), (1, 2), "SAME"), (5, 6), 1),
    (Windows((3, 3), (2, 3), (2, 1), ((1, 2), (0, 3))), (7, 8), 2),
    (Windows((1, 1), (2, 2), (1, 1), "VALID"), (5, 4), 1),
    (Windows((2, 2), (3, 3), (1, 1), "VALID"), (7, 5), 4),
    (Windows((5, 5), (1, 1), (1, 1), ((4, 4), (4, 4))), (3, 2), 1),
    (Windows((3,), (2,), (1,), "SAME"), (7,), 4),
    (Windows((5,), (1,), (2,), ((4, 0),)), (9,), 1),
    (Windows((2, 2, 2), (1, 2, 1), (1, 1, 1), "SAME"), (3, 4, 3), 1),
]
EVERY_FORM = pytest.mark.parametrize(("windows", "spatial", "groups"), FORMS, ids=str)
N_IN, N_OUT = 4, 8


def drawn(windows, spatial, groups, n_in=N_IN):
    """x, W, dy, and the machine's dx and dW."""
    x = jax.random.normal(jax.random.key(0), (3, *spatial, n_in))
    weight = jax.random.normal(jax.random.key(1), (*windows.size, n_in // groups, N_OUT))
    y, pull = jax.vjp(lambda x, weight: kernels.convolution(x, weight, windows, groups, None), x, weight)
    dy = jax.random.normal(jax.random.key(2), y.shape)
    return x, weight, dy, *pull(dy)


@EVERY_FORM
def test_input_gradient(windows, spatial, groups, x64):
    _, weight, dy, dx, _ = drawn(windows, spatial, groups)
    mine = kernels.input_gradient(dy, weight, windows, groups, spatial, None)
    np.testing.assert_allclose(mine, dx, rtol=1e-12, atol=1e-12)


@EVERY_FORM
@pytest.mark.parametrize(
    "form", [kernels.weight_gradient, kernels._weight_gradient_by_library, kernels._weight_gradient_by_taps]
)
def test_weight_gradient(windows, spatial, groups, form, x64):
    x, _, dy, _, dweight = drawn(windows, spatial, groups)
    np.testing.assert_allclose(form(x, dy, windows, groups, None), dweight, rtol=1e-12, atol=1e-12)
