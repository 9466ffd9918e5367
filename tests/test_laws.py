"""The laws of `layer.py`, for every layer, combinator and loss of the table, in float64.

Each law is one test. The measure of error and its tolerances are those of `gradients.py`; where a test has a tolerance
of its own, it says why.
"""

import inspect
import pickle
import pkgutil
from copy import deepcopy
from functools import cache, partial
from importlib import import_module
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradients import DIFFERENCES, SAME, central_differences, error, inner_product, normal_like, rounding_scale
from table import (
    AUGMENTATIONS,
    CASES,
    CELLS,
    COMBINATORS,
    FORMS,
    INITIALIZERS,
    LAYERS,
    LOSS_FORMS,
    LOSSES,
    PENALTIES,
    RECURRENT,
    RULES,
    SCHEDULES,
    WITH_GRADIENT,
    slow_unless,
)

import jaxnn
from jaxnn import layers
from jaxnn.arrays import is_floating
from jaxnn.layers import initializers
from jaxnn.networks import combinators, recurrent
from jaxnn.objective import losses, penalties
from jaxnn.training import augment, schedules, updates

N_COTANGENTS = 3

every_case = pytest.mark.parametrize("case", CASES, ids=str)
every_loss = pytest.mark.parametrize("case", LOSSES, ids=str)
in_float64 = pytest.mark.usefixtures("x64")


def classes_of(module, *methods):
    """The public classes of a module, or of the modules of a package, that have some methods."""
    paths = getattr(module, "__path__", [])
    parts = [import_module(f"{module.__name__}.{found.name}") for found in pkgutil.iter_modules(paths)]
    return {
        value
        for part in [module, *parts]
        for name, value in vars(part).items()
        if inspect.isclass(value)
        and not name.startswith("_")
        and not getattr(value, "_is_protocol", False)
        and all(hasattr(value, method) for method in methods)
        and value.__module__.startswith(module.__name__)
    }


def cotangents(y, n=N_COTANGENTS):
    """n normal cotangents, one after another along a leading axis."""
    return normal_like(jax.ShapeDtypeStruct((n, *y.shape), y.dtype), seed=1)


def one_hots(y):
    """Every cotangent with a single 1."""
    return jnp.eye(y.size, dtype=y.dtype).reshape(y.size, *y.shape)


def output(case, point):
    """The shape and dtype of y; nothing is computed."""
    return jax.eval_shape(lambda: case.forward(point).y)


# The tables are complete.


@pytest.mark.parametrize(
    ("module", "methods", "table"),
    [
        (layers, ("forward", "backward"), [case.layer for case in LAYERS] + CELLS),
        (combinators, ("forward", "backward"), [case.layer for case in COMBINATORS]),
        (recurrent, ("forward", "backward"), [case.layer for case in RECURRENT]),
        (losses, ("forward", "backward"), [case.loss for case in LOSSES]),
        (initializers, ("__call__",), INITIALIZERS),
        (penalties, ("value", "gradient"), PENALTIES),
        (updates, ("init", "update"), [case.rule for case in RULES]),
        (schedules, ("__call__",), [case.schedule for case in SCHEDULES]),
        (augment, ("couples_batch",), AUGMENTATIONS),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_every_class_is_in_the_table(module, methods, table):
    found = classes_of(module, *methods)
    assert found
    assert found <= {type(entry) for entry in table}


# Law 1: the declared shape is the actual shape.


@every_case
def test_output_shape(case):
    y = output(case, case.point())
    assert y.shape == (case.batch, *case.layer.output_shape(case.shape))


@every_case
def test_every_number_that_init_makes_is_in_one_place(case):
    """No array stands in the tree twice: a program that is given the tree to keep could not take one buffer twice."""
    made = jax.tree.leaves(case.layer.init(jax.random.key(0), case.shape))
    assert len({id(leaf) for leaf in made}) == len(made)


# Law 2: what backward returns has the form of what forward took, in every floating dtype.


@every_case
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_backward_keeps_structures_shapes_and_dtypes(case, dtype):
    if case.integer:
        dtype = "float32"  # integers become JAX's default float
    with jax.enable_x64(dtype == "float64"):
        point = case.point(dtype=jnp.dtype(dtype))

        def both(point):
            y, state, cache = case.forward(point)
            return y, state, case.layer.backward(point.params, cache, y)

        y, state, (dparams, dx) = jax.eval_shape(both, point)
        assert y.dtype == (point.x.dtype if case.integer and not is_floating(y) else jnp.dtype(dtype))
        spec = partial(jax.tree.map, lambda leaf: (leaf.shape, leaf.dtype))
        assert spec(dparams) == spec(point.params)
        assert spec(state) == spec(point.state)
        if case.integer and is_floating(y):
            assert dx is None
        else:
            assert spec(dx) == spec(point.x)


# Law 3: backward is the vector-Jacobian product of forward.


class Derivatives(NamedTuple):
    """A layer's derivatives at one point, along many cotangents: the random ones, then every one-hot."""

    by_hand: Any
    by_machine: Any
    scales: Any
    differences: Any
    size: Any
    along: Any
    pushed: Any
    cotangents: Any


@cache
def derivatives(case):
    """All that law 3 compares, in one program. A cotangent of the random ones is a mixture of two others."""
    point = case.point()
    y = output(case, point)
    inputs = (point.params,) if case.integer else (point.params, point.x)

    @jax.jit
    def computed(point, inputs, along, random):
        def of(*inputs):
            return case.forward(point._replace(params=inputs[0], x=point.x if case.integer else inputs[1])).y

        y, _, cache = case.forward(point)
        dys = jnp.concatenate([random, mixture(random)[None], one_hots(y)])
        _, pull = jax.vjp(of, *inputs)
        return Derivatives(
            by_hand=jax.vmap(lambda dy: tuple(case.layer.backward(point.params, cache, dy))[: len(inputs)])(dys),
            by_machine=jax.vmap(pull)(dys),
            scales=jax.vmap(lambda dy: tuple(rounding_scale(case.layer, point.params, cache, dy))[: len(inputs)])(dys),
            differences=central_differences(lambda inputs: jnp.sum(random[0] * of(*inputs)), inputs),
            size=jnp.sum(jnp.abs(random[0] * y)),
            along=along,
            pushed=jax.jvp(of, inputs, along)[1],
            cotangents=dys,
        )

    return jax.tree.map(np.asarray, computed(point, inputs, normal_like(inputs, seed=2), cotangents(y)))


def mixture(dys):
    return 2.5 * dys[0] - 0.75 * dys[1]


def at(i, tree):
    return jax.tree.map(lambda leaf: leaf[i], tree)


# Each layer, a cut in time and the other cell: all that is compared of them is compiled once, and that is what costs.
QUICK = [*FORMS, RECURRENT[2], RECURRENT[4]]
with_gradient = pytest.mark.parametrize("case", slow_unless(WITH_GRADIENT, QUICK), ids=str)


@in_float64
@with_gradient
def test_backward_is_the_vjp_of_forward(case):
    """Random and one-hot cotangents, for every parameter and the input."""
    found = derivatives(case)
    for i in range(len(found.cotangents)):
        assert error(at(i, found.by_hand), at(i, found.by_machine), at(i, found.scales)) <= SAME


@in_float64
@with_gradient
def test_backward_is_the_central_difference_of_forward(case):
    """An oracle that knows no rule of differentiation. Its points are random, and so away from kinks.

    A difference of numbers of some size knows nothing below u / h of that size, which is therefore part of the scale.
    A truncated gradient must fail this.
    """
    found = derivatives(case)
    scale = jax.tree.map(lambda s: s + found.size, at(0, found.scales))
    difference = error(at(0, found.by_hand), found.differences, scale)
    assert difference > 1e-3 if case.truncates else difference <= DIFFERENCES


@in_float64
@with_gradient
def test_backward_is_adjoint_to_the_jvp(case):
    """<dy, J u> = <J^T dy, u>, J u by `jax.jvp`."""
    found = derivatives(case)
    for i in range(N_COTANGENTS):
        left, left_size = inner_product(found.cotangents[i], found.pushed)
        right, right_size = inner_product(at(i, found.by_hand), found.along)
        assert abs(left - right) <= SAME * max(left_size, right_size)


@in_float64
@with_gradient
def test_backward_is_linear(case):
    """backward(a v + b w) = a backward(v) + b backward(w)."""
    found = derivatives(case)
    separate = jax.tree.map(lambda v, w: 2.5 * v - 0.75 * w, at(0, found.by_hand), at(1, found.by_hand))
    scale = jax.tree.map(lambda v, w: 2.5 * v + 0.75 * w, at(0, found.scales), at(1, found.scales))
    assert error(at(N_COTANGENTS, found.by_hand), separate, scale) <= SAME


# Law 4: purity.


@in_float64
@pytest.mark.parametrize("case", slow_unless(CASES, FORMS), ids=str)
def test_forward_and_backward_are_pure(case):
    """The same bits twice; the cache may leave `jit`; `vmap` is a loop; eager is compiled, but for rounding."""
    points = [case.point(seed) for seed in range(3)]
    dys = cotangents(output(case, points[0]))

    def results(point, dy, forward=case.forward, backward=case.layer.backward):
        y, state, cache = forward(point)
        if not is_floating(y):
            return y, state, None
        return y, state, tuple(backward(point.params, cache, dy))

    apart = {"forward": jax.jit(case.forward), "backward": jax.jit(case.layer.backward)}
    each = [results(point, dy, **apart) for point, dy in zip(points, dys, strict=True)]
    again = results(points[0], dys[0], **apart)
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, each[0], again)))

    stacked_points, truth = (jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees) for trees in (points, each))
    mapped = jax.jit(jax.vmap(results))(stacked_points, dys)
    assert same(mapped, truth, case)
    if case in FORMS:
        assert same(results(points[0], dys[0]), each[0], case)


def same(got, truth, case):
    """Outputs, states and gradients are equal but for rounding. Points are of one distribution, and so of one scale."""
    if case not in WITH_GRADIENT:
        return error(got, truth) == 0
    scale = (*at(0, derivatives(case).scales), None)[:2]
    return error(got[:2], truth[:2]) <= SAME and error(got[2], truth[2], scale) <= SAME


# Law 5: rows of a batch are independent, unless the layer couples them.


@in_float64
@pytest.mark.parametrize(
    "case", slow_unless([case for case in CASES if case.batch > 1 and not case.integer], QUICK), ids=str
)
def test_a_row_depends_on_its_own_row_alone(case):
    """A cotangent of row 0 gives a dx in row 0 alone. A layer that couples the batch must fail this."""
    found = derivatives(case)
    of_row_0 = found.cotangents[:, 1:].reshape(len(found.cotangents), -1).any(axis=1) == 0
    assert of_row_0.any()
    _, dx = found.by_hand
    assert dx[of_row_0][:, 1:].any() == case.couples
    assert case.couples <= jaxnn.couples_batch(case.layer)


@in_float64
@pytest.mark.parametrize(
    "case", slow_unless([case for case in WITH_GRADIENT if case.batch > 1 and not case.draws], QUICK), ids=str
)
def test_a_batch_is_the_sum_of_its_rows(case):
    """Backward of a batch is the sum of its rows' backwards, each with its own forward, and dx is their rows.

    A layer that couples the batch must fail this. Dropout's forward draws by batch, and so has no rows of its own.
    """
    piece = 2 if case.couples and len(case.shape) == 1 else 1  # BatchNorm needs two rows
    if case.batch == piece:
        return
    point, found = case.point(), derivatives(case)

    @jax.jit
    def backward(point, dy):
        return tuple(case.layer.backward(point.params, case.forward(point).cache, dy))

    starts = range(0, case.batch, piece)
    pieces = [backward(point._replace(x=point.x[i : i + piece]), found.cotangents[0][i : i + piece]) for i in starts]
    dparams = jax.tree.map(lambda *leaves: sum(leaves[1:], leaves[0]), *(dparams for dparams, _ in pieces))
    dx = () if case.integer else (jnp.concatenate([dx for _, dx in pieces]),)
    difference = error((dparams, *dx), at(0, found.by_hand), at(0, found.scales))
    assert difference > 1e-3 if case.couples else difference <= SAME


# Law 6: recipes are values.


@pytest.mark.parametrize(
    "recipe",
    [
        *dict.fromkeys(case.layer for case in CASES),
        *dict.fromkeys(case.loss for case in LOSSES),
        *INITIALIZERS,
        *AUGMENTATIONS,
    ],
    ids=str,
)
def test_a_recipe_is_a_value(recipe):
    names = vars(augment) | vars(jaxnn)
    for copy in (deepcopy(recipe), pickle.loads(pickle.dumps(recipe)), eval(repr(recipe), names)):
        assert copy == recipe
        assert hash(copy) == hash(recipe)
        assert repr(copy) == repr(recipe)
    assert recipe != object()
    assert not jax.tree.leaves(recipe) or jax.tree.leaves(recipe) == [recipe]  # not a tree: nothing in it is traced


def test_different_recipes_differ():
    recipes = list(dict.fromkeys(case.layer for case in CASES))
    assert len({repr(recipe) for recipe in recipes}) == len(recipes)
    with pytest.raises((AttributeError, TypeError)):
        jaxnn.Dense(3).n_out = 4


# The same laws for losses.


@in_float64
@every_loss
def test_loss_backward_is_its_gradient(case):
    """dy against `jax.vjp` of the values, with weights of which one is 0; and against central differences."""
    y, target, weights = case.point()

    @jax.jit
    def compared(y, target, weights):
        dy = case.loss.backward(case.loss.forward(y, target).cache, weights)
        values, pull = jax.vjp(lambda y: case.loss.forward(y, target).values, y)
        differences = central_differences(lambda y: jnp.sum(weights * case.loss.forward(y, target).values), y)
        return values, dy, pull(weights)[0], differences

    values, dy, truth, differences = compared(y, target, weights)
    assert values.shape == (case.batch,)
    assert error(dy, truth) <= SAME
    assert error(dy, differences) <= DIFFERENCES
    if case.batch > 1:
        assert not np.any(dy[1])


@every_loss
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_loss_keeps_the_dtype(case, dtype):
    y, target, weights = case.point(dtype=jnp.dtype(dtype))
    values, dy = jax.eval_shape(
        lambda: (case.loss.forward(y, target).values, case.loss.backward(case.loss.forward(y, target).cache, weights))
    )
    assert (values.shape, values.dtype) == ((case.batch,), dtype)
    assert (dy.shape, dy.dtype) == (y.shape, dtype)


@in_float64
@pytest.mark.parametrize("case", slow_unless(LOSSES, LOSS_FORMS), ids=str)
def test_loss_is_pure(case):
    points = [case.point(seed) for seed in range(3)]

    def both(y, target, weights):
        values, cache = case.loss.forward(y, target)
        return values, case.loss.backward(cache, weights)

    compiled = jax.jit(both)
    each = [compiled(*point) for point in points]
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, each[0], compiled(*points[0]))))
    if case is next(other for other in LOSSES if type(other.loss) is type(case.loss)):
        assert error(both(*points[0]), each[0]) <= SAME
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *points)
    assert error(jax.jit(jax.vmap(both))(*stacked), jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)) <= SAME
