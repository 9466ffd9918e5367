"""Combinators against what they stand for, written out; their gradients are in test_laws.py."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradients import SAME, error, normal_like

import jaxnn
from jaxnn import (
    BatchNorm,
    Branches,
    Dense,
    Dropout,
    Flatten,
    Identity,
    ReLU,
    Remat,
    Repeat,
    Rescale,
    Residual,
    Serial,
    Tanh,
)
from jaxnn.networks.combinators import Inner

BLOCK = Serial(Dense(3), BatchNorm(), Tanh(), Dropout(0.3))


def output_and_gradients(net, params, state, x, key):
    """y, new state, dparams and dx for a random dy, in training."""
    y, state, cache = net.forward(params, state, x, key=key, train=True)
    return y, state, *net.backward(params, cache, normal_like(y, seed=5))


@pytest.fixture
def given(x64, key):
    params, state = BLOCK.init(key, (3,))
    x = jax.random.normal(jax.random.key(1), (4, 3))
    return normal_like(params, seed=0), state, x, key


def test_serial_splits_its_key_among_its_layers(given):
    params, state, x, key = given
    keys = jax.random.split(key, 4)
    y = x
    for layer, layer_params, layer_state, layer_key in zip(BLOCK.layers, params, state, keys, strict=True):
        y = layer.forward(layer_params, layer_state, y, key=layer_key, train=True).y
    np.testing.assert_array_equal(BLOCK.forward(params, state, x, key=key, train=True).y, y)


# Branches.


@pytest.mark.parametrize("merge", ["sum", "concatenate"])
def test_branches_are_the_layers_that_they_stand_for(given, merge):
    """Each with its own params, state and key, and its own part of dy; dx is the sum."""
    params, state, x, key = given
    other = Serial(Dropout(0.5), Tanh())
    y, new, dparams, dx = output_and_gradients(
        Branches(BLOCK, other, merge=merge), (params, ((), ())), (state, ((), ())), x, key
    )
    keys = jax.random.split(key)
    one = BLOCK.forward(params, state, x, key=keys[0], train=True)
    two = other.forward(((), ()), ((), ()), x, key=keys[1], train=True)
    dy = normal_like(y, seed=5)
    dys = (dy, dy) if merge == "sum" else (dy[:, :3], dy[:, 3:])
    done, tone = BLOCK.backward(params, one.cache, dys[0]), other.backward(((), ()), two.cache, dys[1])
    truth_y = one.y + two.y if merge == "sum" else jnp.concatenate([one.y, two.y], axis=1)
    truth = truth_y, (one.state, two.state), (done.dparams, tone.dparams), done.dx + tone.dx
    assert error((y, new, dparams, dx), truth) <= SAME


def test_a_sum_of_branches_by_hand():
    """y = x W + tanh x at x = 0, so dx = dy W^T + dy."""
    params = (jaxnn.DenseParams(jnp.array([[1.0, 2.0], [3.0, 4.0]]), None), ())
    net, x, dy = Branches(Dense(2, bias=False), Tanh()), jnp.zeros((1, 2)), jnp.array([[10.0, 1.0]])
    y, _, cache = net.forward(params, ((), ()), x)
    np.testing.assert_array_equal(y, [[0.0, 0.0]])
    dparams, dx = net.backward(params, cache, dy)
    np.testing.assert_array_equal(dx, [[10 * 1 + 1 * 2 + 10, 10 * 3 + 1 * 4 + 1]])
    assert dparams[1] == ()


def test_residual_is_a_sum_with_the_identity(given):
    params, state, x, key = given
    ours = output_and_gradients(Branches(BLOCK, Identity()), (params, ()), (state, ()), x, key)
    y, new, dparams, dx = output_and_gradients(
        Residual(BLOCK), Inner(params), Inner(state), x, jax.random.split(key)[0]
    )
    assert error(ours, (y, (new.inner, ()), (dparams.inner, ()), dx)) <= SAME


def test_branches_of_integers_have_no_gradient_for_them():
    x = jnp.arange(6, dtype=jnp.uint8).reshape(2, 3)
    for merge, width in (("sum", 3), ("concatenate", 6)):
        real = Branches(Rescale(0.5), Serial(Rescale(2.0), Tanh()), merge=merge)
        params, state = real.init(jax.random.key(0), (3,))
        y, _, cache = real.forward(params, state, x)
        assert y.shape == (2, width)
        assert real.backward(params, cache, y).dx is None
        integer = Branches(Identity(), Identity(), merge=merge)
        y, _, cache = integer.forward(((), ()), ((), ()), x)
        assert y.dtype == jnp.uint8
        assert integer.backward(((), ()), cache, None) == (((), ()), None)


def test_a_branch_that_has_nothing_to_give_adds_nothing():
    """A layer of somebody else's that ends the gradient with None, where others have one."""

    class Constant(Identity):
        def backward(self, params, cache, dy):
            return jaxnn.Backward((), None)

    dy = jnp.ones((2, 3))
    for net, dx in ((Branches(Constant(), Identity()), dy), (Branches(Identity(), Constant()), dy)):
        np.testing.assert_array_equal(net.backward(((), ()), net.forward(((), ()), ((), ()), dy).cache, dy).dx, dx)
    net = Branches(Constant(), Constant())
    assert net.backward(((), ()), net.forward(((), ()), ((), ()), dy).cache, dy).dx is None


@pytest.mark.parametrize(
    ("net", "shape", "words"),
    [
        (
            Branches(Dense(3), Serial(Dense(4))),
            (2,),
            r"outputs should have one shape, got \(3,\) of \[0\] Dense\(3\), \(4,\) of \[1\] Serial\(Dense\(4\)\): "
            "end them alike, or write merge='concatenate'",
        ),
        (
            Branches(Identity(), Flatten(), merge="concatenate"),
            (2, 3),
            r"one shape except for its last axis, got \(2, 3\) of \[0\] .*, \(6,\) of \[1\] .*: end them with Reshape",
        ),
        (Branches(Tanh(), Tanh(), merge="concatenate"), (), r"last axis, got \(\) of \[0\]"),
    ],
)
def test_outputs_that_do_not_fit(net, shape, words):
    """Said by init, by output_shape and by forward alike."""
    x = jnp.ones((5, *shape))
    params, state = jax.tree.map(jnp.ones, ((), ())), ((), ())
    with pytest.raises(ValueError, match=words):
        net.output_shape(shape)
    with pytest.raises(ValueError, match=words):
        net.init(jax.random.key(0), shape)
    with pytest.raises(ValueError, match=words):
        net.forward(params, state, x)


@pytest.mark.parametrize("merge", ["sum", "concatenate"])
def test_outputs_of_different_dtypes_are_not_mixed_in_silence(merge):
    """Or a gradient would come out for x of integers, under the standard promotion."""
    net = Branches(Identity(), Rescale(0.5), merge=merge)
    words = r"one dtype, got uint8 of \[0\] Identity\(\), float32 of \[1\] Rescale\(0.5\): put Rescale before integers"
    with jax.numpy_dtype_promotion("standard"), pytest.raises(TypeError, match=words):
        net.forward(((), ()), ((), ()), jnp.ones((2, 3), jnp.uint8))


def test_what_are_no_branches():
    with pytest.raises(ValueError, match=r"Branches takes one layer or more, got none: y = x is Identity\(\)"):
        Branches()
    with pytest.raises(ValueError, match="merge should be one of sum, concatenate, got 'mean'"):
        Branches(Tanh(), merge="mean")
    with pytest.raises(TypeError, match="Branches takes layers one by one, got a list"):
        Branches([Tanh(), Tanh()])
    with pytest.raises(ValueError, match="Branches of 2 layers got params for 1"):
        Branches(Tanh(), Tanh()).forward(((),), ((),), jnp.ones((2, 3)))
    with pytest.raises(ValueError, match=r"Dropout.*needs a key in training"):
        Branches(Dropout(), Tanh()).forward(((), ()), ((), ()), jnp.ones((2, 3)), train=True)
    assert repr(Branches(Tanh(), ReLU())) == "Branches(Tanh(), ReLU())"
    assert repr(Branches(Tanh(), merge="concatenate")) == "Branches(Tanh(), merge='concatenate')"
    assert Branches(Tanh()) not in (Serial(Tanh()), Branches(Tanh(), merge="concatenate"))


def test_residual_adds_x_and_dy(given):
    params, state, x, key = given
    y, new, dparams, dx = output_and_gradients(Residual(BLOCK, 0.5), Inner(params), Inner(state), x, key)
    fx, f_new, f_cache = BLOCK.forward(params, state, x, key=key, train=True)
    dy = normal_like(y, seed=5)
    dinner, df = BLOCK.backward(params, f_cache, 0.5 * dy)
    assert error((y, new, dparams, dx), (x + 0.5 * fx, Inner(f_new), Inner(dinner), dy + df)) <= SAME


def test_repeat_is_the_loop_it_stands_for(given):
    """Each depth with its own params, state and key: y, state and every gradient."""
    _, state, x, key = given
    net = Repeat(BLOCK, 3)
    params, state = net.init(key, (3,))
    params = normal_like(params, seed=0)
    at_depth = [jax.tree.map(lambda leaf, i=i: leaf[i], (params.inner, state.inner)) for i in range(3)]
    keys, y, passes, news = jax.random.split(key, 3), x, [], []
    for (p, s), k in zip(at_depth, keys, strict=True):
        y, new, cache = BLOCK.forward(p, s, y, key=k, train=True)
        passes.append((p, cache))
        news.append(new)
    dx, dparams = normal_like(y, seed=5), []
    for p, cache in reversed(passes):
        dp, dx = BLOCK.backward(p, cache, dx)
        dparams.insert(0, dp)
    stacked = partial(jax.tree.map, lambda *leaves: jnp.stack(leaves))
    # A bias before BatchNorm has the gradient 0, so the size of all is that of the largest: 1.
    truth = (y, Inner(stacked(*news)), Inner(stacked(*dparams)), dx)
    scale = jax.tree.map(lambda leaf: jnp.ones(()), truth)
    assert error(output_and_gradients(net, params, state, x, key), truth, scale) <= SAME


def test_repeat_gives_each_depth_its_own_start():
    params, _ = Repeat(Dense(3), 4).init(jax.random.key(0), (3,))
    assert params.inner.weight.shape == (4, 3, 3)
    assert params.inner.bias.shape == (4, 3)
    assert len(np.unique(params.inner.weight)) == 36


def test_compile_size_of_repeat_does_not_grow_with_depth(key):
    def n_equations(n):
        net = Repeat(Serial(Dense(3), Tanh()), n)
        params, state = net.init(key, (3,))
        gradient = jaxnn.backprop(net, jaxnn.HalfSquaredError())
        jaxpr = jax.make_jaxpr(lambda params, x: gradient(params, state, x, x).grads)(params, jnp.ones((2, 3)))
        return str(jaxpr).count("dot_general")

    assert n_equations(2) == n_equations(20)


def test_remat_keeps_its_input_alone_and_drops_the_same_numbers(given):
    params, state, x, key = given
    ours = output_and_gradients(Remat(BLOCK), Inner(params), Inner(state), x, key)
    y, new, dparams, dx = output_and_gradients(BLOCK, params, state, x, key)
    truth = (y, Inner(new), Inner(dparams), dx)
    assert error(ours, truth, jax.tree.map(lambda leaf: jnp.ones(()), truth)) <= SAME
    cache = Remat(BLOCK).forward(Inner(params), Inner(state), x, key=key, train=True).cache
    numbers = [leaf for leaf in jax.tree.leaves((cache.x, cache.key)) if leaf.ndim]
    assert numbers == [cache.x]


def test_autodiff_of_remat_rematerialises_too(key):
    net = Remat(Serial(Dense(3), Tanh(), Dense(3)))
    params, state = net.init(key, (3,))
    gradient = jaxnn.autodiff(net, jaxnn.HalfSquaredError())
    jaxpr = str(jax.make_jaxpr(lambda x: gradient(params, state, x, x).grads)(jnp.ones((2, 3))))
    assert "checkpoint" in jaxpr or "remat" in jaxpr
    by_hand = jaxnn.backprop(net, jaxnn.HalfSquaredError())
    assert "optimization_barrier" in str(jax.make_jaxpr(lambda x: by_hand(params, state, x, x).grads)(jnp.ones((2, 3))))


def test_empty_serial_is_the_identity():
    x = jnp.ones((2, 3))
    y, state, cache = Serial().forward((), (), x)
    assert y is x
    assert (state, cache) == ((), ())
    assert Serial().backward((), (), x) == ((), x)


def test_errors():
    for combinator in (Residual, lambda f: Repeat(f, 2)):
        with pytest.raises(ValueError, match=r"keep the shape \(3,\), but gives \(4,\): end it with Dense\(3\)"):
            combinator(Dense(4)).init(jax.random.key(0), (3,))
    params = (jnp.ones((3, 3)),)
    with pytest.raises(ValueError, match="Serial of 2 layers got params for 1"):
        Serial(Tanh(), Tanh()).forward(params, ((),), jnp.ones((2, 3)))
    for n in (0, -1, 1.5):
        with pytest.raises(ValueError, match="n should be a positive int"):
            Repeat(Dense(3), n)
    net = Repeat(Serial(Dense(3), Dropout()), 2)
    made = net.init(jax.random.key(0), (3,))
    with pytest.raises(ValueError, match=r"Dropout.*needs a key in training"):
        net.forward(*made, jnp.ones((2, 3)), train=True)
