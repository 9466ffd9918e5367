"""What the gates look at: a rule's cotangents and the machine's, at one point, along random and one-hot dy."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.audit.rounding.measure import TINY, Bound, apart, confidence, rounding_bound, unit_roundoff
from jaxnn.audit.rule.findings import NotHere
from jaxnn.audit.rule.programs import Programs, Pulled
from jaxnn.audit.rule.subjects import Leaves, Subject

N_COTANGENTS = 3
LARGEST_JACOBIAN = 32
MIXTURE = (2.5, -0.75)  # how much of the first two random dys is in their mixture
# A derivative that changes by JUMP of its size within a NUDGE of its point isn't continuous there.
NUDGE, JUMP = 1e-8, 1e-4


def largest(x: Any) -> float:
    """The largest finite number of x, but for its sign."""
    x = np.abs(np.asarray(x, np.float64))
    return float(np.max(x, initial=0, where=np.isfinite(x)))


def differs(here: Any, near: Any, size: float = 0.0) -> bool:
    """Whether a derivative isn't continuous, by its values at a point and near it, and the size of its terms."""
    return not apart(here, near) <= JUMP * max(size, apart(here, 0), apart(near, 0))


class Evidence:
    """The derivatives of a subject at its point, in its dtype; each is computed when a gate first asks.

    programs: those of the subject, or of the same subject at another point. dys: N_COTANGENTS random normal ones, a
    mixture of the first two, then every one-hot where there are few outputs.
    """

    def __init__(self, subject: Subject, seed: int = 0, programs: Programs | None = None) -> None:
        self.subject = subject
        self.programs = Programs(subject) if programs is None else programs
        self.leaves = [jnp.asarray(leaf) for leaf in subject.leaves]
        self.others = [jnp.asarray(other) for other in subject.others]
        self.shapes = jax.eval_shape(subject.outputs, self.leaves, self.others)
        self.rng = np.random.default_rng(seed)
        self.closer = False
        self.n_terms = sum(y.size for y in self.shapes)
        self.dys = self._dys()
        dtypes = [tensor.dtype for tensor in [*self.leaves, *self.shapes]]
        self.dtype = max(dtypes, key=unit_roundoff) if dtypes else np.dtype(np.float64)

    def _dys(self) -> Leaves:
        random = [self.rng.normal(size=(N_COTANGENTS, *y.shape)) for y in self.shapes]
        parts = [[draws, (MIXTURE[0] * draws[0] + MIXTURE[1] * draws[1])[None]] for draws in random]
        if self.has_jacobian:
            n = self.n_terms
            rows = np.split(np.eye(n), np.cumsum([y.size for y in self.shapes])[:-1], axis=1)
            for part, row, y in zip(parts, rows, self.shapes, strict=True):
                part.append(row.reshape(n, *y.shape))
        return [np.concatenate(part).astype(y.dtype) for part, y in zip(parts, self.shapes, strict=True)]

    @property
    def has_jacobian(self) -> bool:
        """Whether there are so few outputs that every one-hot is among the dys."""
        return self.n_terms <= LARGEST_JACOBIAN

    def at(self, k: int) -> Leaves:
        """The k-th dy."""
        return [dy[k] for dy in self.dys]

    def elsewhere(self, leaves: Leaves) -> "Evidence":
        """The evidence at other numbers, along the same dys."""
        there = Evidence(self.subject.at(self.subject.with_leaves(leaves)), 0, self.programs)
        there.dys, there.closer = self.dys, self.closer
        return there

    @cached_property
    def pulled(self) -> Pulled:
        pulled = jax.tree.map(np.asarray, self.programs.pulled(self.leaves, self.others, self.dys))
        if not all(np.isfinite(y).all() for y in pulled.outputs):
            raise NotHere("the forward isn't finite at this point")
        spreads = pulled.spreads
        if self.closer:
            own = self.programs.own_spreads(self.leaves, self.others, self.dys)
            spreads = [np.maximum(w, o) for w, o in zip(spreads, own, strict=True)]
        # What rounding takes over the edge of the domain may go anywhere.
        return pulled._replace(spreads=[np.where(np.isnan(w), np.inf, w) for w in spreads])

    def look_closer(self) -> None:
        """From now on take into account how far the rule itself goes when all is rounded otherwise.

        It may round more than the machine's derivative: terms that cancel in one of the two needn't in the other.
        """
        self.closer = True
        self.__dict__.pop("pulled", None)

    @cached_property
    def jumps(self) -> list[bool]:
        """For each leaf, whether the machine's derivative is another one next to this point, or none.

        Then it is no truth here: the point is on a kink, or on a branch that the program takes at it alone. What
        declares its derivative has none of these.
        """
        if self.subject.declares:
            return [False] * len(self.leaves)
        here, jumping = self.pulled, [False] * len(self.leaves)
        for seed in range(2):
            try:
                near = self.elsewhere(self.nudged(seed)).pulled.by_machine
            except NotHere:
                return [True] * len(self.leaves)
            sizes = [float(np.max(size, initial=0)) for size in here.sizes]
            jumping = [
                j or differs(*derivatives)
                for j, *derivatives in zip(jumping, here.by_machine, near, sizes, strict=True)
            ]
        return jumping

    def nudged(self, seed: int) -> Leaves:
        """The leaves a little way off."""
        rng = np.random.default_rng(seed)
        return [x + NUDGE * np.maximum(np.abs(x), 1) * rng.normal(size=x.shape) for x in self.leaves]

    def tolerance(self, i: int, k: int) -> tuple[float, Bound]:
        """How far leaf i's cotangent along dy k may be from the machine's, absolutely; and the bound in it.

        Rounding of the last sum, by the bound, and lambda times what rounding before it does at this point.
        """
        truth = self.pulled.by_machine[i][k]
        bound = rounding_bound(self.n_terms, truth.size, self.dtype)
        size = max(largest(self.pulled.sizes[i][k]), largest(truth))
        return bound.value * size + confidence(truth.size) * float(self.pulled.spreads[i][k]), bound

    def own_tolerance(self, i: int, k: int) -> float:
        """How far two of the rule's own cotangents may be apart that ought to be equal: it has a size of its own."""
        tolerance, bound = self.tolerance(i, k)
        return tolerance + bound.value * largest(self.pulled.by_hand[i][k])

    @np.errstate(all="ignore")  # where nothing is allowed, or all
    def farthest(self, i: int) -> int:
        """The dy along which leaf i's cotangent by hand is farthest from the machine's, beside its tolerance."""
        mine, machine = (np.asarray(g[i], np.float64) for g in (self.pulled.by_hand, self.pulled.by_machine))
        same = (mine == machine) | (np.isnan(mine) & np.isnan(machine))
        apart = np.where(same, 0, np.abs(mine - machine)).reshape(len(mine), -1)
        off = np.max(np.where(np.isnan(apart), np.inf, apart), axis=1, initial=0)
        allowed = np.array([self.tolerance(i, k)[0] for k in range(len(mine))])
        return int(np.argmax(off / np.maximum(allowed, TINY)))

    def normal_like(self, leaves: Sequence[jax.Array]) -> Leaves:
        return [self.rng.normal(size=leaf.shape).astype(leaf.dtype) for leaf in leaves]
