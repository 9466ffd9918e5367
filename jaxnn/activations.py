"""Activation functions: the value, and under it the derivative.

All act on x of any shape (B, ...) and keep it; all but Softmax act number by number, so that backward is
dx = f'(x) * dy. What each keeps for backward is the least that determines f'(x): the output where f' is a function
of f, one bit a number where f is piecewise linear.

NaN: a NaN in x is a NaN in y, in every function here; masks are the set where the *flat* branch is taken, and NaN is
never in it, so it isn't swallowed by a comparison either forward or backward.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnn.arrays import PyTree, require_floating
from jaxnn.layer import Backward, Forward, Parameterless, recipe


class OutputCache(NamedTuple):
    y: jax.Array


class MaskCache(NamedTuple):
    negative: jax.Array


@recipe
class Identity(Parameterless):
    """y = x, of any dtype.

    Backward: dx = dy.  NumPy twin: reference/layers.py.
    """

    def forward(self, params: PyTree, state: PyTree, x: jax.Array, *, key: Any = None, train: bool = False) -> Forward:
        return Forward(x, state, ())

    def backward(self, params: PyTree, cache: PyTree, dy: jax.Array) -> Backward:
        return Backward((), dy)


@recipe
class Sigmoid(Parameterless):
    """y = 1 / (1 + exp(-x)).

    Backward: dx = y (1 - y) dy.  Keeps y.
    Source: PRINCIPLES C2 to C4 (hanbingtao, part 3, equations 3 and 4).  NumPy twin: reference/layers.py.

    >>> import jax.numpy as jnp
    >>> Sigmoid().forward((), (), jnp.array([[-100.0, 0.0, 100.0]])).y
    Array([[0. , 0.5, 1. ]], dtype=float32)
    """

    def forward(self, params: PyTree, state: PyTree, x: jax.Array, *, key: Any = None, train: bool = False) -> Forward:
        require_floating(self, x)
        y = jax.lax.logistic(x)
        return Forward(y, state, OutputCache(y))

    def backward(self, params: PyTree, cache: OutputCache, dy: jax.Array) -> Backward:
        y = cache.y
        return Backward((), y * (1 - y) * dy)


@recipe
class Tanh(Parameterless):
    """y = tanh(x).

    Backward: dx = (1 - y^2) dy.  Keeps y.  NumPy twin: reference/layers.py.
    """

    def forward(self, params: PyTree, state: PyTree, x: jax.Array, *, key: Any = None, train: bool = False) -> Forward:
        require_floating(self, x)
        y = jnp.tanh(x)
        return Forward(y, state, OutputCache(y))

    def backward(self, params: PyTree, cache: OutputCache, dy: jax.Array) -> Backward:
        y = cache.y
        return Backward((), (1 + y) * (1 - y) * dy)  # the factored form keeps its digits as |y| nears 1


@recipe
class ReLU(Parameterless):
    """y = max(x, 0).

    Backward: dx = dy where x > 0, and 0 where x <= 0: the subgradient at 0 is 0, as in `jax.nn.relu`.
    Keeps one bool a number.  NumPy twin: reference/layers.py.
    """

    def forward(self, params: PyTree, state: PyTree, x: jax.Array, *, key: Any = None, train: bool = False) -> Forward:
        require_floating(self, x)
        negative = x <= 0
        return Forward(jnp.where(negative, 0, x), state, MaskCache(negative))

    def backward(self, params: PyTree, cache: MaskCache, dy: jax.Array) -> Backward:
        return Backward((), jnp.where(cache.negative, 0, dy))


@recipe
class LeakyReLU(Parameterless):
    """y = x where x > 0, and slope * x where x <= 0.

    Backward: dx = dy where x > 0, and slope * dy where x <= 0: the subgradient at 0 is the one from the left, slope
    (`jax.nn.leaky_relu` takes 1).  Keeps one bool a number.  NumPy twin: reference/layers.py.
    """

    slope: float = 0.01

    def forward(self, params: PyTree, state: PyTree, x: jax.Array, *, key: Any = None, train: bool = False) -> Forward:
        require_floating(self, x)
        negative = x <= 0
        return Forward(jnp.where(negative, self.slope * x, x), state, MaskCache(negative))

    def backward(self, params: PyTree, cache: MaskCache, dy: jax.Array) -> Backward:
        return Backward((), jnp.where(cache.negative, self.slope * dy, dy))


@recipe
class Softmax(Parameterless):
    """y_k = exp(x_k) / sum_j exp(x_j), over the last axis.

    Before a cross-entropy leave it out: `SoftmaxCrossEntropy` starts from logits.
    Backward: dx_k = y_k (dy_k - sum_j y_j dy_j).  Keeps y.  NumPy twin: reference/layers.py.
    """

    def forward(self, params: PyTree, state: PyTree, x: jax.Array, *, key: Any = None, train: bool = False) -> Forward:
        require_floating(self, x)
        # The maximum cancels between numerator and denominator: it only keeps exp from overflowing.
        exponentials = jnp.exp(x - jax.lax.stop_gradient(jnp.max(x, axis=-1, keepdims=True)))
        y = exponentials / jnp.sum(exponentials, axis=-1, keepdims=True)
        return Forward(y, state, OutputCache(y))

    # dy_j/dx_k = y_j (1[j = k] - y_k), so dx_k = sum_j dy_j y_j (1[j = k] - y_k) = y_k dy_k - y_k sum_j y_j dy_j.
    def backward(self, params: PyTree, cache: OutputCache, dy: jax.Array) -> Backward:
        y = cache.y
        return Backward((), y * (dy - jnp.sum(y * dy, axis=-1, keepdims=True)))
