"""The same networks and the same step in Equinox with optax: see stepping.py for how it is taken.

Equinox's layers take one example: the batch is a `vmap`, whose axis BatchNorm has its statistics over.
"""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from equinox import nn
from peers.specs import batches
from peers.stepping import stepping

UPDATES = {"momentum": lambda: optax.sgd(0.01, 0.9), "adam": lambda: optax.adam(0.001)}
ACTIVATIONS = {"sigmoid": jax.nn.sigmoid, "tanh": jax.nn.tanh, "relu": jax.nn.relu}


def keys():
    key = jax.random.key(0)
    while True:
        key, new = jax.random.split(key)
        yield new


KEYS = keys()
relu, flat = nn.Lambda(jax.nn.relu), nn.Lambda(jnp.ravel)


def conv(n_in, n_out, window, padding, bias=True):
    return nn.Conv2d(n_in, n_out, window, padding=padding, use_bias=bias, key=next(KEYS))


def linear(n_in, n_out, bias=True):
    return nn.Linear(n_in, n_out, use_bias=bias, key=next(KEYS))


def batch_norm(n):
    return nn.BatchNorm(n, axis_name="batch", mode="batch")


def pool():
    return nn.MaxPool2d(2, 2)


def two_conv(spec, normalised=False):
    def norm(n):
        return [batch_norm(n)] if normalised else []

    bias = not normalised
    return [
        *(conv(1, 32, 3, 1, bias), *norm(32), pool(), relu, conv(32, 64, 3, 1, bias), *norm(64), pool(), relu, flat),
        *(linear(3136, 128, bias), *norm(128), relu, linear(128, 10)),
    ]


class Block(nn.StatefulLayer):
    f: nn.Sequential

    def __init__(self, width):
        twice = [(batch_norm(width), relu, conv(width, width, 3, 1, bias=False)) for _ in range(2)]
        self.f = nn.Sequential([layer for three in twice for layer in three])

    def __call__(self, x, state, *, key=None):
        y, state = self.f(x, state)
        return x + y, state


def residual(spec, n_blocks=3, width=32):
    head = [batch_norm(width), relu, nn.Lambda(lambda x: jnp.mean(x, (1, 2))), linear(width, 10)]
    return [conv(1, width, 3, 1, bias=False), *(Block(width) for _ in range(n_blocks)), *head]


def lenet5(spec):
    return [
        *(conv(1, 6, 5, 0), pool(), relu, conv(6, 16, 5, 0), pool(), relu, flat),
        *(linear(256, 120), relu, linear(120, 84), relu, linear(84, 10)),
    ]


def mlp(spec):
    sizes, activation, layers = spec["sizes"], ACTIVATIONS[spec["activation"]], []
    for n_in, n_out in itertools.pairwise(sizes):
        layers += [linear(n_in, n_out), nn.Lambda(activation)]
    return layers[:-1]


NETWORKS = {
    "two-conv": two_conv,
    "batch-norm": lambda spec: two_conv(spec, normalised=True),
    "residual": residual,
    "lenet5": lenet5,
    "mlp": mlp,
}


def candidate(name, spec):
    x, t = map(jnp.asarray, batches(spec))
    x = jnp.moveaxis(x, -1, 2) if spec["network"] != "mlp" else x  # channels first
    model, state = nn.make_with_state(lambda: nn.Sequential(NETWORKS[spec["network"]](spec)))()
    optimizer = UPDATES[spec.get("update", "momentum")]()
    params, static = eqx.partition(model, eqx.is_inexact_array)

    def step(carry, batch):
        params, state, moments = carry

        def loss(params):
            model = eqx.combine(params, static)
            y, new = jax.vmap(model, in_axes=(0, None), out_axes=(0, None), axis_name="batch")(batch[0], state)
            return optax.softmax_cross_entropy_with_integer_labels(y, batch[1]).mean(), new

        (value, state), grads = jax.value_and_grad(loss, has_aux=True)(params)
        updates, moments = optimizer.update(grads, moments, params)
        return (eqx.apply_updates(params, updates), state, moments), value

    turn, facts = stepping(step, (params, state, optimizer.init(params)), x, t, name)
    n_params = sum(leaf.size for leaf in jax.tree.leaves(params))
    return turn, facts | {"n_params": n_params, "version": f"equinox {eqx.__version__}"}
