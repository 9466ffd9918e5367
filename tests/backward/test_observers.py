"""Observers see every layer once, inside Repeat at each depth, and change nothing."""

import jax
import jax.numpy as jnp
import numpy as np

import jaxnn
from jaxnn.backward.observers import norms

BLOCK = jaxnn.Serial(jaxnn.Dense(4), jaxnn.Tanh())
NET = jaxnn.Serial(jaxnn.Dense(4), jaxnn.Repeat(BLOCK, 3), jaxnn.Residual(jaxnn.Dense(4)), jaxnn.Remat(BLOCK))
LOSS = jaxnn.HalfSquaredError()


def gradient(observe=None):
    params, state = NET.init(jax.random.key(0), (4,))
    x, target = jax.random.normal(jax.random.key(1), (2, 5, 4))
    return jax.jit(lambda params: jaxnn.backprop(NET, LOSS, observe=observe)(params, state, x, target))(params)


def test_norms_by_path_under_jit():
    watched, alone = gradient(norms), gradient()
    assert list(watched.notes) == [
        "", "[0]", "[1]", "[1].inner", "[1].inner[0]", "[1].inner[1]",
        "[2]", "[2].inner", "[3]", "[3].inner", "[3].inner[0]", "[3].inner[1]",
    ]  # fmt: skip
    jax.tree.map(np.testing.assert_array_equal, watched.grads, alone.grads)
    expected = jnp.sqrt(jnp.sum(watched.grads[0].weight ** 2) + jnp.sum(watched.grads[0].bias ** 2))
    np.testing.assert_allclose(watched.notes["[0]"].gradient, expected, rtol=1e-6)


def test_inside_repeat_the_norms_are_stacked_by_depth():
    """The same network without Repeat has the same error terms, layer by layer."""
    params, state = NET.init(jax.random.key(0), (4,))
    x, target = jax.random.normal(jax.random.key(1), (2, 5, 4))
    unrolled = jaxnn.Serial(NET.layers[0], BLOCK, BLOCK, BLOCK, *NET.layers[2:])
    blocks = [jax.tree.map(lambda leaf, i=i: leaf[i], params[1].inner) for i in range(3)]
    _, unrolled_state = unrolled.init(jax.random.key(0), (4,))
    flat = jaxnn.backprop(unrolled, LOSS, observe=norms)(
        (params[0], *blocks, *params[2:]), unrolled_state, x, target
    ).notes
    deep = jaxnn.backprop(NET, LOSS, observe=norms)(params, state, x, target).notes
    for path in ("", "[0]", "[1]"):
        of_each = [flat[f"[{i}]{path}"] for i in (1, 2, 3)]
        stacked = jax.tree.map(lambda *each: jnp.stack(each), *of_each)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), deep[f"[1].inner{path}"], stacked)


def test_an_observer_that_returns_none_leaves_no_note():
    assert gradient(lambda node: None).notes == {}
