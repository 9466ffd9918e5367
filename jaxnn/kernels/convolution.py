"""Convolution and its two gradients, in the form that suits each platform.

    y[b, i, f]  = sum_{u, c} x[b, s i + d u - low, c] W[u, c, f]
    dW[u, c, f] = sum_{b, i} x[b, s i + d u - low, c] dy[b, i, f]
    dx[b, p, c] = sum_{f} sum_{i, u : s i + d u - low = p} W[u, c, f] dy[b, i, f]

i, u, p run over all spatial axes, s is the stride, d the dilation (see `windows`). With G groups, channel c and output
f meet only where they are of the same group: W is (*k, C / G, F). (As everywhere in deep learning this is what signal
processing calls a correlation.)

Shapes: x (B, *spatial, C), W (*k, C / G, F), dy and y (B, *counts, F).

`convolution`, `input_gradient` and `weight_gradient` choose by platform, when the program is lowered; under each stand
its forms. `_by_library` is the obvious twin of all others.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.arrays import Shape
from jaxnn.kernels.windows import Windows, seen

Precision = Any


def convolution(x: jax.Array, weight: jax.Array, windows: Windows, groups: int, precision: Precision) -> jax.Array:
    """y: x convolved with W."""
    return jax.lax.conv_general_dilated(
        x,
        weight,
        windows.stride,
        windows.pads(x.shape[1:-1]),
        rhs_dilation=windows.dilation,
        dimension_numbers=_numbers(len(windows.size)),
        feature_group_count=groups,
        precision=precision,
    )


# With s - 1 zeros put between its numbers, dy is a signal D that x's convolution would see at stride 1:
#   dx[p] = sum_u W[u]^T D[p + low - d u],
# a convolution of D with the kernel reversed and transposed. Its window u' = k - 1 - u sees D at p + d u' - low', where
# low' = d (k - 1) - low; high' is what makes as many windows as x has numbers.
def input_gradient(
    dy: jax.Array, weight: jax.Array, windows: Windows, groups: int, spatial: Shape, precision: Precision
) -> jax.Array:
    """dx: dy convolved with the reversed, transposed W."""
    reversed_kernel = jax.lax.rev(weight, tuple(range(weight.ndim - 2)))
    pads = []
    for n, (low, _), extent, s, count in zip(
        spatial, windows.pads(spatial), windows.extent, windows.stride, dy.shape[1:-1], strict=True
    ):
        before = extent - 1 - low
        pads.append((before, n - (s * (count - 1) + 1) + extent - 1 - before))
    return jax.lax.conv_general_dilated(
        dy,
        _transposed(reversed_kernel, groups),
        (1,) * len(windows.size),
        pads,
        lhs_dilation=windows.stride,
        rhs_dilation=windows.dilation,
        dimension_numbers=_numbers(len(windows.size)),
        feature_group_count=groups,
        precision=precision,
    )


def weight_gradient(x: jax.Array, dy: jax.Array, windows: Windows, groups: int, precision: Precision) -> jax.Array:
    """dW: x's windows times dy, summed over examples and windows."""
    return _weight_gradient_by_library(x, dy, windows, groups, precision)


# dW is x convolved with dy: the examples are what is summed over, as channels are in y. A window has dy's places as its
# taps, s apart, and its steps are W's taps, d apart; high' is what makes k of them.
def _weight_gradient_by_library(
    x: jax.Array, dy: jax.Array, windows: Windows, groups: int, precision: Precision
) -> jax.Array:
    spatial = x.shape[1:-1]
    pads = []
    for n, (low, _), extent, s, count in zip(
        spatial, windows.pads(spatial), windows.extent, windows.stride, dy.shape[1:-1], strict=True
    ):
        pads.append((low, extent + s * (count - 1) - n - low))
    axes = _SPATIAL[: len(spatial)]
    return jax.lax.conv_general_dilated(
        x,
        dy,
        windows.dilation,
        pads,
        rhs_dilation=windows.stride,
        dimension_numbers=(f"C{axes}N", f"I{axes}O", f"{axes}NC"),
        batch_group_count=groups,
        precision=precision,
    )


def _weight_gradient_by_taps(
    x: jax.Array, dy: jax.Array, windows: Windows, groups: int, precision: Precision
) -> jax.Array:
    """The definition: for each tap, what the windows see there times dy."""
    of_taps = []
    dy = _grouped(dy, groups)
    for of_tap in seen(x, windows):
        product = jnp.einsum("...gc,...gf->cgf", _grouped(of_tap, groups), dy, precision=precision)
        of_taps.append(product.reshape(product.shape[0], -1))
    return jnp.stack(of_taps).reshape(*windows.size, *of_taps[0].shape)


_SPATIAL = "DHW"


def _numbers(n_axes: int) -> tuple[str, str, str]:
    axes = _SPATIAL[-n_axes:]
    return f"N{axes}C", f"{axes}IO", f"N{axes}C"


def _grouped(x: jax.Array, groups: int) -> jax.Array:
    """The last axis as (groups, channels of a group)."""
    return x.reshape(*x.shape[:-1], groups, -1)


def _transposed(weight: jax.Array, groups: int) -> jax.Array:
    """(*k, C / G, F) as (*k, F / G, C): channels and outputs change places, group by group."""
    grouped = jnp.swapaxes(_grouped(weight, groups), -3, -1)  # (*k, F / G, G, C / G)
    return grouped.reshape(*grouped.shape[:-2], -1)
