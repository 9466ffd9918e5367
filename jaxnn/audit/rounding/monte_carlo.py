"""What rounding does to a function: Monte Carlo arithmetic.

A function is traced to its jaxpr and evaluated with every input, and every result of a sum or of a function of a
number, moved to the next number of its dtype, up or down. How far the outputs go is what rounding can do to them at
this point: how badly conditioned it is, and what is left of terms that cancel. A bound that counts terms knows neither.

Which way a number goes is a hash of the number itself, so equal numbers go together: what is tied stays tied. Inputs
whose mantissa ends in zeros, in its lower half, are taken for exact and stay where they are: labels, masks, the edges
of a clip. So no kink is crossed on which the point lies. Nothing moves inside of while and cond; what goes in and comes
out does.

Source: Parker 1997, Monte Carlo Arithmetic; the idea: Vignes 1993 (CESTAC).
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.arrays import PyTree, is_floating_array
from jaxnn.audit.rounding.undecorated import Bind, bound, evaluated

# Primitives whose results stay: those that move numbers or choose among them round nothing, and a product is as exact
# as what is multiplied, which has moved already.
STILL = (
    "reshape", "broadcast_in_dim", "transpose", "squeeze", "slice", "dynamic_slice", "dynamic_update_slice", "gather",
    "concatenate", "pad", "rev", "split", "select_n", "max", "min", "reduce_max", "reduce_min", "cummax", "cummin",
    "sort", "clamp", "neg", "abs", "sign", "copy", "stop_gradient", "convert_element_type", "optimization_barrier",
    "mul", "div",
)  # fmt: skip


def rounded_otherwise(function: Callable[..., PyTree]) -> Callable[..., PyTree]:
    """function(*arguments) as function(draw, steps, *arguments), where each number rounds otherwise by some steps.

    Another draw rounds otherwise again; 0 steps are the function itself.

    >>> f = lambda x: (1.1 + x) - x  # 1.1, to about x u
    >>> [float(rounded_otherwise(f)(0, steps, jnp.float32(12345.6))) for steps in (0, 1)]
    [1.099609375, 1.1005860567092896]
    """

    def moving(draw: Any, steps: Any, *arguments: Any) -> PyTree:
        def bind(equation: Any, inputs: Sequence[Any]) -> list[Any]:
            if equation.primitive.name == "scan":
                return _scanned(equation, inputs, bind)
            outputs = bound(equation, inputs)
            return outputs if equation.primitive.name in STILL else [moved(y, draw, steps) for y in outputs]

        closed, shape = jax.make_jaxpr(function, return_shape=True)(*arguments)
        inputs = [moved(x, draw, jnp.where(is_exact(x), 0, steps)) for x in jax.tree.leaves(arguments)]
        outputs = evaluated(closed.jaxpr, closed.consts, inputs, bind)
        return jax.tree.unflatten(jax.tree.structure(shape), outputs)

    return moving


def _scanned(equation: Any, inputs: Sequence[Any], bind: Bind) -> list[Any]:
    """A scan, with its body by `bind`.

    Into the body go consts, the carry and one of each xs, out of it come the carry and one of each ys: what has an axis
    more outside is xs or ys. (How the equation itself says so isn't the same in every version of JAX.)
    """
    closed, length = equation.params["jaxpr"], equation.params["length"]
    body, constants = getattr(closed, "jaxpr", closed), getattr(closed, "consts", ())
    n_xs, n_ys = (
        sum(len(outside.aval.shape) > len(inside.aval.shape) for outside, inside in zip(*pairs, strict=True))
        for pairs in ((equation.invars, body.invars), (equation.outvars, body.outvars))
    )
    n_carry = len(body.outvars) - n_ys
    n_consts = len(inputs) - n_carry - n_xs
    consts, start, xs = inputs[:n_consts], inputs[n_consts : n_consts + n_carry], inputs[n_consts + n_carry :]

    def one(carry: Sequence[Any], x: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        outputs = evaluated(body, constants, [*consts, *carry, *x], bind)
        return outputs[:n_carry], outputs[n_carry:]

    carry, ys = jax.lax.scan(one, list(start), list(xs), length=length, reverse=equation.params["reverse"])
    return [*carry, *ys]


def moved(x: Any, draw: Any, steps: Any) -> Any:
    """Every number of x moved to one of its neighbours, steps times; 0 and what isn't finite or floating stays.

    By its bits: a product with 1 + 2u would be fused with the sum that it goes into, and equal numbers come apart.
    """
    if not is_floating_array(x):
        return x
    bits = _bits(x)
    step = jnp.where(hashed(bits, draw) < 0, -1, 1).astype(bits.dtype) * jnp.asarray(steps).astype(bits.dtype)
    neighbour = jax.lax.bitcast_convert_type(bits + step, x.dtype)
    return jnp.where((x == 0) | ~jnp.isfinite(x), x, neighbour)


def is_exact(x: Any) -> Any:
    """Whether the lower half of a number's mantissa is zeros, entry by entry; True for what isn't floating."""
    if not is_floating_array(x):
        return True
    return _bits(x) & (2 ** (jnp.finfo(x.dtype).nmant // 2) - 1) == 0


# From the golden ratio, as Fibonacci hashing has them (Knuth, The Art of Computer Programming 3, 6.4).
_MULTIPLIER = {2: np.int16(-0x61C9), 4: np.int32(-0x61C88647), 8: np.int64(-0x61C8864680B583EB)}


def hashed(bits: Any, draw: Any) -> jax.Array:
    """Integers whose sign, the highest bit of a product with an odd number, depends on all bits given and the draw."""
    odd = _MULTIPLIER[bits.dtype.itemsize]
    bits = (bits + jnp.asarray(draw).astype(bits.dtype)) * odd
    return (bits ^ (bits >> (4 * bits.dtype.itemsize))) * odd


def _bits(x: Any) -> jax.Array:
    return jax.lax.bitcast_convert_type(x, jnp.dtype(f"int{8 * x.dtype.itemsize}"))
