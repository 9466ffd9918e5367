"""What a training run carries, and what it records."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnn.arrays import PyTree, Shape, Static
from jaxnn.layer import Layer, require_layer
from jaxnn.objective.penalties import for_network
from jaxnn.training.updates import UpdateRule


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
    """What a run carries. Passed back to a loop as `run=`, it continues with the bits of a run that never stopped."""

    params: PyTree
    state: PyTree
    update_state: PyTree
    keys: Keys
    epoch: jax.Array
    step: jax.Array


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
    params, state = net.init(keys.init, shape, dtype)
    zero = jnp.zeros((), jnp.int32)
    return Run(params, state, first_state(update, params), keys, zero, zero)


def first_state(update: Any, params: PyTree) -> PyTree:
    """A rule's state before its first step. A function of the module, so that JAX remembers its trace."""
    return rule_in(update).init(params)


# Rules and penalties as arguments of a compiled program.


def as_argument(update: Any, net: Layer) -> Any:
    """A rule as an argument of a compiled program: its numbers are leaves, optax's functions part of the structure.

    Raises: TypeError if it isn't a rule, or not a pytree.
    """
    if isinstance(update, Static):
        return Static(for_network(update.value, net))
    if not hasattr(update, "init") or not hasattr(update, "update"):
        raise TypeError(f"update should be an update rule such as gradient_descent(0.1), got a {type(update).__name__}")
    require_node("update", update)
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


def real(tree: PyTree) -> PyTree:
    """Python ints as floats: 1 and 0.5 are then the same kind of learning rate, and share one program."""
    return jax.tree.map(lambda leaf: float(leaf) if isinstance(leaf, int) else leaf, tree)
