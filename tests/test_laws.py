"""The laws of `layer.py`, for every layer, combinator and loss of the table, in float64.

Each law is one test. The measure of error and its tolerances are those of `gradients.py`; where a test has a tolerance of
its own, it says why.
"""

import inspect
import pickle
import pkgutil
from copy import deepcopy
from functools import partial
from importlib import import_module

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradients import DIFFERENCES, SAME, central_differences, error, inner_product, normal_like, rounding_scale
from table import CASES, COMBINATORS, INITIALIZERS, LAYERS, LOSSES, PENALTIES, RULES, SCHEDULES

import jaxnn
from jaxnn import activations, combinators, initializers, layers, losses, penalties, schedules, updates
from jaxnn.arrays import is_floating

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
        (activations, ("forward", "backward"), [case.layer for case in LAYERS]),
        (layers, ("forward", "backward"), [case.layer for case in LAYERS]),
        (combinators, ("forward", "backward"), [case.layer for case in COMBINATORS]),
        (losses, ("forward", "backward"), [case.loss for case in LOSSES]),
        (initializers, ("__call__",), INITIALIZERS),
        (penalties, ("value", "gradient"), PENALTIES),
        (updates, ("init", "update"), [case.rule for case in RULES]),
        (schedules, ("__call__",), [case.schedule for case in SCHEDULES]),
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


# Law 2: what backward returns has the form of what forward took, in every floating dtype.


@every_case
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_backward_keeps_structures_shapes_and_dtypes(case, dtype):
    if case.integer and dtype != "float32":
        pytest.skip("integers become JAX's default float, which is the params' in one of the modes alone")
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


@in_float64
@every_case
def test_backward_is_the_vjp_of_forward(case):
    """Random and one-hot cotangents, for every parameter and the input; the error has the scale of all one-hots."""
    point = case.point()
    if not is_floating(output(case, point)):
        pytest.skip("there is no gradient of integers")

    @jax.jit
    def compared(point, random):
        def of(params, x):
            return case.forward(point._replace(params=params, x=x)).y

        cache = case.forward(point).cache

        def by_hand(dy):
            dparams, dx = case.layer.backward(point.params, cache, dy)
            return dparams, dx

        def by_machine(dy):
            if case.integer:
                _, pull = jax.vjp(lambda params: of(params, point.x), point.params)
                return (*pull(dy), None)
            _, pull = jax.vjp(of, point.params, point.x)
            return pull(dy)

        scales = jax.vmap(partial(rounding_scale, by_hand))(random)
        return [(jax.vmap(by_hand)(dys), jax.vmap(by_machine)(dys)) for dys in (random, one_hots(random[0]))], scales

    ((random, random_truth), (one_hot, one_hot_truth)), scales = compared(point, cotangents(output(case, point)))
    for i in range(N_COTANGENTS):
        assert error(*(jax.tree.map(lambda leaf, i=i: leaf[i], tree) for tree in (random, random_truth, scales))) <= SAME
    assert error(one_hot, one_hot_truth) <= SAME


@in_float64
@every_case
def test_backward_is_the_central_difference_of_forward(case):
    """An oracle that knows no rule of differentiation. Its points are random, and so away from kinks."""
    point = case.point()
    if not is_floating(output(case, point)):
        pytest.skip("there is no gradient of integers")
    inputs = (point.params,) if case.integer else (point.params, point.x)
    dy = cotangents(output(case, point), 1)[0]

    @jax.jit
    def compared(point, inputs, dy):
        def projected(inputs):
            moved = point._replace(params=inputs[0], x=point.x if case.integer else inputs[1])
            return jnp.sum(dy * case.forward(moved).y)

        def by_hand(dy):
            return tuple(case.layer.backward(point.params, case.forward(point).cache, dy))[: len(inputs)]

        return by_hand(dy), central_differences(projected, inputs), rounding_scale(by_hand, dy)

    assert error(*compared(point, inputs, dy)) <= DIFFERENCES


@in_float64
@every_case
def test_backward_is_adjoint_to_the_jvp_and_linear(case):
    """<dy, J u> = <J^T dy, u>, and backward(a v + b w) = a backward(v) + b backward(w)."""
    point = case.point()
    y = output(case, point)
    if not is_floating(y):
        pytest.skip("there is no gradient of integers")
    inputs = (point.params,) if case.integer else (point.params, point.x)

    @jax.jit
    def products(point, inputs, along, dy, other):
        def of(*inputs):
            return case.forward(point._replace(params=inputs[0], x=point.x if case.integer else inputs[1])).y

        def by_hand(dy):
            return tuple(case.layer.backward(point.params, case.forward(point).cache, dy))[: len(inputs)]

        _, pushed = jax.jvp(of, inputs, along)
        first, second = by_hand(dy), by_hand(other)
        separate = jax.tree.map(lambda a, b: 2.5 * a - 0.75 * b, first, second)
        scale = jax.tree.map(jnp.add, rounding_scale(by_hand, 2.5 * dy), rounding_scale(by_hand, 0.75 * other))
        together = by_hand(2.5 * dy - 0.75 * other)
        return inner_product(dy, pushed), inner_product(first, along), (together, separate, scale)

    dy, other = cotangents(y, 2)
    (left, size), (right, other_size), linear = products(point, inputs, normal_like(inputs, seed=2), dy, other)
    assert abs(left - right) <= SAME * max(size, other_size)
    assert error(*linear) <= SAME


# Law 4: purity.


@in_float64
@every_case
def test_forward_and_backward_are_pure(case):
    """The same bits twice; under jit and eager, and under vmap and a loop, the same but for rounding."""
    points = [case.point(seed) for seed in range(3)]
    dys = cotangents(output(case, points[0]))

    def both(point, dy):
        y, state, cache = case.forward(point)
        backward = case.layer.backward(point.params, cache, dy) if is_floating(y) else None
        return y, state, backward

    compiled = jax.jit(both)
    each = [compiled(point, dy) for point, dy in zip(points, dys, strict=True)]
    again = compiled(points[0], dys[0])
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, each[0], again)))

    assert error(both(points[0], dys[0]), each[0]) <= SAME

    def stacked(trees):
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)

    assert error(jax.jit(jax.vmap(both))(stacked(points), dys), stacked(each)) <= SAME


@every_case
def test_the_cache_leaves_jit_and_comes_back(case):
    """What forward saved is a tree of arrays and `Static`s: backward can be another program, on another day."""
    point = case.point()
    y, _, cache = jax.jit(case.forward)(point)
    if not is_floating(y):
        return
    apart = jax.jit(case.layer.backward)(point.params, cache, y)
    together = jax.jit(lambda point: case.layer.backward(point.params, case.forward(point).cache, y))(point)
    # float32, where two programs may round differently: 1e-5 is 100 u.
    assert error(apart, together) <= 1e-5


# Law 5: rows of a batch are independent, unless the layer couples them.


@in_float64
@pytest.mark.parametrize("case", [case for case in CASES if case.batch > 1], ids=str)
def test_a_row_depends_on_its_own_row_alone(case):
    """A cotangent in row 0 gives a dx in row 0, and a layer that couples the batch must fail this."""
    point = case.point()
    y = output(case, point)
    if not is_floating(y) or case.integer:
        pytest.skip("there is no gradient of integers")
    dy = cotangents(y, 1)[0].at[1:].set(0)
    dx = jax.jit(lambda point, dy: case.layer.backward(point.params, case.forward(point).cache, dy).dx)(point, dy)
    assert np.any(dx[1:] != 0) == case.couples
    if case.couples:
        assert jaxnn.couples_batch(case.layer)


@in_float64
@pytest.mark.parametrize("case", [case for case in CASES if case.batch > 1 and not case.draws], ids=str)
def test_batches_add_up(case):
    """backward of a batch is the sum of backwards of its halves, each with its own forward; dx is their rows."""
    point = case.point()
    y = output(case, point)
    if not is_floating(y):
        pytest.skip("there is no gradient of integers")
    dy = cotangents(y, 1)[0]
    half = case.batch // 2 if not case.couples or case.batch > 3 else case.batch

    @jax.jit
    def of_rows(point, dy):
        _, _, cache = case.forward(point)
        return case.layer.backward(point.params, cache, dy)

    def of(rows):
        return of_rows(point._replace(x=point.x[rows]), dy[rows])

    if half == case.batch:
        pytest.skip("BatchNorm needs two rows in each half")
    whole, first, second = of(slice(None)), of(slice(half)), of(slice(half, None))
    dparams = jax.tree.map(jnp.add, first.dparams, second.dparams)
    dx = None if case.integer else jnp.concatenate([first.dx, second.dx])
    cache = case.forward(point).cache
    scale = jax.jit(partial(rounding_scale, lambda dy: case.layer.backward(point.params, cache, dy)))(dy)
    difference = error((dparams, dx), tuple(whole), tuple(scale))
    assert difference > 1e-3 if case.couples else difference <= SAME


# Law 6: recipes are values.


@pytest.mark.parametrize(
    "recipe",
    [*dict.fromkeys(case.layer for case in CASES), *dict.fromkeys(case.loss for case in LOSSES), *INITIALIZERS],
    ids=str,
)
def test_a_recipe_is_a_value(recipe):
    for copy in (deepcopy(recipe), pickle.loads(pickle.dumps(recipe)), eval(repr(recipe), vars(jaxnn).copy())):
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
        def by_hand(weights):
            return case.loss.backward(case.loss.forward(y, target).cache, weights)

        values, pull = jax.vjp(lambda y: case.loss.forward(y, target).values, y)
        differences = central_differences(lambda y: jnp.sum(weights * case.loss.forward(y, target).values), y)
        return values, by_hand(weights), pull(weights)[0], differences, rounding_scale(by_hand, weights)

    values, dy, truth, differences, scale = compared(y, target, weights)
    assert values.shape == (case.batch,)
    assert error(dy, truth, scale) <= SAME
    assert error(dy, differences, scale) <= DIFFERENCES
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
@every_loss
def test_loss_is_pure(case):
    points = [case.point(seed) for seed in range(3)]

    def both(y, target, weights):
        values, cache = case.loss.forward(y, target)
        return values, case.loss.backward(cache, weights)

    compiled = jax.jit(both)
    each = [compiled(*point) for point in points]
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, each[0], compiled(*points[0]))))
    assert error(both(*points[0]), each[0]) <= SAME
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *points)
    assert error(jax.jit(jax.vmap(both))(*stacked), jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)) <= SAME
