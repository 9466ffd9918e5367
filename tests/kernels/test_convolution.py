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


SAME = {"rtol": 1e-12, "atol": 1e-12}


@EVERY_FORM
@pytest.mark.parametrize("form", [kernels.convolution, kernels._convolution_by_library, kernels._convolution_by_taps])
def test_convolution(windows, spatial, groups, form, x64):
    x, weight, *_ = drawn(windows, spatial, groups)
    truth = jax.lax.conv_general_dilated(
        x,
        weight,
        windows.stride,
        windows.padding,
        rhs_dilation=windows.dilation,
        dimension_numbers=kernels._numbers(len(spatial)),
        feature_group_count=groups,
    )
    np.testing.assert_allclose(form(x, weight, windows, groups, None), truth, **SAME)


@EVERY_FORM
@pytest.mark.parametrize(
    "form", [kernels.input_gradient, kernels._input_gradient_by_convolution, kernels._input_gradient_by_taps]
)
def test_input_gradient(windows, spatial, groups, form, x64):
    _, weight, dy, dx, _ = drawn(windows, spatial, groups)
    np.testing.assert_allclose(form(dy, weight, windows, groups, spatial, None), dx, **SAME)


@EVERY_FORM
@pytest.mark.parametrize(
    "form",
    [
        kernels.weight_gradient,
        kernels._weight_gradient_by_library,
        kernels._weight_gradient_by_transposes,
        kernels._weight_gradient_by_taps,
    ],
)
def test_weight_gradient(windows, spatial, groups, form, x64):
    x, _, dy, _, dweight = drawn(windows, spatial, groups)
    np.testing.assert_allclose(form(x, dy, windows, groups, None), dweight, **SAME)


@EVERY_FORM
def test_weight_gradient_by_patches(windows, spatial, groups, x64):
    if groups == 1:
        x, _, dy, _, dweight = drawn(windows, spatial, groups)
        np.testing.assert_allclose(kernels._weight_gradient_by_patches(x, dy, windows, groups, None), dweight, **SAME)


@EVERY_FORM
def test_input_gradient_by_columns(windows, spatial, groups, x64):
    if groups == 1:
        _, weight, dy, dx, _ = drawn(windows, spatial, groups)
        found = kernels._input_gradient_by_columns(dy, weight, windows, groups, spatial, None)
        np.testing.assert_allclose(found, dx, **SAME)


def lowered(function, *arguments, platform):
    """A program's text on a platform that needn't be here."""
    return jax.export.export(jax.jit(function), platforms=[platform])(*arguments).mlir_module()


@pytest.mark.parametrize(("n_in", "groups"), [(N_IN, 1), (1, 1), (N_OUT, N_OUT)])
def test_each_platform_has_one_form_and_no_branch(n_in, groups):
    windows = Windows((2, 2), (1, 1), (1, 1), "SAME")
    x, weight, dy, *_ = drawn(windows, (4, 4), groups, n_in)

    def gradients(x, weight, dy):
        return (
            kernels.convolution(x, weight, windows, groups, None),
            kernels.input_gradient(dy, weight, windows, groups, (4, 4), None),
            kernels.weight_gradient(x, dy, windows, groups, None),
        )

    # Elsewhere all three are the library's convolutions; on a CPU with few channels matrix products or sums of taps.
    n_convolutions = {
        platform: lowered(gradients, x, weight, dy, platform=platform).count("stablehlo.convolution")
        for platform in ("cpu", "cuda", "tpu")
    }
    on_cpu = (
        {(N_IN, 1): 2, (1, 1): 0, (N_OUT, N_OUT): 1}
        if kernels._BARRIERS_HOLD
        else {(N_IN, 1): 3, (1, 1): 2, (N_OUT, N_OUT): 1}
    )
    assert n_convolutions == {"cpu": on_cpu[n_in, groups], "cuda": 3, "tpu": 3}
    assert "conditional" not in jax.jit(gradients).lower(x, weight, dy).compile().as_text()
