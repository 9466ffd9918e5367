"""NumPy twins of the three loops, which differ in how many examples one step takes.

Params, and the orders in which the epochs visit the examples, are arguments; so are the masks of Dropout, one after
another for the whole run. `data` is (x, target) or (x, target, weights).

All descend E = sum_i w_i l_i / sum_i w_i + penalty, i over the n examples of the set. With weights divided by their
mean it is 1/n sum_i w_i l_i + penalty, of which a batch of m examples has the unbiased estimate 1/m sum_b w_b l_b +
penalty.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxnn.reference.arrays import Tree
from jaxnn.reference.gradient import backprop
from jaxnn.reference.updates import apply_updates


class History(NamedTuple):
    """(epochs,): weighted means over the epoch's examples, each at the params it met; loss is without the penalty."""

    loss: np.ndarray
    penalty: np.ndarray


class Descent(NamedTuple):
    params: Tree
    state: Tree
    update_state: Tree
    history: History


def bgd(
    net: Any,
    loss: Any,
    data: tuple,
    *,
    params: Tree,
    state: Tree,
    epochs: int,
    update: Any,
    penalty: Any = None,
    masks: Iterable[np.ndarray] = (),
) -> Descent:
    """Batch gradient descent: each epoch is one step along the gradient over all examples."""
    x, target, weights = _weighted(data)
    gradient, masks = backprop(net, loss, penalty), iter(masks)
    update_state = update.init(params)
    history = []
    for _ in range(epochs):
        result = gradient(params, state, x, target, weights=weights, total=len(x), masks=masks)
        updates, update_state = update.update(result.grads, update_state, params)
        params, state = apply_updates(params, updates), result.state
        history.append((result.loss, result.penalty))
    return Descent(params, state, update_state, _columns(history))


def mbgd(
    net: Any,
    loss: Any,
    data: tuple,
    *,
    params: Tree,
    state: Tree,
    orders: Sequence[np.ndarray],
    batch_size: int,
    update: Any,
    penalty: Any = None,
    masks: Iterable[np.ndarray] = (),
) -> Descent:
    """Mini-batch gradient descent: a step for each `batch_size` examples of an order; the last may have fewer."""
    x, target, weights = _weighted(data)
    gradient, masks = backprop(net, loss, penalty), iter(masks)
    update_state = update.init(params)
    history = []
    for order in orders:
        sums = np.zeros(2)
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            one = {"weights": weights[batch], "total": len(batch), "masks": masks}
            result = gradient(params, state, x[batch], target[batch], **one)
            updates, update_state = update.update(result.grads, update_state, params)
            params, state = apply_updates(params, updates), result.state
            sums += len(batch) * np.array([result.loss, result.penalty])
        history.append(sums / len(order))
    return Descent(params, state, update_state, _columns(history))


def sgd(
    net: Any,
    loss: Any,
    data: tuple,
    *,
    params: Tree,
    state: Tree,
    orders: Sequence[np.ndarray],
    update: Any,
    penalty: Any = None,
    masks: Iterable[np.ndarray] = (),
) -> Descent:
    """Stochastic gradient descent: a step for each example of an order."""
    x, target, weights = _weighted(data)
    gradient, masks = backprop(net, loss, penalty), iter(masks)
    update_state = update.init(params)
    history = []
    for order in orders:
        sums = np.zeros(2)
        for i in order:
            row = slice(i, i + 1)
            result = gradient(params, state, x[row], target[row], weights=weights[row], total=1, masks=masks)
            updates, update_state = update.update(result.grads, update_state, params)
            params, state = apply_updates(params, updates), result.state
            sums += np.array([result.loss, result.penalty])
        history.append(sums / len(order))
    return Descent(params, state, update_state, _columns(history))


def _weighted(data: tuple) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(x, target, weights), the weights of mean 1; all are 1 if data has none."""
    x, target, *weights = data
    return x, target, weights[0] / weights[0].mean() if weights else np.ones(len(x))


def _columns(history: list) -> History:
    return History(*np.array(history, float).T)
