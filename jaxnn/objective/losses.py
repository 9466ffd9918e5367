"""Losses: one value for each example, and the gradient with respect to the network's output.

    forward(y, target) -> values (B,), cache            backward(cache, weights (B,)) -> dy of sum_b weights_b l_b

A loss is a recipe, as a layer is. It takes no mean over the batch: the objective chooses the weights. `check` refuses
targets of the wrong type or shape: at trace time, and on the host before the first step. A loss may have two words
more: `n_classes` says how many labels there are; `check_values(target)` refuses targets by their values, where they are
at hand: on the host, before the first step.

Values are float32 at least, whatever the outputs are: a sum over many of float16 may be infinite. dy has y's dtype.
"""

import math
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from jaxnn.arrays import PyTree, Shape, Static, is_floating, is_integer, number, require_floating, widened
from jaxnn.layer import recipe, require_hashable


class LossForward(NamedTuple):
    values: jax.Array
    cache: PyTree


@runtime_checkable
class Loss(Protocol):
    def forward(self, y: jax.Array, target: jax.Array) -> LossForward: ...

    def backward(self, cache: PyTree, weights: jax.Array) -> jax.Array: ...

    def check(self, target: Any, output_shape: Shape) -> None:
        """Refuse targets of the wrong dtype or shape. Raises: TypeError or ValueError, with the remedy."""
        ...


def require_loss(owner: str, candidate: Any) -> None:
    """Refuse what isn't a loss, with an error that says what a loss is."""
    if isinstance(candidate, type):
        raise TypeError(f"{owner} takes a loss, got the class {candidate.__name__}: write {candidate.__name__}()")
    missing = [name for name in ("forward", "backward", "check") if not callable(getattr(candidate, name, None))]
    if missing:
        raise TypeError(
            f"{owner} takes a loss, got a {type(candidate).__name__} without {' and '.join(missing)}: a loss has "
            "forward(y, target) -> (values, cache), backward(cache, weights) -> dy, and check(target, output_shape), "
            "which raises for targets that it doesn't take"
        )
    require_hashable(owner, candidate)


def n_classes(loss: Loss, target: Any, output_shape: Shape) -> int | None:
    """How many classes there are, where targets are labels that should be 0 .. K - 1; otherwise None."""
    counted = getattr(loss, "n_classes", None)
    return None if counted is None else counted(target, output_shape)


class ResidualCache(NamedTuple):
    residual: jax.Array


class SignCache(NamedTuple):
    """Signs as int8, which has no NaN: `NO_SIGN` stands for it. dtype: the outputs'."""

    sign: jax.Array
    dtype: Static[jnp.dtype]


NO_SIGN = 2


class ProbabilitiesCache(NamedTuple):
    probabilities: jax.Array
    target: jax.Array


@recipe
class HalfSquaredError:
    """l = 1/2 sum_k (y_k - t_k)^2, the sum over all axes but the batch's.

    Shapes: y (B, ...), t like y and floating -> l (B,).
    Backward: dy = w (y - t).
    Raises: ValueError if t isn't of y's shape; TypeError if it isn't floating.
    Source: PRINCIPLES B2, C2.  NumPy twin: reference/losses.py.
    """

    def check(self, target: Any, output_shape: Shape) -> None:
        _require_numbers(self, target, output_shape)

    def forward(self, y: jax.Array, target: jax.Array) -> LossForward:
        residual = _residual(self, y, target)
        return LossForward(_row_sums(jnp.square(residual)) / 2, ResidualCache(residual.astype(y.dtype)))

    def backward(self, cache: ResidualCache, weights: jax.Array) -> jax.Array:
        return _weighted(weights, cache.residual)


@recipe
class AbsoluteError:
    """l = sum_k |y_k - t_k|, the sum over all axes but the batch's: an outlier counts by its distance, not its square.

    Shapes: y (B, ...), t like y and floating -> l (B,).
    Backward: dy = w sign(y - t), and 0 where y = t.  Keeps the sign, one byte a number.
    Raises: ValueError if t isn't of y's shape; TypeError if it isn't floating.
    NumPy twin: reference/losses.py.
    """

    def check(self, target: Any, output_shape: Shape) -> None:
        _require_numbers(self, target, output_shape)

    def forward(self, y: jax.Array, target: jax.Array) -> LossForward:
        residual = _residual(self, y, target)
        sign = jnp.sign(residual)
        kept = jnp.where(jnp.isnan(sign), NO_SIGN, sign).astype(jnp.int8)
        # sign(r) r rather than |r|: JAX's derivative of |r| at 0 is 1, the declared one is 0.
        return LossForward(_row_sums(sign * residual), SignCache(kept, Static(y.dtype)))

    def backward(self, cache: SignCache, weights: jax.Array) -> jax.Array:
        sign = jnp.where(cache.sign == NO_SIGN, jnp.nan, cache.sign.astype(cache.dtype.value))
        return _weighted(weights, sign)


@recipe
class Huber:
    """l = sum_k h(y_k - t_k), the sum over all axes but the batch's: squared error near 0, absolute error far out.

        h(r) = r^2 / 2 where |r| <= delta,  delta |r| - delta^2 / 2 elsewhere

    Shapes: y (B, ...), t like y and floating -> l (B,).
    Backward: dy = w clip(y - t, -delta, delta).  Keeps the clipped residual.
    Raises: ValueError if t isn't of y's shape, or delta isn't positive and finite; TypeError if t isn't floating.
    Source: Huber 1964, section 4.  NumPy twin: reference/losses.py.
    """

    delta: float = number("(0, inf)", 1.0)

    def check(self, target: Any, output_shape: Shape) -> None:
        _require_numbers(self, target, output_shape)

    # With c = clip(r), h = c r - c^2 / 2 on both sides of the edge, and nothing large is squared. Its derivative is
    # h' = c + (r - c) c' = c, for r = c inside, and c' = 0 outside.
    def forward(self, y: jax.Array, target: jax.Array) -> LossForward:
        residual = _residual(self, y, target)
        clipped = jnp.clip(residual, -self.delta, self.delta)
        values = _row_sums(clipped * (residual - clipped / 2))
        return LossForward(values, ResidualCache(clipped.astype(y.dtype)))

    def backward(self, cache: ResidualCache, weights: jax.Array) -> jax.Array:
        return _weighted(weights, cache.residual)


@recipe
class SoftmaxCrossEntropy:
    """Cross-entropy of the softmax of logits z: l = -sum_k t_k log p_k, p = softmax(z).

    The target is a label, integer (B,), that stands for its one-hot vector; or a distribution t, floating (B, K),
    one-hot or soft. With `label_smoothing` s, t_k becomes (1 - s) t_k + s/K sum_j t_j.

    Shapes: z (B, K), target (B,) or (B, K) -> l (B,).
    Backward: dz = w (p sum_k t_k - t): not p - t, since a row of targets may be masked to 0 or sum to anything.
    A class with t_k = 0 adds nothing to the value, even where z_k is -inf.
    Raises: TypeError or ValueError if the target is neither. Labels outside 0..K-1 can't be seen in a compiled
    program (they act as a masked row): the loops check them on the host.
    NumPy twin: reference/losses.py.
    """

    label_smoothing: float = number("[0, 1)", 0.0)

    def check(self, target: Any, output_shape: Shape) -> None:
        _require_classes(self, output_shape)
        _require_labels_or_distributions(self, target, output_shape)

    def n_classes(self, target: Any, output_shape: Shape) -> int | None:
        return output_shape[0] if _are_labels(target) else None

    def check_values(self, target: Any) -> None:
        if _are_labels(target):
            return
        wide = widened(target)
        sums = wide.sum(axis=-1)
        # As far off 1 as the rounding of K numbers of the target's type takes a sum.
        off = abs(sums - 1) > 8 * math.sqrt(target.shape[-1]) * float(jnp.finfo(target.dtype).eps)
        _require_all(
            self, (wide < 0).any(axis=-1) | (off & (sums != 0)),
            "be a distribution, of numbers that aren't negative and sum to 1 (or all 0, which masks the example)",
            "divide each row by its sum, give labels, or take HalfSquaredError() for quantities",
        )  # fmt: skip

    def forward(self, y: jax.Array, target: jax.Array) -> LossForward:
        require_floating(self, y)
        self.check(target, y.shape[1:])
        log_p = _log_softmax(widened(y))
        t = self._distribution(target, log_p)
        values = -jnp.sum(jnp.where(t == 0, 0, t * log_p), axis=-1)
        return LossForward(values, ProbabilitiesCache(jnp.exp(log_p).astype(y.dtype), target))

    # dl/dz_k = -sum_j t_j d(log p_j)/dz_k = -sum_j t_j (1[j = k] - p_k) = p_k sum_j t_j - t_k.
    def backward(self, cache: ProbabilitiesCache, weights: jax.Array) -> jax.Array:
        p, target = cache
        wide = widened(p)
        t = self._distribution(target, wide)
        return _weighted(weights, wide * jnp.sum(t, axis=-1, keepdims=True) - t, p.dtype)

    def _distribution(self, target: jax.Array, y: jax.Array) -> jax.Array:
        t = _one_hot(target, y) if target.ndim < y.ndim else target.astype(y.dtype)
        if self.label_smoothing == 0:
            return t
        smoothing = self.label_smoothing
        return (1 - smoothing) * t + smoothing / t.shape[-1] * jnp.sum(t, axis=-1, keepdims=True)


@recipe
class SigmoidCrossEntropy:
    """Cross-entropy of K independent yes-or-no outputs with logits z: l = -sum_k t_k log p_k + (1 - t_k) log(1 - p_k).

    p = 1 / (1 + exp(-z)). The target is of z's shape, integer (0 or 1) or floating (in [0, 1]); or a label, integer
    (B,), that stands for its one-hot vector, where K > 1. With `label_smoothing` s, t becomes (1 - s) t + s/2.

    Shapes: z (B, K), target (B, K) or (B,) -> l (B,).
    Backward: dz = w (p - t).
    Raises: TypeError or ValueError if the target is neither.
    NumPy twin: reference/losses.py.
    """

    label_smoothing: float = number("[0, 1)", 0.0)

    def check(self, target: Any, output_shape: Shape) -> None:
        if len(jnp.shape(target)) == 1:
            if tuple(output_shape) == (1,):
                raise ValueError(
                    f"{self}: with one output, targets should be of the outputs' shape (B, 1), got "
                    f"{jnp.shape(target)}: reshape them with [:, None]"
                )
            _require_classes(self, output_shape)
            _require_labels_or_distributions(self, target, output_shape)
        else:
            _require_shape(self, target, output_shape)

    def n_classes(self, target: Any, output_shape: Shape) -> int | None:
        if _are_labels(target):
            return output_shape[0]
        return 2 if is_integer(target) else None

    def check_values(self, target: Any) -> None:
        if is_floating(target):
            outside = ~((target >= 0) & (target <= 1)).reshape(len(target), -1).all(axis=1)
            _require_all(self, outside, "be in [0, 1]", "rescale them, or take HalfSquaredError() for quantities")

    def forward(self, y: jax.Array, target: jax.Array) -> LossForward:
        require_floating(self, y)
        self.check(target, y.shape[1:])
        z = widened(y)
        t = self._probabilities(target, z)
        # -t log p - (1 - t) log(1 - p) = log(1 + e^z) - t z, and log(1 + e^z) = max(z, 0) + log(1 + e^-|z|).
        positive = z > 0
        softplus = jnp.where(positive, z, 0) + jnp.log1p(jnp.exp(jnp.where(positive, -z, z)))
        values = _row_sums(softplus - t * z)
        return LossForward(values, ProbabilitiesCache(jax.lax.logistic(z).astype(y.dtype), target))

    def backward(self, cache: ProbabilitiesCache, weights: jax.Array) -> jax.Array:
        p, target = cache
        wide = widened(p)
        return _weighted(weights, wide - self._probabilities(target, wide), p.dtype)

    def _probabilities(self, target: jax.Array, y: jax.Array) -> jax.Array:
        t = _one_hot(target, y) if target.ndim < y.ndim else target.astype(y.dtype)
        return (1 - self.label_smoothing) * t + self.label_smoothing / 2


def _residual(loss: Any, y: jax.Array, target: jax.Array) -> jax.Array:
    """y - t in float32 at least, after checking that they go together."""
    require_floating(loss, y)
    loss.check(target, y.shape[1:])
    y = widened(y)
    return y - target.astype(y.dtype)


def _row_sums(terms: jax.Array) -> jax.Array:
    """(B, ...) as (B,): the sum over each row."""
    return jnp.sum(terms, axis=tuple(range(1, terms.ndim)))


def _log_softmax(z: jax.Array) -> jax.Array:
    """log p = z - max - log sum exp(z - max): the maximum cancels, and keeps exp from overflowing."""
    shifted = z - jax.lax.stop_gradient(jnp.max(z, axis=-1, keepdims=True))
    return shifted - jnp.log(jnp.sum(jnp.exp(shifted), axis=-1, keepdims=True))


def _one_hot(labels: jax.Array, y: jax.Array) -> jax.Array:
    """(B,) as (B, K), in y's dtype; a row of zeros where a label isn't a class."""
    return jax.nn.one_hot(labels, y.shape[-1], dtype=y.dtype)


def _weighted(weights: jax.Array, slopes: jax.Array, dtype: Any = None) -> jax.Array:
    """dy = w_b slopes_b, multiplied in float32 at least: a share of 1/B may be no number of float16."""
    wide = widened(slopes)
    rows = weights.astype(wide.dtype).reshape(-1, *[1] * (slopes.ndim - 1))
    return (rows * wide).astype(slopes.dtype if dtype is None else dtype)


def _require_all(loss: Any, wrong: Any, words: str, remedy: str) -> None:
    """Refuse examples whose targets have wrong values."""
    if wrong.any():
        raise ValueError(
            f"{loss}: targets should {words}: those of {int(wrong.sum())} of {len(wrong)} examples aren't (the first "
            f"is example {int(wrong.argmax())}); {remedy}"
        )


def _require_shape(loss: Any, target: Any, output_shape: Shape) -> None:
    shape = jnp.shape(target)
    if not shape or shape[1:] != tuple(output_shape):
        raise ValueError(
            f"{loss}: targets should be of the outputs' shape (B, {', '.join(map(str, output_shape))}), got {shape}: "
            "reshape them, or make labels one-hot with jax.nn.one_hot(labels, n_classes)"
        )


def _require_numbers(loss: Any, target: Any, output_shape: Shape) -> None:
    _require_shape(loss, target, output_shape)
    if not is_floating(target):
        raise TypeError(
            f"{loss}: targets should be floating and of the outputs' shape, got {jnp.result_type(target)}: "
            "convert them with .astype(float), and labels with jax.nn.one_hot(labels, n_classes)"
        )


def _require_classes(loss: Any, output_shape: Shape) -> None:
    if len(output_shape) != 1 or output_shape[0] < 2:
        raise ValueError(
            f"{loss}: classes need outputs of shape (B, K) with K at least 2, got (B, "
            f"{', '.join(map(str, output_shape))}): end the network with Dense(n_classes); or with one output, take "
            "SigmoidCrossEntropy() for yes and no, HalfSquaredError() for quantities"
        )


def _are_labels(target: Any) -> bool:
    return len(jnp.shape(target)) == 1 and is_integer(target)


def _require_labels_or_distributions(loss: Any, target: Any, output_shape: Shape) -> None:
    """Integer labels (B,) or floating distributions (B, K); anything else is an error."""
    shape, dtype = jnp.shape(target), jnp.result_type(target)
    if not _are_labels(target) and not (shape[1:] == tuple(output_shape) and is_floating(target)):
        raise TypeError(
            f"{loss}: targets should be integer labels (B,) or floating distributions (B, {output_shape[0]}), "
            f"got {dtype} of shape {shape}: convert labels with .astype(int), distributions with .astype(float)"
        )
