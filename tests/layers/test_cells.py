"""Cells by themselves, a step at a time: their rule against `jax.vjp`, their start and their errors."""

import dataclasses

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradients import DIFFERENCES, SAME, central_differences, error, inner_product, normal_like, rounding_scale
from jax.flatten_util import ravel_pytree
from table import CELLS

import jaxnn
from jaxnn import Dense, GRUCell, LSTMCell, Recurrent, Step, TanhCell, Uniform, l2, weight_mask
from jaxnn.layers.cells import LSTMCarry

every_cell = pytest.mark.parametrize("cell", CELLS, ids=str)


def point(cell, n_in=3, batch=2):
    """Random params, and a step with a random carry."""
    params, _ = jax.eval_shape(lambda key: cell.init(key, (n_in,)), jax.random.key(0))
    step = Step(jax.eval_shape(lambda: cell.start(batch, params.input.weight.dtype)), jnp.zeros((batch, n_in)))
    return normal_like(params, seed=0), normal_like(step, seed=1)


@every_cell
@pytest.mark.parametrize("batch", [1, 4])
def test_backward_is_the_vjp_of_forward(cell, batch, x64):
    """With cotangents of the carry alone, of the value alone, and of both; and against central differences."""
    params, x = point(cell, batch=batch)

    @jax.jit
    def compared(params, x, dy):
        def forward(params, x):
            return cell.forward(params, (), x).y

        _, pull = jax.vjp(forward, params, x)
        cache = cell.forward(params, (), x).cache

        differences = central_differences(lambda inputs: inner_product(dy, forward(*inputs))[0], (params, x))
        scale = jnp.max(ravel_pytree(rounding_scale(cell, params, cache, dy))[0])
        return tuple(cell.backward(params, cache, dy)), pull(dy), differences, scale

    y = jax.eval_shape(lambda: cell.forward(params, (), x).y)
    both = normal_like(y, seed=2)
    nothing = jax.tree.map(jnp.zeros_like, both)
    for dy in (both, both._replace(carry=nothing.carry), both._replace(value=nothing.value)):
        by_hand, by_machine, differences, scale = compared(params, x, dy)
        scales = jax.tree.map(lambda leaf, scale=scale: scale, by_machine)
        assert error(by_hand, by_machine, scales) <= SAME
        assert error(by_hand, differences, scales) <= DIFFERENCES


@every_cell
def test_a_cell_is_a_layer_and_keeps_the_form_of_its_arguments(cell):
    assert isinstance(cell, jaxnn.Layer)
    assert isinstance(cell, jaxnn.Cell)
    assert not isinstance(Dense(3), jaxnn.Cell)

    def both(params, state, x):
        y, new_state, cache = cell.forward(params, state, x)
        return y, new_state, *cell.backward(params, cache, y)

    for dtype in (jnp.float32, jnp.bfloat16):
        params, state = cell.init(jax.random.key(0), (3,), dtype)
        x = Step(cell.start(2, dtype), jnp.ones((2, 3), dtype))
        y, new_state, dparams, dx = jax.eval_shape(both, params, state, x)
        spec = lambda tree: jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)  # noqa: E731
        assert spec(y.carry) == spec(x.carry)
        assert (spec(dparams), spec(dx)) == (spec(params), spec(x))
        assert y.value.shape == (2, *cell.output_shape((3,)))
        assert new_state == state == ()
        assert not any(map(np.any, jax.tree.leaves(x.carry)))


def test_an_lstm_step_by_hand(x64):
    """One neuron, each gate with its own numbers, so that none can stand in another's place."""
    params, _ = LSTMCell(1).init(jax.random.key(0), (1,))
    w, u, b = np.array([0.1, -0.2, 0.3, 0.4]), np.array([0.5, 0.6, -0.7, 0.8]), np.array([0.01, 0.02, 0.03, 0.04])
    params = jax.tree.map(jnp.asarray, params._replace(
        input=params.input._replace(weight=w[None], bias=b), recurrent=params.recurrent._replace(weight=u[None])
    ))  # fmt: skip
    x, h, c = 2.0, -0.5, 0.25
    z = w * x + u * h + b
    i, f, o = 1 / (1 + np.exp(-z[[0, 1, 3]]))
    new_c = f * c + i * np.tanh(z[2])
    y = LSTMCell(1).forward(params, (), Step(LSTMCarry(*map(jnp.array, ([[h]], [[c]]))), jnp.array([[x]]))).y
    np.testing.assert_allclose(y.carry.c, [[new_c]], rtol=1e-14)
    np.testing.assert_allclose(y.carry.h, [[o * np.tanh(new_c)]], rtol=1e-14)
    np.testing.assert_array_equal(y.value, y.carry.h)


def test_an_open_forget_gate_keeps_the_carry_and_its_error_term():
    """f = 1 and i = 0 to the last bit: c and dc pass unchanged, which is what the cell was made for."""
    cell = LSTMCell(2)
    params, _ = cell.init(jax.random.key(0), (3,))
    bias = jnp.repeat(jnp.array([-200.0, 200.0, 0.0, 0.0]), 2)
    params = params._replace(input=params.input._replace(bias=bias))
    x = Step(LSTMCarry(*normal_like(cell.start(4, jnp.float32), seed=0)), jnp.ones((4, 3)))
    y, _, cache = cell.forward(params, (), x)
    np.testing.assert_array_equal(y.carry.c, x.carry.c)
    dy = jax.tree.map(jnp.zeros_like, y)
    dy = dy._replace(carry=dy.carry._replace(c=jnp.ones((4, 2))))
    np.testing.assert_array_equal(cell.backward(params, cache, dy).dx.carry.c, np.ones((4, 2)))


def test_a_gru_step_by_hand(x64):
    """One neuron, each gate with its own numbers: h moves from -0.5 towards n by 1 - u."""
    params, _ = GRUCell(1).init(jax.random.key(0), (1,))
    w, c, b, b_q = np.array([0.1, -0.2, 0.3]), np.array([0.5, 0.6, -0.7]), np.array([0.01, 0.02, 0.03]), 0.4
    recurrent = params.recurrent._replace(weight=c[None], bias=np.array([b_q]))
    params = jax.tree.map(
        jnp.asarray, params._replace(input=params.input._replace(weight=w[None], bias=b), recurrent=recurrent)
    )
    x, h = 2.0, -0.5
    r, u = 1 / (1 + np.exp(-(w * x + b + c * h)[:2]))
    n = np.tanh(w[2] * x + b[2] + r * (c[2] * h + b_q))
    y = GRUCell(1).forward(params, (), Step(jnp.array([[h]]), jnp.array([[x]]))).y
    np.testing.assert_allclose(y.carry, [[(1 - u) * n + u * h]], rtol=1e-14)
    np.testing.assert_array_equal(y.value, y.carry)


def test_the_gru_is_flaxs(x64):
    """Whose three input products have the biases of all gates, and whose recurrent ones that of the new value alone."""
    params, x = point(GRUCell(4), n_in=3, batch=5)
    inputs = zip("rzn", jnp.split(params.input.weight, 3, 1), jnp.split(params.input.bias, 3), strict=True)
    theirs = {f"i{gate}": {"kernel": kernel, "bias": bias} for gate, kernel, bias in inputs}
    recurrent = zip("rzn", jnp.split(params.recurrent.weight, 3, axis=1), strict=True)
    theirs |= {f"h{gate}": {"kernel": kernel} for gate, kernel in recurrent}
    theirs["hn"]["bias"] = params.recurrent.bias
    expected, _ = flax.linen.GRUCell(4).apply({"params": theirs}, x.carry, x.value)
    np.testing.assert_allclose(GRUCell(4).forward(params, (), x).y.carry, expected, rtol=1e-13)


def test_a_gru_with_a_closed_update_gate_keeps_h_and_its_error_term():
    """u = 1 to the last bit: h and dh pass unchanged."""
    cell = GRUCell(2)
    params, _ = cell.init(jax.random.key(0), (3,))
    params = params._replace(input=params.input._replace(bias=jnp.repeat(jnp.array([0.0, 200.0, 0.0]), 2)))
    x = Step(normal_like(cell.start(4, jnp.float32), seed=0), jnp.ones((4, 3)))
    y, _, cache = cell.forward(params, (), x)
    np.testing.assert_array_equal(y.carry, x.carry)
    dy = Step(jnp.ones((4, 2)), jnp.zeros((4, 2)))
    np.testing.assert_array_equal(cell.backward(params, cache, dy).dx.carry, np.ones((4, 2)))


def test_init():
    """Each gate's weights have the variance that the fans N and H call for; the forget gate's bias is its own."""
    params, _ = LSTMCell(200, forget_bias=2.0).init(jax.random.key(0), (100,))
    for gate in jnp.split(params.input.weight, 4, axis=1):
        np.testing.assert_allclose(jnp.var(gate), 2 / (100 + 200), rtol=0.05)
    for gate in jnp.split(params.recurrent.weight, 4, axis=1):
        np.testing.assert_allclose(jnp.var(gate), 2 / (200 + 200), rtol=0.05)
    np.testing.assert_array_equal(params.input.bias, np.repeat([0.0, 2.0, 0.0, 0.0], 200))
    assert len(np.unique(jnp.concatenate([params.input.weight, params.recurrent.weight]))) > 200_000
    biased, _ = TanhCell(3, bias_init=Uniform(1, 2)).init(jax.random.key(0), (2,))
    assert np.all(biased.input.bias >= 1)


@every_cell
def test_penalties_act_on_both_weights_and_leave_the_bias(cell):
    params, _ = point(cell)
    mask = weight_mask(params)
    assert (mask.input.weight, mask.input.bias, mask.recurrent.weight) == (True, False, True)
    expected = 0.5 * (jnp.sum(params.input.weight**2) + jnp.sum(params.recurrent.weight**2))
    np.testing.assert_allclose(l2(1.0).value(params), expected, rtol=1e-6)


@pytest.mark.parametrize("cell", [kind(2, precision="highest") for kind in (TanhCell, LSTMCell, GRUCell)], ids=str)
def test_precision_holds_in_backward_too(cell):
    params, x = point(cell)

    def both(x):
        y, _, cache = cell.forward(params, (), x)
        return cell.backward(params, cache, y)

    dots = [eqn for eqn in jax.make_jaxpr(both)(x).jaxpr.eqns if eqn.primitive.name == "dot_general"]
    assert len(dots) == 6
    assert all(set(eqn.params["precision"]) == {jax.lax.Precision.HIGHEST} for eqn in dots)


@pytest.mark.parametrize("kind", [TanhCell, LSTMCell, GRUCell])
def test_errors(kind):
    cell, name = kind(3), rf"{kind.__name__}\(3\)"
    params, _ = cell.init(jax.random.key(0), (4,))
    carry = cell.start(2, jnp.float32)
    with pytest.raises(TypeError, match=rf"{name}: x should be a Step.*got .*: write Recurrent\({name}\)"):
        cell.forward(params, (), jnp.ones((2, 4)))
    with pytest.raises(TypeError, match="x should be floating, got uint8"):
        cell.forward(params, (), Step(carry, jnp.ones((2, 4), jnp.uint8)))
    with pytest.raises(ValueError, match=r"should have 4 features.*got x of shape \(2, 5\)"):
        cell.forward(params, (), Step(carry, jnp.ones((2, 5))))
    with pytest.raises(ValueError, match=rf"vector \(N,\), got the shape \(3, 4\): write Recurrent\({name}\)"):
        cell.forward(params, (), Step(carry, jnp.ones((2, 3, 4))))
    for shape in ((), (3, 4)):
        with pytest.raises(ValueError, match=r"should be a vector \(N,\)"):
            cell.init(jax.random.key(0), shape)
        with pytest.raises(ValueError, match=r"should be a vector \(N,\)"):
            cell.output_shape(shape)
    with pytest.raises(TypeError, match=r"write Recurrent"):
        jaxnn.Serial(cell).forward((params,), ((),), jnp.ones((2, 4)))
    assert Recurrent(cell).output_shape((5, 4)) == (5, 3)
    for n_out in (0, -1, 2.0, "3"):
        with pytest.raises(ValueError, match="n_out should be a positive int"):
            kind(n_out)


@pytest.mark.parametrize("cell", [TanhCell, LSTMCell, GRUCell])
def test_the_order_of_a_cells_options(cell):
    """Of positional arguments: what cells share comes first, though a recipe that they inherit holds it."""
    own = ["forget_bias"] if cell is LSTMCell else []
    shared = ["n_out", "weight_init", "recurrent_init", "bias_init"]
    assert [field.name for field in dataclasses.fields(cell)] == [*shared, *own, "precision"]
    assert cell(3, jaxnn.He()) == cell(3, weight_init=jaxnn.He())
