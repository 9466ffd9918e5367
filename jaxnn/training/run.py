"""What a training run carries, and what it records."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.arrays import WITHIN, PyTree, Shape, Static, default_float, kind_of
from jaxnn.layer import Layer, init_of, require_layer
from jaxnn.objective.penalties import for_network
from jaxnn.training.rounding import first_rounding
from jaxnn.training.updates import UpdateRule

MOST_STEPS = 2**31 - 1  # that a run counts, in an int32


def require_counted(epochs: int, n_steps: int) -> None:
    """Raises: ValueError for more steps than a run counts."""
    if epochs * n_steps > MOST_STEPS:
        raise ValueError(
            f"epochs: {epochs:,} of {n_steps:,} steps each are more than the {MOST_STEPS:,} steps that a run counts: "
            f"give at most {MOST_STEPS // n_steps:,}"
        )


class Keys(NamedTuple):
    """The three sources of randomness of a run: initial params, order of examples, noise (dropout, augmentation)."""

    init: jax.Array
    order: jax.Array
    noise: jax.Array

    @staticmethod
    def of(key: "jax.Array | Keys") -> "Keys":
        """The keys of a run that is given one key; `Keys` are passed on as they are.

        Raises: TypeError if it isn't a typed key.
        """
        if isinstance(key, Keys):
            return key
        if not isinstance(key, jax.Array) or not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
            raise TypeError(f"key should be a typed key, jax.random.key(seed), got a {type(key).__name__}")
        return Keys(*jax.random.split(key, 3))


class Run(NamedTuple):
    """What a run carries. Passed back to a loop as `run=`, it continues with the bits of a run that never stopped.

    rounding: what params of a short type lost when they were rounded (see `rounding.moved_params`); None for others.
    """

    params: PyTree
    state: PyTree
    update_state: PyTree
    keys: Keys
    epoch: jax.Array
    step: jax.Array
    rounding: PyTree = None


class History(NamedTuple):
    """What a run records: columns of shape (epochs,), and None for what wasn't asked for.

    loss, metric: weighted means over the epoch's examples, each at the params of its step and without the penalty,
    which is a column of its own; validation_loss, validation_metric: at the params after the epoch. With record="step"
    also step_loss and step_gradient_norm, (epochs, steps).
    """

    loss: jax.Array
    penalty: jax.Array
    metric: jax.Array | None
    validation_loss: jax.Array | None
    validation_metric: jax.Array | None
    step_loss: jax.Array | None
    step_gradient_norm: jax.Array | None


def start(net: Layer, shape: Shape, *, key: jax.Array | Keys, update: UpdateRule, dtype: Any = None) -> Run:
    """A run before its first step: fresh params for examples of a shape, and the rule's first state.

    Loops start one themselves; to begin from other params, give them `start(...)._replace(params=...)` as `run`.
    """
    require_layer("start", net)
    return _started(Keys.of(key), as_argument(update, net), net=net, shape=tuple(shape), dtype=dtype)


@partial(jax.jit, static_argnames=("net", "shape", "dtype"))
def _started(keys: Keys, update: Any, *, net: Layer, shape: Shape, dtype: Any) -> Run:
    params, state = init_of(net, keys.init, shape, dtype)
    zero = jnp.zeros((), jnp.int32)
    return Run(params, state, first_state(update, params), keys, zero, zero, first_rounding(params))


def first_state(update: Any, params: PyTree) -> PyTree:
    """A rule's state before its first step. A function of the module, so that JAX remembers its trace.

    Raises: TypeError for a rule that can't begin from a network's params.
    """
    rule = rule_in(update)
    with told(rule, "init"):
        return rule.init(params)


@contextmanager
def told(rule: UpdateRule, method: str) -> Iterator[None]:
    """An error of a rule that doesn't go with a loop, with what a loop gives it."""
    try:
        yield
    except (AttributeError, TypeError) as error:
        raise TypeError(
            f"update: {type(rule).__name__}.{method} fails on this network's params: {error}. A loop has one tree of "
            "params, and calls init(params) and update(grads, state, params); a rule that needs something else, as "
            "optax.lookahead a pair of params, needs a loop of your own around jaxnn.backprop"
        ) from error


# Rules and penalties as arguments of a compiled program.


def as_argument(update: Any, net: Layer) -> Any:
    """A rule as an argument of a compiled program: its numbers are leaves, optax's functions part of the structure.

    Raises: TypeError if it isn't a rule, or not a pytree.
    """
    if isinstance(update, Static):
        return Static(for_network(update.value, net))
    if hasattr(update, "gradient_transformation"):  # optax.MultiSteps is an object around a rule
        update = update.gradient_transformation()
    if isinstance(update, type) or not hasattr(update, "init") or not hasattr(update, "update"):
        raise TypeError(f"update should be an update rule such as gradient_descent(0.1), got {kind_of(update)}")
    require_node("update", update)
    if not getattr(update, "descends", True):
        raise ValueError(
            f"update: {update} changes a gradient, and nothing in it descends along one: follow it by a rule, as in "
            "chain(clip_by_global_norm(1.0), gradient_descent(0.1))"
        )
    update = for_network(update, net)
    if any(callable(leaf) for leaf in jax.tree.leaves(update)):
        return Static(update)
    return real(update)


def rule_in(update: Any) -> UpdateRule:
    """The rule inside what `as_argument` returned."""
    return update.value if isinstance(update, Static) else update


def require_node(what: str, node: Any) -> None:
    """Refuse a rule or penalty that isn't a pytree: a compiled program takes its numbers as arguments."""
    if jax.tree.structure(node) == jax.tree.structure(0):
        name = type(node).__name__
        raise TypeError(
            f"{what}: {name} isn't a pytree, so its numbers can't be arguments of a compiled program: write "
            f"@jaxnn.register_node above @dataclass(frozen=True) and class {name}"
        )


def require_single(what: str, node: Any) -> None:
    """Refuse a rule or penalty of ours, or a schedule inside one, that has an array of numbers where a run has one."""
    for field in dataclasses.fields(node) if dataclasses.is_dataclass(node) else ():
        value = getattr(node, field.name)
        if WITHIN in field.metadata and getattr(value, "ndim", 0):
            raise ValueError(
                f"{what}: {type(node).__name__} has an array of {value.shape} as its {field.name}, and a run has one: "
                "train as many runs by `ensemble`, or one after the other"
            )
    for part in jax.tree.leaves(node, is_leaf=lambda part: part is not node):
        if part is not node:
            require_single(what, part)


def require_run(run: Any) -> None:
    """Raises: TypeError for what isn't a run, such as all of what a loop gives."""
    if not isinstance(run, Run):
        raise TypeError(f"run should be a Run, the first part of what a loop gives, got {kind_of(run)}")


def require_loop(owner: str, loop: Any) -> None:
    """Raises: TypeError for what isn't a loop."""
    if not callable(loop):
        raise TypeError(f"{owner}: loop should be a function such as mbgd, got {loop!r}")


def real(tree: PyTree) -> PyTree:
    """Numbers of Python and NumPy in JAX's default float: 1, 0.5 and np.float32(0.1) are then one kind of learning
    rate, and share one program.
    """
    return jax.tree.map(
        lambda leaf: np.asarray(leaf, default_float()) if isinstance(leaf, int | float | np.number) else leaf, tree
    )
