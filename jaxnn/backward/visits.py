"""One backward pass over a network: the fold, with or without an observer."""

from collections import OrderedDict
from typing import Any

from jax.tree_util import keystr

from jaxnn.arrays import PyTree
from jaxnn.kernels.barriers import kept
from jaxnn.layer import Folded, Layer, Node, Observer, Path, Visit, is_composite, unwatched


def watched(observe: Observer) -> Visit:
    """The visit of a fold that calls `observe` on every node and keeps what it returns, unless None, by path."""

    def visit(path: Path, layer: Any, params: PyTree, cache: PyTree, dy: PyTree) -> Folded:
        if is_composite(layer):
            dparams, dx, below = layer.fold(visit, path, params, cache, dy)
        else:
            dparams, dx, below = unwatched(path, layer, params, cache, dy)
        note = observe(Node(path, layer, params, cache, dy, dparams, dx))
        here = OrderedDict() if note is None else OrderedDict({keystr(path): note})
        return Folded(dparams, dx, here | below)

    return visit


def fold(net: Layer, params: PyTree, cache: PyTree, dy: PyTree, observe: Observer | None = None) -> Folded:
    """The backward pass of a network, from its cache as kept by barriers; `observe`, if given, sees every node."""
    visit = unwatched if observe is None else watched(observe)
    return visit((), net, params, kept(cache), dy)
