"""A default device that isn't the first: what is made there stays there, and has the numbers of the first device.

`jax.default_device` places what comes from the host. An array that the library made on the first device, whatever the
default is, would meet the others in one program, which JAX refuses, or would move the results in silence.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn

pytestmark = pytest.mark.devices
NET = jaxnn.Serial(
    jaxnn.Rescale(0.5), jaxnn.Dense(4), jaxnn.BatchNorm(), jaxnn.Tanh(), jaxnn.Dropout(0.3), jaxnn.Dense(3)
)
SEQUENCES = jaxnn.Serial(jaxnn.Recurrent(jaxnn.LSTMCell(3), sequence=False), jaxnn.Dense(3))
MLP = jaxnn.Serial(jaxnn.Dense(4), jaxnn.Tanh(), jaxnn.Dense(3))
LOSS = jaxnn.SoftmaxCrossEntropy()


def data(*shape):
    rng = np.random.default_rng(0)
    return rng.normal(size=(10, *shape)).astype(np.float32), rng.integers(0, 3, 10)


def key():
    return jax.random.key(0)


def gradient(net, shape, make=jaxnn.backprop):
    params, state = net.init(key(), shape)
    x, labels = map(jnp.asarray, data(*shape))
    return make(net, LOSS, jaxnn.l2(0.1))(params, state, x, labels, key=key())


def trained(loop, net=MLP, update=None, **options):
    update = jaxnn.adam(jaxnn.training.schedules.cosine(0.1, 10)) if update is None else update
    return loop(net, LOSS, data(2), key=key(), epochs=2, update=update, validation=data(2), **options)


def evaluated():
    params, state = MLP.init(key(), (2,))
    return jaxnn.evaluate(MLP, LOSS, params, state, data(2), chunk_size=4), jaxnn.predict(
        MLP, params, state, data(2)[0]
    )


def fitted():
    stopping = jaxnn.early_stopping(patience=1)
    found = trained(partial(jaxnn.fit, jaxnn.mbgd), batch_size=4, stopping=stopping)
    return found.run, found.history, found.best_epoch


def ensemble():
    keys = jax.random.split(key(), 3)
    update = jaxnn.momentum(jnp.array([0.01, 0.1, 0.2]))
    return jaxnn.ensemble(jaxnn.mbgd, MLP, LOSS, data(2), keys=keys, epochs=2, batch_size=4, update=update)


MADE = {
    "backprop": partial(gradient, NET, (2,)),
    "recurrent": partial(gradient, SEQUENCES, (3, 2)),
    "bgd": partial(trained, jaxnn.bgd, chunk_size=4),
    "mbgd": partial(trained, jaxnn.mbgd, NET, batch_size=5, record="step", augment=jaxnn.augment.Noise()),
    "blocks": partial(trained, jaxnn.sgd, update=jaxnn.gradient_descent(0.1), block=4),
    "evaluate": evaluated,
    "fit": fitted,
    "ensemble": ensemble,
}


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_it_is_as_on_the_first_and_lies_on_the_second(make):
    results = []
    for device in jax.devices()[:2]:
        with jax.default_device(device):
            results.append(jax.tree.leaves(make()))
        arrays = [leaf for leaf in results[-1] if isinstance(leaf, jax.Array)]
        assert arrays
        assert {place for leaf in arrays for place in leaf.devices()} == {device}
    numbers = [[np.asarray(jax.random.key_data(a) if is_key(a) else a) for a in leaves] for leaves in results]
    assert all(map(np.array_equal, *numbers))


def is_key(leaf):
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
