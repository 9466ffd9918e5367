"""The other public gradient checkers, each as a function of a subject: whether it complains.

Each has its documented defaults, of order 1 and in reverse mode (a custom_vjp has no other). A subject is made a
function of its floating tensors, all it can be differentiated by; an exception is a complaint like any other.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax.test_util import check_grads
from seeded_bugs.gradcheck import gradcheck

from jaxnn.audit.rule.subjects import Subject


class Checker(NamedTuple):
    """complains(subject) -> whether it calls the rule wrong, in `dtype`."""

    name: str
    dtype: str
    complains: Callable[[Subject], bool]

    def __call__(self, subject: Subject) -> bool:
        """Under the precision and the promotion that the checker expects."""
        x64 = self.dtype == "float64"
        with jax.enable_x64(x64), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            try:
                return self.complains(subject.cast(np.dtype(self.dtype)))
            except Exception:
                return True


def as_custom_vjp(subject: Subject) -> Callable[..., list[jax.Array]]:
    """f(*leaves) -> outputs, whose reverse mode is the subject's rule."""
    f = jax.custom_vjp(lambda *leaves: subject.outputs(leaves))
    f.defvjp(
        lambda *leaves: (subject.outputs(leaves), leaves),
        lambda leaves, dys: tuple(subject.cotangents(leaves, dys)),
    )
    return f


def complains_check_grads(subject: Subject) -> bool:
    return _raises(partial(check_grads, modes=["rev"]), subject)


def complains_chex(subject: Subject) -> bool:
    return _raises(partial(chex.assert_numerical_grads, modes=["rev"]), subject)


def complains_gradcheck(subject: Subject, *, fast: bool = False) -> bool:
    return not gradcheck(subject.outputs, subject.cotangents, _leaves(subject), fast=fast)


def _raises(check: Callable[..., None], subject: Subject) -> bool:
    try:
        check(as_custom_vjp(subject), tuple(_leaves(subject)), order=1)
    except AssertionError:
        return True
    return False


def _leaves(subject: Subject) -> list[jax.Array]:
    return [jnp.asarray(leaf) for leaf in subject.leaves]


CHECKERS = (
    Checker("jax.test_util.check_grads, float32", "float32", complains_check_grads),
    Checker("jax.test_util.check_grads, float64", "float64", complains_check_grads),
    Checker("chex.assert_numerical_grads, float32", "float32", complains_chex),
    Checker("chex.assert_numerical_grads, float64", "float64", complains_chex),
    Checker("torch gradcheck-style, slow mode", "float64", complains_gradcheck),
    Checker("torch gradcheck-style, fast mode", "float64", partial(complains_gradcheck, fast=True)),
)
