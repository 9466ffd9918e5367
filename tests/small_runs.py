"""Runs that take a second, and whether two of them have the same bits."""

import jax
import jax.numpy as jnp
import numpy as np

import jaxnn
from jaxnn import Dense, Serial, SoftmaxCrossEntropy, Tanh, momentum

NET, LOSS = Serial(Dense(4), Tanh(), Dense(3)), SoftmaxCrossEntropy()
N, BATCH_SIZE = 7, 3
COMMON = {"update": momentum(0.1), "epochs": 2}


def examples(seed=0, n=N):
    generator = np.random.default_rng(seed)
    return generator.normal(size=(n, 2)), generator.integers(0, 3, size=n)


def train(key=0, loop=jaxnn.mbgd, net=NET, loss=LOSS, data=None, **options):
    options = COMMON | ({"batch_size": BATCH_SIZE} if loop is jaxnn.mbgd else {}) | options
    key = jax.random.key(key) if isinstance(key, int) else key
    return loop(net, loss, examples() if data is None else data, key=key, **options)


def same_bits(a, b):
    return all(jax.tree.leaves(jax.tree.map(lambda x, y: np.array_equal(numbers(x), numbers(y)), a, b)))


def numbers(leaf):
    return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
