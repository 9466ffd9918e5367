"""The same forwards as one would write them with `jax.nn` and `jax.lax`: the other automatic baseline.

`jax.grad` of our own forward and of an idiomatic one aren't the same program: `jax.nn.relu` and others carry rules of
their own. One table, layer to function, used by `compare` and by the benchmarks. The functions have a forward's
arguments and give (y, state). They differ from ours in subgradients at kinks alone, which their lines name.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.arrays import PyTree, default_float, is_floating
from jaxnn.kernels.pooling import max_pool_by_library
from jaxnn.layer import Backward, Forward, Layer, forward_of
from jaxnn.layers.activations import (
    ELU,
    GELU,
    Identity,
    LeakyReLU,
    PReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from jaxnn.layers.batch_norm import BatchNorm, BatchNormState
from jaxnn.layers.cells import GRUCell, LSTMCarry, LSTMCell, Step, TanhCell
from jaxnn.layers.convolution import Conv1D, Conv2D
from jaxnn.layers.dense import Dense
from jaxnn.layers.dropout import Dropout
from jaxnn.layers.locally_connected import LocallyConnected1D, LocallyConnected2D
from jaxnn.layers.normalization import GroupNorm, LayerNorm, RMSNorm
from jaxnn.layers.pooling import AvgPool, GlobalAvgPool, MaxPool
from jaxnn.layers.rescale import Rescale
from jaxnn.layers.reshape import Reshape
from jaxnn.mesh_axes import mean_over, n_devices
from jaxnn.networks.rebuild import mapped
from jaxnn.networks.wrapped import Wrapped
from jaxnn.objective.losses import (
    AbsoluteError,
    HalfSquaredError,
    Huber,
    Loss,
    LossForward,
    SigmoidCrossEntropy,
    SoftmaxCrossEntropy,
    n_classes,
)

Function = Callable[..., tuple[PyTree, PyTree]]


def dense(layer: Dense, params: Any, state: PyTree, x: jax.Array, key: Any, train: bool) -> tuple[jax.Array, PyTree]:
    y = jnp.einsum("...i,io->...o", x, params.weight, precision=layer.precision)
    return y if params.bias is None else y + params.bias.reshape([1] * (y.ndim - 1) + [-1]), state


def batch_norm(
    layer: BatchNorm, params: Any, state: Any, x: jax.Array, key: Any, train: bool
) -> tuple[jax.Array, PyTree]:
    rows = tuple(range(x.ndim - 1))
    row = lambda feature: feature.reshape([1] * len(rows) + [-1])  # noqa: E731
    if train:
        mean = mean_over(jnp.mean(x, rows), layer.axis_name)
        variance = mean_over(jnp.mean(jnp.square(x - row(mean)), rows), layer.axis_name)
        n_rows = n_devices(layer.axis_name) * x.size // x.shape[-1]
        new = BatchNormState(mean, variance * (n_rows / (n_rows - 1)))
        state = jax.tree.map(lambda old, now: layer.momentum * old + (1 - layer.momentum) * now, state, new)
    else:
        mean, variance = state
    y = jax.nn.standardize(x, axis=rows, mean=row(mean), variance=row(variance), epsilon=layer.epsilon)
    return row(params.scale) * y + row(params.bias), state


def convolution(
    layer: Conv1D | Conv2D, params: Any, state: PyTree, x: jax.Array, key: Any, train: bool
) -> tuple[jax.Array, PyTree]:
    windows = layer.windows(layer.n_axes)
    axes = "HW"[-layer.n_axes :]
    y = jax.lax.conv_general_dilated(
        x,
        params.weight,
        windows.stride,
        windows.padding,
        rhs_dilation=windows.dilation,
        dimension_numbers=(f"N{axes}C", f"{axes}IO", f"N{axes}C"),
        feature_group_count=layer.groups,
        precision=layer.precision,
    )
    return y if params.bias is None else y + params.bias.reshape([1] * (y.ndim - 1) + [-1]), state


def locally_connected(
    layer: LocallyConnected1D | LocallyConnected2D, params: Any, state: PyTree, x: jax.Array, key: Any, train: bool
) -> tuple[jax.Array, PyTree]:
    windows, axes, weight = layer.windows(layer.n_axes), "HW"[-layer.n_axes :], params.weight
    y = jax.lax.conv_general_dilated_local(
        x,
        jnp.swapaxes(weight.reshape(*weight.shape[: layer.n_axes], -1, *weight.shape[-2:]), -3, -2).reshape(
            *weight.shape[: layer.n_axes], -1, layer.n_out
        ),
        windows.stride,
        windows.padding,
        windows.size,
        rhs_dilation=windows.dilation,
        dimension_numbers=(f"N{axes}C", f"{axes}IO", f"N{axes}C"),
        precision=layer.precision,
    )
    return y if params.bias is None else y + params.bias[None], state


def max_pool(layer: MaxPool, x: jax.Array) -> jax.Array:
    windows = layer.windows(x.ndim - 2)
    if set(windows.dilation) != {1}:  # JAX has no gradient of a dilated one
        return forward_of(layer, (), (), x).y
    return max_pool_by_library(x, windows)


def avg_pool(layer: AvgPool, x: jax.Array) -> jax.Array:
    windows = layer.windows(x.ndim - 2)
    pads = ((0, 0), *windows.pads(x.shape[1:-1]), (0, 0))
    window = (1, *windows.size, 1), (1, *windows.stride, 1), pads, None, (1, *windows.dilation, 1)
    total = jax.lax.reduce_window(x, 0.0, jax.lax.add, *window)
    if layer.count_include_pad:
        return total / math.prod(windows.size)
    return total / jax.lax.reduce_window(jnp.ones_like(x), 0.0, jax.lax.add, *window)


def layer_norm(
    layer: LayerNorm, params: Any, state: PyTree, x: jax.Array, key: Any, train: bool
) -> tuple[jax.Array, PyTree]:
    return affine(params, standardized(x, tuple(range(-layer.n_axes, 0)), layer.epsilon)), state


def group_norm(
    layer: GroupNorm, params: Any, state: PyTree, x: jax.Array, key: Any, train: bool
) -> tuple[jax.Array, PyTree]:
    grouped = x.reshape(*x.shape[:-1], layer.groups, -1)
    y = standardized(grouped, (*range(1, x.ndim - 1), -1), layer.epsilon)
    return affine(params, y.reshape(x.shape)), state


def rms_norm(
    layer: RMSNorm, params: Any, state: PyTree, x: jax.Array, key: Any, train: bool
) -> tuple[jax.Array, PyTree]:
    y = x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + layer.epsilon)
    return affine(params, y), state


def standardized(x: jax.Array, axes: tuple[int, ...], epsilon: float) -> jax.Array:
    return jax.nn.standardize(x, axis=axes, variance=jnp.var(x, axes, keepdims=True), epsilon=epsilon)


def affine(params: Any, x: jax.Array) -> jax.Array:
    scale, bias = (None if param is None else jnp.broadcast_to(param, x.shape) for param in params)
    x = x if scale is None else scale * x
    return x if bias is None else x + bias


def dropout(
    layer: Dropout, params: Any, state: PyTree, x: jax.Array, key: Any, train: bool
) -> tuple[jax.Array, PyTree]:
    if not train or layer.rate == 0:
        return x, state
    keep = jax.random.bernoulli(key, jnp.float32(1 - layer.rate), x.shape)
    return jax.lax.select(keep, x / (1 - layer.rate), jnp.zeros_like(x)), state


def prelu(layer: PReLU, params: Any, state: PyTree, x: jax.Array, key: Any, train: bool) -> tuple[jax.Array, PyTree]:
    return jax.nn.leaky_relu(x, jnp.broadcast_to(params.slope, x.shape)), state


def rescale(
    layer: Rescale, params: Any, state: PyTree, x: jax.Array, key: Any, train: bool
) -> tuple[jax.Array, PyTree]:
    return layer.scale * (x if is_floating(x) else x.astype(default_float(layer.dtype))) + layer.shift, state


# Recurrent stays as it is: it is a `lax.scan` over its cell, with its truncation. What it repeats is one of these.
def tanh_cell(cell: TanhCell, params: Any, state: PyTree, x: Step, key: Any, train: bool) -> tuple[Step, PyTree]:
    h = jax.nn.tanh(from_both(cell, params, x.value, x.carry))
    return Step(h, h), state


def lstm_cell(cell: LSTMCell, params: Any, state: PyTree, x: Step, key: Any, train: bool) -> tuple[Step, PyTree]:
    h, c = x.carry
    i, f, g, o = jnp.split(from_both(cell, params, x.value, h), 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jax.nn.tanh(g)
    h = jax.nn.sigmoid(o) * jax.nn.tanh(c)
    return Step(LSTMCarry(h, c), h), state


def gru_cell(cell: GRUCell, params: Any, state: PyTree, x: Step, key: Any, train: bool) -> tuple[Step, PyTree]:
    dot = partial(jnp.dot, precision=cell.precision)
    a = jnp.split(dot(x.value, params.input.weight) + params.input.bias[None], 3, axis=-1)
    c = jnp.split(dot(x.carry, params.recurrent.weight), 3, axis=-1)
    r, u = jax.nn.sigmoid(a[0] + c[0]), jax.nn.sigmoid(a[1] + c[1])
    n = jax.nn.tanh(a[2] + r * (c[2] + params.recurrent.bias[None]))
    h = (1 - u) * n + u * x.carry
    return Step(h, h), state


def from_both(cell: TanhCell | LSTMCell, params: Any, x: jax.Array, h: jax.Array) -> jax.Array:
    dot = partial(jnp.dot, precision=cell.precision)
    return dot(x, params.input.weight) + dot(h, params.recurrent.weight) + params.input.bias[None]


def elementwise(function: Callable[..., jax.Array]) -> Function:
    return lambda layer, params, state, x, key, train: (function(layer, x), state)


LAYERS: dict[type, Function] = {
    Dense: dense,
    BatchNorm: batch_norm,
    Conv1D: convolution,
    Conv2D: convolution,
    LocallyConnected1D: locally_connected,
    LocallyConnected2D: locally_connected,
    LayerNorm: layer_norm,
    GroupNorm: group_norm,
    RMSNorm: rms_norm,
    Dropout: dropout,
    Rescale: rescale,
    TanhCell: tanh_cell,
    LSTMCell: lstm_cell,
    GRUCell: gru_cell,
    Reshape: elementwise(lambda layer, x: x.reshape(x.shape[0], *layer.output_shape(x.shape[1:]))),
    MaxPool: elementwise(max_pool),
    AvgPool: elementwise(avg_pool),
    GlobalAvgPool: elementwise(lambda layer, x: jnp.mean(x, axis=tuple(range(1, x.ndim - 1)))),
    Identity: elementwise(lambda layer, x: x),
    Sigmoid: elementwise(lambda layer, x: jax.nn.sigmoid(x)),
    Tanh: elementwise(lambda layer, x: jax.nn.tanh(x)),
    ReLU: elementwise(lambda layer, x: jax.nn.relu(x)),
    LeakyReLU: elementwise(lambda layer, x: jax.nn.leaky_relu(x, layer.slope)),  # 1 at 0, ours has the slope
    PReLU: prelu,  # 1 at 0, as leaky_relu
    ELU: elementwise(lambda layer, x: jax.nn.elu(x, layer.alpha)),
    Softplus: elementwise(lambda layer, x: jax.nn.softplus(x)),
    SiLU: elementwise(lambda layer, x: jax.nn.silu(x)),
    GELU: elementwise(lambda layer, x: jax.nn.gelu(x, layer.approximate)),
    Softmax: elementwise(lambda layer, x: jax.nn.softmax(x)),
}


def half_squared_error(loss: HalfSquaredError, y: jax.Array, target: jax.Array) -> jax.Array:
    return 0.5 * jnp.sum(jnp.square(y - target.astype(y.dtype)), axis=tuple(range(1, y.ndim)))


def absolute_error(loss: AbsoluteError, y: jax.Array, target: jax.Array) -> jax.Array:
    return jnp.sum(jnp.abs(y - target.astype(y.dtype)), axis=tuple(range(1, y.ndim)))


def huber(loss: Huber, y: jax.Array, target: jax.Array) -> jax.Array:
    off = jnp.abs(y - target.astype(y.dtype))
    terms = jnp.where(off <= loss.delta, 0.5 * jnp.square(off), loss.delta * (off - 0.5 * loss.delta))
    return jnp.sum(terms, axis=tuple(range(1, y.ndim)))


def softmax_cross_entropy(loss: SoftmaxCrossEntropy, y: jax.Array, target: jax.Array) -> jax.Array:
    t = jax.nn.one_hot(target, y.shape[-1], dtype=y.dtype) if target.ndim < y.ndim else target.astype(y.dtype)
    smooth = loss.label_smoothing
    t = (1 - smooth) * t + smooth * jnp.mean(t, axis=-1, keepdims=True)
    return -jnp.sum(t * jax.nn.log_softmax(y), axis=-1)


def sigmoid_cross_entropy(loss: SigmoidCrossEntropy, y: jax.Array, target: jax.Array) -> jax.Array:
    t = jax.nn.one_hot(target, y.shape[-1], dtype=y.dtype) if target.ndim < y.ndim else target.astype(y.dtype)
    t = (1 - loss.label_smoothing) * t + loss.label_smoothing / 2
    return -jnp.sum(t * jax.nn.log_sigmoid(y) + (1 - t) * jax.nn.log_sigmoid(-y), axis=tuple(range(1, y.ndim)))


LOSSES: dict[type, Callable[..., jax.Array]] = {
    HalfSquaredError: half_squared_error,
    AbsoluteError: absolute_error,  # 1 where y = t, ours has 0
    Huber: huber,
    SoftmaxCrossEntropy: softmax_cross_entropy,
    SigmoidCrossEntropy: sigmoid_cross_entropy,
}


@dataclass(frozen=True)
class Idiomatic(Wrapped):
    """A layer whose forward is the table's. It has no backward of its own: it is there to be differentiated."""

    def forward(self, params: PyTree, state: PyTree, x: PyTree, *, key: Any = None, train: bool = False) -> Forward:
        y, state = LAYERS[type(self.layer)](self.layer, params, state, x, key, train)
        return Forward(y, state, ())

    def backward(self, params: PyTree, cache: PyTree, dy: PyTree) -> Backward:
        raise NotImplementedError(f"the idiomatic form of {self.layer} has no hand-written backward: use autodiff")


@dataclass(frozen=True)
class IdiomaticLoss:
    """A loss whose values are the table's."""

    loss: Any

    def forward(self, y: jax.Array, target: jax.Array) -> LossForward:
        return LossForward(LOSSES[type(self.loss)](self.loss, y, target), ())

    def backward(self, cache: PyTree, weights: jax.Array) -> jax.Array:
        raise NotImplementedError(f"the idiomatic form of {self.loss} has no hand-written backward: use autodiff")

    def check(self, target: Any, output_shape: Any) -> None:
        self.loss.check(target, output_shape)

    def n_classes(self, target: Any, output_shape: Any) -> int | None:
        return n_classes(self.loss, target, output_shape)


def idiomatic(net: Layer) -> Layer:
    """The same network in idiomatic forwards, for `autodiff`: same params, same state, same numbers.

    A layer that the table doesn't know keeps its own forward. Raises: nothing of its own.

    >>> import jaxnn
    >>> idiomatic(jaxnn.ReLU()).forward((), (), jnp.array([[-1.0, 2.0]])).y
    Array([[0., 2.]], dtype=float32)
    """
    return mapped(net, lambda layer: Idiomatic(layer) if type(layer) in LAYERS else layer, opaque=True)


def idiomatic_loss(loss: Loss) -> Loss:
    """The same loss, written with `jax.nn`; a loss that the table doesn't know stays as it is."""
    return IdiomaticLoss(loss) if type(loss) in LOSSES else loss
