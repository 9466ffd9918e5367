"""The network neuron by neuron: its equations, the vectorised reference, and the compiled SGD."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn
from jaxnn import reference
from jaxnn.reference import neurons, twin

SIZES = {"linked article's 3-4-2": (3, 4, 2), "one layer": (3, 2), "deep": (2, 5, 4, 3, 2)}


@pytest.fixture(params=SIZES.values(), ids=SIZES)
def network(request, rng):
    return [
        neurons.Layer(rng.standard_normal((n_in, n_out)), rng.standard_normal(n_out))
        for n_in, n_out in zip(request.param[:-1], request.param[1:], strict=True)
    ]


def as_recipe(network):
    layers = [layer for w, _ in network for layer in (jaxnn.Dense(w.shape[1]), jaxnn.Sigmoid())]
    params = tuple(each for w, b in network for each in (jaxnn.DenseParams(w, b), ()))
    return jaxnn.Serial(*layers), params, ((),) * len(layers)


def test_the_sigmoid():
    assert neurons.sigmoid(0.0) == 0.5
    assert neurons.sigmoid(1e4) == 1
    assert neurons.sigmoid(-1e4) == 0
    assert np.isclose(neurons.sigmoid(np.log(3)), 0.75, rtol=1e-15)


def test_one_neuron_by_hand():
    """net = ln 3, so y = 3/4; t = 1: delta = 3/4 1/4 1/4 = 3/64."""
    network = [neurons.Layer(np.array([[np.log(3)]]), np.zeros(1))]
    outputs = neurons.forward(network, np.ones(1))
    deltas = neurons.error_terms(network, outputs, np.ones(1))
    assert np.isclose(deltas[0], 3 / 64, rtol=1e-15)
    assert np.isclose(neurons.half_squared_error(outputs[-1], np.ones(1)), 1 / 32, rtol=1e-15)
    neurons.update(network, outputs, deltas, 64.0)
    assert np.isclose(network[0].w, np.log(3) + 3, rtol=1e-15)
    assert np.isclose(network[0].b, 3, rtol=1e-15)


def test_a_small_step_is_a_step_against_the_numeric_gradient(network, rng, numeric_gradient, agree):
    """The gradient check of the article: the step w <- w + eta delta a is -eta dE/dw, of every weight and bias."""
    n_in, n_out = len(network[0].w), len(network[-1].b)
    x, t = rng.standard_normal(n_in), rng.uniform(0, 1, n_out)
    gradient = numeric_gradient(lambda: neurons.half_squared_error(neurons.forward(network, x)[-1], t), tuple(network))
    after, _ = neurons.sgd(network, x[None], t[None], orders=[[0]], learning_rate=1.0)
    step = [neurons.Layer(new.w - old.w, new.b - old.b) for new, old in zip(after, network, strict=True)]
    agree(step, [neurons.Layer(-g.w, -g.b) for g in gradient], 1e-9)


def test_error_terms_are_minus_the_cotangents_of_net_inputs(network, rng, agree):
    n_in, n_out = len(network[0].w), len(network[-1].b)
    x, t = rng.standard_normal((1, n_in)), rng.uniform(0, 1, (1, n_out))
    net, params, state = as_recipe(network)
    grads = reference.backprop(twin(net), twin(jaxnn.HalfSquaredError()))(params, state, x, t).grads
    outputs = neurons.forward(network, x[0])
    deltas = neurons.error_terms(network, outputs, t[0])
    # A bias enters the net input as it is, so that its gradient is the net input's.
    agree([-delta for delta in deltas], [dense.bias for dense in grads if dense])


def test_sgd_equals_the_vectorised_form_and_the_compiled_one(network, rng, agree, x64):
    n_in, n_out = len(network[0].w), len(network[-1].b)
    data = rng.standard_normal((10, n_in)), rng.uniform(0, 1, (10, n_out))
    net, params, state = as_recipe(network)
    loss, rule = jaxnn.HalfSquaredError(), jaxnn.gradient_descent(0.5)
    keys, as_jax = jaxnn.Keys.of(jax.random.key(0)), jax.tree.map(jnp.asarray, params)
    begin = jaxnn.Run(as_jax, state, rule.init(as_jax), keys, jnp.int32(0), jnp.int32(0))
    orders = [np.asarray(jax.random.permutation(jax.random.fold_in(keys.order, epoch), 10)) for epoch in range(2)]

    trained, errors = neurons.sgd(network, *data, orders=orders, learning_rate=0.5)
    _, expected, _ = as_recipe(trained)
    vectorised = reference.sgd(
        *(twin(net), twin(loss), data), params=params, state=state, orders=orders, update=twin(rule)
    )
    agree((vectorised.params, vectorised.history.loss), (expected, errors))
    run, history = jaxnn.sgd(net, loss, data, run=begin, epochs=2, update=rule, metric=None)
    agree((run.params, history.loss), (expected, errors))


def test_sgd_leaves_its_arguments_alone(rng):
    network = [neurons.Layer(np.ones((2, 1)), np.ones(1))]
    neurons.sgd(network, np.ones((1, 2)), np.zeros((1, 1)), orders=[[0]], learning_rate=1.0)
    assert (network[0].w == 1).all()
    assert (network[0].b == 1).all()
