"""What the gates look at: a rule's cotangents and the machine's, at one point, along random and one-hot dy."""

from collections.abc import Sequence
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.audit.measure import Bound, confidence, rounding_bound, unit_roundoff
from jaxnn.audit.programs import N_PROBES, Programs, Pulled
from jaxnn.audit.subjects import Leaves, Subject

N_COTANGENTS = 3
LARGEST_JACOBIAN = 32
MIXED = (2.5, -0.75)


class Evidence:
    """The derivatives of a subject at its point, in its dtype; each is computed when a gate first asks.

    programs: those of the subject, or of the same subject at another point. dys: N_COTANGENTS random normal ones, a
    mixture of the first two, then every one-hot where there are few outputs.
    """

    def __init__(self, subject: Subject, seed: int = 0, programs: Programs | None = None) -> None:
        self.subject = subject
        self.programs = Programs(subject) if programs is None else programs
        self.leaves = [jnp.asarray(leaf) for leaf in subject.leaves]
        self.others = subject.others
        self.shapes = jax.eval_shape(subject.outputs, self.leaves, self.others)
        self.rng = np.random.default_rng(seed)
        self.n_terms = sum(y.size for y in self.shapes)
        self.dys = self._dys()
        dtypes = [each.dtype for each in [*self.leaves, *self.shapes]]
        self.dtype = max(dtypes, key=unit_roundoff) if dtypes else np.dtype(np.float64)

    def _dys(self) -> Leaves:
        random = [self.rng.normal(size=(N_COTANGENTS, *y.shape)) for y in self.shapes]
        mixture = [MIXED[0] * each[0] + MIXED[1] * each[1] for each in random]
        parts = [[each, mixed[None]] for each, mixed in zip(random, mixture, strict=True)]
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
        there.dys = self.dys
        return there

    @cached_property
    def pulled(self) -> Pulled:
        signs = [self.rng.choice([-1.0, 1.0], (N_PROBES, *y.shape)).astype(y.dtype) for y in self.shapes]
        return jax.tree.map(np.asarray, self.programs.pulled(self.leaves, self.others, self.dys, signs))

    def tolerance(self, i: int, k: int) -> tuple[float, Bound]:
        """How far leaf i's cotangent along dy k may be from the machine's, absolutely; and the bound in it.

        Rounding of the last sum, by the bound, and lambda times what rounding before it does at this point.
        """
        truth = self.pulled.by_machine[i][k]
        bound = rounding_bound(self.n_terms, truth.size, self.dtype)
        size = max(float(self.pulled.sizes[i][k]), float(np.max(np.abs(truth.astype(np.float64)), initial=0)))
        return bound.value * size + confidence(truth.size) * float(self.pulled.wobbles[i][k]), bound

    def normal_like(self, leaves: Sequence[jax.Array]) -> Leaves:
        return [self.rng.normal(size=leaf.shape).astype(leaf.dtype) for leaf in leaves]
