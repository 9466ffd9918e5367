"""The laws of `layer.py`, for every layer, combinator and loss of the table, in float64.

One program for each row of the table computes what laws 3 to 5 look at. The measure of error and its tolerances are
those of `gradients.py`; where a test has a tolerance of its own, it says why.
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


# Laws 1 and 2: the declared shape is the actual shape, and what backward returns has the form of what forward took.


@every_case
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_shapes_structures_and_dtypes(case, dtype):
    """In float64 it is part of law 3. Nothing is computed.

    The cache goes from one trace into another one, as it does where it leaves `jit`: what in it is no array, as a bare
    Python number, is an unknown number there.
    """
    dtype = jnp.dtype("float32" if case.integer else dtype)  # integers become JAX's default float
    point = case.point(dtype=dtype)
    y, state, cache = jax.eval_shape(case.forward, point)
    dparams, dx = jax.eval_shape(case.layer.backward, point.params, cache, y)
    assert y.shape == (case.batch, *case.layer.output_shape(case.shape))
    assert y.dtype == (point.x.dtype if case.integer and not is_floating(y) else dtype)
    spec = partial(jax.tree.map, lambda leaf: (leaf.shape, leaf.dtype))
    assert spec(dparams) == spec(point.params)
    assert spec(state) == spec(point.state)
    if case.integer and is_floating(y):
        assert dx is None
    else:
        assert spec(dx) == spec(point.x)


def test_every_number_that_init_makes_is_in_one_place():
    """No array stands in the tree twice: a program that is given the tree to keep could not take one buffer twice."""

    def twice(case):
        made = jax.tree.leaves(case.layer.init(jax.random.key(0), case.shape))
        return len({id(leaf) for leaf in made}) < len(made)

    assert [str(case) for case in {case.layer: case for case in CASES}.values() if twice(case)] == []


# Laws 3 to 5, of what one program computes for a case: compiling it is what costs, and a case is one test.


class Derivatives(NamedTuple):
    """A layer's derivatives at one point, along many cotangents: random ones, a mixture, then every one-hot."""

    cotangents: Any
    by_hand: Any
    by_machine: Any
    scales: Any
    differences: Any
    size: Any
    along: Any
    pushed: Any


class Computed(NamedTuple):
    """The derivatives at the first of some points, and what forward and backward give at each of them.

    results: (y, state, (dparams, dx)) point by point; mapped: the same by `vmap`; rows: the backward of each piece of
    the first point's batch with its own forward, None where it has no rows of its own. All are None but in `QUICK`.
    """

    derivatives: Derivatives
    results: Any
    mapped: Any
    rows: Any


N_POINTS = 2


@cache
def program(case):
    """All that the laws look at, as a function of the points, stacked, of their cotangents, and of a direction."""

    def results(point, dy):
        y, state, cache = case.forward(point)
        if not is_floating(y):
            return y, state, None
        return y, state, tuple(case.layer.backward(point.params, cache, dy))

    def derivatives(point, dys, along):
        def output_of(*inputs):
            return case.forward(point._replace(params=inputs[0], x=point.x if case.integer else inputs[1])).y

        inputs = (point.params,) if case.integer else (point.params, point.x)
        y, _, cache = case.forward(point)
        dys = jnp.concatenate([dys, mixture(dys)[None], one_hots(y)])
        _, pull = jax.vjp(output_of, *inputs)
        return Derivatives(
            cotangents=dys,
            by_hand=jax.vmap(lambda dy: tuple(case.layer.backward(point.params, cache, dy))[: len(inputs)])(dys),
            by_machine=jax.vmap(pull)(dys),
            scales=jax.vmap(lambda dy: tuple(rounding_scale(case.layer, point.params, cache, dy))[: len(inputs)])(dys),
            differences=central_differences(lambda inputs: jnp.sum(dys[0] * output_of(*inputs)), inputs),
            size=jnp.sum(jnp.abs(dys[0] * y)),
            along=along,
            pushed=jax.jvp(output_of, inputs, along)[1],
        )

    @jax.jit
    def computed(points, dys, along):
        def rows(start):
            piece = lambda tree: jax.lax.dynamic_slice_in_dim(tree, start, rows_of_a_piece(case))  # noqa: E731
            return results(point._replace(x=piece(point.x)), piece(dys[0]))[2]

        point = at(0, points)
        if case not in QUICK:
            return Computed(derivatives(point, dys, along), None, None, None)
        return Computed(
            derivatives(point, dys, along) if case in WITH_GRADIENT else None,
            jax.lax.map(lambda given: results(*given), (points, dys[:N_POINTS])),
            jax.vmap(results)(points, dys[:N_POINTS]),
            jax.lax.map(rows, jnp.arange(0, case.batch, rows_of_a_piece(case))) if has_rows(case) else None,
        )

    return computed


def mixture(dys):
    return 2.5 * dys[0] - 0.75 * dys[1]


def at(i, tree):
    return jax.tree.map(lambda leaf: leaf[i], tree)


def rows_of_a_piece(case):
    """One, but BatchNorm needs two of them to have any statistics."""
    return 2 if case.couples and len(case.shape) == 1 else 1


def has_rows(case):
    """Whether a batch can be taken apart. Dropout's forward draws by batch, and so has no rows of its own."""
    return case in WITH_GRADIENT and not case.draws and case.batch > rows_of_a_piece(case)


def is_the_vjp_of_forward(case, computed):
    """Along random and one-hot cotangents, for every parameter and the input."""
    found = computed.derivatives
    return all(
        error(at(i, found.by_hand), at(i, found.by_machine), at(i, found.scales)) <= SAME
        for i in range(len(found.cotangents))
    )


def is_the_central_difference_of_forward(case, computed):
    """An oracle that knows no rule of differentiation. Its points are random, and so away from kinks.

    A difference of numbers of some size knows nothing below u / h of that size, which is therefore part of the scale.
    A truncated gradient must fail this.
    """
    found = computed.derivatives
    scale = jax.tree.map(lambda s: s + found.size, at(0, found.scales))
    difference = error(at(0, found.by_hand), found.differences, scale)
    return difference > 1e-3 if case.truncates else difference <= DIFFERENCES


def is_adjoint_to_the_jvp(case, computed):
    """<dy, J u> = <J^T dy, u>, J u by `jax.jvp`."""
    found = computed.derivatives
    for i in range(N_COTANGENTS):
        left, left_size = inner_product(found.cotangents[i], found.pushed)
        right, right_size = inner_product(at(i, found.by_hand), found.along)
        if not abs(left - right) <= SAME * max(left_size, right_size):
            return False
    return True


def is_linear(case, computed):
    """backward(a v + b w) = a backward(v) + b backward(w)."""
    found = computed.derivatives
    separate = jax.tree.map(lambda v, w: 2.5 * v - 0.75 * w, at(0, found.by_hand), at(1, found.by_hand))
    scale = jax.tree.map(lambda v, w: 2.5 * v + 0.75 * w, at(0, found.scales), at(1, found.scales))
    return error(at(N_COTANGENTS, found.by_hand), separate, scale) <= SAME


def is_the_same_under_vmap(case, computed):
    """`vmap` is a loop."""
    return same(computed.mapped, computed.results, case, computed)


def same(got, truth, case, computed):
    """Outputs, states and gradients are equal but for rounding. Points are of one distribution, and so of one scale."""
    if case not in WITH_GRADIENT:
        return error(got, truth) == 0
    scale = (*at(0, computed.derivatives.scales), None)[:2]
    return error(got[:2], truth[:2]) <= SAME and error(got[2], truth[2], scale) <= SAME


def gives_a_row_its_own_row_alone(case, computed):
    """A cotangent of row 0 gives a dx in row 0 alone. A layer that couples the batch must fail this, and says so."""
    if case.batch == 1 or case.integer:
        return True
    found = computed.derivatives
    of_row_0 = found.cotangents[:, 1:].reshape(len(found.cotangents), -1).any(axis=1) == 0
    _, dx = found.by_hand
    says = case.couples <= jaxnn.couples_batch(case.layer)
    return of_row_0.any() and dx[of_row_0][:, 1:].any() == case.couples and says


def is_the_sum_of_its_rows(case, computed):
    """Backward of a batch is the sum of its rows' backwards, each with its own forward, and dx is their rows.

    A layer that couples the batch must fail this.
    """
    if not has_rows(case):
        return True
    found = computed.derivatives
    dparams, dx = computed.rows
    dparams = jax.tree.map(lambda leaves: leaves.sum(axis=0, dtype=leaves.dtype), dparams)
    dx = () if case.integer else (dx.reshape(-1, *dx.shape[2:]),)
    difference = error((dparams, *dx), at(0, found.by_hand), at(0, found.scales))
    return difference > 1e-3 if case.couples else difference <= SAME


OF_DERIVATIVES = [
    is_the_vjp_of_forward,
    is_the_central_difference_of_forward,
    is_adjoint_to_the_jvp,
    is_linear,
    gives_a_row_its_own_row_alone,
]
OF_RUNS = [is_the_same_under_vmap, is_the_sum_of_its_rows]
# Each layer, a cut in time, the other cell, and what has no gradient: for laws that need a rule's own runs again.
QUICK = [*FORMS, RECURRENT[2], RECURRENT[4], *(case for case in CASES if case not in WITH_GRADIENT)]


@in_float64
@pytest.mark.parametrize("case", CASES, ids=str)
def test_backward_keeps_the_laws(case):
    """3: the vector-Jacobian product; 4: the same bits twice, and `vmap`; 5: rows are independent, unless coupled."""
    each = [case.point(seed) for seed in range(N_POINTS)]
    points = jax.tree.map(lambda *leaves: np.stack(leaves), *[point._replace(key=()) for point in each])
    points = points._replace(key=jnp.stack([point.key for point in each]))
    inputs = (each[0].params,) if case.integer else (each[0].params, each[0].x)
    given = points, cotangents(output(case, each[0])), normal_like(inputs, seed=2)
    computed, again = (jax.tree.map(np.asarray, program(case)(*given)) for _ in range(2))
    assert jax.tree.all(jax.tree.map(np.array_equal, computed, again))
    laws = [*(OF_DERIVATIVES if case in WITH_GRADIENT else []), *(OF_RUNS if case in QUICK else [])]
    assert [law.__name__ for law in laws if not law(case, computed)] == []


@in_float64
@pytest.mark.parametrize("case", FORMS, ids=str)
def test_eager_is_compiled_and_the_cache_may_leave_jit(case):
    point = case.point()
    dy = cotangents(output(case, point))[0]

    def results(forward, backward):
        y, state, cache = forward(point)
        return y, state, tuple(backward(point.params, cache, dy))

    apart = results(jax.jit(case.forward), jax.jit(case.layer.backward))
    eager = results(case.forward, case.layer.backward)
    sizes = jax.jit(lambda: tuple(rounding_scale(case.layer, point.params, case.forward(point).cache, dy)))()
    assert error(eager[:2], apart[:2]) <= SAME
    assert error(eager[2], apart[2], sizes) <= SAME


# Law 6: recipes are values.


def test_a_recipe_is_a_value():
    """Equal to its copies, hashable, picklable; its repr can be evaluated; not a tree: nothing in it is traced."""
    names = vars(augment) | vars(jaxnn)

    def is_a_value(recipe):
        copies = deepcopy(recipe), pickle.loads(pickle.dumps(recipe)), eval(repr(recipe), names)
        are_equal = all(copy == recipe and hash(copy) == hash(recipe) for copy in copies)
        return are_equal and {repr(copy) for copy in copies} == {repr(recipe)} and recipe != object()

    recipes = [*(case.layer for case in CASES), *(case.loss for case in LOSSES), *INITIALIZERS, *AUGMENTATIONS]
    assert [recipe for recipe in dict.fromkeys(recipes) if not is_a_value(recipe)] == []
    assert [recipe for recipe in recipes if jax.tree.leaves(recipe) not in ([], [recipe])] == []


def test_different_recipes_differ():
    recipes = list(dict.fromkeys(case.layer for case in CASES))
    assert len({repr(recipe) for recipe in recipes}) == len(recipes)
    with pytest.raises((AttributeError, TypeError)):
        jaxnn.Dense(3).n_out = 4


# The same laws for losses.


@in_float64
@every_loss
def test_loss_backward_is_its_gradient(case):
    """dy against `jax.vjp` of the values, with weights of which one is 0; and against central differences.

    The same bits twice; `vmap` is a loop; the dtypes are those of the outputs, in short types too.
    """
    points = [case.point(seed) for seed in range(N_POINTS)]

    def both(y, target, weights):
        values, cache = case.loss.forward(y, target)
        return values, case.loss.backward(cache, weights)

    @jax.jit
    def compared(points):
        y, target, weights = at(0, points)
        _, pull = jax.vjp(lambda y: case.loss.forward(y, target).values, y)
        differences = central_differences(lambda y: jnp.sum(weights * case.loss.forward(y, target).values), y)
        loop = jax.lax.map(lambda point: both(*point), points)
        return loop, jax.vmap(both)(*points), pull(weights)[0], differences

    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *points)
    loop, mapped, truth, differences = compared(stacked)
    values, dy = at(0, loop)
    assert values.shape == (case.batch,)
    assert error(dy, truth) <= SAME
    assert error(dy, differences) <= DIFFERENCES
    if case.batch > 1:
        assert not np.any(dy[1])
    assert jax.tree.all(jax.tree.map(np.array_equal, loop, compared(stacked)[0]))
    assert error(mapped, loop) <= SAME
    if case in LOSS_FORMS:
        assert error(both(*points[0]), at(0, loop)) <= SAME


@every_loss
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_loss_keeps_the_dtype(case, dtype):
    y, target, weights = case.point(dtype=jnp.dtype(dtype))
    values, cache = jax.eval_shape(case.loss.forward, y, target)
    dy = jax.eval_shape(case.loss.backward, cache, weights)
    assert (values.shape, values.dtype) == ((case.batch,), "float32")
    assert (dy.shape, dy.dtype) == (y.shape, dtype)
