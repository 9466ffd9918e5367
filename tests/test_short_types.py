"""Values of every rule in bfloat16 and float16, forward and backward, against the same rule in float64.

Params, state, x and the cotangent are rounded to the short type first, so that both sides see the same numbers. What
they may then differ by is derived. Let u be the unit roundoff, 2^-8 in bfloat16 and 2^-11 in float16. A sum of n terms
whose absolute values add up to s is off by about sqrt(n) u s, for roundings are as good as independent (Higham and Mary
2019), and by n u s at the most. s is what `gradients.rounding_scale` measures of a gradient; an output's is its largest
number, and 1 at least, for that is the size of the params and inputs that it is made of. n is at most the number of
outputs, for each of them adds a term to a gradient, or of params and inputs of one row, which add one to an output. A
term is itself a product of a few factors, each of them rounded: FACTORS.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradients import error, normal_like, rounding_scale
from table import FORMS, LOSSES, RECURRENT

from jaxnn import MaxPool, ReLU, is_composite, walk

# A term of an LSTM's gradient has the most: an error term, a gate, the slope of another one, and what enters the cell.
FACTORS = 4


def rounded(tree, dtype):
    """In float64, but numbers of the short type."""
    return jax.tree.map(lambda leaf: short(leaf, dtype).astype(jnp.float64) if real(leaf) else leaf, tree)


def short(tree, dtype):
    return jax.tree.map(lambda leaf: leaf.astype(dtype) if real(leaf) else leaf, tree)


def real(leaf):
    return jnp.issubdtype(leaf.dtype, jnp.floating)


def apart(got, truth, scale):
    """The largest error in the measure of `gradients.py`."""
    return error(jax.tree.map(lambda leaf: leaf.astype(jnp.float64), got), truth, scale)


def allowed(n_terms, dtype):
    return FACTORS * math.sqrt(n_terms) * float(jnp.finfo(dtype).eps) / 2


def chooses_among_given_numbers(case):
    """Not a maximum, nor a kink, of numbers that were computed: rounded, another may be the largest, and its gradient
    another's. By themselves these layers are given the same numbers in both types, and choose alike.
    """
    return not is_composite(case.layer) or not any(isinstance(layer, MaxPool | ReLU) for _, layer in walk(case.layer))


RULES = list(filter(chooses_among_given_numbers, [*FORMS, RECURRENT[4], RECURRENT[8]]))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("case", "dtype"), [*((case, "bfloat16") for case in RULES), *((case, "float16") for case in RULES[::4])], ids=str
)
def test_layers(case, dtype):
    dtype, point = jnp.dtype(dtype), case.point()
    point = rounded(point._replace(key=()), dtype)._replace(key=point.key)
    dy = rounded(normal_like(jax.eval_shape(case.forward, point).y, seed=1), dtype)

    @jax.jit
    def both(point, dy):
        few, few_dy = short(point._replace(key=()), dtype)._replace(key=point.key), short(dy, dtype)
        y, state, cache = case.forward(few)
        got = y, state, tuple(case.layer.backward(few.params, cache, few_dy))
        y, state, cache = case.forward(point)
        truth = y, state, tuple(case.layer.backward(point.params, cache, dy))
        return got, truth, tuple(rounding_scale(case.layer, point.params, cache, dy))

    got, truth, scales = both(point, dy)
    assert {leaf.dtype for leaf in jax.tree.leaves(got)} == {dtype}
    n_inputs = sum(leaf.size for leaf in jax.tree.leaves((point.params, point.x[0])))
    tolerance = allowed(max(dy.size, n_inputs), dtype)
    ones = jax.tree.map(lambda _: 1.0, truth[:2])
    assert apart(got[:2], truth[:2], ones) <= tolerance
    assert apart(got[2], truth[2], scales) <= tolerance


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("case", "dtype"), [*((case, "bfloat16") for case in LOSSES), *((case, "float16") for case in LOSSES[::4])], ids=str
)
def test_losses(case, dtype):
    """An output adds one term to the loss of its example, and to the gradient of each other output of it."""
    dtype = jnp.dtype(dtype)
    arguments = rounded(case.point(), dtype)

    @jax.jit
    def both(*arguments):
        def rule(y, target, weights):
            values, cache = case.loss.forward(y, target)
            return values, case.loss.backward(cache, weights)

        return rule(*short(arguments, dtype)), rule(*arguments)

    got, truth = both(*arguments)
    assert [leaf.dtype for leaf in got] == [jnp.float32, dtype]
    y, _, weights = arguments
    sizes = 1.0, float(np.max(weights))
    assert apart(got, truth, sizes) <= allowed(max(y[0].size, 1), dtype)
