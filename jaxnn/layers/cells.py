"""Recurrent cells: what happens at one step of time. `Recurrent` repeats one over a sequence, with the same params.

A cell is a layer whose input and output are a `Step`. All cells here have the params `.input.weight` W, `.input.bias` b
and `.recurrent.weight` U: penalties and weight decay act on fields named `weight`, so on W and U, and not on b.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnn.arrays import PyTree, Shape, default_float, number, require_features, require_floating, require_positive
from jaxnn.layer import Backward, Forward, Init, Layer, recipe
from jaxnn.layers.initializers import Glorot, Zeros


class Step(NamedTuple):
    """What goes into a cell at one step of time, and what comes out: the carry, a tree of (B, ...), and the value."""

    carry: PyTree
    value: jax.Array


@runtime_checkable
class Cell(Layer, Protocol):
    """A layer with one more method, whose x, y, dx and dy are each a `Step`.

    `forward` takes the carry from the step before and gives the one for the step after. The shapes that `init` and
    `output_shape` take and give are those of one value, without batch, time and carry.
    """

    def start(self, batch: int, dtype: Any) -> PyTree:
        """The carry before the first step: a constant, which has no gradient."""
        ...


class InputParams(NamedTuple):
    weight: Float[Array, "n_in n_columns"]
    bias: Float[Array, "n_columns"]


class RecurrentParams(NamedTuple):
    weight: Float[Array, "n_out n_columns"]


class CellParams(NamedTuple):
    input: InputParams
    recurrent: Any  # RecurrentParams, or one with a bias


@recipe
class _CellOfVectors:
    """What the cells here share: their first fields, and a carry h (B, H) that starts at 0."""

    n_out: int
    weight_init: Callable[..., jax.Array] = Glorot()
    recurrent_init: Callable[..., jax.Array] = Glorot()
    bias_init: Callable[..., jax.Array] = Zeros()

    def __post_init__(self) -> None:
        require_positive(f"{type(self).__name__}: n_out", self.n_out)

    def start(self, batch: int, dtype: Any) -> Any:
        return jnp.zeros((batch, self.n_out), dtype)

    def output_shape(self, shape: Shape) -> Shape:
        _one_vector(self, shape)
        return (self.n_out,)


class TanhCache(NamedTuple):
    x: Float[Array, "batch n_in"]
    before: Float[Array, "batch n_out"]
    h: Float[Array, "batch n_out"]


@recipe
class TanhCell(_CellOfVectors):
    """The simple recurrent cell: h_t = tanh(x_t W + h_(t-1) U + b); the carry and the value are both h_t.

    Shapes: x_t (B, N), W (N, H), U (H, H), b (H,), h_t (B, H); h starts at 0.
    Backward, where dh_t is the sum of the value's cotangent and the carry's:
        dz = (1 - h_t^2) dh_t
        dW = x_t^T dz        dU = h_(t-1)^T dz        db = sum_b dz_b        dx_t = dz W^T        dh_(t-1) = dz U^T
    Keeps x_t, h_(t-1) and h_t. `precision` is `jax.lax.Precision`'s, by name, and holds in backward too.
    Raises: ValueError if x_t isn't (B, N); TypeError if it isn't floating, or isn't in a `Step`.
    Source: Elman 1990; backward: Werbos 1990.  NumPy twin: reference/recurrent.py.

    >>> params, _ = TanhCell(5).init(jax.random.key(0), (3,))
    >>> params.input.weight.shape, params.input.bias.shape, params.recurrent.weight.shape
    ((3, 5), (5,), (5, 5))
    """

    precision: str | None = None

    def init(self, key: jax.Array, shape: Shape, dtype: Any = None) -> Init:
        return Init(_init(self, key, shape, dtype, n_gates=1), ())

    def forward(self, params: CellParams, state: tuple, x: Step, *, key: Any = None, train: bool = False) -> Forward:
        before, x_t = _checked(self, params, x)
        h = jnp.tanh(_affine(self, params, x_t, before))
        return Forward(Step(h, h), state, TanhCache(x_t, before, h))

    def backward(self, params: CellParams, cache: TanhCache, dy: Step) -> Backward:
        x_t, before, h = cache
        dh = dy.carry + dy.value
        dz = (1 + h) * (1 - h) * dh  # the factored form keeps its digits as |h| nears 1
        dparams, dbefore, dx_t = _affine_backward(self, params, x_t, before, dz, dz)
        return Backward(dparams, Step(dbefore, dx_t))


class LSTMCarry(NamedTuple):
    h: Float[Array, "batch n_out"]
    c: Float[Array, "batch n_out"]


class Gates(NamedTuple):
    """Input gate, forget gate, candidate and output gate, in the order of the weights' columns."""

    i: Float[Array, "batch n_out"]
    f: Float[Array, "batch n_out"]
    g: Float[Array, "batch n_out"]
    o: Float[Array, "batch n_out"]


class LSTMCache(NamedTuple):
    x: Float[Array, "batch n_in"]
    before: LSTMCarry
    gates: Gates
    tanh_c: Float[Array, "batch n_out"]


@recipe
class LSTMCell(_CellOfVectors):
    """Long short-term memory: a sum c that gates write to, clear and read, and the output h; the carry is (h, c).

        (z_i, z_f, z_g, z_o) = x_t W + h_(t-1) U + b
        i = sigmoid(z_i)        f = sigmoid(z_f)        g = tanh(z_g)        o = sigmoid(z_o)
        c_t = f c_(t-1) + i g        h_t = o tanh(c_t)        value = h_t
    The gates' weights stand side by side, in the order i, f, g, o; each gate's are drawn on their own. `forget_bias` is
    added to the forget gate's bias at init, so that at first most of c is kept. No peepholes.

    Shapes: x_t (B, N), W (N, 4H), U (H, 4H), b (4H,), h_t and c_t (B, H); both start at 0.
    Backward, where dh_t is the sum of the value's cotangent and the carry's, and dc_t the carry's:
        dc = dc_t + o (1 - tanh(c_t)^2) dh_t        dc_(t-1) = f dc
        dz_i = i (1 - i) g dc        dz_f = f (1 - f) c_(t-1) dc
        dz_g = (1 - g^2) i dc        dz_o = o (1 - o) tanh(c_t) dh_t
        dW = x_t^T dz        dU = h_(t-1)^T dz        db = sum_b dz_b        dx_t = dz W^T        dh_(t-1) = dz U^T
    Keeps x_t, h_(t-1), c_(t-1), the gates and tanh(c_t). `precision` as in `TanhCell`.
    Raises: ValueError if x_t isn't (B, N); TypeError if it isn't floating, or isn't in a `Step`.
    Source: Hochreiter and Schmidhuber 1997; the forget gate: Gers, Schmidhuber and Cummins 2000; its bias of 1:
    Jozefowicz, Zaremba and Sutskever 2015.  NumPy twin: reference/recurrent.py.

    >>> params, _ = LSTMCell(2).init(jax.random.key(0), (3,))
    >>> params.input.weight.shape, params.recurrent.weight.shape, params.input.bias.tolist()
    ((3, 8), (2, 8), [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    """

    forget_bias: float = number("(-inf, inf)", 1.0)
    precision: str | None = None

    def start(self, batch: int, dtype: Any) -> LSTMCarry:
        zeros = jnp.zeros((batch, self.n_out), dtype)
        return LSTMCarry(zeros, zeros)

    def init(self, key: jax.Array, shape: Shape, dtype: Any = None) -> Init:
        (weight, bias), recurrent = _init(self, key, shape, dtype, n_gates=4)
        forget_columns = slice(self.n_out, 2 * self.n_out)
        return Init(CellParams(InputParams(weight, bias.at[forget_columns].add(self.forget_bias)), recurrent), ())

    def forward(self, params: CellParams, state: tuple, x: Step, *, key: Any = None, train: bool = False) -> Forward:
        before, x_t = _checked(self, params, x)
        z_i, z_f, z_g, z_o = jnp.split(_affine(self, params, x_t, before.h), 4, axis=-1)
        i, f, g, o = Gates(jax.lax.logistic(z_i), jax.lax.logistic(z_f), jnp.tanh(z_g), jax.lax.logistic(z_o))
        c = f * before.c + i * g
        tanh_c = jnp.tanh(c)
        h = o * tanh_c
        return Forward(Step(LSTMCarry(h, c), h), state, LSTMCache(x_t, before, Gates(i, f, g, o), tanh_c))

    # c_t reaches the loss through the next step (the carry's dc_t) and through h_t = o tanh(c_t), which itself goes to
    # the next step and to the value: dh is the sum of both. In c_t = f c_(t-1) + i g each factor gets dc times the
    # other one.
    def backward(self, params: CellParams, cache: LSTMCache, dy: Step) -> Backward:
        x_t, before, (i, f, g, o), tanh_c = cache
        dh = dy.carry.h + dy.value
        dc = dy.carry.c + o * (1 + tanh_c) * (1 - tanh_c) * dh
        dz_i = i * (1 - i) * g * dc
        dz_f = f * (1 - f) * before.c * dc
        dz_g = (1 + g) * (1 - g) * i * dc
        dz_o = o * (1 - o) * tanh_c * dh
        dz = jnp.concatenate([dz_i, dz_f, dz_g, dz_o], axis=-1)
        dparams, dh_before, dx_t = _affine_backward(self, params, x_t, before.h, dz, dz)
        return Backward(dparams, Step(LSTMCarry(dh_before, f * dc), dx_t))


class BiasedRecurrentParams(NamedTuple):
    weight: Float[Array, "n_out n_columns"]
    bias: Float[Array, "n_out"]


class GRUCache(NamedTuple):
    x: Float[Array, "batch n_in"]
    before: Float[Array, "batch n_out"]
    r: Float[Array, "batch n_out"]
    u: Float[Array, "batch n_out"]
    n: Float[Array, "batch n_out"]
    q: Float[Array, "batch n_out"]


@recipe
class GRUCell(_CellOfVectors):
    """Gated recurrent unit: h moves from its old value to a new one as far as a gate says; carry and value are h_t.

        (a_r, a_u, a_n) = x_t W + b        (c_r, c_u, c_n) = h_(t-1) U
        r = sigmoid(a_r + c_r)        u = sigmoid(a_u + c_u)        q = c_n + b_q        n = tanh(a_n + r q)
        h_t = (1 - u) n + u h_(t-1)
    The columns of W and U are those of the reset gate r, the update gate u and the new value n. r acts after the
    product with U, so that one product serves all three; in the paper it acts before.

    Shapes: x_t (B, N), W (N, 3H), b (3H,), U (H, 3H), b_q (H,), h_t (B, H); h starts at 0.
    Backward, where dh_t is the sum of the value's cotangent and the carry's:
        du = (h_(t-1) - n) dh_t        da_n = (1 - n^2) (1 - u) dh_t        dq = r da_n        dr = q da_n
        da_r = dc_r = r (1 - r) dr        da_u = dc_u = u (1 - u) du        dc_n = dq
        dW = x_t^T da        db = sum_b da_b        dU = h_(t-1)^T dc        db_q = sum_b dq_b
        dx_t = da W^T        dh_(t-1) = dc U^T + u dh_t
    Keeps x_t, h_(t-1), r, u, n and q. `precision` as in `TanhCell`.
    Raises: ValueError if x_t isn't (B, N); TypeError if it isn't floating, or isn't in a `Step`.
    Source: Cho and others 2014, (5) to (8); the reset after the product: Chung and others 2014 and cuDNN, whose second
    biases of the gates add nothing and are left out.  NumPy twin: reference/recurrent.py.

    >>> params, _ = GRUCell(2).init(jax.random.key(0), (3,))
    >>> params.input.weight.shape, params.recurrent.weight.shape, params.recurrent.bias.shape
    ((3, 6), (2, 6), (2,))
    """

    precision: str | None = None

    def init(self, key: jax.Array, shape: Shape, dtype: Any = None) -> Init:
        own_key, bias_key = jax.random.split(key)
        input_params, (recurrent,) = _init(self, own_key, shape, dtype, n_gates=3)
        bias = self.bias_init(bias_key, (self.n_out,), default_float(dtype))
        return Init(CellParams(input_params, BiasedRecurrentParams(recurrent, bias)), ())

    def forward(self, params: CellParams, state: tuple, x: Step, *, key: Any = None, train: bool = False) -> Forward:
        h, x_t = _checked(self, params, x)
        a = jnp.matmul(x_t, params.input.weight, precision=self.precision)
        c = jnp.matmul(h, params.recurrent.weight, precision=self.precision)
        a_r, a_u, a_n = jnp.split(a + jnp.broadcast_to(params.input.bias, a.shape), 3, axis=-1)
        c_r, c_u, c_n = jnp.split(c, 3, axis=-1)
        r, u = jax.lax.logistic(a_r + c_r), jax.lax.logistic(a_u + c_u)
        q = c_n + jnp.broadcast_to(params.recurrent.bias, c_n.shape)
        n = jnp.tanh(a_n + r * q)
        new = (1 - u) * n + u * h
        return Forward(Step(new, new), state, GRUCache(x_t, h, r, u, n, q))

    # h_t = n + u (h_(t-1) - n): du is the difference that u mixes, times dh_t. r and q meet in a product, and each gets
    # the other as a factor; x_t and h_(t-1) meet in sums but for that product, so da and dc differ only in their third
    # part.
    def backward(self, params: CellParams, cache: GRUCache, dy: Step) -> Backward:
        x_t, h, r, u, n, q = cache
        dh = dy.carry + dy.value
        da_n = (1 + n) * (1 - n) * (1 - u) * dh
        dq = r * da_n
        da_r = r * (1 - r) * q * da_n
        da_u = u * (1 - u) * (h - n) * dh
        da = jnp.concatenate([da_r, da_u, da_n], axis=-1)
        dc = jnp.concatenate([da_r, da_u, dq], axis=-1)
        (dinput, (drecurrent,)), dbefore, dx_t = _affine_backward(self, params, x_t, h, da, dc)
        dparams = CellParams(dinput, BiasedRecurrentParams(drecurrent, jnp.sum(dq, axis=0)))
        return Backward(dparams, Step(dbefore + u * dh, dx_t))


def _affine(cell: Any, params: CellParams, x: jax.Array, h: jax.Array) -> jax.Array:
    """z = x W + h U + b."""
    from_x = jnp.matmul(x, params.input.weight, precision=cell.precision)
    from_h = jnp.matmul(h, params.recurrent.weight, precision=cell.precision)
    return from_x + from_h + jnp.broadcast_to(params.input.bias, from_x.shape)


def _affine_backward(
    cell: Any, params: CellParams, x: jax.Array, h: jax.Array, da: jax.Array, dc: jax.Array
) -> tuple[CellParams, jax.Array, jax.Array]:
    """dparams, dh and dx, from the cotangents of a = x W + b and of c = h U; for z = a + c both are dz."""
    dweight = jnp.matmul(x.T, da, precision=cell.precision)  # dW = x^T da
    drecurrent = jnp.matmul(h.T, dc, precision=cell.precision)  # dU = h^T dc
    dbias = jnp.sum(da, axis=0)
    dh = jnp.matmul(dc, params.recurrent.weight.T, precision=cell.precision)  # dc U^T
    dx = jnp.matmul(da, params.input.weight.T, precision=cell.precision)  # da W^T
    return CellParams(InputParams(dweight, dbias), RecurrentParams(drecurrent)), dh, dx


def _init(cell: Any, key: jax.Array, shape: Shape, dtype: Any, *, n_gates: int) -> CellParams:
    """Each gate's W, U and b, drawn separately, so that an initialiser sees the fans N and H, and put side by side."""
    (n_in,), n_out = _one_vector(cell, shape), cell.n_out
    weight_key, recurrent_key, bias_key = jax.random.split(key, 3)

    def drawn(initialiser: Callable[..., jax.Array], key: jax.Array, shape: Shape) -> jax.Array:
        gates = [initialiser(gate_key, shape, default_float(dtype)) for gate_key in jax.random.split(key, n_gates)]
        return jnp.concatenate(gates, axis=-1)

    weight = drawn(cell.weight_init, weight_key, (n_in, n_out))
    recurrent = drawn(cell.recurrent_init, recurrent_key, (n_out, n_out))
    bias = drawn(cell.bias_init, bias_key, (n_out,))
    return CellParams(InputParams(weight, bias), RecurrentParams(recurrent))


def _checked(cell: Any, params: CellParams, x: Any) -> Step:
    if not isinstance(x, Step):
        raise TypeError(f"{cell}: x should be a Step(carry, value), got {type(x).__name__}: write Recurrent({cell})")
    require_floating(cell, x.value)
    _one_vector(cell, x.value.shape[1:])
    require_features(cell, x.value.shape, params.input.weight.shape[0])
    return x


def _one_vector(cell: Any, shape: Shape) -> Shape:
    if len(shape) != 1:
        raise ValueError(
            f"{cell}: one step of one example should be a vector (N,), got the shape {tuple(shape)}: "
            f"write Recurrent({cell}) for examples (T, N), and Reshape((T, N)) before it for others"
        )
    return shape
