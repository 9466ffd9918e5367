"""NumPy twins of recurrence: a loop over time, inside it a loop over examples, gate by gate. Params as in jaxnn.

Vectors are rows: x (N,) and h (H,) are those of one example at one step.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from jaxnn.reference.arrays import Tree, map_tree, zeros_like
from jaxnn.reference.combinators import Inner
from jaxnn.reference.layers import NO_MASKS, Backward, Forward, Masks


class Step(NamedTuple):
    carry: Tree
    value: np.ndarray


class InputParams(NamedTuple):
    weight: np.ndarray
    bias: np.ndarray


class RecurrentParams(NamedTuple):
    weight: np.ndarray


class CellParams(NamedTuple):
    input: InputParams
    recurrent: Any  # RecurrentParams, or one with a bias


class LSTMCarry(NamedTuple):
    h: np.ndarray
    c: np.ndarray


@dataclass(frozen=True)
class TanhCell:
    """h = tanh(x W + h' U + b), h' that of the step before.

    dh_j/dz_j = 1 - h_j^2;  dz_j/dW_ij = x_i,  dz_j/dU_ij = h'_i,  dz_j/db_j = 1,  dz_j/dx_i = W_ij,  dz_j/dh'_i = U_ij.
    """

    n_out: int

    def start(self, batch: int) -> np.ndarray:
        return np.zeros((batch, self.n_out))

    def forward(
        self, params: CellParams, state: Tree, x: Step, *, masks: Masks = NO_MASKS, train: bool = False
    ) -> Forward:
        h = np.zeros_like(x.carry)
        for b in range(len(h)):
            h[b] = np.tanh(_affine(params, x.value[b], x.carry[b]))
        return Forward(Step(h, h), state, (x, h))

    def backward(self, params: CellParams, cache: tuple, dy: Step) -> Backward:
        x, h = cache
        dparams, dx = zeros_like(params), zeros_like(x)
        for b in range(len(h)):
            dh = dy.value[b] + dy.carry[b]
            _add_affine_backward(
                dparams, dx.value[b], dx.carry[b], params, x.value[b], x.carry[b], dh * (1 - h[b] ** 2)
            )
        return Backward(dparams, dx)


@dataclass(frozen=True)
class LSTMCell:
    """c = f c' + i g,  h = o tanh c;  i, f, o = sigmoid and g = tanh of the four parts of x W + h' U + b.

    Backward, from dh and dc:
        do = dh tanh c                        dc <- dc + dh o (1 - tanh^2 c)
        df = dc c'     di = dc g     dg = dc i     dc' = dc f
        dz = di i (1 - i), df f (1 - f), dg (1 - g^2), do o (1 - o)
    """

    n_out: int

    def start(self, batch: int) -> LSTMCarry:
        return LSTMCarry(np.zeros((batch, self.n_out)), np.zeros((batch, self.n_out)))

    def forward(
        self, params: CellParams, state: Tree, x: Step, *, masks: Masks = NO_MASKS, train: bool = False
    ) -> Forward:
        h, c = np.zeros_like(x.carry.h), np.zeros_like(x.carry.c)
        for b in range(len(h)):
            i, f, g, o = self._gates(params, x.value[b], x.carry.h[b])
            c[b] = f * x.carry.c[b] + i * g
            h[b] = o * np.tanh(c[b])
        return Forward(Step(LSTMCarry(h, c), h), state, (x, c))

    def backward(self, params: CellParams, cache: tuple, dy: Step) -> Backward:
        x, c = cache
        dparams, dx = zeros_like(params), zeros_like(x)
        for b in range(len(c)):
            i, f, g, o = self._gates(params, x.value[b], x.carry.h[b])
            dh, dc = dy.value[b] + dy.carry.h[b], dy.carry.c[b]
            do, dc = dh * np.tanh(c[b]), dc + dh * o * (1 - np.tanh(c[b]) ** 2)
            di, df, dg = dc * g, dc * x.carry.c[b], dc * i
            dx.carry.c[b] = dc * f
            dz = np.concatenate([di * i * (1 - i), df * f * (1 - f), dg * (1 - g**2), do * o * (1 - o)])
            _add_affine_backward(dparams, dx.value[b], dx.carry.h[b], params, x.value[b], x.carry.h[b], dz)
        return Backward(dparams, dx)

    def _gates(self, params: CellParams, x: np.ndarray, h: np.ndarray) -> tuple[np.ndarray, ...]:
        z_i, z_f, z_g, z_o = np.split(_affine(params, x, h), 4)
        return _sigmoid(z_i), _sigmoid(z_f), np.tanh(z_g), _sigmoid(z_o)


class BiasedRecurrentParams(NamedTuple):
    weight: np.ndarray
    bias: np.ndarray


@dataclass(frozen=True)
class GRUCell:
    """h = n + u (h' - n),  n = tanh(a_n + r q),  q = c_n + b_q;  r, u = sigmoid(a + c);  a = x W + b,  c = h' U.

    Neuron by neuron, from dh:
        du = dh (h' - n)     dn = dh (1 - u)     dh' = dh u + ...
        dz_n = dn (1 - n^2),  which is da_n;  dr = dz_n q,  dq = dz_n r = dc_n
        dz_r = dr r (1 - r),  dz_u = du u (1 - u),  in a and in c alike
    """

    n_out: int

    def start(self, batch: int) -> np.ndarray:
        return np.zeros((batch, self.n_out))

    def forward(
        self, params: CellParams, state: Tree, x: Step, *, masks: Masks = NO_MASKS, train: bool = False
    ) -> Forward:
        h = np.zeros_like(x.carry)
        for b in range(len(h)):
            _, u, _, n = self._parts(params, x.value[b], x.carry[b])
            h[b] = n + u * (x.carry[b] - n)
        return Forward(Step(h, h), state, x)

    def backward(self, params: CellParams, cache: Step, dy: Step) -> Backward:
        x = cache
        dparams, dx = zeros_like(params), zeros_like(x)
        for b in range(len(x.value)):
            x_b, h_b = x.value[b], x.carry[b]
            r, u, q, n = self._parts(params, x_b, h_b)
            dh = dy.value[b] + dy.carry[b]
            for j in range(self.n_out):
                dz_n = dh[j] * (1 - u[j]) * (1 - n[j] ** 2)
                dz_r = dz_n * q[j] * r[j] * (1 - r[j])
                dz_u = dh[j] * (h_b[j] - n[j]) * u[j] * (1 - u[j])
                dx.carry[b, j] += dh[j] * u[j]
                dparams.recurrent.bias[j] += dz_n * r[j]
                for gate, da, dc in ((0, dz_r, dz_r), (1, dz_u, dz_u), (2, dz_n, dz_n * r[j])):
                    column = gate * self.n_out + j
                    dparams.input.weight[:, column] += x_b * da
                    dparams.input.bias[column] += da
                    dparams.recurrent.weight[:, column] += h_b * dc
                    dx.value[b] += params.input.weight[:, column] * da
                    dx.carry[b] += params.recurrent.weight[:, column] * dc
        return Backward(dparams, dx)

    def _parts(self, params: CellParams, x: np.ndarray, h: np.ndarray) -> tuple[np.ndarray, ...]:
        a_r, a_u, a_n = np.split(x @ params.input.weight + params.input.bias, 3)
        c_r, c_u, c_n = np.split(h @ params.recurrent.weight, 3)
        r, u, q = _sigmoid(a_r + c_r), _sigmoid(a_u + c_u), c_n + params.recurrent.bias
        return r, u, q, np.tanh(a_n + r * q)


@dataclass(frozen=True)
class Recurrent:
    """carry, y_t = cell(carry, x_t) for t = 0 ... T-1; y is (B, T, H), or the last y_t without `sequence`.

    With `reverse` the cell goes over x from its end to its start, and y is reversed back.

    Backward goes from the last step to the first, passes dcarry from step to step, and sums the dparams of all steps.
    With `truncation` k, dcarry isn't passed on from step t to t - 1 where k divides t.
    """

    inner: Any
    truncation: int | None = None
    sequence: bool = True
    reverse: bool = False

    def forward(
        self, params: Inner, state: Inner, x: np.ndarray, *, masks: Masks = NO_MASKS, train: bool = False
    ) -> Forward:
        x = self._turned(x)
        carry, cell_state = self.inner.start(len(x)), state.inner
        ys, caches = [], []
        for t in range(x.shape[1]):
            step = Step(carry, x[:, t])
            (carry, y), cell_state, cache = self.inner.forward(params.inner, cell_state, step, masks=masks, train=train)
            ys.append(y)
            caches.append(cache)
        return Forward(self._turned(np.stack(ys, axis=1)) if self.sequence else ys[-1], Inner(cell_state), caches)

    def backward(self, params: Inner, cache: list, dy: np.ndarray) -> Backward:
        n_steps = len(cache)
        dy = self._turned(dy) if self.sequence else dy
        dcarry = zeros_like(self.inner.start(len(dy)))
        dparams, dxs = zeros_like(params.inner), []
        for t in reversed(range(n_steps)):
            if self.sequence:
                dy_t = dy[:, t]
            else:
                dy_t = dy if t == n_steps - 1 else np.zeros_like(dy)
            dparams_t, (dcarry, dx_t) = self.inner.backward(params.inner, cache[t], Step(dcarry, dy_t))
            dparams = map_tree(np.add, dparams, dparams_t)
            dxs.insert(0, dx_t)
            if self.truncation is not None and t % self.truncation == 0:
                dcarry = zeros_like(dcarry)
        return Backward(Inner(dparams), self._turned(np.stack(dxs, axis=1)))

    def _turned(self, sequence: np.ndarray) -> np.ndarray:
        return sequence[:, ::-1] if self.reverse else sequence


def _affine(params: CellParams, x: np.ndarray, h: np.ndarray) -> np.ndarray:
    """x W + h U + b, of one example."""
    return x @ params.input.weight + h @ params.recurrent.weight + params.input.bias


def _add_affine_backward(
    dparams: CellParams,
    dx: np.ndarray,
    dh: np.ndarray,
    params: CellParams,
    x: np.ndarray,
    h: np.ndarray,
    dz: np.ndarray,
) -> None:
    """What one example adds to dW, dU, db, dx and dh, in place."""
    dparams.input.weight[:] += np.outer(x, dz)
    dparams.recurrent.weight[:] += np.outer(h, dz)
    dparams.input.bias[:] += dz
    dx += params.input.weight @ dz
    dh += params.recurrent.weight @ dz


def _sigmoid(z: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # e^-z = inf gives 0, which is right
        return 1 / (1 + np.exp(-z))
