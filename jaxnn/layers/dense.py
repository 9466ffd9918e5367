"""The fully connected layer."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnn.arrays import Shape, default_float, require_features, require_floating, require_positive
from jaxnn.kernels.barriers import materialized
from jaxnn.layer import Backward, Forward, Init, recipe
from jaxnn.layers.initializers import He, Zeros


class DenseParams(NamedTuple):
    weight: Float[Array, "n_in n_out"]
    bias: Float[Array, "n_out"] | None


class DenseCache(NamedTuple):
    x: Float[Array, "batch *middle n_in"]


@recipe
class Dense:
    """Fully connected layer: y = x W + b on the last axis.

    Shapes: x (B, ..., N_in), W (N_in, N_out), b (N_out,) or None without `bias` -> y (B, ..., N_out).
    Backward, with rows r running over the batch and middle axes alike:
        dW = sum_r x_r^T dy_r        db = sum_r dy_r        dx = dy W^T
    Keeps x. `precision` is `jax.lax.Precision`'s, by name, and holds in backward too.
    Raises: ValueError if the last axis of x isn't N_in; TypeError if x isn't floating.
    Source: PRINCIPLES C2 to C5 (hanbingtao, part 3, equations 8 to 10).  NumPy twin: reference/layers.py.

    >>> net = Dense(300)
    >>> params, _ = net.init(jax.random.key(0), (784,))
    >>> params.weight.shape, params.bias.shape
    ((784, 300), (300,))
    """

    n_out: int
    weight_init: Callable[..., jax.Array] = He()
    bias_init: Callable[..., jax.Array] = Zeros()
    bias: bool = True
    precision: str | None = None

    def __post_init__(self) -> None:
        require_positive("Dense: n_out", self.n_out)

    def init(self, key: jax.Array, shape: Shape, dtype: Any = None) -> Init:
        weight_key, bias_key = jax.random.split(key)
        n_in = self._n_in(shape)
        weight = self.weight_init(weight_key, (n_in, self.n_out), default_float(dtype))
        bias = self.bias_init(bias_key, (self.n_out,), default_float(dtype)) if self.bias else None
        return Init(DenseParams(weight, bias), ())

    def output_shape(self, shape: Shape) -> Shape:
        self._n_in(shape)
        return (*shape[:-1], self.n_out)

    def forward(
        self, params: DenseParams, state: tuple, x: jax.Array, *, key: Any = None, train: bool = False
    ) -> Forward:
        require_floating(self, x)
        require_features(self, x.shape, params.weight.shape[0])
        y = jnp.matmul(x, params.weight, precision=self.precision)
        if params.bias is not None:
            y = y + jnp.broadcast_to(params.bias, y.shape)
        return Forward(y, state, DenseCache(x))

    def backward(self, params: DenseParams, cache: DenseCache, dy: jax.Array) -> Backward:
        x = cache.x
        rows = tuple(range(x.ndim - 1))
        (dy,) = materialized(dy)  # it is used three times
        # sum_r x_r^T dy_r, as (sum_r dy_r^T x_r)^T: many dy for one x, under `vmap`, are then one product of many rows
        dweight = jnp.tensordot(dy, x, axes=(rows, rows), precision=self.precision).T
        dbias = None if params.bias is None else jnp.sum(dy, axis=rows)  # sum_r dy_r
        dx = jnp.matmul(dy, params.weight.T, precision=self.precision)  # dy W^T
        return Backward(DenseParams(dweight, dbias), dx)

    def _n_in(self, shape: Shape) -> int:
        if not shape:
            raise ValueError(f"{self}: one example should have at least one axis, got shape (): use x[:, None]")
        return shape[-1]
