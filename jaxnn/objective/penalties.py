"""Penalties on the weights: what a term adds to the objective, and under it its gradient.

A penalty is a small pytree whose strength is a leaf: a new number recompiles nothing, and `vmap` takes a whole grid.
Where one is asked for, a tuple stands for the sum of several.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import GetAttrKey

from jaxnn.arrays import PyTree, added, params_dtype, register_node, zeros_like

# Lower-case classes, as `functools.partial` is: each is used like a function, and prints as it was written.


@register_node
@dataclass(frozen=True)
class l2:
    """lambda/2 sum W^2 over the fields named `weight`; its gradient is lambda W.

    Source: PRINCIPLES F3, H1.

    >>> import jaxnn
    >>> params = jaxnn.DenseParams(weight=jnp.array([[3.0]]), bias=jnp.array([5.0]))
    >>> l2(0.1).value(params), l2(0.1).gradient(params).weight
    (Array(0.45000002, dtype=float32), Array([[0.3]], dtype=float32))
    """

    strength: Any

    def value(self, params: PyTree) -> jax.Array:
        return _over_weights(lambda w: jnp.asarray(self.strength, w.dtype) / 2 * jnp.sum(jnp.square(w)), params)

    def gradient(self, params: PyTree) -> PyTree:
        return _at_weights(lambda w: jnp.asarray(self.strength, w.dtype) * w, params)


@register_node
@dataclass(frozen=True)
class l1:
    """lambda sum |W| over the fields named `weight`; its gradient is lambda sign(W), 0 where W is 0.

    Source: PRINCIPLES H1.
    """

    strength: Any

    def value(self, params: PyTree) -> jax.Array:
        # sign(w) w rather than |w|: JAX's derivative of |w| at 0 is 1, the declared one is 0.
        return _over_weights(lambda w: jnp.asarray(self.strength, w.dtype) * jnp.sum(jnp.sign(w) * w), params)

    def gradient(self, params: PyTree) -> PyTree:
        return _at_weights(lambda w: jnp.asarray(self.strength, w.dtype) * jnp.sign(w), params)


def weight_mask(params: PyTree) -> PyTree:
    """True for the fields named `weight`, False for biases and all else: what penalties and weight decay act on.

    By name and not by rank, for inside Repeat a bias has a depth axis. It is the `mask` that optax asks for.
    """
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1:] == (GetAttrKey("weight"),), params)


def penalty_value(penalty: PyTree, params: PyTree) -> jax.Array:
    """The sum of the penalties: of one, of a tuple of them, or 0 of None."""
    values = [each.value(params) for each in penalties(penalty)]
    return sum(values[1:], values[0]) if values else jnp.zeros((), params_dtype(params))


def penalty_gradient(penalty: PyTree, params: PyTree) -> PyTree:
    gradients = [each.gradient(params) for each in penalties(penalty)]
    total = gradients[0] if gradients else zeros_like(params)
    for gradient in gradients[1:]:
        total = added(total, gradient)
    return total


def penalties(penalty: Any) -> tuple:
    if penalty is None:
        return ()
    return tuple(penalty) if isinstance(penalty, tuple | list) else (penalty,)


def _over_weights(f: Callable[[jax.Array], jax.Array], params: PyTree) -> jax.Array:
    pairs = zip(jax.tree.leaves(params), jax.tree.leaves(weight_mask(params)), strict=True)
    values = [f(leaf) for leaf, is_weight in pairs if is_weight]
    return sum(values[1:], values[0]) if values else jnp.zeros((), params_dtype(params))


def _at_weights(f: Callable[[jax.Array], jax.Array], params: PyTree) -> PyTree:
    return jax.tree.map(
        lambda leaf, is_weight: f(leaf) if is_weight else jnp.zeros_like(leaf), params, weight_mask(params)
    )
