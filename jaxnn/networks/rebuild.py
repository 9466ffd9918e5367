"""Copies of a network with other layers in it: one in every layer's place, or one at a path."""

from collections.abc import Callable, Sequence
from typing import Any

from jaxnn.layer import Layer, Path, hands_on_children, is_composite, says


def mapped(net: Any, function: Callable[[Layer], Layer], *, opaque: bool = False) -> Layer:
    """A copy of a network with function(layer) in every layer's place: children first, then what combines them.

    What combines them makes its own copy, by `with_children`, and keeps its class and its other fields: a subclass may
    be there for its own rule. A composite in which nothing changes stays what it is.
    opaque: whether a wrapper that hands on the children of what it wraps, and can't be copied around others, is one
    layer; else it is refused where something inside would change.
    Raises: TypeError where it is; what `rebuilt` raises.

    >>> from jaxnn import ReLU, Residual, Serial, Tanh
    >>> mapped(Serial(ReLU(), Residual(ReLU())), lambda layer: Tanh() if layer == ReLU() else layer)
    Serial(Tanh(), Residual(Tanh()))
    """
    if is_composite(net) or (hands_on_children(net) and not opaque):
        old = [child for _, child in net.children]
        new = [mapped(child, function, opaque=opaque) for child in old]
        if any(before is not after for before, after in zip(old, new, strict=True)):
            net = rebuilt(net, new)
    return function(net)


def replaced(net: Any, path: Path, layer: Layer) -> Layer:
    """A copy of a network with another layer at a path: `replaced(net, (1, "inner", 0), Tanh())`.

    All around it keeps its class and its other fields. The path is a fold's, or its steps as plain ints (in Serial and
    Branches) and names ("inner"); () is the network itself.
    Raises: KeyError if there is no such path; what `rebuilt` raises.

    >>> from jaxnn import Dense, Residual, Serial, Tanh
    >>> replaced(Serial(Dense(3), Residual(Serial(Dense(3)))), (1, "inner"), Tanh())
    Serial(Dense(3), Residual(Tanh()))
    """
    if not path:
        return layer
    step, *rest = map(_step, path)
    children = [(_step(key), child) for key, child in net.children] if hands_on_children(net) else []
    if step not in [key for key, _ in children]:
        known = f"its steps are {', '.join(repr(key) for key, _ in children)}" if children else "it is one layer"
        raise KeyError(f"replaced: {net} has no layer at {step!r}: {known}")
    return rebuilt(net, [replaced(child, tuple(rest), layer) if key == step else child for key, child in children])


def rebuilt(composite: Any, layers: Sequence[Layer]) -> Layer:
    """A composite's own copy around other layers.

    Raises: TypeError if it has no `with_children` of its own, or what that gives isn't around these layers.
    """
    name = type(composite).__name__
    if not is_composite(composite):
        raise TypeError(
            f"{name} has children but no with_children of its own: write with_children(layers), which gives the "
            "same layer around others, in the order of children"
        )
    copy = composite.with_children(tuple(layers))
    given = [child for _, child in copy.children] if hands_on_children(copy) else None
    if given != list(layers):
        raise TypeError(f"{name}.with_children should give a copy whose children are {list(layers)}, got {given}")
    return copy


def own_copy(layer: Any, word: str, *arguments: Any) -> Layer:
    """layer.word(*arguments), a layer's own copy (see `layer.py`), of one that has that word; else the layer itself.

    Raises: TypeError for a wrapper that hands on the word of what it wraps, whose copy would be without the wrapper.
    """
    if not hasattr(layer, word):
        return layer
    if not says(layer, word):
        raise TypeError(
            f"{type(layer).__name__} has no {word} of its own, and hands on that of what it wraps: write {word}, which "
            "gives the same wrapper around the other layer"
        )
    return getattr(layer, word)(*arguments)


def _step(key: Any) -> Any:
    """A step of a path as a plain int or name: of jax's `SequenceKey(0)`, 0."""
    return next((getattr(key, name) for name in ("idx", "name", "key") if hasattr(key, name)), key)
