"""Error terms by automatic differentiation: every layer hands on a tap, whose gradient is the layer's error term.

`tapped(net, B)` is the network with a tap, (B, *output shape), beside the params of every layer. A tap's value is what
the layer gave when the network was run before, as `told(net)` tells: two programs round a number otherwise, and where
it stands on a kink, a maximum of equals or a ReLU of nearly 0, one would take the one side and one the other. So the
automatic gradient is taken at the very numbers at which the hand-written one was. The derivative is that of f(x) + tap.

Inside Repeat the taps are stacked by depth, as params are. A recurrent cell has no tap: its params are shared over
time, so a tap among them would give the sum over time. A layer whose output is of integers has one that does nothing.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import GetAttrKey, keystr

from jaxnn.arrays import PyTree, Shape, default_float, is_floating, params_dtype
from jaxnn.kernels.barriers import materialized
from jaxnn.layer import Backward, Forward, Init, Layer, is_composite, recipe
from jaxnn.networks.rebuild import mapped
from jaxnn.networks.wrapped import Wrapped


class TappedParams(NamedTuple):
    untapped: PyTree
    tap: jax.Array


@recipe
class Tapped(Wrapped):
    """y = tap, with the derivative of f(x) + tap. It has no backward of its own: it is there to be differentiated."""

    n_rows: int

    def init(self, key: jax.Array, shape: Shape, dtype: Any = None) -> Init:
        params, state = self.layer.init(key, shape, dtype)
        tap = jnp.zeros((self.n_rows, *self.output_shape(shape)), default_float(dtype))
        return Init(TappedParams(params, tap), state)

    def forward(
        self, params: TappedParams, state: PyTree, x: jax.Array, *, key: Any = None, train: bool = False
    ) -> Forward:
        y, new_state, cache = self.layer.forward(params.untapped, state, x, key=key, train=train)
        return Forward(_handed_on(y, params.tap.astype(y.dtype)) if is_floating(y) else y, new_state, cache)

    def backward(self, params: TappedParams, cache: PyTree, dy: jax.Array) -> Backward:
        raise NotImplementedError(f"{self} has no hand-written backward: use autodiff")


@jax.custom_jvp
def _handed_on(y: jax.Array, tap: jax.Array) -> jax.Array:
    return tap


@_handed_on.defjvp
def _handed_on_jvp(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    return primals[1], tangents[0] + tangents[1]


class ToldCache(NamedTuple):
    cache: PyTree
    y: jax.Array


@recipe
class Told(Wrapped):
    """The layer, with its output beside its cache: what a tap hands on. The next layer gets these very numbers."""

    def forward(self, params: PyTree, state: PyTree, x: jax.Array, *, key: Any = None, train: bool = False) -> Forward:
        y, new_state, cache = self.layer.forward(params, state, x, key=key, train=train)
        (y,) = materialized(y)
        return Forward(y, new_state, ToldCache(cache, y))

    def backward(self, params: PyTree, cache: ToldCache, dy: jax.Array) -> Backward:
        return self.layer.backward(params, cache.cache, dy)


def tapped(net: Layer, n_rows: int) -> Layer:
    """The network with a tap at every layer's output; combinators have none, their outputs are their layers'."""
    return _at_outputs(net, lambda layer: Tapped(layer, n_rows))


def told(net: Layer) -> Layer:
    """The network with the output of every layer that has a tap in its cache."""
    return _at_outputs(net, Told)


def tapped_params(net: Layer, shape: Shape, params: PyTree, outputs: Mapping[str, Any]) -> PyTree:
    """The params of a `tapped` network from those of the network, and the layers' outputs by path."""
    dtype = params_dtype(params)
    made = jax.eval_shape(lambda key: net.init(key, shape, dtype).params, jax.random.key(0))
    paths, structure = jax.tree_util.tree_flatten_with_path(made)
    rest = iter(jax.tree.leaves(params))
    leaves = [_tap(outputs, path, leaf, dtype) if path[-1] == TAP else next(rest) for path, leaf in paths]
    return jax.tree.unflatten(structure, leaves)


def untapped(grads: PyTree) -> tuple[dict[str, Any], dict[str, Any]]:
    """The gradients of params, and the error terms, both by the paths that they have in the network itself."""
    of_params, error_terms = {}, {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(grads):
        (error_terms if path[-1] == TAP else of_params)[_own(path)] = leaf
    return of_params, error_terms


UNTAPPED, TAP = GetAttrKey("untapped"), GetAttrKey("tap")


def _untappable(layer: Any) -> bool:
    return is_composite(layer) or hasattr(layer, "start")


def _at_outputs(net: Layer, wrap: Callable[[Layer], Layer]) -> Layer:
    return mapped(net, lambda layer: layer if _untappable(layer) else wrap(layer))


def _tap(outputs: Mapping[str, Any], path: tuple, like: Any, dtype: Any) -> Any:
    output = outputs.get(_own(path))
    return jnp.zeros(like.shape, dtype) if output is None else output


def _own(path: tuple) -> str:
    """The path in the network itself."""
    return keystr(tuple(key for key in path if key not in (UNTAPPED, TAP)))
