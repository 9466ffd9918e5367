"""A cell repeated over time: `Repeat` with one set of params, an input at each step and an output at each step."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnn.arrays import PyTree, Shape, Static, as_typed, require_floating, require_positive, widened, zeros_like
from jaxnn.layer import (
    Backward,
    Design,
    Folded,
    Forward,
    Init,
    Layer,
    Path,
    Visit,
    changed,
    forward_of,
    init_of,
    is_layer,
    recipe,
    scope,
    unwatched,
)
from jaxnn.layers.cells import Cell, Step
from jaxnn.mesh_axes import varying_like
from jaxnn.networks.combinators import INNER, Inner


class RecurrentCache(NamedTuple):
    """The cell's caches, with a leading axis of time."""

    inner: PyTree
    n_steps: Static[int]


@recipe
class Recurrent:
    """A cell repeated over a sequence with shared params: (carry_t, y_t) = cell(carry_(t-1), x_t), t = 0 ... T-1.

    One `lax.scan`, so that compile time doesn't grow with T, and params fit any T. The cell's `start` gives the first
    carry. With `sequence`, y holds every y_t, otherwise the last. With `reverse` the cell goes from x_(T-1) to x_0, and
    y_t stays at the place of x_t: one of each in `Branches(..., merge="concatenate")` reads in both directions.
    The key is split over time; the cell's state, if it has one, goes from step to step. The cell's cache, and what an
    observer notes at the cell, have a leading axis of T, with the steps in the order in which they are taken; the
    cell's error term is a `Step`, the cotangents of carry_t and y_t.

    Shapes: x (B, T, N) -> y (B, T, H), or (B, H) without `sequence`.
    Backward, through time: dcarry_(T-1) = 0, then from the last step to the first
        dparams_t, (dcarry_(t-1), dx_t) = cell.backward((dcarry_t, dy_t));        dparams = sum_t dparams_t
    Truncation, k steps: at t = 0, k, 2k, ... the carry that enters the cell is a constant to the gradient, dcarry = 0,
    while y is as before. So an error term goes back from step t to step k (t // k) and no further: k - 1 steps at most,
    and k >= T cuts nothing. `forward` has a stop_gradient there, so `jax.grad` gives the same, not the derivative of y.
    Raises: TypeError if it isn't given a cell, or x isn't floating; ValueError if x isn't (B, T, N), T is 0, or
    `truncation` isn't positive.
    Source: Werbos 1990; truncation: Williams and Peng 1990, BPTT(h; h') with h = h' = k.
    NumPy twin: reference/recurrent.py.

    >>> from jaxnn import LSTMCell, TanhCell
    >>> Recurrent(LSTMCell(5)).output_shape((7, 3)), Recurrent(TanhCell(5), sequence=False).output_shape((7, 3))
    ((7, 5), (5,))
    """

    inner: Cell
    truncation: int | None = None
    sequence: bool = True
    reverse: bool = False

    def __post_init__(self) -> None:
        _require_cell(self.inner)
        if self.truncation is not None:
            require_positive("Recurrent: truncation", self.truncation)

    @property
    def children(self) -> tuple[tuple[Any, Cell], ...]:
        return ((INNER, self.inner),)

    def with_children(self, layers: Sequence[Layer]) -> Layer:
        (inner,) = layers
        return changed(self, inner=inner)

    @property
    def differs_by_design(self) -> Design | None:
        return None if self.truncation is None else "from values"

    def init(self, key: jax.Array, shape: Shape, dtype: Any = None) -> Init:
        _, *step_shape = _time_first(self, shape)
        params, state = init_of(self.inner, key, tuple(step_shape), dtype)
        return Init(Inner(params), Inner(state))

    def output_shape(self, shape: Shape) -> Shape:
        n_steps, *step_shape = _time_first(self, shape)
        y_shape = self.inner.output_shape(tuple(step_shape))
        return (n_steps, *y_shape) if self.sequence else y_shape

    def forward(self, params: Inner, state: Inner, x: jax.Array, *, key: Any = None, train: bool = False) -> Forward:
        n_steps, *_ = _time_first(self, x.shape[1:])
        require_floating(self, x)

        def one(before: tuple, scanned: tuple) -> tuple[tuple, tuple]:
            (carry, cell_state), (t, x_t, key_t) = before, scanned
            step = Step(self._constant_at_cuts(t, carry), x_t)
            with scope(INNER, self.inner):
                (carry, y_t), cell_state, cache = forward_of(
                    self.inner, params.inner, cell_state, step, key=key_t, train=train
                )
            return (carry, cell_state), (y_t, cache)

        dtype = jnp.result_type(x, *jax.tree.leaves(params))
        start = varying_like((self.inner.start(x.shape[0], dtype), state.inner), (params, state, x, key))
        keys = None if key is None else jax.random.split(key, n_steps)
        (_, new_state), (y, cache) = jax.lax.scan(one, start, (jnp.arange(n_steps), self._steps(x), keys))
        y = self._sequence(y) if self.sequence else y[-1]
        return Forward(y, Inner(new_state), RecurrentCache(cache, Static(n_steps)))

    # Backpropagation through time. Give each step its own copy of the params, theta_t: the network is then a Serial of
    # T cells, and the rule is Serial's. carry_t reaches the loss only through step t+1, so dcarry_t is what backward of
    # step t+1 gives; no step follows the last, so dcarry_(T-1) = 0. The cotangent of the output y_t is dy_t, a part of
    # dy. In fact all copies are the same, theta_t(theta) = theta, and by the chain rule
    #   dL/dtheta = sum_t (dL/dtheta_t) (dtheta_t/dtheta) = sum_t dL/dtheta_t.
    # Error terms pass from s to t by (d carry_t+1 / d carry_t)^T ... (d carry_s / d carry_s-1)^T, a product of s - t
    # Jacobians of the same cell, which is why they vanish or explode with s - t.
    def fold(self, visit: Visit, path: Path, params: Inner, cache: RecurrentCache, dy: jax.Array) -> Folded:
        n_steps = cache.n_steps.value
        last = n_steps - 1

        def one(after: tuple, scanned: tuple) -> tuple[tuple, tuple]:
            (dcarry, dparams), (t, dy_t, cache_t) = after, scanned
            if not self.sequence:
                dy_t = jnp.where(t == last, dy, 0)
            dstep = Step(dcarry, dy_t)
            with scope(INNER, self.inner):
                dparams_t, (dbefore, dx_t), notes = visit((*path, INNER), self.inner, params.inner, cache_t, dstep)
            dparams = jax.tree.map(lambda total, part: total + part.astype(total.dtype), dparams, dparams_t)
            return (self._zero_at_cuts(t, dbefore), dparams), (dx_t, notes)

        # A sum over many steps, in float32 at least: in a short type it stops growing.
        carry_and_params = self.inner.start(dy.shape[0], dy.dtype), jax.tree.map(widened, params.inner)
        after_last = varying_like(zeros_like(carry_and_params), (params, cache, dy))
        dys = self._steps(dy) if self.sequence else None
        scanned = (jnp.arange(n_steps), dys, cache.inner)
        (_, dparams), (dx, notes) = jax.lax.scan(one, after_last, scanned, reverse=True)
        return Folded(Inner(as_typed(dparams, params.inner)), self._sequence(dx), notes)

    def backward(self, params: Inner, cache: RecurrentCache, dy: jax.Array) -> Backward:
        dparams, dx, _ = self.fold(unwatched, (), params, cache, dy)
        return Backward(dparams, dx)

    def _steps(self, sequence: jax.Array) -> jax.Array:
        """(B, T, ...) as (T, B, ...), in the order in which the steps are taken."""
        steps = jnp.swapaxes(sequence, 0, 1)
        return steps[::-1] if self.reverse else steps

    def _sequence(self, steps: jax.Array) -> jax.Array:
        """(T, B, ...) back as (B, T, ...)."""
        return jnp.swapaxes(steps[::-1] if self.reverse else steps, 0, 1)

    def _constant_at_cuts(self, t: jax.Array, carry: PyTree) -> PyTree:
        """The carry that enters step t: the same numbers, constant to the gradient at t = 0, k, 2k, ..."""
        if self.truncation is None:
            return carry
        cut = t % self.truncation == 0
        return jax.tree.map(lambda leaf: jnp.where(cut, jax.lax.stop_gradient(leaf), leaf), carry)

    def _zero_at_cuts(self, t: jax.Array, dcarry: PyTree) -> PyTree:
        """The cotangent of the carry that enters step t."""
        if self.truncation is None:
            return dcarry
        cut = t % self.truncation == 0
        return jax.tree.map(lambda leaf: jnp.where(cut, 0, leaf), dcarry)


def _require_cell(candidate: Any) -> None:
    if isinstance(candidate, type):
        raise TypeError(f"Recurrent takes a cell, got the class {candidate.__name__}: write {candidate.__name__}(...)")
    if not is_layer(candidate) or not hasattr(candidate, "start"):
        raise TypeError(
            f"Recurrent takes a cell, got a {type(candidate).__name__}: a cell, such as TanhCell(n) or LSTMCell(n), "
            "has start(batch, dtype), the first carry, and a layer's methods, which take and give a Step(carry, value)"
        )


def _time_first(recurrent: Recurrent, shape: Shape) -> Shape:
    """The shape of one example, (T, N), after checking that it is one."""
    if len(shape) < 2:
        raise ValueError(
            f"{recurrent}: x should be (B, T, N), one example (T, N), got the example shape {tuple(shape)}: "
            "put Reshape((T, N)) before it"
        )
    if shape[0] == 0:
        raise ValueError(f"{recurrent}: x has no steps of time, T = 0: leave empty sequences out of the data")
    return shape
