"""Error terms by automatic differentiation: every layer has a tap, whose gradient is the layer's error term.

A tap hands on what the layer gave when the network was run before, as `with_outputs(net)` notes it. Two programs round
a number otherwise, and where it stands on a kink, a maximum of equals or a ReLU of nearly 0, one would take the one
side and one the other. So the automatic gradient is taken at the very numbers at which the hand-written one was. The
derivative is that of f(x) + tap.

All layers have a tap but composites, whose outputs are their layers', and recurrent cells with what is inside of them:
their params are shared over time, so a tap among them would give the sum over time. A wrapper that can't be copied
around other layers has one for the whole. Inside Repeat the taps are stacked by depth, as params are.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
from jax.tree_util import keystr, tree_map_with_path

from jaxnn.arrays import PyTree
from jaxnn.kernels.barriers import materialized
from jaxnn.layer import Backward, Forward, Layer, Path, backward_of, forward_of, is_composite, recipe
from jaxnn.networks.rebuild import rebuilt
from jaxnn.networks.wrapped import Wrapped


class Point(NamedTuple):
    """Where an automatic gradient is taken: params, and by path the outputs that the taps hand on."""

    params: PyTree
    outputs: Mapping[str, Any]


class TapParams(NamedTuple):
    """A layer's params, and what its tap hands on; None where nothing was noted."""

    params: PyTree
    output: jax.Array | None


@recipe
class WithTap(Wrapped):
    """y = output, with the derivative of f(x) + output. It has no backward: it is there to be differentiated."""

    def forward(
        self, params: TapParams, state: PyTree, x: jax.Array, *, key: Any = None, train: bool = False
    ) -> Forward:
        y, new_state, cache = forward_of(self.layer, params.params, state, x, key=key, train=train)
        return Forward(y if params.output is None else _in_place(y, params.output.astype(y.dtype)), new_state, cache)

    def backward(self, params: TapParams, cache: PyTree, dy: jax.Array) -> Backward:
        raise NotImplementedError(f"{self} has no hand-written backward: use autodiff")


@jax.custom_jvp
def _in_place(y: jax.Array, output: jax.Array) -> jax.Array:
    return output


@_in_place.defjvp
def _in_place_jvp(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    return primals[1], tangents[0] + tangents[1]


@recipe
class AtPoint(Wrapped):
    """A network with taps, whose params are a `Point`. Its gradient's `outputs` are the error terms.

    Raises: ValueError if a composite's child has a key that isn't its step in the params' tree.
    """

    def forward(self, params: Point, state: PyTree, x: jax.Array, *, key: Any = None, train: bool = False) -> Forward:
        whole = _at_outputs(self.layer, WithTap)
        return forward_of(whole, _params_with_taps(self.layer, params), state, x, key=key, train=train)

    def backward(self, params: Point, cache: PyTree, dy: jax.Array) -> Backward:
        raise NotImplementedError(f"{self} has no hand-written backward: use autodiff")


class OutputCache(NamedTuple):
    cache: PyTree
    y: jax.Array


@recipe
class WithOutput(Wrapped):
    """The layer, with its output beside its cache: what a tap hands on. The next layer gets these very numbers."""

    def forward(self, params: PyTree, state: PyTree, x: jax.Array, *, key: Any = None, train: bool = False) -> Forward:
        y, new_state, cache = forward_of(self.layer, params, state, x, key=key, train=train)
        (y,) = materialized(y)
        return Forward(y, new_state, OutputCache(cache, y))

    def backward(self, params: PyTree, cache: OutputCache, dy: jax.Array) -> Backward:
        return backward_of(self.layer, params, cache.cache, dy)


def with_outputs(net: Layer) -> Layer:
    """The network with the output of every layer that has a tap in its cache; same params, same numbers."""
    return _at_outputs(net, WithOutput)


def layers_with_taps(net: Any, path: Path = ()) -> Iterator[tuple[str, Layer]]:
    """The layers that have a tap, by path, in forward order."""
    if _is_cell(net):
        return
    if not is_composite(net):
        yield keystr(path), net
        return
    for key, child in net.children:
        yield from layers_with_taps(child, (*path, key))


def _at_outputs(net: Any, wrap: Callable[[Layer], Layer]) -> Layer:
    """The network with `wrap(layer)` in the place of every layer that has a tap."""
    if _is_cell(net):
        return net
    if not is_composite(net):
        return wrap(net)
    return rebuilt(net, [_at_outputs(child, wrap) for _, child in net.children])


def _is_cell(layer: Any) -> bool:
    return callable(getattr(layer, "start", None))


def _params_with_taps(net: Layer, point: Point) -> PyTree:
    """The params of a network with taps."""
    missing = dict(layers_with_taps(net))
    paths = set(missing)

    def with_output(path: Path, params: PyTree) -> PyTree:
        name = keystr(path)
        if name not in paths:
            return params
        missing.pop(name)
        return TapParams(params, point.outputs.get(name))

    tree = tree_map_with_path(
        with_output, point.params, is_leaf=lambda path, _: keystr(path) in paths, is_leaf_takes_path=True
    )
    if missing:
        name, layer = next(iter(missing.items()))
        raise ValueError(
            f"compare: the params have nothing at {name}, where {layer} is by its composite's children: the key of a "
            "child is its step in the params' tree, such as jax.tree_util.DictKey('left') where params are a dict"
        )
    return tree
