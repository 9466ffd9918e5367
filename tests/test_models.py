"""Networks by name."""

import jax
import jax.numpy as jnp
import pytest

import jaxnn
from jaxnn.models import ACTIVATIONS, INITIALIZERS, mlp


def test_the_layers_stand_in_the_textbook_order():
    net = mlp([4, 3], 2, "tanh", output_activation="sigmoid", batch_norm=True, dropout=0.5, scale=0.1)
    block = (jaxnn.BatchNorm(), jaxnn.Tanh(), jaxnn.Dropout(0.5))
    assert net.layers == (
        jaxnn.Flatten(),
        jaxnn.Rescale(0.1),
        jaxnn.Dense(4, bias=False),
        *block,
        jaxnn.Dense(3, bias=False),
        *block,
        jaxnn.Dense(2),
        jaxnn.Sigmoid(),
    )


def test_without_hidden_layers_it_is_linear():
    assert mlp([], 2).layers == (jaxnn.Flatten(), jaxnn.Rescale(), jaxnn.Dense(2))


@pytest.mark.parametrize(
    ("activation", "init"), [*((name, "he") for name in ACTIVATIONS), *(("relu", name) for name in INITIALIZERS)]
)
def test_every_name_makes_a_network_that_runs(activation, init, key):
    net = mlp([3], 2, activation, weight_init=init, scale=1 / 255)
    params, state = net.init(key, (2, 2, 1))
    assert net.forward(params, state, jnp.ones((5, 2, 2, 1), jnp.uint8)).y.shape == (5, 2)


def test_layers_and_initialisers_themselves_are_taken():
    assert mlp([3], 2, jaxnn.LeakyReLU(0.2), weight_init=jaxnn.Zeros()).layers[2:4] == (
        jaxnn.Dense(3, jaxnn.Zeros()),
        jaxnn.LeakyReLU(0.2),
    )


def test_equal_arguments_make_equal_networks():
    assert mlp((3,), 2) == mlp([3], 2)
    assert hash(mlp((3,), 2)) == hash(mlp([3], 2))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"activation": "rleu"}, "no activation 'rleu': expected one of relu, sigmoid"),
        ({"output_activation": "soft"}, "no output activation 'soft'"),
        ({"weight_init": "xavier"}, "no initialiser 'xavier': expected one of he, glorot"),
        ({"dropout": 1.5}, "Dropout: rate"),
        ({"hidden": [0]}, "Dense: n_out"),
    ],
)
def test_what_is_wrong_is_said(arguments, words):
    with pytest.raises(ValueError, match=words):
        mlp(**{"hidden": [3], "n_out": 2, **arguments})


def test_a_rescaled_network_learns_from_bytes(key):
    x = jax.random.randint(key, (32, 4), 0, 256).astype(jnp.uint8)
    labels = (x[:, 0] > 127).astype(jnp.int32)
    _, history = jaxnn.bgd(
        mlp([8], 2, scale=1 / 255),
        jaxnn.SoftmaxCrossEntropy(),
        (x, labels),
        key=key,
        epochs=300,
        update=jaxnn.gradient_descent(0.5),
    )
    assert history.loss[-1] < 0.3 * history.loss[0]
