"""What can be audited, brought to one form: a forward, a rule for its cotangents, and arguments to try them at.

    a layer                     arguments params, state, x          rule: the layer's backward
    a loss                      arguments y, target                 rule: the loss's backward
    a penalty                   arguments params                    rule: dy times its gradient
    (f, backward)               f(*arguments) -> y                  rule: backward(*arguments, dy), one cotangent each
    a function                  f(*arguments) -> y                  rule: jax.vjp, so a custom_vjp's or custom_jvp's
    a Flax module               linen: variables, inputs; nnx: inputs       rule: jax.vjp of it
    a callable pytree           Equinox: inputs                             rule: jax.vjp of it

What a rule is held against is `jax.vjp` of the *plain* forward: the one with every custom rule taken out.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr, tree_flatten_with_path

from jaxnn.arrays import PyTree, is_floating_array, scaled
from jaxnn.audit.rounding.undecorated import undecorated
from jaxnn.layer import Design, Layer, backward_of, couples_batch, forward_of, is_layer, walk
from jaxnn.objective.losses import Loss
from jaxnn.optional import require

Leaves = list[Any]


@dataclasses.dataclass(frozen=True)
class Subject:
    """A forward and its rule.

    fixed: arguments that have no gradient. rows: those with the examples of a batch along their first axis; couples:
    whether rows have a say in one another's outputs. draws: whether random numbers are drawn for the batch as a whole,
    so that a row alone gets others. design: what the rule is meant to be in place of the derivative (see `Design` in
    `layer.py`). declares: whether at a kink the forward's own derivative is what the rule has to give. has_machine:
    whether there is an automatic derivative to hold the rule against; where JAX can't differentiate the forward without
    its rules (a while loop), and where the rule is meant to differ from that, the rule itself stands in.
    """

    name: str
    arguments: tuple[PyTree, ...]
    forward: Callable[..., PyTree]
    backward: Callable[..., tuple]
    names: tuple[str, ...]
    fixed: tuple[int, ...] = ()
    rows: tuple[int, ...] = ()
    couples: bool = False
    draws: bool = False
    design: Design | None = None
    declares: bool = False
    has_machine: bool = True

    def at(self, arguments: Sequence[PyTree]) -> "Subject":
        """The same at other arguments."""
        return dataclasses.replace(self, arguments=tuple(arguments))

    def cast(self, dtype: Any) -> "Subject":
        """The same with every floating number of the arguments in another dtype."""

        def cast(leaf: Any) -> Any:
            return np.asarray(leaf).astype(dtype) if is_floating_array(leaf) else leaf

        return self.at(jax.tree.map(cast, self.arguments))

    @property
    def leaves(self) -> Leaves:
        """The numbers that there is a gradient for."""
        return [part.value for part in self._parts() if part.moves]

    @property
    def others(self) -> Leaves:
        """All other arrays among the arguments: integers, keys, what is fixed."""
        return [part.value for part in self._parts() if part.is_other]

    @property
    def leaf_names(self) -> list[str]:
        return [part.name for part in self._parts() if part.moves]

    @property
    def leaf_arguments(self) -> list[int]:
        """Which argument each leaf is of."""
        return [part.argument for part in self._parts() if part.moves]

    def with_leaves(self, leaves: Sequence[Any], others: Sequence[Any] | None = None) -> tuple[PyTree, ...]:
        """The arguments, with these numbers in their places; others None: those that there are."""
        moving, rest = iter(leaves), iter(self.others if others is None else others)
        values = [next(moving) if part.moves else next(rest) if part.is_other else part.value for part in self._parts()]
        return jax.tree.unflatten(jax.tree.structure(self.arguments), values)

    def outputs(self, leaves: Sequence[Any], others: Sequence[Any] | None = None) -> Leaves:
        """The forward's floating outputs."""
        return [y for y in jax.tree.leaves(self.forward(*self.with_leaves(leaves, others))) if is_floating_array(y)]

    def plain(self, leaves: Sequence[Any], others: Sequence[Any] | None = None) -> Leaves:
        """The same through the primitives alone."""
        others = self.others if others is None else others
        if not self.has_machine:
            return self._decorated(leaves, others)
        return undecorated(self.outputs)(list(leaves), others)

    def _decorated(self, leaves: Sequence[Any], others: Sequence[Any]) -> Leaves:
        """The outputs, whose derivative is the rule."""
        ruled = jax.custom_vjp(lambda *leaves: self.outputs(leaves, others))
        ruled.defvjp(lambda *leaves: (self.outputs(leaves, others), leaves),
                     lambda leaves, dys: tuple(self.cotangents(leaves, dys, others)))  # fmt: skip
        return ruled(*leaves)

    def with_machine_or_without(self) -> "Subject":
        """The same, that knows whether there is a machine's derivative."""
        try:
            jax.eval_shape(lambda leaves: (lambda y, pull: pull(y))(*jax.vjp(self.plain, leaves)), self.leaves)
        except (TypeError, NotImplementedError, ValueError):
            return dataclasses.replace(self, has_machine=False)
        return self

    def cotangents(self, leaves: Sequence[Any], dys: Leaves, others: Sequence[Any] | None = None) -> Leaves:
        """What the rule makes of cotangents of the outputs: one for each leaf.

        Raises: TypeError if they haven't the arguments' structure.
        """
        arguments = self.with_leaves(leaves, others)
        y = jax.eval_shape(lambda leaves: self.forward(*self.with_leaves(leaves, others)), list(leaves))
        returned = self.backward(*arguments, jax.tree.unflatten(jax.tree.structure(y), dys))
        if not isinstance(returned, tuple) or len(returned) != len(arguments):
            raise TypeError(f"the rule should return a tuple of {len(arguments)} cotangents, one for each argument")
        cotangents: Leaves = []
        for i, (argument, cotangent) in enumerate(zip(arguments, returned, strict=True)):
            if i not in self.fixed:
                cotangents += _matched(self.names[i], argument, cotangent)
        return cotangents

    def _parts(self) -> list["Part"]:
        return [
            Part(i, self.names[i] + keystr(path), leaf, i not in self.fixed and is_floating_array(leaf))
            for i, argument in enumerate(self.arguments)
            for path, leaf in tree_flatten_with_path(argument)[0]
        ]


class Part(NamedTuple):
    """One leaf of the arguments. It moves if there is a gradient for it."""

    argument: int
    name: str
    value: Any
    moves: bool

    @property
    def is_other(self) -> bool:
        return not self.moves and isinstance(self.value, np.ndarray | jax.Array)


def subject_of(
    subject: Any,
    arguments: tuple,
    *,
    key: Any = None,
    train: bool = True,
    rows: tuple[int, ...] = (),
    couples: bool = False,
    declares: bool | None = None,
) -> Subject:
    """The subject in its one form. Layers, losses, penalties and pairs declare, unless `declares` says otherwise.

    Raises: TypeError if it is none of those above, or has the wrong number of arguments.
    """
    if is_layer(subject):
        return _layer(subject, arguments, key, train)
    if isinstance(subject, Loss):
        return _loss(subject, arguments)
    if hasattr(subject, "value") and hasattr(subject, "gradient"):
        return _penalty(subject, arguments)
    names = tuple(f"argument {i}" for i in range(len(arguments)))
    if isinstance(subject, tuple) and len(subject) == 2 and all(map(callable, subject)):
        forward, backward = subject
        name = getattr(forward, "__name__", repr(forward))
        declares = declares is not False
        return Subject(name, arguments, forward, backward, names, rows=rows, couples=couples, declares=declares)
    kinds = [f"{base.__module__}.{base.__name__}" for base in type(subject).__mro__]
    name, fixed = type(subject).__name__, ()
    if any(kind.startswith("flax.linen") and kind.endswith("Module") for kind in kinds):
        forward = lambda variables, *inputs: subject.apply(variables, *inputs)  # noqa: E731
        names = ("variables", *names[:-1])
    elif any(kind.startswith("flax.nnx") and kind.endswith("Module") for kind in kinds):
        nnx = require("flax.nnx", "test")
        graph, params, rest = nnx.split(subject, nnx.Param, ...)
        forward = lambda params, rest, *inputs: nnx.merge(graph, params, rest, copy=True)(*inputs)  # noqa: E731
        names, arguments, fixed = ("params", "rest", *names), (params, rest, *arguments), (1,)
        rows = tuple(i + 2 for i in rows)
    elif callable(subject) and not _is_leaf(subject):
        forward = lambda module, *inputs: module(*inputs)  # noqa: E731
        names, arguments = ("module", *names), (subject, *arguments)
        rows = tuple(i + 1 for i in rows)
    elif callable(subject):
        forward, name = subject, getattr(subject, "__name__", repr(subject))
    else:
        raise TypeError(
            "check takes a layer, a loss, a penalty, a function, a pair (f, backward), a Flax or an Equinox module, "
            f"got a {name}"
        )
    about = {"fixed": fixed, "rows": rows, "couples": couples, "declares": bool(declares)}
    return Subject(name, arguments, forward, _vjp_of(forward), names, **about)


def _layer(layer: Layer, arguments: tuple, key: Any, train: bool) -> Subject:
    if len(arguments) != 3:
        raise TypeError(f"check: a layer takes params, state and x, got {len(arguments)} arguments")

    def forward(params: PyTree, state: PyTree, x: PyTree, key: Any) -> PyTree:
        return forward_of(layer, params, state, x, key=key, train=train).y

    def backward(params: PyTree, state: PyTree, x: PyTree, key: Any, dy: PyTree) -> tuple:
        cache = forward_of(layer, params, state, x, key=key, train=train).cache
        dparams, dx = backward_of(layer, params, cache, dy)
        return dparams, None, dx, None

    design = design_of(layer)
    return Subject(
        repr(layer),
        (*arguments, key),
        forward,
        backward,
        ("params", "state", "x", "key"),
        fixed=(1, 3),
        rows=(2,),
        couples=train and couples_batch(layer),
        draws=key is not None or any(map(is_key, jax.tree.leaves(arguments))),
        design=design,
        declares=True,
        has_machine=design != "from autodiff",
    )


def design_of(layer: Layer) -> Design | None:
    """What a layer, or one inside of it, says that its rule is meant to be in place of the derivative."""
    said = {getattr(inside, "differs_by_design", None) for _, inside in walk(layer)}
    return next((design for design in ("from autodiff", "from values") if design in said), None)


def _loss(loss: Loss, arguments: tuple) -> Subject:
    if len(arguments) != 2:
        raise TypeError(f"check: a loss takes outputs and targets, got {len(arguments)} arguments")

    def forward(y: jax.Array, target: jax.Array) -> jax.Array:
        return loss.forward(y, target).values

    def backward(y: jax.Array, target: jax.Array, dvalues: jax.Array) -> tuple:
        return loss.backward(loss.forward(y, target).cache, dvalues), None

    names = ("y", "target")
    return Subject(repr(loss), arguments, forward, backward, names, fixed=(1,), rows=(0, 1), declares=True)


def _penalty(penalty: Any, arguments: tuple) -> Subject:
    if len(arguments) != 1:
        raise TypeError(f"check: a penalty takes params, got {len(arguments)} arguments")

    def backward(params: PyTree, dvalue: jax.Array) -> tuple:
        return (scaled(dvalue, penalty.gradient(params)),)

    return Subject(repr(penalty), arguments, penalty.value, backward, ("params",), declares=True)


def _vjp_of(forward: Callable[..., PyTree]) -> Callable[..., tuple]:
    def backward(*arguments_and_dy: Any) -> tuple:
        *arguments, dy = arguments_and_dy
        leaves, structure = jax.tree.flatten(tuple(arguments))
        real = [is_floating_array(leaf) for leaf in leaves]

        def output(*moving: Any) -> PyTree:
            rest = iter(moving)
            return forward(
                *jax.tree.unflatten(structure, [next(rest) if r else x for r, x in zip(real, leaves, strict=True)])
            )

        y, pull = jax.vjp(output, *(leaf for leaf, r in zip(leaves, real, strict=True) if r))
        dy = jax.tree.map(lambda y, d: d if is_floating_array(y) else np.zeros(y.shape, jax.dtypes.float0), y, dy)
        pulled = iter(pull(dy))
        return jax.tree.unflatten(structure, [next(pulled) if r else None for r in real])

    return backward


def _matched(name: str, argument: PyTree, cotangent: PyTree) -> Leaves:
    """The cotangents of an argument's floating leaves, in order."""
    is_none = lambda leaf: leaf is None  # noqa: E731 (what has no gradient may have None for it)
    leaves, given = jax.tree.leaves(argument, is_leaf=is_none), jax.tree.leaves(cotangent, is_leaf=is_none)
    if not any(map(is_floating_array, leaves)):
        for g in given:
            _require_none(name, g)
        return []
    if len(leaves) != len(given):
        leaves, given = jax.tree.leaves(argument), jax.tree.leaves(cotangent)
    if len(leaves) != len(given):
        structures = jax.tree.structure(argument), jax.tree.structure(cotangent)
        raise TypeError("the cotangent of {} should have its structure, {}, got {}".format(name, *structures))
    for leaf, g in zip(leaves, given, strict=True):
        if not is_floating_array(leaf):
            _require_none(f"a part of {name}", g)
        elif g is None:
            raise TypeError(f"the cotangent of {name} is None where {name} is floating")
    return [g for leaf, g in zip(leaves, given, strict=True) if is_floating_array(leaf)]


def _require_none(name: str, cotangent: Any) -> None:
    """What isn't floating has no cotangent: None, or JAX's float0."""
    if cotangent is not None and jnp.result_type(cotangent) != jax.dtypes.float0:
        raise TypeError(f"the cotangent of {name}, which isn't floating, should be None, got {cotangent.dtype}")


def is_key(leaf: Any) -> bool:
    """Whether a leaf is a typed PRNG key, or an array of them: NumPy has no such type."""
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _is_leaf(subject: Any) -> bool:
    return jax.tree.structure(subject) == jax.tree.structure(0)
