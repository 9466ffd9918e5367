"""NumPy twin of the objective and of its gradient by backpropagation."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from jaxnn.reference.arrays import Tree, map_tree
from jaxnn.reference.penalties import penalty_gradient, penalty_value


class Gradient(NamedTuple):
    """value = loss + penalty; grads and dx are its derivatives with respect to params and x."""

    value: float
    loss: float
    penalty: float
    grads: Tree
    state: Tree
    outputs: np.ndarray
    dx: np.ndarray | None


def backprop(net: Any, loss: Any, penalty: Any = None) -> Callable[..., Gradient]:
    """E = sum_b w_b l_b / W + penalty(params), and its gradient, the error sent back through the network.

    W is `total`, or sum_b w_b. `masks` holds the mask of each Dropout, in forward order.
    """

    def gradient(
        params: Tree,
        state: Tree,
        x: np.ndarray,
        target: np.ndarray,
        *,
        masks: Iterable[np.ndarray] = (),
        weights: np.ndarray | None = None,
        total: float | None = None,
        train: bool = True,
    ) -> Gradient:
        outputs, new_state, cache = net.forward(params, state, x, masks=iter(masks), train=train)
        values, loss_cache = loss.forward(outputs, target)
        weights = np.ones_like(values) if weights is None else weights.astype(values.dtype)
        total = weights.sum() if total is None else total
        shares = weights / total if total > 0 else weights
        mean = (shares * values).sum()
        grads, dx = net.backward(params, cache, loss.backward(loss_cache, shares))
        if penalty is not None:
            grads = map_tree(np.add, grads, penalty_gradient(penalty, params))
        extra = penalty_value(penalty, params)
        return Gradient(mean + extra, mean, extra, grads, new_state, outputs, dx)

    return gradient
