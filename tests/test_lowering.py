"""Every layer, loop and update rule lowers for every platform, from a machine that has but one of them.

`jax.export` lowers for platforms that aren't here, and compiles nothing: it would complain of an operation that one of
them hasn't, in whatever form a kernel takes there.
"""

from functools import partial

import jax
import jax.numpy as jnp
import pytest
from table import CONVOLUTIONAL, FORMS, LOSS_FORMS, RECURRENT, RULES

import jaxnn
from jaxnn import Conv2D, Dense, Dropout, Flatten, MaxPool, ReLU, Serial, SoftmaxCrossEntropy, Tanh

PLATFORMS = ("cpu", "cuda", "tpu")
MLP, CNN = Serial(Dense(4), Tanh(), Dense(3)), Serial(Conv2D(2), MaxPool(2), ReLU(), Flatten(), Dropout(0.3), Dense(3))


def lowered(function, *arguments):
    """The program for all platforms at once, as text."""
    exported = jax.export.export(jax.jit(function), platforms=PLATFORMS)(*arguments)
    assert exported.platforms == PLATFORMS
    return exported.mlir_module()


# Each layer; and each form of the kernels, the cells and the cuts in time, which take other operations.
MORE = [case for case in [*CONVOLUTIONAL, *RECURRENT[2:10:3]] if case not in FORMS]


@pytest.mark.parametrize("case", [*FORMS, *MORE[::2]], ids=str)
def test_layers(case):
    def both(params, state, x, key):
        y, _, cache = case.layer.forward(params, state, x, key=key, train=case.train)
        return case.layer.backward(params, cache, jnp.ones_like(y))

    lowered(both, *case.point())


@pytest.mark.parametrize("case", LOSS_FORMS, ids=str)
def test_losses(case):
    def both(y, target, weights):
        _, cache = case.loss.forward(y, target)
        return case.loss.backward(cache, weights)

    lowered(both, *case.point())


def run(loop, net, update, *shape, **options):
    """A loop on 10 examples, from nothing to the end."""
    x, labels = jnp.ones((10, *shape)), jnp.arange(10) % 3

    def program(key, x, labels, update):
        return loop(net, SoftmaxCrossEntropy(), (x, labels), key=key, epochs=2, update=update, **options)

    return lowered(program, jax.random.key(0), x, labels, update)


@pytest.mark.parametrize(
    ("loop", "options", "net", "shape"),
    [
        (jaxnn.bgd, {"chunk_size": 4}, CNN, (4, 4, 1)),
        (jaxnn.mbgd, {"batch_size": 4}, CNN, (4, 4, 1)),
        (jaxnn.mbgd, {"batch_size": 4, "gradient": jaxnn.autodiff}, MLP, (2,)),
        (jaxnn.sgd, {}, MLP, (2,)),
    ],
)
def test_loops(loop, options, net, shape):
    run(loop, net, jaxnn.momentum(0.1), *shape, **options)


def test_sgd_with_delayed_updates():
    run(jaxnn.sgd, MLP, jaxnn.gradient_descent(0.1), 2, block=4)


@pytest.mark.parametrize("case", RULES, ids=str)
def test_update_rules(case):
    params, _ = MLP.init(jax.random.key(0), (2,))

    def two_steps(params):
        state = case.rule.init(params)
        for _ in range(2):
            updates, state = case.rule.update(params, state, params)
            params = jaxnn.apply_updates(params, updates)
        return params

    lowered(two_steps, params)


def test_the_step_of_data_parallel():
    """Under `shard_map`, with its collectives."""
    run(partial(jaxnn.data_parallel, jaxnn.mbgd, batch_size=4, devices=2), MLP, jaxnn.momentum(0.1), 2)
