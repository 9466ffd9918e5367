"""Rules are taken out wherever they stand, and the complex step is a derivative."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.audit.rounding.undecorated import complex_step, has_own_rule, undecorated

pytestmark = pytest.mark.usefixtures("x64")
X = np.random.default_rng(0).normal(size=5)


@jax.custom_vjp
def wrong(x):
    return jnp.sin(x)


wrong.defvjp(lambda x: (jnp.sin(x), x), lambda x, dy: (2 * dy * jnp.cos(x),))


@pytest.mark.parametrize(
    "f",
    [
        wrong,
        jax.jit(wrong),
        jax.checkpoint(wrong),
        lambda x: jax.lax.scan(lambda c, _: (wrong(c), None), x, None, length=1)[0],
        lambda x: jax.lax.cond(x[0] > 9, lambda x: x, wrong, x),
        lambda x: jax.lax.fori_loop(0, 1, lambda _, c: wrong(c), x),
        jax.vmap(wrong),
    ],
    ids=["plain", "jit", "checkpoint", "scan", "cond", "fori_loop", "vmap"],
)
def test_a_rule_is_taken_out(f):
    assert has_own_rule(f, X)
    np.testing.assert_array_equal(undecorated(f)(X), f(X))
    np.testing.assert_allclose(jax.jvp(undecorated(f), (X,), (np.ones(5),))[1], np.cos(X), rtol=1e-15)
    assert not has_own_rule(undecorated(f), X)


def test_trees_come_back_as_trees():
    f = lambda tree: {"y": wrong(tree["a"]) * tree["n"], "n": tree["n"]}  # noqa: E731
    result = undecorated(f)({"a": X, "n": 3})
    np.testing.assert_allclose(result["y"], 3 * np.sin(X))
    assert result["n"] == 3


@pytest.mark.parametrize(
    "f",
    [jnp.tanh, jax.nn.relu, jax.nn.softmax, jax.nn.silu, jnp.abs, jax.nn.logsumexp, jax.nn.standardize,
     lambda x: jnp.max(x) * x, lambda x: jnp.where(x > 0, x * x, -x), lambda x: jnp.outer(x, x) @ x],
)  # fmt: skip
def test_the_complex_step_is_the_derivative(f):
    v = np.random.default_rng(1).normal(size=5)
    np.testing.assert_allclose(complex_step(f, [X], [v]), jax.jvp(f, (X,), (v,))[1], rtol=1e-13, atol=1e-15)


def test_what_takes_no_complex_numbers_says_so():
    with pytest.raises(NotImplementedError, match="no complex step through scan"):
        complex_step(lambda x: jax.lax.scan(lambda c, _: (jnp.sin(c), None), x, None, length=2)[0], [X], [X])
