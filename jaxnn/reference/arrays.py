"""Trees of NumPy arrays: nested tuples, named or not, whose leaves are arrays or None."""

from collections.abc import Callable
from typing import Any

import numpy as np

Tree = Any


def map_tree(f: Callable, tree: Tree, *others: Tree) -> Tree:
    """f(leaf, ...) at each leaf of a tree and of others of its structure; None stays None.

    >>> map_tree(np.add, (np.array(1.0), None), (np.array(2.0), None))
    (np.float64(3.0), None)
    """
    return map_named(lambda _, *leaves: f(*leaves), tree, *others)


def map_named(f: Callable, tree: Tree, *others: Tree, name: str = "") -> Tree:
    """f(name, leaf, ...) at each leaf, where name is that of the field the leaf is in; "" in a plain tuple."""
    if tree is None:
        return None
    if not isinstance(tree, tuple):
        return f(name, tree, *others)
    names = getattr(tree, "_fields", [""] * len(tree))
    children = [map_named(f, *subtrees, name=field) for field, *subtrees in zip(names, tree, *others, strict=True)]
    return type(tree)(*children) if hasattr(tree, "_fields") else tuple(children)


def leaves(tree: Tree) -> list[np.ndarray]:
    """A tree's arrays, from left to right."""
    arrays = []
    map_tree(arrays.append, tree)
    return arrays


def weights(tree: Tree) -> list[np.ndarray]:
    """The arrays in fields named `weight`: what penalties and weight decay act on."""
    arrays = []
    map_named(lambda name, leaf: arrays.append(leaf) if name == "weight" else None, tree)
    return arrays


def zeros_like(tree: Tree) -> Tree:
    return map_tree(np.zeros_like, tree)
