"""The objective and its gradient, by hand and by machine.

    E(params) = sum_b w_b l(f(x_b), t_b) / W  +  sum of penalties(params),        W = sum_b w_b

W may be given as `total`, where the rows at hand are a part of those that the sum is over: a batch of a set, or a
device's share of a batch. What accumulates (the loss, the shares w_b / W) is float32 at least; gradients have their
params' dtypes.

`backprop` and `autodiff` have one signature and give one result, so everything downstream takes either.
"""

from collections import OrderedDict
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from jaxnn.arrays import PyTree, added, as_typed, is_floating, is_traced, wide_dtype, widened
from jaxnn.backward.visits import fold
from jaxnn.layer import Layer, Notes, Observer, forward_of
from jaxnn.mesh_axes import varying_like
from jaxnn.objective.losses import Loss
from jaxnn.objective.penalties import penalty_gradient, penalty_of, penalty_value


class Gradient(NamedTuple):
    """What one evaluation of the objective gives.

    value = loss + penalty; grads = d value / d params; state after the pass; the network's outputs (B, ...);
    dx = d value / d x (None for integer x); notes of the observer, by path.
    """

    value: jax.Array
    loss: jax.Array
    penalty: jax.Array
    grads: PyTree
    state: PyTree
    outputs: jax.Array
    dx: jax.Array | None
    notes: Notes


class GradientFunction(Protocol):
    """The gradient of one objective, as a function of numbers alone.

    weights: (B,), one for each example; None for equal ones. total: what the weighted sum is divided by; None for the
    sum of the weights. The loops give weights whose mean over the whole set is 1, and as total the number of rows of
    the batch: so every step follows an unbiased estimate of the set's objective, and an example's say doesn't depend on
    its neighbours. (With total None each batch is normalised by itself; a batch of one then ignores its weight.)
    """

    def __call__(
        self,
        params: PyTree,
        state: PyTree,
        x: jax.Array,
        target: jax.Array,
        *,
        key: jax.Array | None = None,
        weights: jax.Array | None = None,
        train: bool = True,
        total: Any = None,
    ) -> Gradient: ...


def backprop(net: Layer, loss: Loss, penalty: PyTree = None, observe: Observer | None = None) -> GradientFunction:
    """The gradient by backpropagation: the hand-written rules of loss, layers and penalty.

    Equations: dy_b = w_b / W dl_b/dy_b;  (dparams, dx) = net.backward(params, cache, dy);
        grads = dparams + d penalty / d params.
    `observe(node)` gets each layer's `Node` (path, cache, error term dy, dparams, dx) in this one pass; what it returns
    is in `.notes` under the layer's path.
    A profile lists operations under `forward`, `loss`, `backward` and `penalty`, and there under the layer's path.
    Raises: ValueError if the weights sum to 0, where they are concrete.
    Source: PRINCIPLES C1 to C5.  NumPy twin: reference/gradient.py.

    >>> import jaxnn
    >>> net, loss = jaxnn.Dense(2), jaxnn.HalfSquaredError()
    >>> params, state = net.init(jax.random.key(0), (3,))
    >>> result = backprop(net, loss)(params, state, jnp.ones((4, 3)), jnp.zeros((4, 2)))
    >>> result.grads.weight.shape, result.dx.shape
    ((3, 2), (4, 3))
    """
    penalty = penalty_of(penalty, net)

    def gradient(
        params: PyTree,
        state: PyTree,
        x: jax.Array,
        target: jax.Array,
        *,
        key: jax.Array | None = None,
        weights: jax.Array | None = None,
        train: bool = True,
        total: Any = None,
    ) -> Gradient:
        with jax.named_scope("forward"):
            outputs, new_state, cache = forward_of(net, params, state, x, key=key, train=train)
        with jax.named_scope("loss"):
            mean, dy = mean_loss(loss, outputs, target, weights, total)
        with jax.named_scope("backward"):
            dparams, dx, notes = fold(net, params, cache, dy, observe)
        dparams = as_typed(dparams, params)
        return with_penalty(Gradient(mean, mean, mean, dparams, new_state, outputs, dx, notes), penalty, params)

    return gradient


def autodiff(net: Layer, loss: Loss, penalty: PyTree = None) -> GradientFunction:
    """The same gradient by `jax.value_and_grad`, from the forwards alone: what `backprop` is checked against.

    Under a mesh it is local, as `backprop`'s is: params are marked as varying first (see `mesh_axes.varying_like`).
    """
    penalty = penalty_of(penalty, net)

    def gradient(
        params: PyTree,
        state: PyTree,
        x: jax.Array,
        target: jax.Array,
        *,
        key: jax.Array | None = None,
        weights: jax.Array | None = None,
        train: bool = True,
        total: Any = None,
    ) -> Gradient:
        def objective(params: PyTree, x: jax.Array) -> tuple[jax.Array, tuple]:
            with jax.named_scope("forward"):
                outputs, new_state, _ = forward_of(net, params, state, x, key=key, train=train)
            with jax.named_scope("loss"):
                values = _one_each(loss, loss.forward(outputs, target)[0], outputs)
                mean = jnp.sum(shares(weights, values, total) * values)
            with jax.named_scope("penalty"):
                extra = penalty_value(penalty, params).astype(mean.dtype)
            return mean + extra, (mean, extra, new_state, outputs)

        argnums = (0, 1) if is_floating(x) else (0,)
        differentiate = jax.value_and_grad(objective, argnums=argnums, has_aux=True)
        (value, (mean, extra, new_state, outputs)), (grads, *dx) = differentiate(varying_like(params, x), x)
        return Gradient(value, mean, extra, grads, new_state, outputs, dx[0] if dx else None, OrderedDict())

    return gradient


def mean_loss(
    loss: Loss, outputs: jax.Array, target: jax.Array, weights: jax.Array | None = None, total: Any = None
) -> tuple[jax.Array, jax.Array]:
    """sum_b w_b l_b / W, and its gradient with respect to the outputs, by the loss's rule: the error term dy that
    backpropagation starts from.
    """
    values, cache = loss.forward(outputs, target)
    values = _one_each(loss, values, outputs)
    row_weights = shares(weights, values, total)
    dy = loss.backward(cache, row_weights)
    return jnp.sum(row_weights * values), dy.astype(outputs.dtype)  # a loss of one's own may leave it in the weights'


def _one_each(loss: Loss, values: jax.Array, outputs: jax.Array) -> jax.Array:
    """A loss's values, one for each example, in float32 at least."""
    if values.shape != outputs.shape[:1]:
        raise TypeError(
            f"{type(loss).__name__}.forward should give one value for each example, of shape {outputs.shape[:1]}, got "
            f"{values.shape}: sum over all axes but the first; the mean over examples is the objective's"
        )
    return widened(values)


def with_penalty(result: Gradient, penalty: PyTree, params: PyTree) -> Gradient:
    """The gradient of a loss, with what the penalties add to it by their own rules."""
    with jax.named_scope("penalty"):
        extra = penalty_value(penalty, params).astype(result.loss.dtype)
        grads = result.grads if penalty is None else added(result.grads, penalty_gradient(penalty, params))
    return result._replace(value=result.loss + extra, penalty=extra, grads=grads)


def shares(weights: jax.Array | None, values: jax.Array, total: Any = None) -> jax.Array:
    """w_b / W, in float32 at least; 1/B each without weights and total; 0 where all weights are 0, as of padding."""
    dtype = wide_dtype(values.dtype)
    if weights is None:
        return jnp.full(values.shape, 1 / values.shape[0] if total is None else 1 / jnp.asarray(total, dtype), dtype)
    if weights.shape != values.shape:
        raise ValueError(f"weights should be one number per example, {values.shape}, got {weights.shape}")
    weights = weights.astype(dtype)
    total = jnp.sum(weights) if total is None else jnp.asarray(total, dtype)
    if not is_traced(total) and total == 0:
        raise ValueError("weights sum to 0, so their mean is undefined: give at least one example a positive weight")
    return weights / jnp.where(total == 0, 1, total)
