"""Activation functions: the value, and under it the derivative.

All take x of any shape (B, ...), and y has the same shape; all but Softmax act number by number, so that backward is
dx = f'(x) * dy. What each keeps for backward is the least that determines f'(x): the output where f' is a function
of f, one bool a number where f is piecewise linear with slopes that are known, otherwise the input.

NaN: a NaN in x is a NaN in y, in every function here. A mask is true where the *flat* branch is taken, and never at a
NaN, so that no comparison swallows a NaN, forward or backward.
Infinities: a function that acts number by number takes its limit at +-infinity, y and f' alike; only a slope of 0 times
-infinity is NaN.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnn.arrays import PyTree, Shape, default_float, number, require_features, require_floating, widened
from jaxnn.layer import Backward, Forward, Init, Parameterless, recipe


class InputCache(NamedTuple):
    x: jax.Array


class OutputCache(NamedTuple):
    y: jax.Array


class MaskCache(NamedTuple):
    negative: jax.Array


@recipe
class Identity(Parameterless):
    """y = x, of any dtype.

    Backward: dx = dy.  NumPy twin: reference/activations.py.
    """

    def forward(self, params: PyTree, state: PyTree, x: jax.Array, *, key: Any = None, train: bool = False) -> Forward:
        return Forward(x, state, ())

    def backward(self, params: PyTree, cache: PyTree, dy: jax.Array) -> Backward:
        return Backward((), dy)


@recipe
class Sigmoid(Parameterless):
    """y = 1 / (1 + exp(-x)).

    Backward: dx = y (1 - y) dy.  Keeps y.
    Source: PRINCIPLES C2 to C4 (hanbingtao, part 3, equations 3 and 4).  NumPy twin: reference/activations.py.

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

    Backward: dx = (1 - y^2) dy.  Keeps y.  NumPy twin: reference/activations.py.
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
    Keeps one bool a number.  NumPy twin: reference/activations.py.
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
    (`jax.nn.leaky_relu` takes 1).  Keeps one bool a number.  NumPy twin: reference/activations.py.
    """

    slope: float = number("(-inf, inf)", 0.01)

    def forward(self, params: PyTree, state: PyTree, x: jax.Array, *, key: Any = None, train: bool = False) -> Forward:
        require_floating(self, x)
        negative = x <= 0
        return Forward(jnp.where(negative, self.slope * x, x), state, MaskCache(negative))

    def backward(self, params: PyTree, cache: MaskCache, dy: jax.Array) -> Backward:
        return Backward((), jnp.where(cache.negative, self.slope * dy, dy))


class PReLUParams(NamedTuple):
    slope: jax.Array


@recipe
class PReLU:
    """y = x where x > 0, and slope * x where x <= 0: a LeakyReLU whose slope is learned.

    One slope for each feature of the last axis, or one for all with `shared`; they start at `slope`. The field isn't
    named `weight`, so no penalty and no weight decay pulls a slope to 0, which would make it a ReLU.

    Shapes: x (B, ..., N), slope (N,), or () if shared -> y (B, ..., N).
    Backward, with rows r running over all axes that share a slope:
        dx = dy where x > 0, slope * dy where x <= 0        dslope = sum_r x_r dy_r over the x_r <= 0
    The subgradient at 0 is the one from the left, as in LeakyReLU.  Keeps x.
    Raises: ValueError if the last axis of x isn't N; TypeError if x isn't floating.
    Source: He et al. 2015, section 2.1, equations 1 to 3.  NumPy twin: reference/activations.py.
    """

    slope: float = number("(-inf, inf)", 0.25)
    shared: bool = False

    def init(self, key: jax.Array, shape: Shape, dtype: Any = None) -> Init:
        return Init(PReLUParams(jnp.full(self._slopes(shape), self.slope, default_float(dtype))), ())

    def output_shape(self, shape: Shape) -> Shape:
        self._slopes(shape)
        return tuple(shape)

    def forward(
        self, params: PReLUParams, state: PyTree, x: jax.Array, *, key: Any = None, train: bool = False
    ) -> Forward:
        require_floating(self, x)
        if not self.shared:
            require_features(self, x.shape, params.slope.shape[0])
        return Forward(jnp.where(x <= 0, self._each_row(params.slope, x) * x, x), state, InputCache(x))

    def backward(self, params: PReLUParams, cache: InputCache, dy: jax.Array) -> Backward:
        x = cache.x
        negative = x <= 0
        rows = tuple(range(x.ndim if self.shared else x.ndim - 1))
        terms = jnp.where(negative, widened(x) * widened(dy), 0)
        dslope = jnp.sum(terms, axis=rows).astype(params.slope.dtype)
        dx = jnp.where(negative, self._each_row(params.slope, dy) * dy, dy)
        return Backward(PReLUParams(dslope), dx)

    def _slopes(self, shape: Shape) -> Shape:
        if self.shared:
            return ()
        if not shape:
            raise ValueError(f"{self}: one example should have at least one axis, got shape (): write shared=True")
        return (shape[-1],)

    def _each_row(self, slope: jax.Array, x: jax.Array) -> jax.Array:
        """(N,) as (1, ..., 1, N); () as it is."""
        return slope if self.shared else slope.reshape(*[1] * (x.ndim - 1), -1)


@recipe
class ELU(Parameterless):
    """y = x where x > 0, and alpha (exp(x) - 1) where x <= 0.

    Backward: dx = dy where x > 0, and (y + alpha) dy where x <= 0: y + alpha is alpha exp(x), but for y's rounding.
    The subgradient at 0 is the one from the left, alpha, which for alpha = 1 is the derivative.
    Keeps y, whose sign is x's.
    Raises: ValueError if alpha isn't positive and finite.
    Source: Clevert et al. 2016, section 3.  NumPy twin: reference/activations.py.
    """

    alpha: float = number("(0, inf)", 1.0)  # with 0 it is ReLU

    def forward(self, params: PyTree, state: PyTree, x: jax.Array, *, key: Any = None, train: bool = False) -> Forward:
        require_floating(self, x)
        negative = x <= 0
        # Where x > 0 the branch not taken gets a 0: its exp would overflow, and the automatic gradient would be NaN.
        y = jnp.where(negative, self.alpha * jnp.expm1(jnp.where(negative, x, 0)), x)
        return Forward(y, state, OutputCache(y))

    def backward(self, params: PyTree, cache: OutputCache, dy: jax.Array) -> Backward:
        y = cache.y
        return Backward((), jnp.where(y <= 0, (y + self.alpha) * dy, dy))


@recipe
class Softplus(Parameterless):
    """y = log(1 + exp(x)): a ReLU without a kink.

    Backward: dx = (1 - exp(-y)) dy, which is sigmoid(x) dy.  Keeps y.
    Source: Dugas et al. 2001.  NumPy twin: reference/activations.py.
    """

    def forward(self, params: PyTree, state: PyTree, x: jax.Array, *, key: Any = None, train: bool = False) -> Forward:
        require_floating(self, x)
        positive = x > 0
        y = jnp.where(positive, x, 0) + jnp.log1p(jnp.exp(jnp.where(positive, -x, x)))  # max(x, 0) + log(1 + e^-|x|)
        return Forward(y, state, OutputCache(y))

    # e^y = 1 + e^x, so sigmoid(x) = e^x / (1 + e^x) = (e^y - 1) / e^y = 1 - e^-y. By expm1 it keeps every digit of y:
    # an error of u in y is one of y / (e^y - 1) u here, which is at most u.
    def backward(self, params: PyTree, cache: OutputCache, dy: jax.Array) -> Backward:
        return Backward((), -jnp.expm1(-cache.y) * dy)


# SiLU and GELU are x g(x) with a gate g that goes from 0 to 1: f' = g + x g'. Their y has a minimum, so it doesn't
# determine x, which has to be kept. Far out g' is 0 and f' is the gate, 0 or 1 in every dtype, long before x is
# infinite: from there on x is clipped, so that no infinity meets that 0.


def _gated(gate: jax.Array, x: jax.Array) -> jax.Array:
    """x g(x), and its limit 0 where the gate is closed, also to -infinity."""
    return jnp.where(gate == 0, 0, gate * x)


@recipe
class SiLU(Parameterless):
    """y = x s, s = sigmoid(x); also called swish.

    Backward: dx = s (1 + x (1 - s)) dy.  Keeps x.
    Source: Hendrycks and Gimpel 2016, section 2.  NumPy twin: reference/activations.py.
    """

    def forward(self, params: PyTree, state: PyTree, x: jax.Array, *, key: Any = None, train: bool = False) -> Forward:
        require_floating(self, x)
        return Forward(_gated(jax.lax.logistic(x), x), state, InputCache(x))

    # s' = s (1 - s), and 1 - s = sigmoid(-x), which has the digits that the difference loses.
    def backward(self, params: PyTree, cache: InputCache, dy: jax.Array) -> Backward:
        x = jnp.clip(cache.x, -1000, 1000)
        return Backward((), jax.lax.logistic(x) * (1 + x * jax.lax.logistic(-x)) * dy)


@recipe
class GELU(Parameterless):
    """y = x Phi(x), Phi the distribution function of N(0, 1) or, if `approximate`, a sigmoid that is close to it.

        approximate    Phi = (1 + tanh u) / 2,  u = sqrt(2 / pi) (x + 0.044715 x^3)

    Backward, with phi(x) = exp(-x^2 / 2) / sqrt(2 pi):
        dx = (Phi + x phi) dy        approximate    dx = Phi (1 + 2 x u' (1 - Phi)) dy
    Keeps x.
    Source: Hendrycks and Gimpel 2016, section 2.  NumPy twin: reference/activations.py.
    """

    approximate: bool = True

    def forward(self, params: PyTree, state: PyTree, x: jax.Array, *, key: Any = None, train: bool = False) -> Forward:
        require_floating(self, x)
        phi = jax.lax.logistic(_cubic(x, 0.044715)) if self.approximate else _normal_distribution(x)
        return Forward(_gated(phi, x), state, InputCache(x))

    # The distribution function has the derivative Phi' = phi. The other is sigmoid(2 u), so Phi' = 2 u' Phi (1 - Phi):
    # as a sigmoid it keeps the digits that 1 + tanh u loses, and 1 - Phi is sigmoid(-2 u).
    def backward(self, params: PyTree, cache: InputCache, dy: jax.Array) -> Backward:
        if self.approximate:
            twice_u, twice_x_du = _cubic(cache.x, 0.044715), _cubic(cache.x, 3 * 0.044715)
            return Backward((), jax.lax.logistic(twice_u) * (1 + twice_x_du * jax.lax.logistic(-twice_u)) * dy)
        x = jnp.clip(cache.x, -40, 40)
        density = jnp.exp(-jnp.square(x) / 2) / math.sqrt(2 * math.pi)
        return Backward((), (_normal_distribution(x) + x * density) * dy)


def _cubic(x: jax.Array, c: float) -> jax.Array:
    """2 sqrt(2 / pi) (x + c x^3), with x clipped before its cube overflows."""
    x = jnp.clip(x, -40, 40)
    return 2 * math.sqrt(2 / math.pi) * (x + c * x**3)


def _normal_distribution(x: jax.Array) -> jax.Array:
    """Phi(x); by erfc, which keeps the digits that 1 + erf loses."""
    return jax.lax.erfc(-math.sqrt(1 / 2) * x) / 2


@recipe
class Softmax(Parameterless):
    """y_k = exp(x_k) / sum_j exp(x_j), over the last axis.

    Leave it out before a cross-entropy: `SoftmaxCrossEntropy` takes logits.
    Backward: dx_k = y_k (dy_k - sum_j y_j dy_j).  Keeps y.  NumPy twin: reference/activations.py.
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
