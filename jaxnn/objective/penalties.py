"""Penalties on the weights: what a term adds to the objective, and under it its gradient.

A penalty is a small pytree whose strength is a leaf: a new number recompiles nothing, and `vmap` takes a whole grid.
Wherever one is expected, a tuple is the sum of several.

Which params are penalised or decay is looked up here, in this order:
    mask     of the penalty or rule: a function of params that gives a tree of bools like them, as optax's
    decays   of a layer, or of the class of a tree of params: the names of fields or keys, such as ("kernel",)
    "weight" the default name of such a field or key
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.arrays import (
    STATIC,
    PyTree,
    added,
    number,
    params_dtype,
    register_node,
    scaled,
    wide_dtype,
    wide_like,
    widened,
    zeros_like,
)
from jaxnn.layer import Layer, Path, plain_step, recipe, walk

Mask = Callable[[PyTree], PyTree]


@runtime_checkable
class Penalty(Protocol):
    """A pytree (`register_node` makes one of a dataclass) with a value and, by hand, its gradient.

    It may have `of_network(net)`, a copy that knows which of a network's params it is for.
    """

    def value(self, params: PyTree) -> jax.Array: ...

    def gradient(self, params: PyTree) -> PyTree: ...


# Lower-case classes, like `functools.partial`: each is used as a function is, and prints as it was written.


class OnWeights:
    """What penalties and update rules share that treat weights differently from other params: `mask` says which."""

    def of_network(self: Any, net: Layer) -> Any:
        return self if self.mask is not None else replace(self, mask=decay_mask(net))


@register_node
@dataclass(frozen=True)
class l2(OnWeights):
    """lambda/2 sum W^2 over the weights (see above); its gradient is lambda W.

    Raises: ValueError if params have no weight.
    Source: PRINCIPLES F3, H1.

    >>> import jaxnn
    >>> params = jaxnn.DenseParams(weight=jnp.array([[3.0]]), bias=jnp.array([5.0]))
    >>> l2(0.1).value(params), l2(0.1).gradient(params).weight
    (Array(0.45000002, dtype=float32), Array([[0.3]], dtype=float32))
    """

    strength: Any = number("[0, inf)")
    mask: Mask | None = field(default=None, metadata=STATIC)

    def value(self, params: PyTree) -> jax.Array:
        return _over_weights(self, lambda w: wide_like(self.strength, w) / 2 * jnp.sum(jnp.square(widened(w))), params)

    def gradient(self, params: PyTree) -> PyTree:
        return _at_weights(self, lambda w: scaled(self.strength, w), params)


@register_node
@dataclass(frozen=True)
class l1(OnWeights):
    """lambda sum |W| over the weights (see above); its gradient is lambda sign(W), 0 where W is 0.

    Raises: ValueError if params have no weight.
    Source: PRINCIPLES H1.
    """

    strength: Any = number("[0, inf)")
    mask: Mask | None = field(default=None, metadata=STATIC)

    def value(self, params: PyTree) -> jax.Array:
        # sign(w) w rather than |w|: JAX's derivative of |w| at 0 is 1, the declared one is 0.
        return _over_weights(self, lambda w: wide_like(self.strength, w) * jnp.sum(widened(jnp.sign(w) * w)), params)

    def gradient(self, params: PyTree) -> PyTree:
        return _at_weights(self, lambda w: scaled(self.strength, jnp.sign(w)), params)


NAMES = ("weight",)


def weight_mask(params: PyTree) -> PyTree:
    """True for the params that penalties and weight decay act on where nothing else is said.

    Fields or keys named `weight`; in a tree whose class has `decays`, those named there. By name and not by rank, since
    inside Repeat a bias has a depth axis. optax's `mask=` takes it as it is.

    >>> weight_mask({"weight": jnp.ones((2, 2)), "bias": jnp.ones(2)})
    {'bias': False, 'weight': True}
    """
    return _marked((), params, NAMES, {})


@recipe
class decay_mask:
    """The same for a network's params, with its layers' `decays`: the mask of l2, adamw, ... inside a loop.

    >>> import jaxnn
    >>> class Scale(jaxnn.Parameterless):
    ...     decays = ("factor",)
    >>> decay_mask(Scale())({"factor": jnp.ones(3), "weight": jnp.ones(3)})
    {'factor': True, 'weight': False}
    """

    net: Layer

    def __call__(self, params: PyTree) -> PyTree:
        return _marked((), params, NAMES, {path: getattr(layer, "decays", None) for path, layer in walk(self.net)})


def _marked(path: Path, node: PyTree, names: tuple[str, ...], said: Mapping[Path, Any]) -> PyTree:
    """Names hold from where they are given downwards, to the next layer or tree that gives others."""
    own = said.get(path)
    names = getattr(type(node), "decays", NAMES if path in said else names) if own is None else own
    children, structure = jax.tree_util.tree_flatten_with_path(node, is_leaf=lambda other: other is not node)
    if children and children[0][1] is node:  # a leaf
        return bool(path) and plain_step(path[-1]) in names
    return structure.unflatten([_marked((*path, *step), child, names, said) for step, child in children])


def penalty_value(penalty: PyTree, params: PyTree) -> jax.Array:
    """The sum of the penalties: of one, of a tuple of them, or 0 of None."""
    values = [term.value(params) for term in penalties(penalty)]
    return _total(values, params)


def penalty_gradient(penalty: PyTree, params: PyTree) -> PyTree:
    gradients = [term.gradient(params) for term in penalties(penalty)]
    total = gradients[0] if gradients else zeros_like(params)
    for gradient in gradients[1:]:
        total = added(total, gradient)
    return total


def penalties(penalty: Any) -> tuple:
    """The penalties as a tuple; a NamedTuple that is itself a penalty counts as one."""
    if penalty is None:
        return ()
    return tuple(penalty) if isinstance(penalty, tuple | list) and not isinstance(penalty, Penalty) else (penalty,)


def penalty_of(penalty: Any, net: Layer) -> PyTree:
    """The penalties, each `for_network`."""
    return tuple(for_network(term, net) for term in penalties(penalty)) or None


def for_network(part: Any, net: Layer) -> Any:
    """A penalty or an update rule, made for the network's params if it has `of_network`."""
    return part.of_network(net) if hasattr(part, "of_network") else part


def mask_for(owner: Any, params: PyTree) -> PyTree:
    """The params that a penalty or rule is for, as a tree of bools.

    Raises: ValueError if there are none: the penalty or rule would silently do nothing; TypeError if the mask gives
    something else.
    """
    mask = (owner.mask or weight_mask)(params)
    if jax.tree.structure(mask) != jax.tree.structure(params) or not all(map(_is_bool, jax.tree.leaves(mask))):
        raise TypeError(
            f"{type(owner).__name__}: mask should give a bool for each of the params, in a tree like theirs, "
            f"{jax.tree.structure(params)}; it gave {mask}"
        )
    if jax.tree.leaves(params) and not any(jax.tree.leaves(mask)):
        names = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
        raise ValueError(
            f"{type(owner).__name__}: none of the params is a weight, so that it would do nothing; they are "
            f"{', '.join(names[:5])}{', ...' if len(names) > 5 else ''}: pass mask=, a function of params that gives a "
            'tree of bools like them, or let their layer say decays = ("name", ...)'
        )
    return mask


def _is_bool(leaf: Any) -> bool:
    return isinstance(leaf, bool | np.bool_)


def _over_weights(penalty: Any, f: Callable[[jax.Array], jax.Array], params: PyTree) -> jax.Array:
    pairs = zip(jax.tree.leaves(params), jax.tree.leaves(mask_for(penalty, params)), strict=True)
    values = [f(leaf) for leaf, is_weight in pairs if is_weight]
    return _total(values, params)


def _total(values: list[jax.Array], params: PyTree) -> jax.Array:
    """The sum of some numbers, in float32 at least; 0 of none."""
    values = [widened(value) for value in values]
    return sum(values[1:], values[0]) if values else jnp.zeros((), wide_dtype(params_dtype(params)))


def _at_weights(owner: Any, f: Callable[[jax.Array], jax.Array], params: PyTree) -> PyTree:
    """f(w) for the weights, 0 in place of all other params."""
    return jax.tree.map(
        lambda leaf, is_weight: f(leaf) if is_weight else jnp.zeros_like(leaf), params, mask_for(owner, params)
    )
