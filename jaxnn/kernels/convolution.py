"""Convolution and its two gradients, in the form that suits each platform.

    y[b, i, f]  = sum_{u, c} x[b, s i + d u - low, c] W[u, c, f]
    dW[u, c, f] = sum_{b, i} x[b, s i + d u - low, c] dy[b, i, f]
    dx[b, p, c] = sum_{f} sum_{i, u : s i + d u - low = p} W[u, c, f] dy[b, i, f]

i, u, p run over all spatial axes, s is the stride, d the dilation (see `windows`). With G groups, channel c and output
f meet only where they are of the same group: W is (*k, C / G, F). (As everywhere in deep learning this is what signal
processing calls a correlation.)

Shapes: x (B, *spatial, C), W (*k, C / G, F), dy and y (B, *counts, F).

`convolution`, `input_gradient` and `weight_gradient` choose a form by platform, when the program is lowered; the forms
of each stand below it. Those named `_by_taps` are the definition, tap by tap, and the obvious twins of the others.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.arrays import Shape
from jaxnn.kernels.windows import Windows, seen, spread, summed

Precision = Any


def convolution(x: jax.Array, weight: jax.Array, windows: Windows, groups: int, precision: Precision) -> jax.Array:
    """y: x convolved with W."""
    by_library = functools.partial(_convolution_by_library, windows=windows, groups=groups, precision=precision)
    if not (_is_depthwise(weight, groups) or _has_few_products(weight, groups)):
        return by_library(x, weight)
    by_taps = functools.partial(_convolution_by_taps, windows=windows, groups=groups, precision=precision)
    return jax.lax.platform_dependent(x, weight, cpu=by_taps, default=by_library)


def _convolution_by_library(
    x: jax.Array, weight: jax.Array, windows: Windows, groups: int, precision: Precision
) -> jax.Array:
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


def _convolution_by_taps(
    x: jax.Array, weight: jax.Array, windows: Windows, groups: int, precision: Precision
) -> jax.Array:
    terms = (
        _through(x_tap, weight[tap], groups, precision)
        for tap, x_tap in zip(windows.taps, seen(x, windows), strict=True)
    )
    return jax.lax.optimization_barrier(summed(terms, x.dtype))


def input_gradient(
    dy: jax.Array, weight: jax.Array, windows: Windows, groups: int, spatial: Shape, precision: Precision
) -> jax.Array:
    """dx: dy through the transposed W, back to the places that the windows saw."""
    options = {"windows": windows, "groups": groups, "spatial": spatial, "precision": precision}
    by_convolution = functools.partial(_input_gradient_by_convolution, **options)
    if _is_depthwise(weight, groups):
        on_cpu = _input_gradient_by_taps
    elif _has_few_columns(weight, groups):
        on_cpu = _input_gradient_by_columns
    else:
        return by_convolution(dy, weight)
    return jax.lax.platform_dependent(dy, weight, cpu=functools.partial(on_cpu, **options), default=by_convolution)


# With s - 1 zeros put between its numbers, dy is D, the cotangent that x's convolution would have at stride 1:
#   dx[p] = sum_u W[u]^T D[p + low - d u],
# a convolution of D with the kernel reversed and transposed. Its window u' = k - 1 - u sees D at p + d u' - low', where
# low' = d (k - 1) - low; high' is chosen so that there is one window for each number of x.
def _input_gradient_by_convolution(
    dy: jax.Array, weight: jax.Array, windows: Windows, groups: int, spatial: Shape, precision: Precision
) -> jax.Array:
    pads = []
    for n, (low, _), extent, s, count in zip(
        spatial, windows.pads(spatial), windows.extent, windows.stride, dy.shape[1:-1], strict=True
    ):
        before = extent - 1 - low
        pads.append((before, n - (s * (count - 1) + 1) + extent - 1 - before))
    reversed_kernel = jax.lax.rev(weight, tuple(range(weight.ndim - 2)))
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


def _input_gradient_by_columns(
    dy: jax.Array, weight: jax.Array, windows: Windows, groups: int, spatial: Shape, precision: Precision
) -> jax.Array:
    """One matrix product gives each window's part of dx at all its taps; then each part is added at its place.

    A convolution to few channels leaves most of a vector register empty: from 16 to 6 channels, 5 x 5, it took 2.7
    times as long. The barrier keeps the product from being fused into the sums.
    """
    assert groups == 1
    n_taps, n_channels, n_out = len(windows.taps), *weight.shape[-2:]
    columns = jnp.matmul(dy, weight.reshape(-1, n_out).T, precision=precision)
    columns = jax.lax.optimization_barrier(columns).reshape(*dy.shape[:-1], n_taps, n_channels)
    dx = spread([columns[..., tap, :] for tap in range(n_taps)], windows, spatial)
    return jax.lax.optimization_barrier(dx)


def _input_gradient_by_taps(
    dy: jax.Array, weight: jax.Array, windows: Windows, groups: int, spatial: Shape, precision: Precision
) -> jax.Array:
    back = _transposed(weight, groups)
    return spread([_through(dy, back[tap], groups, precision) for tap in windows.taps], windows, spatial)


def weight_gradient(x: jax.Array, dy: jax.Array, windows: Windows, groups: int, precision: Precision) -> jax.Array:
    """dW: what the windows see times dy, summed over examples and windows."""
    options = {"windows": windows, "groups": groups, "precision": precision}
    few_inputs = groups == 1 and len(windows.taps) * x.shape[-1] <= dy.shape[-1]
    on_cpu = _weight_gradient_by_patches if few_inputs else _weight_gradient_by_transposes
    elsewhere = functools.partial(_weight_gradient_by_library, **options)
    return jax.lax.platform_dependent(x, dy, cpu=functools.partial(on_cpu, **options), default=elsewhere)


def _weight_gradient_by_library(
    x: jax.Array, dy: jax.Array, windows: Windows, groups: int, precision: Precision
) -> jax.Array:
    """A convolution whose `dimension_numbers` say which axis is which, as `jax.grad` computes it."""
    axes = _SPATIAL[-len(windows.size) :]
    pads = _weight_pads(windows, x.shape[1:-1], dy.shape[1:-1])
    return _over_examples(x, dy, windows, pads, (f"C{axes}N", f"I{axes}O", f"{axes}NC"), groups, precision)


def _weight_gradient_by_transposes(
    x: jax.Array, dy: jax.Array, windows: Windows, groups: int, precision: Precision
) -> jax.Array:
    """The same convolution, its axes first brought into the order that a forward convolution has.

    XLA's CPU compiler has a fast form for that order everywhere, but for the other order only at the top of a program:
    inside `lax.scan`, 3 x 3 from 32 to 64 channels took 70 times as long.
    """
    by_channel = jnp.moveaxis(x, (-1, 0), (0, -1))  # (C, *spatial, B)
    by_place = jnp.moveaxis(dy, 0, -2)  # (*counts, B, F)
    pads, numbers = _weight_pads(windows, x.shape[1:-1], dy.shape[1:-1]), _numbers(len(windows.size))
    dweight = _over_examples(by_channel, by_place, windows, pads, numbers, groups, precision)  # (C / G, *k, F)
    return jnp.moveaxis(dweight, 0, -2)


# dW is a convolution of x with dy that sums over the examples, where y sums over channels. The taps of its windows are
# dy's places, s apart; its windows lie at W's taps, d apart; `high` is chosen so that there are k of them.
def _over_examples(
    x: jax.Array,
    dy: jax.Array,
    windows: Windows,
    pads: list[tuple[int, int]],
    numbers: tuple[str, str, str],
    groups: int,
    precision: Precision,
) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x,
        dy,
        windows.dilation,
        pads,
        rhs_dilation=windows.stride,
        dimension_numbers=numbers,
        batch_group_count=groups,
        precision=precision,
    )


def _weight_pads(windows: Windows, spatial: Shape, counts: Shape) -> list[tuple[int, int]]:
    sizes = zip(spatial, windows.pads(spatial), windows.extent, windows.stride, counts, strict=True)
    return [(low, extent + s * (count - 1) - n - low) for n, (low, _), extent, s, count in sizes]


def _weight_gradient_by_patches(
    x: jax.Array, dy: jax.Array, windows: Windows, groups: int, precision: Precision
) -> jax.Array:
    """One matrix product: what each window sees, as a row, times dy. For windows that see less than dy has outputs.

    Then the rows are less to write than dy's transpose. The barrier keeps the copies that make the rows from being
    fused into the product, which would then read with a stride.
    """
    assert groups == 1
    rows = jnp.concatenate(list(seen(x, windows)), axis=-1)  # (B, *counts, k C)
    rows = jax.lax.optimization_barrier(rows.reshape(-1, rows.shape[-1]))
    dweight = jnp.matmul(rows.T, dy.reshape(-1, dy.shape[-1]), precision=precision)
    return dweight.reshape(*windows.size, x.shape[-1], dy.shape[-1])


def _weight_gradient_by_taps(
    x: jax.Array, dy: jax.Array, windows: Windows, groups: int, precision: Precision
) -> jax.Array:
    dy = _grouped(dy, groups)
    dweight = [
        jnp.einsum("...gc,...gf->cgf", _grouped(x_tap, groups), dy, precision=precision) for x_tap in seen(x, windows)
    ]
    return jnp.stack(dweight).reshape(*windows.size, x.shape[-1] // groups, -1)


_SPATIAL = "DHW"


def _numbers(n_axes: int) -> tuple[str, str, str]:
    axes = _SPATIAL[-n_axes:]
    return f"N{axes}C", f"{axes}IO", f"N{axes}C"


def _is_depthwise(weight: jax.Array, groups: int) -> bool:
    """Whether each channel has a kernel of its own: on a CPU matrix products are slow then, and sums of taps fast."""
    return groups > 1 and weight.shape[-2] == 1


# Before JAX 0.12 barriers do nothing on a CPU, and a sum over taps is computed again at each of its uses.
_BARRIERS_HOLD = jax.__version_info__ >= (0, 12)


def _has_few_products(weight: jax.Array, groups: int) -> bool:
    """Whether sums of taps are faster on a CPU from one channel too: 7 times from 1 to 6 channels, 5 x 5."""
    return _BARRIERS_HOLD and groups == 1 and weight.shape[-2] == 1 and math.prod(weight.shape) <= 400


def _has_few_columns(weight: jax.Array, groups: int) -> bool:
    """Whether W[..., f] has so few numbers that columns give dx faster on a CPU: 2.5 times from 16 to 6, 5 x 5."""
    return _BARRIERS_HOLD and groups == 1 and math.prod(weight.shape[:-1]) <= 160


def _grouped(x: jax.Array, groups: int) -> jax.Array:
    """The last axis as (groups, channels of a group)."""
    return x.reshape(*x.shape[:-1], groups, -1)


def _through(x: jax.Array, weight: jax.Array, groups: int, precision: Precision) -> jax.Array:
    """x (..., C) through the weight of one tap (C / G, F), group by group: (..., F)."""
    x, weight = _grouped(x, groups), _grouped(weight, groups)
    if weight.shape[0] == 1:
        y = x * jnp.broadcast_to(weight[0], (*x.shape[:-1], weight.shape[-1]))
    else:
        y = jnp.einsum("...gc,cgf->...gf", x, weight, precision=precision)
    return y.reshape(*y.shape[:-2], -1)


def _transposed(weight: jax.Array, groups: int) -> jax.Array:
    """(*k, C / G, F) as (*k, F / G, C): channels and outputs change places, group by group."""
    grouped = jnp.swapaxes(_grouped(weight, groups), -3, -1)  # (*k, F / G, G, C / G)
    return grouped.reshape(*grouped.shape[:-2], -1)
