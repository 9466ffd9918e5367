"""Copies of a network with other layers in it: in place of every layer, or of the one at a path."""

from collections.abc import Callable, Sequence
from typing import Any

from jaxnn.layer import Layer, Path, hands_on_children, is_composite, plain_step, says


def mapped(net: Any, function: Callable[[Layer], Layer], *, opaque: bool = False) -> Layer:
    """A copy of a network with function(layer) in place of every layer: children first, then their composite.

    A composite makes its own copy, by `with_children`, which keeps its class and its other fields: a subclass may have
    a rule of its own. A composite in which nothing changes is kept as it is.
    opaque: whether a wrapper that passes on the children of the layer it wraps, and can't be copied around others,
    counts as one layer; otherwise it is refused if something inside it would change.
    Raises: TypeError for such a wrapper; what `rebuilt` raises.

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

    Everything around it keeps its class and its other fields. The path is one from a fold, or its steps as plain ints
    (in Serial and Branches) and names ("inner"); () is the network itself.
    Raises: KeyError if there is no such path; what `rebuilt` raises.

    >>> from jaxnn import Dense, Residual, Serial, Tanh
    >>> replaced(Serial(Dense(3), Residual(Serial(Dense(3)))), (1, "inner"), Tanh())
    Serial(Dense(3), Residual(Tanh()))
    """
    if not path:
        return layer
    step, *rest = map(plain_step, path)
    children = [(plain_step(key), child) for key, child in net.children] if hands_on_children(net) else []
    if step not in [key for key, _ in children]:
        known = f"its steps are {', '.join(repr(key) for key, _ in children)}" if children else "it is one layer"
        raise KeyError(f"replaced: {net} has no layer at {step!r}: {known}")
    return rebuilt(net, [replaced(child, tuple(rest), layer) if key == step else child for key, child in children])


def rebuilt(composite: Any, layers: Sequence[Layer]) -> Layer:
    """A composite's own copy around other layers.

    Raises: TypeError if it has no `with_children` of its own, or if that returns a copy with other children.
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
    """layer.word(*arguments), a changed copy (see `layer.py`), if the layer has that method, otherwise the layer.

    Raises: TypeError for a wrapper that passes on the method of the layer it wraps, whose copy would lack the wrapper.
    """
    if not hasattr(layer, word):
        return layer
    if not says(layer, word):
        raise TypeError(
            f"{type(layer).__name__} has no {word} of its own, and passes on that of the layer it wraps: write {word}, "
            "which gives the same wrapper around the other layer"
        )
    return getattr(layer, word)(*arguments)
