"""The perceptron and the linear unit, each with its own learning rule.

Both units form the net input z = w . x + b and learn from one example (x, t) by the same rule,

    w <- w + eta (t - y) x        b <- b + eta (t - y),

and only the output y differs: step(z) for the perceptron, z itself for the linear unit. The same form hides a
difference of kind:

- **The linear unit descends a gradient.** With E = 1/2 sum (t - y)^2, -dE/dw = sum (t - y) x, so the rule
  is gradient descent on E, which is convex and quadratic. Batch descent at a rate below 2 / L
  (`stable_learning_rate`) converges to the least-squares solution itself, not merely near it; what stays
  *near* it is descent by one example at a time at a constant rate.
- **The perceptron doesn't descend the gradient of its mistakes.** The derivative of step is 0 wherever
  there is one, so any loss of y has gradient 0, and gradient descent would never move. The rule is
  stochastic subgradient descent on another function, the perceptron criterion: the sum over the mistakes of
  (y - t) z. Where a hyperplane separates the classes it stops after at most (R / gamma)^2 mistakes
  (`train_perceptron`); where none does it never stops, its weights stay bounded, and on integers (XOR) they
  run through a cycle (`find_cycle`).

So a perceptron is one kind of neuron, not another word for it: its output is a step and its mistakes train
it. The other modules' neurons have activations with a derivative and learn by backpropagation through any
number of layers; the rules here reach a single unit.

Source: F. Rosenblatt, The perceptron, Psychological Review 65 (1958); A. Novikoff, On convergence proofs on
perceptrons (1962); B. Widrow and M. Hoff, Adaptive switching circuits (1960), for the linear unit; Zhou
Zhihua, Machine Learning, (5.1)-(5.2), for the criterion. NumPy twin: reference/perceptron.py.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from jaxnn.arrays import default_float

# Letters of all shapes below: B examples, N inputs, E epochs.


class Unit(NamedTuple):
    """What a unit learns, the perceptron and the linear unit alike."""

    w: Float[Array, "N"]
    b: Float[Array, ""]


class PerceptronTrace(NamedTuple):
    """A row for each epoch: the mistakes in it, each at the weights it met, and the weights at its end."""

    mistakes: Int[Array, "E"]
    w: Float[Array, "E N"]
    b: Float[Array, "E"]


class LinearUnitTrace(NamedTuple):
    """A row for each epoch: the weights at its end, and E = 1/2 sum (t - y)^2 at those weights."""

    loss: Float[Array, "E"]
    w: Float[Array, "E N"]
    b: Float[Array, "E"]


# The output of a unit


def step(z: ArrayLike, at_zero: int = 0) -> Array:
    """Threshold function: 1 where z > 0, 0 where z < 0, `at_zero` where z = 0; in the dtype of z.

    dy/dz = 0 for z != 0, and JAX's derivative is 0 at z = 0 too.
    The convention at 0, 0 or 1, is part of a result: a unit that starts from zeros meets z = 0 at once.

    >>> z = jnp.array([-2.0, 0.0, 2.0])
    >>> step(z).tolist(), step(z, at_zero=1).tolist()
    ([0.0, 0.0, 1.0], [0.0, 1.0, 1.0])

    Raises: ValueError if at_zero is neither 0 nor 1.
    """
    if at_zero not in (0, 1):
        raise ValueError(f"at_zero should be 0 or 1, the value of step(0), got {at_zero!r}")
    z = jnp.asarray(z)
    fires = z >= 0 if at_zero else z > 0
    return fires.astype(z.dtype)


def net_input(unit: Unit, x: ArrayLike) -> Array:
    """z = w . x + b.  Shapes: x (..., N) -> z (...).  Integers and booleans in x take the dtype of w.

    Raises: ValueError if the last axis of x isn't N.
    """
    w, x = jnp.asarray(unit.w), jnp.asarray(x)
    if x.shape[-1:] != w.shape:
        raise ValueError(f"the last axis of x should have {w.size} inputs, as the unit has, got shape {x.shape}")
    if not jnp.issubdtype(x.dtype, jnp.floating):
        x = x.astype(w.dtype)
    return jnp.dot(x, w, precision=lax.Precision.HIGHEST) + unit.b


def predict_perceptron(unit: Unit, x: ArrayLike, *, at_zero: int = 0) -> Array:
    """y = step(w . x + b), 0 or 1.  Shapes: x (..., N) -> y (...).

    >>> logical_and = Unit(jnp.array([0.5, 0.5]), jnp.array(-0.8))
    >>> predict_perceptron(logical_and, jnp.array([[1, 1], [0, 0], [1, 0], [0, 1]])).tolist()
    [1.0, 0.0, 0.0, 0.0]
    """
    return step(net_input(unit, x), at_zero)


def predict_linear_unit(unit: Unit, x: ArrayLike) -> Array:
    """y = w . x + b.  Shapes: x (..., N) -> y (...)."""
    return net_input(unit, x)


# The rule of both


def _updated(unit: Unit, x: Array, t: Array, learning_rate: Array, output: Callable) -> tuple[Unit, Array]:
    """The new unit and t - y, for one example x (N,), t () or summed over a set x (B, N), t (B,)."""
    error = t - output(net_input(unit, x))
    dw = learning_rate * jnp.dot(error, x, precision=lax.Precision.HIGHEST)
    db = learning_rate * error.sum()
    return Unit(unit.w + dw, unit.b + db), error


# The perceptron


def train_perceptron(
    x: ArrayLike,
    t: ArrayLike,
    *,
    learning_rate: ArrayLike,
    epochs: int,
    at_zero: int = 0,
    start: Unit | None = None,
) -> tuple[Unit, PerceptronTrace]:
    """Perceptron rule, example after example in the order given, as one compiled program.

        y = step(w . x + b)        w <- w + eta (t - y) x        b <- b + eta (t - y)

    An epoch without mistakes changes nothing: training has converged.
    If |(u, c)| = 1, |(x, 1)| <= R, and u . x + c is at least gamma > 0 for t = 1, at most -gamma for t = 0,
    a run from zeros makes at most (R / gamma)^2 mistakes, in any order, at any eta, for either at_zero.
    From zeros eta only scales w and b and changes no output, in exact arithmetic. In floating point that is
    so between etas whose ratio is a power of two; otherwise rounding can move a z of exactly 0 to either side.

    Shapes: x (B, N), t (B,) of 0 and 1 -> Unit w (N,), b (); PerceptronTrace. All in x's dtype; integers
    and booleans become JAX's default float. learning_rate is traced: a new number recompiles nothing, and
    `jax.vmap` takes a grid of rates or of starts. start: zeros if None; a returned Unit continues where its
    run stopped.

    >>> x, t = jnp.array([[1, 1], [0, 0], [1, 0], [0, 1]]), jnp.array([1, 0, 0, 0])
    >>> unit, trace = train_perceptron(x, t, learning_rate=1, epochs=6)
    >>> unit.w.tolist(), unit.b.item(), trace.mistakes.tolist()
    ([1.0, 2.0], -2.0, [3, 3, 2, 2, 0, 0])

    Raises: ValueError on shapes that don't fit, an empty set, nan or infinity, a t other than 0 and 1, a
    rate that isn't positive, epochs < 1, at_zero other than 0 and 1; TypeError on what isn't real numbers.
    Values are checked where they are concrete.
    Source: Rosenblatt (1958); the bound: Novikoff (1962).  NumPy twin: reference/perceptron.py.
    """
    x, t = _checked_examples(x, t)
    if not isinstance(t, jax.core.Tracer) and not ((t == 0) | (t == 1)).all():
        raise ValueError("t should hold only the labels 0 and 1: for labels -1 and 1 pass (t + 1) / 2")
    step(0.0, at_zero)  # for its error
    rate, start = _checked_rate(learning_rate, x), _checked_start(start, x)
    return _perceptron_run(start, x, t, rate, epochs=_checked_epochs(epochs), at_zero=int(at_zero))


@partial(jax.jit, static_argnames=("epochs", "at_zero"))
def _perceptron_run(start, x, t, learning_rate, *, epochs, at_zero):
    def learn(unit, example):
        x, t = example
        unit, error = _updated(unit, x, t, learning_rate, output=partial(step, at_zero=at_zero))
        return unit, error != 0

    def epoch(unit, _):
        unit, mistaken = lax.scan(learn, unit, (x, t))
        return unit, PerceptronTrace(mistaken.sum(dtype=jnp.int32), unit.w, unit.b)

    return lax.scan(epoch, start, length=epochs)


def find_cycle(trace: PerceptronTrace) -> tuple[int, int] | None:
    """(first epoch, period) of the cycle that training is caught in, or None; runs on the host.

    The next epoch depends only on the weights at the end of this one. If they are again exactly what
    they were `period` epochs earlier, and mistakes go on, then training repeats itself for ever. `first
    epoch`, counted from 1, is the earliest whose weights come again. An epoch without mistakes is convergence and
    not a cycle.

    >>> x, xor = jnp.array([[1, 1], [0, 0], [1, 0], [0, 1]]), jnp.array([0, 0, 1, 1])
    >>> find_cycle(train_perceptron(x, xor, learning_rate=1, epochs=6)[1])
    (2, 1)

    Raises: ValueError on the trace of several runs under `jax.vmap`.
    """
    mistakes, w, b = (np.asarray(column) for column in trace)
    if mistakes.ndim != 1:
        raise ValueError(f"trace should be of one run, mistakes (E,), got {mistakes.shape}: pass one at a time")
    seen: dict[tuple[float, ...], int] = {}
    for epoch, (count, weights) in enumerate(zip(mistakes, np.column_stack([w, b]).tolist(), strict=True), start=1):
        if count == 0:
            return None
        first = seen.setdefault(tuple(weights), epoch)
        if first < epoch:
            return first, epoch - first
    return None


# The linear unit


def train_linear_unit(
    x: ArrayLike,
    t: ArrayLike,
    *,
    learning_rate: ArrayLike,
    epochs: int,
    loop: Literal["sgd", "bgd"] = "sgd",
    start: Unit | None = None,
) -> tuple[Unit, LinearUnitTrace]:
    """Gradient descent on E = 1/2 sum (t - y)^2 with y = w . x + b, as one compiled program.

        sgd, for each example in order:    w <- w + eta (t - y) x            b <- b + eta (t - y)
        bgd, once an epoch:                w <- w + eta sum (t - y) x        b <- b + eta sum (t - y)

    E is a sum over the examples: where it is to be their mean, divide eta by B.
    bgd converges to the least-squares solution for eta < 2 / L (`stable_learning_rate`) and diverges above
    it, to infinity and nan in the end. sgd is stable at least while eta < 2 / |(x, 1)|^2 for every example;
    at constant eta it settles at the fixed point of its epoch, another point unless the fit is exact.

    Shapes: x (B, N), t (B,) -> Unit w (N,), b (); LinearUnitTrace. w has the unit of t per unit of x.
    dtype, learning_rate and start: as in `train_perceptron`.

    >>> years, salary = jnp.array([[5], [3], [8], [1.4], [10.1]]), jnp.array([5500, 2300, 7600, 1800, 11400])
    >>> unit, trace = train_linear_unit(years, salary, learning_rate=0.01, epochs=10)
    >>> print(f"{unit.w[0]:.1f} {unit.b:.1f}")
    1124.1 85.5

    Raises: ValueError on shapes that don't fit, an empty set, nan or infinity in what is passed, a rate
    that isn't positive, epochs < 1, another loop; TypeError on what isn't real numbers. Values are checked
    where they are concrete.
    Source: Widrow and Hoff (1960).  NumPy twin: reference/perceptron.py.
    """
    x, t = _checked_examples(x, t)
    if loop not in ("sgd", "bgd"):
        raise ValueError(f'loop should be "sgd" (example after example) or "bgd" (all at once), got {loop!r}')
    rate, start = _checked_rate(learning_rate, x), _checked_start(start, x)
    return _linear_unit_run(start, x, t, rate, epochs=_checked_epochs(epochs), loop=loop)


@partial(jax.jit, static_argnames=("epochs", "loop"))
def _linear_unit_run(start, x, t, learning_rate, *, epochs, loop):
    def learn(unit, examples):
        x, t = examples
        return _updated(unit, x, t, learning_rate, output=lambda z: z)

    def epoch(unit, _):
        unit, _ = lax.scan(learn, unit, (x, t)) if loop == "sgd" else learn(unit, (x, t))
        return unit, LinearUnitTrace(half_squared_error(unit, x, t), unit.w, unit.b)

    return lax.scan(epoch, start, length=epochs)


def half_squared_error(unit: Unit, x: ArrayLike, t: ArrayLike) -> Array:
    """E = 1/2 sum (t - y)^2 over the examples, y = w . x + b.  Shapes: x (B, N), t (B,) -> ().

    Raises: as `train_linear_unit`.
    """
    x, t = _checked_examples(x, t)
    return jnp.square(t - net_input(unit, x)).sum() / 2


def least_squares(x: ArrayLike, t: ArrayLike) -> Unit:
    """The unit that minimises E = 1/2 sum (t - w . x - b)^2, from the singular values of [x, 1].

    Where several do, the one of smallest |(w, b)|, which is also the one that bgd from zeros converges to.

    Shapes: x (B, N), t (B,) -> Unit w (N,), b ().  Raises: as `train_linear_unit`.
    """
    x, t = _checked_examples(x, t)
    augmented_w, *_ = jnp.linalg.lstsq(_augmented(jnp.asarray(x)), jnp.asarray(t))
    return Unit(augmented_w[:-1], augmented_w[-1])


def hessian(x: ArrayLike) -> Array:
    """H = sum [x, 1] [x, 1]^T, the Hessian of E = 1/2 sum (t - w . x - b)^2: the same at every (w, b).

    Shapes: x (B, N) -> H (N + 1, N + 1), the bias last.  Raises: as `train_linear_unit`.
    """
    augmented = _augmented(jnp.asarray(_checked_inputs(x)))
    return jnp.dot(augmented.T, augmented, precision=lax.Precision.HIGHEST)


def stable_learning_rate(x: ArrayLike) -> Array:
    """2 / L, L the largest eigenvalue of `hessian`: at any rate below it bgd on the sum of squares converges.

    Each epoch multiplies the error along an eigenvector of eigenvalue lambda by 1 - eta lambda. For the
    mean over B examples the limit is B times as large.

    >>> print(f"{stable_learning_rate(jnp.array([[5], [3], [8], [1.4], [10.1]])):.5f}")
    0.00972

    Shapes: x (B, N) -> ().  Raises: as `train_linear_unit`.
    """
    return 2 / jnp.linalg.eigvalsh(hessian(x))[-1]


def _augmented(x: Array) -> Array:
    """[x, 1]: a bias is the weight of an input that is always 1."""
    return jnp.concatenate([x, jnp.ones_like(x[:, :1])], axis=1)


# Checks of the arguments

Numbers = Any  # a NumPy array where the value is concrete, so that it can be looked at; a JAX tracer where it isn't


def _checked(name: str, value: ArrayLike, dtype: Any = None) -> Numbers:
    """value in `dtype`; None: its own dtype if floating, otherwise JAX's default. Finite where concrete."""
    value = value if isinstance(value, jax.Array) else np.asarray(value)
    floating = jnp.issubdtype(value.dtype, jnp.floating)
    if not (floating or jnp.issubdtype(value.dtype, jnp.integer) or jnp.issubdtype(value.dtype, jnp.bool_)):
        raise TypeError(f"{name} should be real numbers, got {value.dtype}: convert it first")
    if dtype is None:
        dtype = jnp.result_type(value) if floating else default_float()
    if isinstance(value, jax.core.Tracer):
        return value.astype(dtype)
    with np.errstate(over="ignore"):  # what is too large for dtype becomes an infinity, and is refused as one
        value = np.asarray(value).astype(dtype)
    if not np.isfinite(value).all():
        raise ValueError(f"{name} should be finite in {value.dtype}, got nan or infinity: clean it")
    return value


def _checked_inputs(x: ArrayLike) -> Numbers:
    inputs = _checked("x", x)
    if inputs.ndim != 2:
        raise ValueError(f"x should be (B, N), a row an example, got {inputs.shape}: for N = 1 pass x[:, None]")
    if 0 in inputs.shape:
        raise ValueError(f"x should hold examples with inputs, got {inputs.shape}: check what was loaded")
    return inputs


def _checked_examples(x: ArrayLike, t: ArrayLike) -> tuple[Numbers, Numbers]:
    inputs = _checked_inputs(x)
    targets = _checked("t", t, inputs.dtype)
    if targets.shape != inputs.shape[:1]:
        raise ValueError(f"t should be ({len(inputs)},), one for each row of x, got {targets.shape}")
    return inputs, targets


def _checked_rate(learning_rate: ArrayLike, x: Numbers) -> Numbers:
    rate = _checked("learning_rate", learning_rate, x.dtype)
    if rate.shape:
        raise ValueError(f"learning_rate should be one number, got {rate.shape}: for several use jax.vmap")
    if not isinstance(rate, jax.core.Tracer) and rate <= 0:
        raise ValueError(f"learning_rate should be positive in {rate.dtype}, got {learning_rate}")
    return rate


def _checked_epochs(epochs: int) -> int:
    if not isinstance(epochs, int | np.integer) or epochs < 1:
        raise ValueError(f"epochs should be a whole number of at least 1, got {epochs!r}")
    return int(epochs)


def _checked_start(start: Unit | None, x: Numbers) -> Unit:
    if start is None:
        return Unit(jnp.zeros(x.shape[1], x.dtype), jnp.zeros((), x.dtype))
    w, b = _checked("start.w", start.w, x.dtype), _checked("start.b", start.b, x.dtype)
    if w.shape != x.shape[1:] or b.shape:
        shapes = f"({x.shape[1]},) and (), got {w.shape} and {b.shape}"
        raise ValueError(f"start's w and b should be {shapes}: for several starts use jax.vmap")
    return Unit(w, b)
