"""Error terms by automatic differentiation: a zero added to every layer's output, whose gradient is the error term.

`tapped(net, B)` is the network with such a tap, (B, *output shape), beside the params of every layer. Inside Repeat the
taps are stacked by depth, as params are. A recurrent cell has no tap: its params are shared over time, so a tap among
them would give the sum over time. A layer whose output is of integers has one that does nothing.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import GetAttrKey, keystr

from jaxnn.arrays import PyTree, Shape, default_float, is_floating, params_dtype
from jaxnn.audit.wrapped import Wrapped
from jaxnn.combinators import mapped
from jaxnn.layer import Backward, Composite, Forward, Init, Layer, recipe


class TappedParams(NamedTuple):
    untapped: PyTree
    tap: jax.Array


@recipe
class Tapped(Wrapped):
    """y = f(x) + tap. It has no backward of its own: it is there to be differentiated."""

    n_rows: int

    def init(self, key: jax.Array, shape: Shape, dtype: Any = None) -> Init:
        params, state = self.layer.init(key, shape, dtype)
        tap = jnp.zeros((self.n_rows, *self.output_shape(shape)), default_float(dtype))
        return Init(TappedParams(params, tap), state)

    def forward(
        self, params: TappedParams, state: PyTree, x: jax.Array, *, key: Any = None, train: bool = False
    ) -> Forward:
        y, new_state, cache = self.layer.forward(params.untapped, state, x, key=key, train=train)
        return Forward(y + params.tap.astype(y.dtype) if is_floating(y) else y, new_state, cache)

    def backward(self, params: TappedParams, cache: PyTree, dy: jax.Array) -> Backward:
        raise NotImplementedError(f"{self} has no hand-written backward: use autodiff")


def tapped(net: Layer, n_rows: int) -> Layer:
    """The network with a tap at every layer's output; combinators have none, their outputs are their layers'."""
    return mapped(net, lambda layer: layer if _untappable(layer) else Tapped(layer, n_rows))


def tapped_params(net: Layer, shape: Shape, params: PyTree) -> PyTree:
    """The params of a `tapped` network from those of the network, every tap 0."""
    dtype = params_dtype(params)
    made = jax.eval_shape(lambda key: net.init(key, shape, dtype).params, jax.random.key(0))
    paths, structure = jax.tree_util.tree_flatten_with_path(made)
    rest = iter(jax.tree.leaves(params))
    leaves = [jnp.zeros(leaf.shape, dtype) if path[-1] == TAP else next(rest) for path, leaf in paths]
    return jax.tree.unflatten(structure, leaves)


def untapped(grads: PyTree) -> tuple[dict[str, Any], dict[str, Any]]:
    """The gradients of params, and the error terms, both by the paths that they have in the network itself."""
    of_params, error_terms = {}, {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(grads):
        own = keystr(tuple(key for key in path if key not in (UNTAPPED, TAP)))
        (error_terms if path[-1] == TAP else of_params)[own] = leaf
    return of_params, error_terms


UNTAPPED, TAP = GetAttrKey("untapped"), GetAttrKey("tap")


def _untappable(layer: Any) -> bool:
    return isinstance(layer, Composite) or hasattr(layer, "start")
