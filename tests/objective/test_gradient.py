"""The objective: means, weights, penalties, what is returned, and derivatives of the gradient itself.

That backprop equals autodiff on all layers and on random networks is in test_random_networks.py.
"""

import re
from contextlib import nullcontext
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradients import SAME, error, normal_like
from table import LOSS_FORMS, LOSSES

import jaxnn
from jaxnn import BatchNorm, Dense, Dropout, HalfSquaredError, Serial, SoftmaxCrossEntropy, Tanh, l1, l2

NET, LOSS = Serial(Dense(4), Tanh(), Dense(3)), SoftmaxCrossEntropy()
BOTH = pytest.mark.parametrize("gradient", [jaxnn.backprop, jaxnn.autodiff])


def point(net=NET, batch=5):
    params, state = net.init(jax.random.key(0), (2,))
    x = jax.random.normal(jax.random.key(1), (batch, 2))
    return normal_like(params, seed=0), state, x, jnp.arange(batch) % 3


@BOTH
def test_value_is_mean_loss_plus_penalty(x64, gradient):
    params, state, x, target = point()
    result = gradient(NET, LOSS, penalty=(l2(0.1), l1(0.01)))(params, state, x, target)
    y = NET.forward(params, state, x, train=True).y
    weights = [params[0].weight, params[2].weight]
    penalty = sum(0.05 * jnp.sum(w**2) + 0.01 * jnp.sum(jnp.abs(w)) for w in weights)
    np.testing.assert_allclose(result.loss, jnp.mean(LOSS.forward(y, target).values), rtol=1e-14)
    np.testing.assert_allclose(result.penalty, penalty, rtol=1e-14)
    np.testing.assert_allclose(result.value, result.loss + penalty, rtol=1e-14)
    np.testing.assert_allclose(result.outputs, y, rtol=1e-14)
    assert result.notes == {}


@BOTH
def test_weights_stand_for_copies(x64, gradient):
    """Weight 2 is the example twice, 0 is without it, and only their ratios matter."""
    params, state, x, target = point(batch=3)
    of = gradient(NET, LOSS)
    weighted = of(params, state, x, target, weights=jnp.array([2.0, 1.0, 0.0]) * 7)
    copied = jnp.array([0, 0, 1])
    truth = of(params, state, x[copied], target[copied])
    assert error((weighted.value, weighted.grads), (truth.value, truth.grads)) <= SAME
    assert not np.any(weighted.dx[2])


@BOTH
def test_devices_means_are_the_batchs_if_all_have_one_total(x64, gradient):
    """Weights that are uneven between devices, one of which has none, and a layer whose rows couple across them.

    The total is the mean over devices of their sums.
    """
    net, alone = (Serial(Dense(4), BatchNorm(axis_name=axis), Dense(3)) for axis in ("devices", None))
    params, state, x, target = point(alone, batch=6)
    weights = jnp.array([3.0, 1.0, 0.0, 0.0, 0.5, 7.0])
    truth = gradient(alone, LOSS, penalty=l2(0.1))(params, state, x, target, weights=weights)

    def of_each(x, target, weights):
        of = gradient(net, LOSS, penalty=l2(0.1))
        result = of(params, state, x, target, weights=weights, total=11.5 / 3)
        return result.value, result.loss, result.penalty, result.grads

    shares = (each.reshape(3, 2, *each.shape[1:]) for each in (x, target, weights))
    found = jax.tree.map(partial(jnp.mean, axis=0), jax.vmap(of_each, axis_name="devices")(*shares))
    expected = truth.value, truth.loss, truth.penalty, truth.grads
    assert error(found, expected, jax.tree.map(jnp.ones_like, expected)) <= SAME


@BOTH
@pytest.mark.parametrize(("of_params", "of_data"), [("float32", "float64"), ("bfloat16", "float32")])
def test_gradients_have_the_types_of_their_params(x64, gradient, of_params, of_data):
    """Data of another type leave no trace in what a rule is given: any rule runs."""
    params, state, x, target = point()
    params = jax.tree.map(lambda leaf: leaf.astype(of_params), params)
    with jax.numpy_dtype_promotion("standard"):
        grads = gradient(NET, LOSS)(params, state, x.astype(of_data), target).grads
        for rule in (jaxnn.momentum(0.1), jaxnn.adam(0.1)):
            run = jaxnn.start(NET, x.shape[1:], key=jax.random.key(0), update=rule, dtype=of_params)
            data = x.astype(of_data), target
            run, _ = jaxnn.bgd(NET, LOSS, data, run=run, epochs=1, update=rule, gradient=gradient)
            assert {leaf.dtype.name for leaf in jax.tree.leaves(run.params)} == {of_params}
    assert {leaf.dtype.name for leaf in jax.tree.leaves(grads)} == {of_params}


@BOTH
def test_the_gradient_of_a_batch_is_the_mean_of_its_examples(x64, gradient):
    params, state, x, target = point()
    of = jax.jit(gradient(NET, LOSS))
    each = jax.vmap(lambda x, t: of(params, state, x[None], t[None]).grads)(x, target)
    assert error(jax.tree.map(lambda g: g.mean(axis=0), each), of(params, state, x, target).grads) <= SAME


@BOTH
def test_train_is_a_keyword_for_frozen_statistics(x64, gradient):
    net = Serial(Dense(3), BatchNorm(), Dropout(0.5))
    params, state, x, target = point(net)
    frozen = gradient(net, LOSS)(params, state, x, target, train=False)
    np.testing.assert_array_equal(frozen.outputs, net.forward(params, state, x).y)
    assert error(frozen.state, state) == 0
    moved = gradient(net, LOSS)(params, state, x, target, key=jax.random.key(0))
    assert np.any(moved.state[1].mean != state[1].mean)
    with pytest.raises(ValueError, match="needs a key in training"):
        gradient(net, LOSS)(params, state, x, target)


@BOTH
def test_weights_that_are_refused(gradient):
    params, state, x, target = point()
    of = gradient(NET, LOSS)
    with pytest.raises(ValueError, match=r"weights should be one number per example, \(5,\), got \(4,\)"):
        of(params, state, x, target, weights=jnp.ones(4))
    with pytest.raises(ValueError, match="weights sum to 0, so their mean is undefined"):
        of(params, state, x, target, weights=jnp.zeros(5))
    # Where they have no value yet, nothing is divided by 0.
    traced = jax.jit(lambda w: of(params, state, x, target, weights=w))(jnp.zeros(5))
    assert traced.loss == 0
    assert not any(jax.tree.leaves(jax.tree.map(np.any, traced.grads)))


@pytest.mark.parametrize("case", [*LOSS_FORMS, *(case for case in LOSSES if case.name == "masked")], ids=str)
def test_jvp_of_backprop_is_the_hessian_vector_product(x64, case):
    """Forward over our reverse, against forward over jax.grad: nothing in a hand-written rule blocks `jvp`."""
    net = Serial(Dense(4), Tanh(), BatchNorm(), Dense(case.shape[-1]))
    params, state, x, _ = point(net, case.batch)
    _, target, weights = case.point()

    def by_hand(params):
        return jaxnn.backprop(net, case.loss, penalty=l2(0.1))(params, state, x, target, weights=weights).grads

    def by_machine(params):
        def value(params):
            values = case.loss.forward(net.forward(params, state, x, train=True).y, target).values
            return jnp.sum(weights * values) / jnp.sum(weights) + l2(0.1).value(params)

        return jax.grad(value)(params)

    along = normal_like(params, seed=3)
    products = jax.jit(lambda params: [jax.jvp(f, (params,), (along,))[1] for f in (by_hand, by_machine)])(params)
    assert error(*products, jax.tree.map(lambda leaf: jnp.ones(()), along)) <= SAME


def test_reverse_over_reverse_works_too(x64):
    """The gradient of the squared norm of the gradient."""
    params, state, x, target = point()

    def squared_norm(gradient):
        def of(params):
            return sum(jnp.sum(g**2) for g in jax.tree.leaves(gradient(NET, LOSS)(params, state, x, target).grads))

        return of

    by_hand, by_machine = (jax.jit(jax.grad(squared_norm(of)))(params) for of in (jaxnn.backprop, jaxnn.autodiff))
    assert error(by_hand, by_machine) <= SAME


def test_both_baselines(x64):
    """autodiff of our forward, of raw `jnp`, and of `jax.nn`: one gradient."""
    params, state, x, target = point()

    def raw(params):
        z = jnp.tanh(x @ params[0].weight + params[0].bias[None]) @ params[2].weight + params[2].bias[None]
        return jnp.mean(jnp.log(jnp.sum(jnp.exp(z), axis=1)) - jnp.take_along_axis(z, target[:, None], axis=1)[:, 0])

    def by_jax_nn(params):
        z = jax.nn.tanh(x @ params[0].weight + params[0].bias[None]) @ params[2].weight + params[2].bias[None]
        return -jnp.mean(jnp.sum(jax.nn.log_softmax(z) * jax.nn.one_hot(target, 3), axis=1))

    ours = jaxnn.backprop(NET, LOSS)(params, state, x, target)
    for value in (raw, by_jax_nn):
        assert error(ours.grads, jax.grad(value)(params)) <= SAME
        np.testing.assert_allclose(ours.value, value(params), rtol=1e-13)


def test_integer_input_has_no_dx():
    net = Serial(jaxnn.Rescale(1 / 255), Dense(3))
    params, state, *_ = point(net)
    x = jnp.ones((5, 2), jnp.uint8)
    for gradient in (jaxnn.backprop, jaxnn.autodiff):
        assert gradient(net, HalfSquaredError())(params, state, x, jnp.ones((5, 3))).dx is None


# Names in a profile.


def compiled_step(net):
    """A training step with a penalty, as compiled for this machine."""
    rule, data = jaxnn.momentum(0.1), (jnp.ones((4, 6, 6, 1)), jnp.arange(4) % 3)
    run = jaxnn.start(net, (6, 6, 1), key=jax.random.key(0), update=rule)

    def step(run, x, labels):
        return jaxnn.mbgd(net, LOSS, (x, labels), run=run, epochs=1, batch_size=2, update=rule, penalty=l2(0.1))

    return jax.jit(step).lower(run, *data).compile().as_text()


def without_metadata(program):
    """Instructions alone, numbered as they come: no names of scopes, no tables of files that newer versions append."""
    lines = [line for line in program.splitlines() if not re.match(r"\d+ |(File|Function|Stack)\w+$", line)]
    text = "\n".join(re.sub(r", metadata=\{[^}]*\}", "", line) for line in lines if line)
    numbers = {}
    return re.sub(r"%[\w.-]+", lambda name: f"%{numbers.setdefault(name[0], len(numbers))}", text)


@pytest.fixture
def kept_by_name():
    """A folder of compiled programs looks a program up without its names, and would give one with others back."""
    jax.config.update("jax_compilation_cache_include_metadata_in_key", True)
    yield
    jax.config.update("jax_compilation_cache_include_metadata_in_key", False)


def test_layers_have_names_in_a_profile_by_path_and_direction_that_cost_nothing(monkeypatch, kept_by_name):
    """The compiled program is the same without them, but for metadata."""
    inner = jaxnn.Repeat(jaxnn.Residual(jaxnn.Remat(Serial(jaxnn.LayerNorm(), Dense(4)))), 2)
    branches = jaxnn.Branches(jaxnn.Conv2D(4), jaxnn.Conv2D(4, 1))
    net = Serial(branches, jaxnn.MaxPool(2), jaxnn.ReLU(), inner, jaxnn.Flatten(), Dropout(0.2), Dense(3))
    program = compiled_step(net)
    names = "\n".join(re.findall(r'op_name="([^"]*)"', program))
    deep = "Repeat[3]/", "Residual.inner/Remat.inner/", "Serial.inner/LayerNorm[0]/"  # with the scan's words in between
    for direction in ("forward", "backward"):
        for path in (["Branches[0]/Conv2D[1]/"], ["MaxPool[1]/"], deep, ["Dense[6]/"]):
            steps = ".*".join(map(re.escape, path))
            assert re.search(rf"/{direction}/{steps}", names), (direction, path)
    assert all(f"/{name}/" in names for name in ("loss", "penalty", "update"))
    monkeypatch.setattr(jax, "named_scope", lambda name: nullcontext())
    jax.clear_caches()
    bare = compiled_step(net)
    assert "Dense[6]" not in bare
    assert without_metadata(program) == without_metadata(bare)
