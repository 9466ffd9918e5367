"""A hundred steps by hand, by machine and in NumPy end at the same params; the same run twice ends at the same bits.

Rounding grows along a trajectory, and where a rate is unstable beyond all bounds: by hand and by machine are 2e-16
apart after 100 steps at this rate, 5e-15 at fifty times it and 4e-7 at five hundred times. Params are compared and not
losses, for a loss that is nearly flat hides where it was reached.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn
from jaxnn import reference
from jaxnn.reference import twin

pytestmark = pytest.mark.usefixtures("x64")
N, AFTER_100_STEPS = 20, 1e-10
NET = jaxnn.Serial(jaxnn.Dense(6), jaxnn.Tanh(), jaxnn.Residual(jaxnn.Dense(6), 0.5), jaxnn.Sigmoid(), jaxnn.Dense(3))
LOSS = jaxnn.SoftmaxCrossEntropy()
UPDATE, PENALTY = jaxnn.momentum(0.02, 0.9), jaxnn.l2(1e-3)
# Loop, its options, and the epochs that make 100 steps.
LOOPS = [("bgd", {}, 100), ("mbgd", {"batch_size": 6}, 25), ("sgd", {}, 5)]


def run(loop, options, epochs, gradient):
    rng = np.random.default_rng(0)
    data = (rng.normal(size=(N, 4)), rng.integers(0, 3, N))
    start = jaxnn.start(NET, (4,), key=jax.random.key(1), update=UPDATE, dtype=jnp.float64)
    given = {"epochs": epochs, "update": UPDATE, "penalty": PENALTY, "metric": None, "gradient": gradient}
    end, _ = getattr(jaxnn, loop)(NET, LOSS, data, run=start, **given, **options)
    assert int(end.step) == 100
    return start, data, end


def farthest(a, b):
    """The largest difference of two trees of params, of their largest number."""
    a, b = (np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)]) for tree in (a, b))
    return np.max(np.abs(a - b)) / np.max(np.abs(b))


@pytest.mark.parametrize(("loop", "options", "epochs"), LOOPS, ids=[loop for loop, *_ in LOOPS])
def test_a_hundred_steps(loop, options, epochs):
    start, data, by_hand = run(loop, options, epochs, jaxnn.backprop)
    *_, again = run(loop, options, epochs, jaxnn.backprop)
    assert jax.tree.all(jax.tree.map(np.array_equal, by_hand.params, again.params))

    *_, by_machine = run(loop, options, epochs, jaxnn.autodiff)
    assert farthest(by_hand.params, by_machine.params) <= AFTER_100_STEPS

    order = {"epochs": epochs}
    if loop != "bgd":
        keys = [jax.random.fold_in(start.keys.order, epoch) for epoch in range(epochs)]
        order = {"orders": [np.asarray(jax.random.permutation(key, N)) for key in keys]}
    params, state = jax.tree.map(np.asarray, (start.params, start.state))
    rules = {"update": twin(UPDATE), "penalty": twin(PENALTY)}
    in_numpy = getattr(reference, loop)(
        twin(NET), twin(LOSS), data, params=params, state=state, **rules, **order, **options
    )
    assert farthest(by_hand.params, in_numpy.params) <= AFTER_100_STEPS
    assert farthest(by_hand.params, start.params) > 0.01
