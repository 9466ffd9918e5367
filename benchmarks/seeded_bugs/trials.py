"""What becomes of a mutant: it raises, it is a bug, or it is the clean rule in other words.

A mutant is held against the clean rule in each case of its class, at a few random points first and, where they don't
tell the two apart, at 1000. Many points of a case are one call, the rule under `vmap`, and every primitive is a call of
its own: two programs that do the same arithmetic give the same bits, which a compiler that fuses doesn't promise.
"""

import contextlib
import functools
import hashlib
import operator
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from seeded_bugs.bug import Bug
from seeded_bugs.drawing import Arguments
from seeded_bugs.targets import Case

FEW, MANY = 8, 1000
# Points in one call: convolutions with as many weights as images take a time that grows with their square.
AT_ONCE = 40
# Of the tensor's largest number: more than another order of a sum of a few terms makes, less than any factor drawn.
ULPS = 64

Tensors = list[np.ndarray]


class Verdict(NamedTuple):
    """raised; or the reason why it is no bug; or the case and arguments that tell it, and a hash of its tensors."""

    raised: bool = False
    reason: str = ""
    case: Any = None
    arguments: Any = None
    tensors: str = ""


class Trials:
    """The cases of one class, with the clean rule's tensors."""

    def __init__(self, cases: tuple[Case, ...]) -> None:
        self.cases = [_Tried(case) for case in cases]

    def of(self, wrong: Callable[[Any], Any]) -> Verdict:
        """Of the first case that tells; nowhere else may it raise, if none does."""
        raised = False
        for tried in self.cases:
            try:
                tensors = tried.tensors(wrong, FEW)
            except Exception:
                raised = True
            else:
                telling = tried.apart(tensors, FEW) > ULPS
                if telling.any():
                    return tried.verdict(tensors, telling)
        if raised:
            return Verdict(raised=True)
        farthest = 0.0
        for tried in self.cases:
            tensors = tried.tensors(wrong, MANY)
            apart = tried.apart(tensors, MANY)
            if (apart > ULPS).any():
                return tried.verdict(tensors, apart > ULPS)
            farthest = max(farthest, apart.max())
        where = f"in float64 on {MANY} random points of each of {len(self.cases)} cases"
        if farthest == 0:
            return Verdict(reason=f"equal bit for bit {where}")
        return Verdict(reason=f"at most {farthest:.1f} ulp of the largest number apart {where}: another rounding")

    def run(self) -> None:
        """The clean rule once in each case, without a trace, which would take every platform's form of a kernel."""
        for tried in self.cases:
            tried.run()


class _Tried:
    """A case at many points."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.points = functools.cache(self._points)
        self.right = functools.cache(lambda n: self.tensors(lambda recipe: recipe, n))

    def tensors(self, wrong: Callable[[Any], Any], n: int) -> Any:
        """The cotangents that the rule gives at n points, with a leading axis of n. Raises what the rule raises."""
        arguments, dys = self.points(n)
        subject = self._subject(wrong)
        key = subject.arguments[len(arguments) :]  # a layer's; the same at every point
        rule = jax.vmap(lambda arguments, dy: subject.backward(*arguments, *key, dy))
        slices = [slice(first, first + AT_ONCE) for first in range(0, n, AT_ONCE)]
        parts = [jax.tree.map(operator.itemgetter(some), (arguments, dys)) for some in slices]
        with _as_the_audit_runs():
            jax.eval_shape(rule, *parts[0])  # a loop refuses what its Python twin would let pass
            with jax.disable_jit():
                return jax.tree.map(lambda *leaves: np.concatenate(leaves), *(rule(*part) for part in parts))

    def run(self) -> None:
        arguments, dys = jax.tree.map(lambda leaf: leaf[0], self.points(FEW))
        subject = self._subject(lambda recipe: recipe)
        with _as_the_audit_runs(), jax.disable_jit():
            subject.backward(*arguments, *subject.arguments[len(arguments) :], dys)

    def apart(self, tensors: Any, n: int) -> np.ndarray:
        """For each point the largest distance from the clean rule, in ulp of the tensor's largest number there."""
        if _form(tensors) != _form(self.right(n)):
            return np.full(n, np.inf)
        pairs = zip(jax.tree.leaves(tensors), jax.tree.leaves(self.right(n)), strict=True)
        return np.max([_ulps(a.reshape(n, -1), b.reshape(n, -1)) for a, b in pairs], axis=0)

    def verdict(self, tensors: Any, telling: np.ndarray) -> Verdict:
        """A bug, whose seed 0 is the first point that tells."""
        first = int(np.argmax(telling))
        arguments = self.case.arguments if first == 0 else functools.partial(_later, self.case.arguments, first)
        leaves = [np.where(leaf == 0, 0, leaf).tobytes() for leaf in jax.tree.leaves(tensors)]  # -0 is 0
        text = hashlib.sha256(b"".join([repr((self.cases_name, _form(tensors))).encode(), *leaves])).hexdigest()
        return Verdict(case=self.case, arguments=arguments, tensors=text)

    @property
    def cases_name(self) -> str:
        return f"{self.case.around(self.case.recipe)!r} {self.case.options}"

    def _points(self, n: int) -> tuple[tuple, Any]:
        with _as_the_audit_runs():
            many = [self.case.arguments(seed) for seed in range(n)]
            subject = self._subject(lambda recipe: recipe)
            y = jax.eval_shape(subject.forward, *subject.arguments)
        rng = np.random.default_rng(n)
        dys = jax.tree.map(lambda leaf: rng.normal(size=(n, *leaf.shape)), y)
        return jax.tree.map(lambda *leaves: np.stack(leaves), *many), dys

    def _subject(self, wrong: Callable[[Any], Any]) -> Any:
        made = self.case.around(wrong(self.case.recipe))
        return Bug("", "", made, made, self.case.arguments, self.case.options).subject()


def _ulps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Row by row; a NaN equals a NaN and nothing else."""
    if a.size == 0:
        return np.zeros(len(a))
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(all="ignore"):
        apart = np.where(same, 0, np.abs(a - b) / np.spacing(np.max(np.abs(b), axis=1, keepdims=True)))
    return np.max(np.where(np.isnan(apart), np.inf, apart), axis=1)


def _form(tensors: Any) -> tuple:
    return jax.tree.structure(tensors), [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tensors)]


def _later(arguments: Arguments, first: int, seed: int) -> tuple:
    return arguments(first + seed)


@contextlib.contextmanager
def _as_the_audit_runs() -> Iterator[None]:
    """In float64 and with both promotions, whatever holds outside: the same corpus in a test and in a script."""
    with (
        jax.enable_x64(True),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
        warnings.catch_warnings(action="ignore"),
    ):
        yield
