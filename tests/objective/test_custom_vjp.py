"""The exported rule is the hand-written one, under every transformation and in other people's training steps."""

from functools import partial
from typing import Any, NamedTuple

import equinox
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx
from gradients import SAME, error, normal_like, rounding_scale
from table import CELLS, FORMS, LOSS_FORMS, WITH_GRADIENT

import jaxnn
from jaxnn import as_custom_vjp
from jaxnn.arrays import is_floating
from jaxnn.layer import Backward, recipe

pytestmark = pytest.mark.usefixtures("x64")

P = jax.sharding.PartitionSpec
REPLICATED, SHARED = P(), P("devices")

NET = jaxnn.Serial(jaxnn.Dense(4), jaxnn.Tanh(), jaxnn.Repeat(jaxnn.Residual(jaxnn.Dense(4)), 2), jaxnn.Dense(3))
LOSS = jaxnn.SoftmaxCrossEntropy()
X, LABELS = np.random.default_rng(0).normal(size=(8, 5)), np.random.default_rng(1).integers(0, 3, 8)
SHAPES, STATE = jax.eval_shape(lambda key: tuple(NET.init(key, (5,), np.float32)), jax.random.key(0))
PARAMS = jax.tree.map(lambda leaf: np.random.default_rng(leaf.size).normal(size=leaf.shape) / 2, SHAPES)

BY_HAND = as_custom_vjp(NET), as_custom_vjp(LOSS)


def plain(net):
    """What `as_custom_vjp` of a layer computes, without its rule."""
    return lambda *arguments, **options: net.forward(*arguments, **options)[:2]


BY_MACHINE = plain(NET), lambda y, target: LOSS.forward(y, target).values


def objective(functions, params, x, labels=LABELS):
    """With code of somebody else's before, between and after."""
    predict, values = functions
    y, _ = predict(jax.tree.map(jnp.sin, params), STATE, jnp.cos(x))
    return jnp.sum(jnp.square(values(y + jnp.tanh(y), labels))) / 8


def gradients(functions, params=PARAMS, x=X):
    return jax.grad(partial(objective, functions), argnums=(0, 1))(params, x)


def difference(got, truth):
    """An absolute error where the truth is small: numbers here are of size 1, and some derivatives are truly 0."""
    return error(got, truth, jax.tree.map(lambda _: 1.0, truth))


class Pulled(NamedTuple):
    """A forward and its vector-Jacobian product."""

    outputs: Any
    dparams: Any
    dx: Any


def pulled(case, function, point, dy) -> Pulled:
    of = (point.params, point.x) if is_floating(point.x) else (point.params,)

    def of_these(params, x=point.x):
        return function(params, point.state, x, key=point.key, train=case.train)

    y, pull, state = jax.vjp(of_these, *of, has_aux=True)
    dparams, *dx = pull(dy)
    return Pulled((y, state), dparams, dx[0] if dx else None)


# A few, and integers: the export asks a rule for its gradient and doesn't know its form.
EXPORTED = [*FORMS[::3], *(case for case in WITH_GRADIENT if case.integer)][:12]


@pytest.mark.parametrize("case", EXPORTED, ids=str)
def test_it_is_backward(case):
    """And so what JAX makes of the plain forward; y and state are forward's own."""
    point = case.point()
    dy = normal_like(jax.eval_shape(lambda: case.forward(point).y), seed=1)

    @jax.jit
    def three():
        y, state, cache = case.forward(point)
        by_hand = Pulled((y, state), *case.layer.backward(point.params, cache, dy))
        size = rounding_scale(case.layer, point.params, cache, dy)
        exported, by_machine = (pulled(case, f, point, dy) for f in (as_custom_vjp(case.layer), plain(case.layer)))
        return exported, by_hand, by_machine, Pulled(jax.tree.map(lambda _: 0.0, (y, state)), *size)

    exported, by_hand, by_machine, size = three()
    assert error(exported, by_hand, size) <= SAME
    assert error(exported, by_machine, size) <= SAME


@pytest.mark.parametrize("case", LOSS_FORMS, ids=str)
def test_a_losss_gradient_is_its_backward(case):
    @jax.jit
    def both(y, target, weights):
        values, pull = jax.vjp(lambda y: as_custom_vjp(case.loss)(y, target), y)
        expected, cache = case.loss.forward(y, target)
        return (values, pull(weights)[0]), (expected, case.loss.backward(cache, weights))

    exported, expected = both(*case.point())
    assert error(exported, expected) <= SAME


def test_both_gradients_of_the_library_agree():
    @jax.jit
    def three(params):
        predict, values = BY_HAND
        exported = jax.grad(lambda params: jnp.mean(values(predict(params, STATE, X)[0], LABELS)))(params)
        return exported, *(make(NET, LOSS)(params, STATE, X, LABELS).grads for make in (jaxnn.backprop, jaxnn.autodiff))

    exported, by_hand, by_machine = three(PARAMS)
    assert error(exported, by_hand) <= SAME
    assert error(exported, by_machine) <= SAME


@recipe
class Doubled(jaxnn.Dense):
    """A rule that is wrong on purpose, so that one sees who is asked."""

    def backward(self, params, cache, dy):
        return jax.tree.map(lambda gradient: 2 * gradient, super().backward(params, cache, dy))


@recipe
class Frozen(jaxnn.Dense):
    """A rule that gives no gradient to its params: zeros that don't depend on anything."""

    def backward(self, params, cache, dy):
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), params)
        return Backward(zeros, super().backward(params, cache, dy).dx)


def dense_gradients(layer):
    params, state = jaxnn.Dense(3).init(jax.random.key(0), (5,))
    return jax.grad(lambda params, x: jnp.sum(as_custom_vjp(layer)(params, state, x)[0]), argnums=(0, 1))(params, X)


def test_the_rule_asked_is_the_hand_written_one():
    assert difference(dense_gradients(Doubled(3)), jax.tree.map(lambda g: 2 * g, dense_gradients(jaxnn.Dense(3)))) == 0


def test_forward_mode_is_refused_but_not_of_the_gradient():
    direction = normal_like(PARAMS, seed=3)
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(lambda params: objective(BY_HAND, params, X), (PARAMS,), (direction,))

    @partial(jax.jit, static_argnums=0)
    def hessian_vector_product(functions):
        return jax.jvp(partial(gradients, functions), (PARAMS,), (direction,))[1]

    assert difference(hessian_vector_product(BY_HAND), hessian_vector_product(BY_MACHINE)) <= SAME
    jax.jvp(lambda params: objective(BY_MACHINE, params, X), (PARAMS,), (direction,))


def test_equal_recipes_are_one_function(compilations):
    assert as_custom_vjp(jaxnn.Serial(*NET.layers)) is BY_HAND[0]
    jax.block_until_ready(jax.jit(BY_HAND[0])(PARAMS, STATE, X))
    with compilations.none():
        jax.jit(as_custom_vjp(jaxnn.Serial(*NET.layers)))(PARAMS, STATE, X)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (3, "takes a layer or a loss, got a int"),
        ([jaxnn.Dense(3)], "got a list: .* wrap several in Serial"),
        (jaxnn.Dense, "got the class Dense: make one"),
        (jaxnn.HalfSquaredError, "got the class HalfSquaredError: make one"),
        (jaxnn.l2(0.1), "got a l2"),
    ],
    ids=str,
)
def test_what_is_no_recipe_is_refused(what, words):
    with pytest.raises(TypeError, match=words):
        as_custom_vjp(what)


# Under JAX's transformations.


@pytest.mark.parametrize(
    "transform",
    [jax.jit, jax.checkpoint, lambda f: jax.jit(jax.checkpoint(f)), lambda f: jax.checkpoint(jax.jit(f))],
    ids=["jit", "checkpoint", "jit of checkpoint", "checkpoint of jit"],
)
def test_the_gradient_of_a_transformed_function(transform):
    by_hand = jax.grad(transform(partial(objective, BY_HAND)), argnums=(0, 1))
    assert difference(jax.jit(by_hand)(PARAMS, X), jax.jit(partial(gradients, BY_MACHINE))(PARAMS, X)) <= SAME


MANY = jax.tree.map(lambda leaf: np.stack([leaf, 2 * leaf, -leaf]), PARAMS)
MANY_X = np.stack([X, -X, 2 * X])


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0)], ids=str)
def test_vmap_over_params_and_examples(axes):
    given = [many if axis == 0 else one for axis, many, one in zip(axes, (MANY, MANY_X), (PARAMS, X), strict=True)]

    @jax.jit
    def three(*given):
        inside, truth = (jax.vmap(partial(gradients, f), in_axes=axes)(*given) for f in (BY_HAND, BY_MACHINE))
        outside = jax.grad(lambda *given: jnp.sum(jax.vmap(partial(objective, BY_HAND), axes)(*given)), (0, 1))(*given)
        one_for_all = [axis is None for axis in axes]
        summed = tuple(
            jax.tree.map(partial(jnp.sum, axis=0), g) if one else g for one, g in zip(one_for_all, truth, strict=True)
        )
        return inside, truth, outside, summed

    inside, truth, outside, summed = three(*given)
    assert difference(inside, truth) <= SAME
    assert difference(outside, summed) <= SAME


def test_scan():
    """A gradient inside a scan, and the gradient of a scan."""

    def inside(functions, many, x):
        return jax.lax.scan(lambda _, params: (None, gradients(functions, params, x)), None, many)[1]

    def through(functions, many, x):
        def total(many, x):
            return jax.lax.scan(lambda sum, params: (sum + objective(functions, params, x * sum), None), 1.0, many)[0]

        return jax.grad(total, argnums=(0, 1))(many, x)

    for each in (inside, through):
        got, truth = (jax.jit(partial(each, f))(MANY, X) for f in (BY_HAND, BY_MACHINE))
        assert difference(got, truth) <= SAME


IMAGES = np.random.default_rng(0).integers(0, 256, (8, 5)).astype(np.uint8)
TRAINED = jaxnn.Serial(jaxnn.Rescale(1 / 255), jaxnn.Dense(4), jaxnn.BatchNorm(), jaxnn.Dropout(0.5), jaxnn.Dense(2))


def trained_gradients(function, params, state, key, x=IMAGES):
    def value(params):
        y, new_state = function(params, state, x, key=key, train=True)
        return jnp.sum(jnp.sin(y)), (y, new_state)

    return jax.grad(value, has_aux=True)(params)


def test_keys_states_and_integers():
    """Each key drops numbers of its own, the same ones as without the export; uint8 images have no cotangent."""
    params, state = TRAINED.init(jax.random.key(0), (5,))
    keys = jax.random.split(jax.random.key(1), 3)
    got, truth = (
        jax.jit(jax.vmap(partial(trained_gradients, f, params, state)))(keys)
        for f in (as_custom_vjp(TRAINED), plain(TRAINED))
    )
    assert difference(got, truth) <= SAME
    assert not np.allclose(got[0][1].weight[0], got[0][1].weight[1])


def test_what_is_not_differentiated_has_no_cotangent():
    params, state = TRAINED.init(jax.random.key(0), (5,))
    key = jax.random.key(1)

    def function(params, state, x, key):
        return as_custom_vjp(TRAINED)(params, state, x, key=key, train=True)

    outputs, pull = jax.vjp(function, params, state, IMAGES, key)
    of_params, of_state, of_x, of_key = pull(jax.tree.map(jnp.ones_like, outputs))
    assert difference(of_state, jax.tree.map(jnp.zeros_like, state)) == 0
    assert of_x.dtype == of_key.dtype == jax.dtypes.float0
    of_y = outputs[0], jax.tree.map(jnp.zeros_like, outputs[1])  # the cotangent of new_state is ignored
    assert difference(pull((jnp.ones_like(of_y[0]), of_y[1]))[0], of_params) == 0
    of_target = jax.grad(lambda target: jnp.sum(as_custom_vjp(jaxnn.HalfSquaredError())(X, target)))(jnp.zeros(X.shape))
    assert difference(of_target, jnp.zeros(X.shape)) == 0


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_a_cell_takes_a_step(cell):
    """Its x and y are pairs."""
    params, state = cell.init(jax.random.key(0), (5,))

    @partial(jax.jit, static_argnums=0)
    def of(function):
        def total(params, x):
            step, _ = function(params, state, jaxnn.Step(cell.start(8, x.dtype), x))
            return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(step))

        return jax.grad(total, argnums=(0, 1))(params, X)

    assert difference(of(as_custom_vjp(cell)), of(plain(cell))) <= SAME


# On a mesh, where jax.grad of replicated params is the sum over the devices.


def on_mesh(function, in_specs, out_specs):
    mesh = jax.make_mesh((4,), ("devices",), axis_types=(jax.sharding.AxisType.Auto,))
    return jax.jit(jax.shard_map(function, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=True))


@pytest.mark.devices
@pytest.mark.parametrize("specs", [(REPLICATED, SHARED), (REPLICATED, REPLICATED)], ids=str)
def test_four_devices_equal_one(specs):
    """Each with its share of the examples, or with all of them."""
    spec = specs[1]

    def of_each(functions, params, x, labels):
        return jax.grad(partial(objective, functions), argnums=(0, 1))(params, x, labels)

    many = on_mesh(partial(of_each, BY_HAND), (REPLICATED, spec, spec), specs)(PARAMS, X, LABELS)
    assert difference(many, jax.jit(partial(of_each, BY_MACHINE))(PARAMS, X, LABELS)) <= SAME


@pytest.mark.devices
@pytest.mark.parametrize("case", FORMS[::6], ids=str)
def test_on_a_mesh_every_form_is_summed_as_jax_grad_sums(case):
    """Also where rows couple and dice are thrown: the same program on each device, by hand and by machine."""
    point = case.point()
    x = jnp.concatenate([point.x, 2 * point.x, -point.x, point.x / 3])

    def of_each(function, params, x):
        def total(params, x):
            return jnp.sum(jnp.sin(function(params, point.state, x, key=point.key, train=case.train)[0]))

        return jax.grad(total, argnums=(0, 1))(params, x)

    specs = (REPLICATED, SHARED)
    got, truth = (
        on_mesh(partial(of_each, f), specs, specs)(point.params, x)
        for f in (as_custom_vjp(case.layer), plain(case.layer))
    )
    assert difference(got, truth) <= SAME


@pytest.mark.devices
def test_on_a_mesh_everything_else_may_vary():
    """Params of each device's own with the same examples; a key of its own, so that the same examples vary."""
    net = jaxnn.Serial(jaxnn.Dense(4), jaxnn.Dropout(0.5))
    params, state = net.init(jax.random.key(0), (5,))
    own, keys = jax.tree.map(lambda leaf: jnp.stack([leaf, -leaf, 2 * leaf, 3 * leaf]), params), jnp.arange(4)

    def of_each(function, own, params, x, seed):
        mine, key = jax.tree.map(lambda leaf: leaf[0], own), jax.random.key(seed[0])

        def total(mine, params, x):
            y = function(mine, state, x, key=key, train=True)[0] + function(params, state, x, key=key, train=True)[0]
            return jnp.sum(jnp.sin(y))

        of_mine, *rest = jax.grad(total, argnums=(0, 1, 2))(mine, params, x)
        return jax.tree.map(lambda leaf: leaf[None], of_mine), *rest

    given, specs = (own, params, X, keys), (SHARED, REPLICATED, REPLICATED)
    got, truth = (
        on_mesh(partial(of_each, f), (*specs, SHARED), specs)(*given) for f in (as_custom_vjp(net), plain(net))
    )
    assert difference(got, truth) <= SAME


@pytest.mark.devices
def test_on_a_mesh_a_rule_may_give_constants():
    params, state = Frozen(3).init(jax.random.key(0), (5,))

    def of_each(params, x):
        return jax.grad(lambda params: jnp.sum(as_custom_vjp(Frozen(3))(params, state, x)[0]))(params)

    got = on_mesh(of_each, (REPLICATED, SHARED), REPLICATED)(params, X)
    assert difference(got, jax.tree.map(jnp.zeros_like, params)) == 0


# Training steps in other people's clothes: five steps of each are five of bgd.

RATE, STEPS = 0.1, 5


@pytest.fixture(scope="module")
def trained_params():
    with jax.enable_x64(True):
        update = jaxnn.gradient_descent(RATE)
        begin = jaxnn.start(NET, (5,), key=jax.random.key(0), update=update)
        params = jax.tree.map(jnp.asarray, PARAMS)
        run, _ = jaxnn.bgd(NET, LOSS, (X, LABELS), run=begin._replace(params=params), epochs=STEPS, update=update)
        return run.params


def mean_loss(y):
    return jnp.mean(as_custom_vjp(LOSS)(y, LABELS))


def test_a_plain_step_with_optax(trained_params):
    optimiser = optax.sgd(RATE)

    @jax.jit
    def step(params, rule_state):
        grads = jax.grad(lambda params: mean_loss(as_custom_vjp(NET)(params, STATE, X)[0]))(params)
        updates, rule_state = optimiser.update(grads, rule_state, params)
        return optax.apply_updates(params, updates), rule_state

    params = PARAMS
    with jax.numpy_dtype_promotion("standard"):
        rule_state = optimiser.init(params)
        for _ in range(STEPS):
            params, rule_state = step(params, rule_state)
    assert difference(params, trained_params) <= SAME


def test_a_flax_linen_module(trained_params):
    class Module(linen.Module):
        net: Any

        @linen.compact
        def __call__(self, x):
            params = self.param("net", lambda key: PARAMS)
            return as_custom_vjp(self.net)(params, STATE, x)[0]

    module = Module(NET)
    variables = module.init(jax.random.key(0), X)

    @jax.jit
    def step(variables):
        grads = jax.grad(lambda variables: mean_loss(module.apply(variables, X)))(variables)
        return jax.tree.map(lambda leaf, gradient: leaf - RATE * gradient, variables, grads)

    for _ in range(STEPS):
        variables = step(variables)
    assert difference(variables["params"]["net"], trained_params) <= SAME


def test_a_flax_module_with_state_and_dropout():
    """Running statistics as Flax's mutable variables, the key from its "dropout" stream: as without the rule."""

    class Module(linen.Module):
        function: Any

        @linen.compact
        def __call__(self, x):
            made = TRAINED.init(jax.random.key(0), x.shape[1:])
            params = self.param("net", lambda key: made.params)
            state = self.variable("batch_stats", "net", lambda: made.state)
            y, state.value = self.function(params, state.value, x, key=self.make_rng("dropout"), train=True)
            return y

    def trained(function):
        module = Module(function)

        @jax.jit
        def step(variables, key):
            def value(params):
                given = {"params": params, "batch_stats": variables["batch_stats"]}
                y, changed = module.apply(given, IMAGES, mutable=["batch_stats"], rngs={"dropout": key})
                return jnp.sum(jnp.sin(y)), changed

            grads, changed = jax.grad(value, has_aux=True)(variables["params"])
            params = jax.tree.map(lambda leaf, gradient: leaf - RATE * gradient, variables["params"], grads)
            return {"params": params, **changed}

        variables = module.init({"params": jax.random.key(0), "dropout": jax.random.key(1)}, IMAGES)
        for key in jax.random.split(jax.random.key(2), STEPS):
            variables = step(variables, key)
        return variables

    assert difference(trained(as_custom_vjp(TRAINED)), trained(plain(TRAINED))) <= SAME


def test_a_flax_nnx_module(trained_params):
    class Module(nnx.Module):
        def __init__(self):
            self.params = nnx.Param(jax.tree.map(jnp.asarray, PARAMS))

        def __call__(self, x):
            return as_custom_vjp(NET)(self.params.get_value(), STATE, x)[0]

    module = Module()

    @nnx.jit
    def step(module):
        grads = nnx.grad(lambda module: mean_loss(module(X)))(module)
        nnx.update(module, jax.tree.map(lambda leaf, g: leaf - RATE * g, nnx.state(module, nnx.Param), grads))

    for _ in range(STEPS):
        step(module)
    assert difference(module.params.get_value(), trained_params) <= SAME


def test_an_equinox_module(trained_params):
    class Module(equinox.Module):
        net: Any = equinox.field(static=True)
        params: Any

        def __call__(self, x):
            return as_custom_vjp(self.net)(self.params, STATE, x)[0]

    module = Module(NET, jax.tree.map(jnp.asarray, PARAMS))

    @equinox.filter_jit
    def step(module):
        _, grads = equinox.filter_value_and_grad(lambda module: mean_loss(module(X)))(module)
        return equinox.apply_updates(module, jax.tree.map(lambda gradient: -RATE * gradient, grads))

    for _ in range(STEPS):
        module = step(module)
    assert difference(module.params, trained_params) <= SAME
