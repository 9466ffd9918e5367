"""Networks by name."""

import jax
import jax.numpy as jnp
import pytest

import jaxnn
from jaxnn.arrays import size
from jaxnn.costs.memory import ledger
from jaxnn.networks.models import (
    ACTIVATIONS,
    INITIALIZERS,
    batch_norm_cnn,
    cnn,
    lenet5,
    mlp,
    residual_block,
    resnet,
    small_cnn,
)


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


def n_params(net, shape=(28, 28, 1)):
    return size(jax.eval_shape(lambda key: net.init(key, shape), jax.random.key(0)).params)


def test_how_many_params_they_have():
    assert n_params(small_cnn()) == 32 * 10 + 64 * (9 * 32 + 1) + 10 * (7 * 7 * 64 + 1) == 50_186
    assert n_params(lenet5()) == 44_426  # SimpleChains.jl's LeNet-5
    # He et al. 2016, "Deep residual learning", table 6; theirs has no 1 x 1 convolutions, 2,560 weights here.
    millions = [(n_params(resnet(depth), (32, 32, 3)) - 2560) / 1e6 for depth in (20, 32, 44, 56, 110)]
    assert [round(each, 2) for each in millions] == [0.27, 0.46, 0.66, 0.85, 1.73]


def test_a_cnn_s_layers():
    net = cnn([4], 2, "tanh", hidden=[3], window=5, batch_norm=True, dropout=0.5, scale=0.1)
    assert net.layers == (
        jaxnn.Rescale(0.1),
        jaxnn.Conv2D(4, 5, bias=False),
        jaxnn.BatchNorm(),
        jaxnn.MaxPool(2),
        jaxnn.Tanh(),
        jaxnn.Flatten(),
        jaxnn.Dropout(0.5),
        jaxnn.Dense(3, bias=False),
        jaxnn.BatchNorm(),
        jaxnn.Tanh(),
        jaxnn.Dropout(0.5),
        jaxnn.Dense(2),
    )
    assert batch_norm_cnn(5, 0.1) == cnn((32, 64), 5, hidden=(128,), batch_norm=True, scale=0.1)


@pytest.mark.parametrize("depth", [8, 14])
def test_a_resnet_has_its_depth_and_halves_twice(depth):
    net = resnet(depth, 7, width=4)
    convolutions = [layer for _, layer in jaxnn.walk(net) if isinstance(layer, jaxnn.Conv2D) and layer.window == 3]
    assert len(convolutions) + 1 == depth  # and Dense
    pooled = net.layers.index(jaxnn.GlobalAvgPool())
    assert jaxnn.Serial(*net.layers[:pooled]).output_shape((16, 12, 3)) == (4, 3, 16)
    assert net.output_shape((16, 12, 3)) == (7,)


@pytest.mark.parametrize("depth", [2, 9, -4])
def test_depths_that_a_resnet_can_not_have(depth):
    with pytest.raises(ValueError, match=f"depth should be 6 n \\+ 2, .* got {depth}"):
        resnet(depth)


def test_a_residual_block_keeps_one_tensor_a_convolution():
    """Its two inputs, the statistics from before and two keys; not the normalised and rectified ones."""
    block, x = residual_block(8), 2 * 6 * 6 * 8 * 4
    assert ledger(block, (6, 6, 8), 2).whole.by_hand == 2 * x + 2 * 2 * 8 * 4 + 2 * 8


@pytest.mark.parametrize("net", [lenet5(3, "tanh"), small_cnn(3), batch_norm_cnn(3), resnet(8, 3, width=2)], ids=str)
def test_gradients_of_whole_networks_agree(net):
    params, state = net.init(jax.random.key(0), (16, 16, 1))
    x = jax.random.normal(jax.random.key(1), (2, 16, 16, 1))
    loss = jaxnn.SoftmaxCrossEntropy()
    assert jaxnn.compare(net, loss, params, state, x, jnp.array([0, 2]), costs=False).ok


@pytest.mark.skipif(jax.__version_info__ < (0, 12), reason="XLA's CPU compiler heeds barriers from JAX 0.12 on")
def test_a_resnet_by_hand_takes_no_more_memory_than_checkpoints_do():
    """Remat's second pass waits for dy: made early, all blocks' second passes would be alive at once (1.7x)."""
    net, loss = resnet(8, width=8), jaxnn.SoftmaxCrossEntropy()
    params, state = net.init(jax.random.key(0), (16, 16, 1))
    x, t = jnp.ones((32, 16, 16, 1)), jnp.zeros(32, int)
    by_hand, by_machine = (
        jax.jit(gradient(net, loss)).lower(params, state, x, t).compile().memory_analysis().temp_size_in_bytes
        for gradient in (jaxnn.backprop, jaxnn.autodiff)
    )
    assert by_hand <= by_machine
