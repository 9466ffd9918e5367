"""Copies of a network with other layers in it: one in every layer's place, or one at a path."""

import copy
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from jaxnn.layer import Layer, Path
from jaxnn.networks.combinators import Branches, Serial


def mapped(net: Any, function: Callable[[Layer], Layer]) -> Layer:
    """A copy of a network with function(layer) in every layer's place: children first, then what combines them.

    What combines them keeps its class and its other fields: a subclass may be there for its own rule.

    >>> from jaxnn.layers.activations import ReLU, Tanh
    >>> from jaxnn.networks.combinators import Residual, Serial
    >>> mapped(Serial(ReLU(), Residual(ReLU())), lambda layer: Tanh() if layer == ReLU() else layer)
    Serial(Tanh(), Residual(Tanh()))
    """
    if isinstance(net, Serial | Branches):
        net = _with_layers(net, [mapped(layer, function) for layer in net.layers])
    elif hasattr(net, "inner"):
        net = dataclasses.replace(net, inner=mapped(net.inner, function))
    return function(net)


def replaced(net: Any, path: Path, layer: Layer) -> Layer:
    """A copy of a network with another layer at a path: `replaced(net, (1, "inner", 0), Tanh())`.

    All around it keeps its class and its other fields. The path is a fold's, or its steps as plain ints (in Serial and
    Branches) and "inner"; () is the network itself.
    Raises: KeyError if there is no such path.

    >>> from jaxnn.layers.activations import Tanh
    >>> from jaxnn.networks.combinators import Residual, Serial
    >>> from jaxnn import Dense
    >>> replaced(Serial(Dense(3), Residual(Serial(Dense(3)))), (1, "inner"), Tanh())
    Serial(Dense(3), Residual(Tanh()))
    """
    if not path:
        return layer
    step, *rest = (getattr(key, "idx", getattr(key, "name", key)) for key in path)
    if isinstance(net, Serial | Branches) and step in range(len(net.layers)):
        layers = list(net.layers)
        layers[step] = replaced(layers[step], tuple(rest), layer)
        return _with_layers(net, layers)
    if step == "inner" and hasattr(net, "inner"):
        return dataclasses.replace(net, inner=replaced(net.inner, tuple(rest), layer))
    raise KeyError(f"replaced: {net} has no layer at {step!r}: a path holds indices of Serial or Branches, and 'inner'")


def _with_layers(net: Any, layers: Sequence[Layer]) -> Any:
    """A copy with other layers. Not by its constructor, which in a subclass may take other arguments."""
    changed = copy.copy(net)
    object.__setattr__(changed, "layers", tuple(layers))
    changed.__post_init__()
    return changed
