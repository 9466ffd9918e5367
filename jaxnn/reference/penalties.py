"""NumPy twins of the penalties. A tuple of them stands for their sum, None for 0."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxnn.reference.arrays import Tree, map_named, map_tree, weights, zeros_like


@dataclass(frozen=True)
class l2:
    """lambda/2 sum W^2, its gradient lambda W; over fields named `weight`."""

    strength: float

    def value(self, params: Tree) -> float:
        return sum(self.strength / 2 * np.sum(w**2) for w in weights(params))

    def gradient(self, params: Tree) -> Tree:
        return map_named(lambda name, p: self.strength * p if name == "weight" else np.zeros_like(p), params)


@dataclass(frozen=True)
class l1:
    """lambda sum |W|, its gradient lambda sign W, which is 0 at 0; over fields named `weight`."""

    strength: float

    def value(self, params: Tree) -> float:
        return sum(self.strength * np.sum(np.abs(w)) for w in weights(params))

    def gradient(self, params: Tree) -> Tree:
        return map_named(lambda name, p: self.strength * np.sign(p) if name == "weight" else np.zeros_like(p), params)


def penalty_value(penalty: Any, params: Tree) -> float:
    return sum(part.value(params) for part in _penalties(penalty))


def penalty_gradient(penalty: Any, params: Tree) -> Tree:
    total = zeros_like(params)
    for part in _penalties(penalty):
        total = map_tree(np.add, total, part.gradient(params))
    return total


def _penalties(penalty: Any) -> tuple:
    if penalty is None:
        return ()
    return penalty if isinstance(penalty, tuple) else (penalty,)
