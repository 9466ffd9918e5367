"""NumPy twins of recurrence: a loop over time, in it a loop over examples, and gate by gate. Params as in jaxnn.

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
    recurrent: RecurrentParams


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


@dataclass(frozen=True)
class Recurrent:
    """carry, y_t = cell(carry, x_t) for t = 0 ... T-1; y is (B, T, H), or the last y_t without `sequence`.

    Backward goes from the last step to the first, hands dcarry from step to step, and adds up what each step gives to
    dparams. With `truncation` k, dcarry isn't handed on from step t to t - 1 where k divides t.
    """

    inner: Any
    truncation: int | None = None
    sequence: bool = True

    def forward(
        self, params: Inner, state: Inner, x: np.ndarray, *, masks: Masks = NO_MASKS, train: bool = False
    ) -> Forward:
        carry, cell_state = self.inner.start(len(x)), state.inner
        ys, caches = [], []
        for t in range(x.shape[1]):
            step = Step(carry, x[:, t])
            (carry, y), cell_state, cache = self.inner.forward(params.inner, cell_state, step, masks=masks, train=train)
            ys.append(y)
            caches.append(cache)
        return Forward(np.stack(ys, axis=1) if self.sequence else y, Inner(cell_state), caches)

    def backward(self, params: Inner, cache: list, dy: np.ndarray) -> Backward:
        n_steps = len(cache)
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
        return Backward(Inner(dparams), np.stack(dxs, axis=1))


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
