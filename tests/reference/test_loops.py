"""The three loops of the reference, and twenty steps of jaxnn's against them from the same params and orders."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn
from jaxnn import (
    BatchNorm,
    Dense,
    Dropout,
    HalfSquaredError,
    Repeat,
    Residual,
    Serial,
    Sigmoid,
    SoftmaxCrossEntropy,
    Tanh,
    adam,
    chain,
    clip_by_global_norm,
    gradient_descent,
    l1,
    l2,
    momentum,
    nesterov,
    reference,
)
from jaxnn.reference import twin
from jaxnn.training import schedules

TEXTBOOK = Serial(Dense(5), Sigmoid(), Dense(2), Sigmoid())
DEEP = Serial(Dense(4, bias=False), BatchNorm(), Tanh(), Repeat(Residual(Serial(Dense(4), Tanh())), 2), Dense(3))
NOISY = Serial(Dense(4), Tanh(), Dropout(0.3), Repeat(Serial(Dropout(0.2), Dense(4)), 2), Dense(3))
CASES = {
    "textbook": (TEXTBOOK, HalfSquaredError(), gradient_descent(0.5), None),
    "penalties": (Serial(Dense(4), Tanh(), Dense(3)), SoftmaxCrossEntropy(0.1), nesterov(0.1), (l1(0.01), l2(0.1))),
    "deep": (DEEP, SoftmaxCrossEntropy(), adam(schedules.cosine(0.1, 15, warmup=3)), l2(0.01)),
    "noisy": (NOISY, SoftmaxCrossEntropy(), chain(clip_by_global_norm(0.5), momentum(0.2)), None),
}

QUICK = ["textbook", "penalties"]
DEEP_CASE, NOISY_CASE = (pytest.param(name, marks=pytest.mark.slow) for name in ("deep", "noisy"))


@pytest.fixture
def case(request, rng, drawn):
    """A network with its data: 13 examples of 3 features, with weights for all but the textbook's."""
    net, loss, update, penalty = CASES[request.param]
    params, state = drawn(net, (3,))
    x = rng.standard_normal((13, 3))
    if isinstance(loss, HalfSquaredError):
        data = (x, rng.uniform(0, 1, (13, 2)))
    else:
        data = (x, rng.integers(0, 3, 13), rng.uniform(0.5, 2, 13))
    return net, loss, update, penalty, params, state, data


@pytest.fixture
def both(case, masks_of, agree):
    """A loop of jaxnn and its twin, over the same orders and with the same masks: they end alike."""

    def run(name, epochs, sizes, **ours):
        net, loss, update, penalty, params, state, data = case
        keys = jaxnn.Keys.of(jax.random.key(3))
        carried = jax.tree.map(jnp.asarray, (params, state))
        start = jaxnn.Run(*carried, update.init(carried[0]), keys, jnp.int32(0), jnp.int32(0))
        loop = getattr(jaxnn, name)
        end, history = loop(
            net, loss, data, run=start, epochs=epochs, update=update, penalty=penalty, metric=None, **ours
        )
        orders = [np.asarray(jax.random.permutation(jax.random.fold_in(keys.order, e), 13)) for e in range(epochs)]
        masks = [
            mask
            for step, size in enumerate(sizes * epochs)
            for mask in masks_of(net, params, state, data[0][:size], jax.random.fold_in(keys.noise, step))
        ]
        what = {"epochs": epochs} if name == "bgd" else {"orders": orders}
        what |= {"batch_size": ours["batch_size"]} if "batch_size" in ours else {}
        expected = getattr(reference, name)(
            *(twin(net), twin(loss), data),
            params=params,
            state=state,
            update=twin(update),
            penalty=twin(penalty),
            masks=masks,
            **what,
        )
        agree((end.params, end.state), (expected.params, expected.state))
        agree((history.loss, history.penalty), tuple(expected.history))

    return run


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("case", [*QUICK, DEEP_CASE, NOISY_CASE], indirect=True)
def test_twenty_steps_of_bgd(both):
    both("bgd", epochs=20, sizes=[13])


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("case", ["penalties"], indirect=True)
def test_twenty_steps_of_bgd_in_chunks(both):
    both("bgd", epochs=20, sizes=[13], chunk_size=5)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("case", [*QUICK, DEEP_CASE, NOISY_CASE], indirect=True)
def test_twenty_steps_of_mbgd_with_a_ragged_last_batch(both):
    both("mbgd", epochs=7, sizes=[5, 5, 3], batch_size=5)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("case", [*QUICK, NOISY_CASE], indirect=True)
def test_two_epochs_of_sgd(both):
    both("sgd", epochs=2, sizes=[1] * 13)


def test_mbgd_is_sgd_at_one_and_bgd_at_all(rng, drawn, agree):
    net, loss, rule = (twin(each) for each in (TEXTBOOK, HalfSquaredError(), momentum(0.3)))
    params, state = drawn(TEXTBOOK, (3,))
    data = rng.standard_normal((7, 3)), rng.uniform(0, 1, (7, 2)), rng.uniform(0.5, 1, 7)
    given = {"params": params, "state": state, "update": rule}
    orders = [rng.permutation(7) for _ in range(3)]
    one_by_one = reference.sgd(net, loss, data, orders=orders, **given)
    agree(tuple(reference.mbgd(net, loss, data, orders=orders, batch_size=1, **given)), tuple(one_by_one))
    at_once = reference.bgd(net, loss, data, epochs=3, **given)
    agree(tuple(reference.mbgd(net, loss, data, orders=orders, batch_size=7, **given)), tuple(at_once))


def test_a_weight_of_two_is_the_example_twice(rng, drawn, agree):
    net, loss, rule = (twin(each) for each in (TEXTBOOK, HalfSquaredError(), gradient_descent(0.3)))
    params, state = drawn(TEXTBOOK, (3,))
    x, t = rng.standard_normal((4, 3)), rng.uniform(0, 1, (4, 2))
    given = {"params": params, "state": state, "update": rule, "epochs": 5}
    weighted = reference.bgd(net, loss, (x, t, np.array([2.0, 1.0, 1.0, 0.0])), **given)
    twice = reference.bgd(net, loss, (x[[0, 0, 1, 2]], t[[0, 0, 1, 2]]), **given)
    agree(tuple(weighted), tuple(twice))


@pytest.mark.parametrize("rule", [momentum(0.1), adam(schedules.cosine(0.1, 5)), jaxnn.adamw(0.1)], ids=str)
def test_float32_stays_float32(rule, rng):
    net = Serial(Dense(4, bias=False), BatchNorm(), Sigmoid(), Dropout(0.5), Dense(3))
    params, state = jax.tree.map(np.asarray, net.init(jax.random.key(0), (3,)))
    data = rng.standard_normal((4, 3), np.float32), np.array([0, 1, 2, 0])
    end = reference.mbgd(
        *(twin(net), twin(SoftmaxCrossEntropy(0.1)), data),
        params=params,
        state=state,
        orders=[np.arange(4)],
        batch_size=2,
        update=twin(rule),
        penalty=twin(l2(0.1)),
        masks=[np.ones((2, 4), bool)] * 2,
    )
    assert {leaf.dtype for leaf in jax.tree.leaves((end.params, end.state))} == {np.dtype(np.float32)}
