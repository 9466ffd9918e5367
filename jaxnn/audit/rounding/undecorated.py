"""A function without the derivative rules that were written for it, by hand or by JAX's own library.

A function is traced to its jaxpr, and evaluated with every `custom_vjp` and `custom_jvp` call replaced by the forward
that stands in it. Differentiating that is differentiation by machine down to the primitives. The same evaluation on
complex numbers gives the complex step, Im f(x + ih) / h, a derivative without a difference and so without cancellation
(Squire and Trapp 1998): comparisons there look at real parts, so that piecewise analytic functions pass.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.extend.core as core
import jax.numpy as jnp

CUSTOM = ("custom_jvp_call", "custom_vjp_call")
INLINED = {"jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "remat2": "jaxpr", "checkpoint": "jaxpr"}
INLINED |= dict.fromkeys(CUSTOM, "call_jaxpr")
OF_REAL_PARTS = ("lt", "le", "gt", "ge", "eq", "ne", "sign", "is_finite", "argmax", "argmin", "stop_gradient", "floor")

KINKED = ("max", "min", "abs", "select_n", "clamp", "reduce_max", "reduce_min", "cummax", "cummin", "sort", "sign",
          "reduce_window_max", "reduce_window_min", "floor", "ceil", "round")  # fmt: skip
SUMS = ("dot_general", "conv_general_dilated", "reduce_sum", "cumsum", "reduce_window_sum", "scatter-add")

Bind = Callable[[Any, Sequence[Any]], list[Any]]


def undecorated(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same values, differentiated through the primitives alone; under scan, while and cond too.

    >>> @jax.custom_jvp
    ... def f(x):
    ...     return x * x
    >>> f.defjvps(lambda dx, y, x: 3 * x * dx)  # wrong
    >>> float(jax.grad(f)(1.0)), float(jax.grad(undecorated(f))(1.0))
    (3.0, 2.0)
    """

    def plain(*arguments: Any) -> Any:
        closed, shape = jax.make_jaxpr(function, return_shape=True)(*arguments)
        outputs = evaluated(closed.jaxpr, closed.consts, jax.tree.leaves(arguments), bound)
        return jax.tree.unflatten(jax.tree.structure(shape), outputs)

    return plain


def has_own_rule(function: Callable[..., Any], *arguments: Any) -> bool:
    """Whether somebody wrote a derivative rule for the function, or for one that it calls."""
    return _decorated(jax.make_jaxpr(function)(*arguments).jaxpr)


def n_kinks(function: Callable[..., Any], *arguments: Any) -> int:
    """How many operations of a function may have a kink; two where one stands behind a sum, and so may kink often."""
    kinked = summed = 0
    plain = jax.make_jaxpr(undecorated(function))(*arguments).jaxpr
    for equation in plain.eqns:
        within = [equation.primitive.name, *_names(equation)]
        n_here = sum(name in KINKED for name in within)
        kinked += n_here * (2 if summed or len(within) > 1 else 1)
        summed += any(name in SUMS for name in within)
    return kinked


def complex_step(function: Callable[..., Any], arguments: Sequence[Any], directions: Sequence[Any]) -> Any:
    """The derivative of a function of arrays along a direction, by the complex step.

    Raises: TypeError, NotImplementedError or ValueError where a primitive takes no complex numbers.
    """
    h = 1e-100
    closed, shape = jax.make_jaxpr(function, return_shape=True)(*arguments)
    with jax.numpy_dtype_promotion("standard"):
        moved = [x + 1j * h * v for x, v in zip(arguments, directions, strict=True)]
        outputs = evaluated(closed.jaxpr, closed.consts, moved, _bound_complex)
    return jax.tree.unflatten(jax.tree.structure(shape), [jnp.imag(y) / h for y in outputs])


def evaluated(jaxpr: Any, consts: Sequence[Any], arguments: Sequence[Any], bind: Bind) -> list[Any]:
    """A jaxpr's outputs, each equation by `bind`; calls of functions and of custom rules are looked into."""
    values: dict[Any, Any] = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *arguments], strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, core.Literal) else values[atom]

    for equation in jaxpr.eqns:
        inputs = [read(atom) for atom in equation.invars]
        inner = INLINED.get(equation.primitive.name)
        if inner is not None:
            closed = equation.params[inner]
            outputs = evaluated(getattr(closed, "jaxpr", closed), getattr(closed, "consts", ()), inputs, bind)
        else:
            outputs = bind(equation, inputs)
        values.update(zip(equation.outvars, outputs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def bound(equation: Any, inputs: Sequence[Any]) -> list[Any]:
    """An equation as it stands, without the rules in the functions that it is given (a scan's body, a branch)."""
    params = {name: _stripped(value) for name, value in equation.params.items()}
    outputs = equation.primitive.bind(*inputs, **equation.primitive.get_bind_params(params))
    return outputs if equation.primitive.multiple_results else [outputs]


def _stripped(value: Any) -> Any:
    if type(value) is tuple:  # a cond's branches, and no NamedTuple of numbers
        return tuple(map(_stripped, value))
    if not isinstance(value, core.ClosedJaxpr) or not _decorated(value.jaxpr):
        return value
    return jax.make_jaxpr(lambda *inputs: evaluated(value.jaxpr, value.consts, inputs, bound))(*value.in_avals)


def _decorated(jaxpr: Any) -> bool:
    """Whether a custom rule stands anywhere in a jaxpr."""
    return any(
        equation.primitive.name in CUSTOM or any(map(_decorated, core.jaxprs_in_params(equation.params)))
        for equation in jaxpr.eqns
    )


def _names(equation: Any) -> list[str]:
    """The primitives inside of an equation: a scan's body, a branch."""
    inner = [within for jaxpr in core.jaxprs_in_params(equation.params) for within in jaxpr.eqns]
    return [name for within in inner for name in (within.primitive.name, *_names(within))]


def _bound_complex(equation: Any, inputs: Sequence[Any]) -> list[Any]:
    name, params = equation.primitive.name, dict(equation.params)
    if not any(map(jnp.iscomplexobj, inputs)):
        return bound(equation, inputs)
    if name in OF_REAL_PARTS:
        return bound(equation, list(map(jnp.real, inputs)))
    if name == "convert_element_type":
        return list(inputs)
    if name == "abs":
        return [jnp.where(jnp.real(inputs[0]) < 0, -inputs[0], inputs[0])]
    if name == "square":
        return [inputs[0] * inputs[0]]
    if name in ("max", "min"):
        a, b = inputs
        first = jnp.real(a) >= jnp.real(b) if name == "max" else jnp.real(a) <= jnp.real(b)
        return [jnp.where(first, a, b)]
    if name in ("scan", "while", "cond"):
        raise NotImplementedError(f"no complex step through {name}")
    if "preferred_element_type" in params:
        params["preferred_element_type"] = None
    widened = [jnp.asarray(x, complex) if jnp.issubdtype(jnp.result_type(x), jnp.floating) else x for x in inputs]
    outputs = equation.primitive.bind(*widened, **equation.primitive.get_bind_params(params))
    return outputs if equation.primitive.multiple_results else [outputs]
