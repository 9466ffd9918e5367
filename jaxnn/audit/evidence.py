"""What the gates look at: a rule's cotangents and the machine's, at random points, along random and one-hot dy."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.audit.measure import Bound, confidence, rounding_bound, unit_roundoff
from jaxnn.audit.subjects import Leaves, Subject

N_COTANGENTS = 3
N_PROBES = 16
N_PERTURBED = 3
LARGEST_JACOBIAN = 32
MIXED = (2.5, -0.75)


@dataclass(frozen=True)
class Pulled:
    """Cotangents along several dy: leaf by leaf, with the dys along the first axis."""

    by_hand: Leaves
    by_machine: Leaves
    sizes: Leaves
    sensitivities: Leaves


class Evidence:
    """All derivatives of a subject at its point, in its dtype; every part is computed when a gate first asks.

    dys: N_COTANGENTS random normal ones, a mixture of the first two, then every one-hot where there are few outputs.
    """

    def __init__(self, subject: Subject, seed: int = 0) -> None:
        self.subject = subject
        self.leaves = [jnp.asarray(leaf) for leaf in subject.leaves]
        self.outputs = [np.asarray(y) for y in jax.jit(subject.outputs)(self.leaves)]
        self.rng = np.random.default_rng(seed)
        self.dys = self._dys()
        self.n_terms = sum(y.size for y in self.outputs)
        dtypes = [each.dtype for each in [*self.leaves, *self.outputs]]
        self.dtype = max(dtypes, key=unit_roundoff) if dtypes else np.dtype(np.float64)

    def _dys(self) -> Leaves:
        shapes = [(y.shape, y.dtype) for y in self.outputs]
        random = [self.rng.normal(size=(N_COTANGENTS, *shape)) for shape, _ in shapes]
        mixture = [MIXED[0] * each[0] + MIXED[1] * each[1] for each in random]
        parts = [[each, mixed[None]] for each, mixed in zip(random, mixture, strict=True)]
        n = sum(y.size for y in self.outputs)
        if n <= LARGEST_JACOBIAN:
            rows = np.split(np.eye(n), np.cumsum([y.size for y in self.outputs])[:-1], axis=1)
            for part, row, (shape, _) in zip(parts, rows, shapes, strict=True):
                part.append(row.reshape(n, *shape))
        return [np.concatenate(part).astype(dtype) for part, (_, dtype) in zip(parts, shapes, strict=True)]

    def at(self, k: int) -> Leaves:
        """The k-th dy."""
        return [dy[k] for dy in self.dys]

    @cached_property
    def pulled(self) -> Pulled:
        return Pulled(*jax.tree.map(np.asarray, self._pull(self.leaves, self.dys)))

    def _pull(self, leaves: Leaves, dys: Leaves) -> list[Any]:
        subject, u = self.subject, unit_roundoff(self.dtype)
        signs = [self.rng.choice([-1.0, 1.0], (N_PROBES, *dy.shape[1:])).astype(dy.dtype) for dy in dys]
        moved = [1 + u * self.rng.choice([-2.0, 2.0], (N_PERTURBED, *leaf.shape)) for leaf in leaves]

        @jax.jit
        def program(leaves: Leaves, dys: Leaves, signs: Leaves, moved: Leaves) -> list[Any]:
            by_hand = jax.vmap(lambda dy: subject.cotangents(leaves, dy))(dys)
            _, pull = jax.vjp(subject.plain, leaves)
            (by_machine,) = jax.vmap(pull)(dys)

            def squares(dy: Leaves) -> Leaves:
                probed = jax.vmap(lambda sign: pull([s * d for s, d in zip(sign, dy, strict=True)])[0])(signs)
                return [jnp.sqrt(jnp.max(jnp.mean(jnp.square(g), axis=0), initial=0)) for g in probed]

            def elsewhere(factors: Leaves) -> Leaves:
                there = [x * f.astype(x.dtype) for x, f in zip(leaves, factors, strict=True)]
                return jax.vmap(jax.vjp(subject.plain, there)[1])(dys)[0]

            def spread(g: Any, others: Any) -> Any:
                axes = tuple(range(2, others.ndim))
                return jnp.max(jnp.max(jnp.abs(others - g[None]), axis=axes, initial=0), axis=0, initial=0)

            away = jax.vmap(elsewhere)(moved)
            sensitivities = [spread(g, each) for g, each in zip(by_machine, away, strict=True)]
            return [by_hand, by_machine, jax.vmap(squares)(dys), sensitivities]

        return program(leaves, dys, signs, moved)

    def tolerance(self, i: int, k: int) -> tuple[float, Bound]:
        """How far leaf i's cotangent along dy k may be from the machine's, absolutely; and the bound in it.

        Rounding of the sum, and lambda times what it does when every input moves by a rounding.
        """
        n_entries = self.pulled.by_machine[i][k].size
        bound = rounding_bound(self.n_terms, n_entries, self.dtype)
        return bound.value * self.size(k) + confidence(n_entries) * float(self.pulled.sensitivities[i][k]), bound

    def size(self, k: int) -> float:
        """The size of what was summed along dy k, the largest of all leaves'.

        A leaf's own may be 0, where terms cancel inside (a bias before a normalisation), and its rounding isn't: what
        one leaf is made of, its siblings are made of too.
        """
        sizes = [float(size[k]) for size in self.pulled.sizes]
        largest = [float(np.max(np.abs(np.asarray(g[k], np.float64)), initial=0)) for g in self.pulled.by_machine]
        return max([*sizes, *largest], default=0.0)

    def normal_like(self, leaves: Sequence[Any]) -> Leaves:
        return [self.rng.normal(size=leaf.shape).astype(leaf.dtype) for leaf in leaves]
