"""How an escaped bug is written down: a rule, its clean twin, and random arguments in float64 that don't hide it."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from seeded_bugs.bug import Bug
from table import LayerCase

Arguments = Callable[[int], tuple]


def drawn(draw: Callable[[np.random.Generator], tuple]) -> Arguments:
    """Arguments from a function of a generator."""
    return lambda seed: tuple(map(np.asarray, draw(np.random.default_rng(seed))))


def points(case: Any, n: int) -> Arguments:
    """The first n parts of a case's points, in float64: a layer's params, state and x, a loss's outputs and target."""

    def arguments(seed: int) -> tuple:
        with jax.enable_x64(True):
            return jax.tree.map(np.asarray, tuple(case.point(seed, np.float64)[:n]))

    return arguments


def normal(*shapes: tuple[int, ...]) -> Arguments:
    """One array of normal numbers of each shape."""
    return drawn(lambda generator: tuple(generator.normal(size=shape) for shape in shapes))


def escape(
    name: str,
    source: str,
    f: Callable[..., Any],
    wrong: Callable[..., tuple],
    right: Callable[..., tuple],
    arguments: Arguments,
    tells: str = "any cotangent",
) -> Bug:
    """A bug in the backward of f; tells: what shows it."""
    return Bug(name, f"{source}; told by {tells}", (f, wrong), (f, right), arguments, {})


def escape_of_layer(name: str, source: str, wrong: Any, case: LayerCase, tells: str) -> Bug:
    """A bug in the backward of a case's layer."""
    options = {"key": jax.random.key(0) if case.draws else None, "train": case.train}
    return Bug(name, f"{source}; told by {tells}", wrong, case.layer, points(case, 3), options)
