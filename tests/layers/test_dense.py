"""Dense against the textbook, neuron by neuron, and its errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import Dense, DenseParams, Uniform


def test_each_neuron_by_hand(x64):
    x = np.array([[1.0, -2.0], [0.5, 3.0], [2.0, 1.0]])
    weight, bias = np.array([[1.0, 2.0, -1.0], [0.5, -1.0, 4.0]]), np.array([0.1, 0.2, 0.3])
    dy = np.array([[1.0, 0.0, 2.0], [-1.0, 3.0, 0.5], [0.0, 1.0, 1.0]])
    params = DenseParams(jnp.array(weight), jnp.array(bias))
    y, state, cache = Dense(3).forward(params, (), jnp.array(x))
    (dweight, dbias), dx = Dense(3).backward(params, cache, jnp.array(dy))
    for b in range(3):
        for j in range(3):
            np.testing.assert_allclose(y[b, j], sum(x[b, i] * weight[i, j] for i in range(2)) + bias[j], rtol=1e-15)
        for i in range(2):
            np.testing.assert_allclose(dx[b, i], sum(dy[b, j] * weight[i, j] for j in range(3)), rtol=1e-15)
    for j in range(3):
        np.testing.assert_allclose(dbias[j], sum(dy[b, j] for b in range(3)), rtol=1e-15)
        for i in range(2):
            np.testing.assert_allclose(dweight[i, j], sum(x[b, i] * dy[b, j] for b in range(3)), rtol=1e-15)
    assert state == ()


def test_init():
    params, state = Dense(300).init(jax.random.key(0), (784,))
    assert not np.any(params.bias)
    np.testing.assert_allclose(jnp.var(params.weight), 2 / 784, rtol=0.02)
    assert state == ()
    without, _ = Dense(3, bias=False).init(jax.random.key(0), (2, 4), jnp.bfloat16)
    assert without.bias is None
    assert (without.weight.shape, without.weight.dtype) == ((4, 3), jnp.bfloat16)
    biased, _ = Dense(3, bias_init=Uniform(1, 2)).init(jax.random.key(0), (4,))
    assert np.all(biased.bias >= 1)


def test_precision_holds_in_backward_too():
    layer = Dense(3, precision="highest")
    params, _ = layer.init(jax.random.key(0), (4,))

    def both(x):
        y, _, cache = layer.forward(params, (), x)
        return layer.backward(params, cache, y)

    dots = [eqn for eqn in jax.make_jaxpr(both)(jnp.ones((2, 4))).jaxpr.eqns if eqn.primitive.name == "dot_general"]
    assert len(dots) == 3
    assert all(set(eqn.params["precision"]) == {jax.lax.Precision.HIGHEST} for eqn in dots)


def test_errors():
    params, _ = Dense(3).init(jax.random.key(0), (4,))
    with pytest.raises(
        ValueError, match=r"Dense\(3\): the last axis of x should have 4 features.*got x of shape \(2, 5\)"
    ):
        Dense(3).forward(params, (), jnp.ones((2, 5)))
    with pytest.raises(TypeError, match=r"Dense\(3\): x should be floating, got uint8: put Rescale"):
        Dense(3).forward(params, (), jnp.ones((2, 4), jnp.uint8))
    with pytest.raises(ValueError, match="at least one axis"):
        Dense(3).output_shape(())
    with pytest.raises(ValueError, match="at least one axis"):
        Dense(3).init(jax.random.key(0), ())
    for n_out in (0, -1, 2.0, "3"):
        with pytest.raises(ValueError, match="n_out should be a positive int"):
            Dense(n_out)
