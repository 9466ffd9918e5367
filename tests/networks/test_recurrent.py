"""Recurrent: what it stands for, its cuts in time, what is seen of it, and bugs that only a longer sequence shows."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradients import SAME, error, normal_like
from jax.tree_util import GetAttrKey, SequenceKey

import jaxnn
from jaxnn import (
    Backward,
    Dense,
    DenseParams,
    Forward,
    GRUCell,
    HalfSquaredError,
    Init,
    LSTMCell,
    Recurrent,
    Remat,
    Serial,
    SoftmaxCrossEntropy,
    Step,
    Tanh,
    TanhCell,
)
from jaxnn.backward.observers import norms
from jaxnn.layer import recipe
from jaxnn.training import parallel

every_cell = pytest.mark.parametrize("cell", [TanhCell(4), LSTMCell(4), GRUCell(4)], ids=str)


def made(net, shape=(5, 3), batch=2, seed=0):
    """Random params, drawn by NumPy, so that nothing compiles; state, which is empty; and x."""
    params, state = jax.eval_shape(lambda key: net.init(key, shape), jax.random.key(0))
    x = jax.ShapeDtypeStruct((batch, *shape), jnp.result_type(float))
    return normal_like(params, seed), state, normal_like(x, seed + 1)


def both_gradients(net, params, state, x, seed=3):
    """(dparams, dx) by hand and by `jax.vjp`, along one random cotangent."""

    @jax.jit
    def computed(params, x):
        y, _, cache = net.forward(params, state, x)
        dy = normal_like(y, seed)
        _, pull = jax.vjp(lambda params, x: net.forward(params, state, x).y, params, x)
        return tuple(net.backward(params, cache, dy)), pull(dy)

    return computed(params, x)


# What it stands for.


@every_cell
def test_it_is_the_loop_it_stands_for(cell, x64):
    net, last = Recurrent(cell), Recurrent(cell, sequence=False)
    params, state, x = made(net)

    @jax.jit
    def all_three(params, x):
        carry, ys = cell.start(2, x.dtype), []
        for t in range(5):
            carry, y_t = cell.forward(params.inner, (), Step(carry, x[:, t])).y
            ys.append(y_t)
        return net.forward(params, state, x).y, last.forward(params, state, x).y, jnp.stack(ys, axis=1)

    y, y_last, truth = all_three(params, x)
    assert y.shape == (2, *net.output_shape((5, 3)))
    assert y_last.shape == (2, *last.output_shape((5, 3)))
    assert error((y, y_last), (truth, truth[:, -1])) <= SAME


def test_one_step_of_tanh_is_dense_and_tanh(x64):
    params, state, x = made(Recurrent(TanhCell(4), sequence=False), (1, 3))
    net = Serial(Dense(4), Tanh())
    same_params, dy = (DenseParams(*params.inner.input), ()), jax.random.normal(jax.random.key(5), (2, 4))
    y, _, cache = Recurrent(TanhCell(4), sequence=False).forward(params, state, x)
    truth, _, same_cache = net.forward(same_params, ((), ()), x[:, 0])
    dparams, dx = Recurrent(TanhCell(4), sequence=False).backward(params, cache, dy)
    (dense, _), same_dx = net.backward(same_params, same_cache, dy)
    assert error((y, tuple(dparams.inner.input), dx[:, 0]), (truth, tuple(dense), same_dx)) <= SAME
    assert not np.any(dparams.inner.recurrent.weight)  # h starts at 0


@every_cell
def test_params_fit_any_number_of_steps(cell):
    net = Recurrent(cell)
    params, state, x = made(net, (7, 3))
    whole = net.forward(params, state, x).y
    np.testing.assert_allclose(net.forward(params, state, x[:, :4]).y, whole[:, :4], rtol=1e-6, atol=1e-6)


def test_compile_size_does_not_grow_with_time(key):
    def n_products(n_steps):
        net = Recurrent(LSTMCell(3))
        params, state, x = made(net, (n_steps, 2))
        gradient = jaxnn.backprop(net, HalfSquaredError())
        jaxpr = jax.make_jaxpr(lambda x: gradient(params, state, x, jnp.ones((2, n_steps, 3))).grads)(x)
        return str(jaxpr).count("dot_general")

    assert n_products(2) == n_products(20)


# Truncation.


@pytest.mark.parametrize(("cell", "sequence"), [(TanhCell(4), True), (LSTMCell(4), False), (GRUCell(4), True)], ids=str)
def test_a_truncation_as_long_as_the_sequence_cuts_nothing(cell, sequence, x64):
    params, state, x = made(Recurrent(cell))
    whole, _ = both_gradients(Recurrent(cell, sequence=sequence), params, state, x)
    by_hand, by_machine = both_gradients(Recurrent(cell, 5, sequence), params, state, x)
    assert error(by_hand, whole) == 0
    assert error(by_machine, whole) <= SAME


@pytest.mark.parametrize(
    ("cell", "k"), [(TanhCell(4), 1), (TanhCell(4), 3), (LSTMCell(4), 2), (GRUCell(4), 2)], ids=str
)
def test_a_truncated_gradient_is_the_sum_of_its_pieces(cell, k, x64):
    """Each piece of k steps starts from the carry that it would have, as a constant; y is that of the whole."""
    net = Recurrent(cell, k)
    params, state, x = made(net)
    dy = normal_like(jax.ShapeDtypeStruct((2, 5, 4), x.dtype), seed=3)

    @jax.jit
    def by_hand(params, x):
        y, _, cache = net.forward(params, state, x)
        return y, tuple(net.backward(params, cache, dy))

    @jax.jit
    @partial(jax.grad, argnums=(0, 1))
    def truth(params, x):
        carry, total = cell.start(2, x.dtype), 0.0
        for t in range(5):
            carry = jax.lax.stop_gradient(carry) if t in range(0, 5, k) else carry
            carry, y_t = cell.forward(params.inner, (), Step(carry, x[:, t])).y
            total += jnp.sum(y_t * dy[:, t])
        return total

    y, gradients = by_hand(params, x)
    assert error(gradients, truth(params, x)) <= SAME
    assert error(y, jax.jit(Recurrent(cell).forward)(params, state, x).y) == 0


def test_an_error_term_goes_back_to_the_last_cut_alone():
    """y at step 4 of 5 with cuts at 0, 2 and 4, and with cuts at 0 and 3: which steps' x it moves."""
    for k, reached in ((1, [4]), (2, [4]), (3, [3, 4]), (4, [4]), (5, [0, 1, 2, 3, 4]), (None, [0, 1, 2, 3, 4])):
        net = Recurrent(TanhCell(4), k, sequence=False)
        params, state, x = made(net)
        dx = net.backward(params, net.forward(params, state, x).cache, jnp.ones((2, 4))).dx
        assert np.flatnonzero(np.any(dx, axis=(0, 2))).tolist() == reached


# What is seen, and what is trained.


def test_observers_see_every_step(x64):
    """Error terms of the carry and of the value, stacked over time; their sum over time is what the params get."""
    net = Serial(Recurrent(TanhCell(4)), Recurrent(LSTMCell(3), sequence=False), Dense(2))
    params, state, x = made(net)
    arguments = params, state, x, jnp.ones((2, 2))

    def watch(node):
        return node.dy, node.dparams

    result = jax.jit(jaxnn.backprop(net, HalfSquaredError(), observe=watch))(*arguments)
    assert list(result.notes) == ["", "[0]", "[0].inner", "[1]", "[1].inner", "[2]"]
    error_term, dparams = result.notes["[1].inner"]
    assert error_term.carry.c.shape == error_term.value.shape == (5, 2, 3)
    assert not np.any(error_term.value[:-1])
    np.testing.assert_array_equal(error_term.value[-1], result.notes["[1]"][0])
    assert not np.any(error_term.carry.c[-1])
    assert np.all(error_term.carry.c[:-1])
    summed = jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), dparams)
    assert error(summed, result.grads[1].inner) <= SAME
    error_term, _ = result.notes["[0].inner"]
    np.testing.assert_array_equal(jnp.swapaxes(error_term.value, 0, 1), result.notes["[0]"][0])
    lengths = jax.jit(jaxnn.backprop(net, HalfSquaredError(), observe=norms))(*arguments).notes["[0].inner"]
    assert lengths.error_term.shape == lengths.gradient.shape == (5,)


@pytest.mark.parametrize(
    ("cell", "truncation", "sequence"),
    [(TanhCell(4), None, True), (LSTMCell(4), 2, True), (GRUCell(4), 2, False)],
    ids=str,
)
def test_in_reverse_it_is_itself_on_the_turned_sequence(cell, truncation, sequence):
    """Bit for bit, y and all gradients, the cuts of the truncation counted from the end."""
    net, turned = Recurrent(cell, truncation, sequence, reverse=True), Recurrent(cell, truncation, sequence)
    params, state, x = made(net)
    turn = (lambda array: array[:, ::-1]) if sequence else (lambda array: array)

    @partial(jax.jit, static_argnums=0)
    def both(net, x, turn_dy):
        y, _, cache = net.forward(params, state, x)
        dy = normal_like(y, seed=3)
        return y, net.backward(params, cache, jax.lax.select(turn_dy, turn(dy), dy))

    y, (dparams, dx) = both(net, x, False)
    same_y, (same_dparams, same_dx) = both(turned, x[:, ::-1], True)
    assert error((y, dparams, dx), (turn(same_y), same_dparams, same_dx[:, ::-1])) == 0


def test_error_terms_shrink_and_grow_with_the_recurrent_weights():
    """Close to 0, tanh is the identity: an error term is multiplied by U^T a step, here r times a rotation."""
    net = Recurrent(TanhCell(2), sequence=False)
    params, state, _ = made(net, (10, 1))
    gradient = jax.jit(jaxnn.backprop(net, HalfSquaredError(), observe=lambda node: node.dy))
    rotation = jnp.array([[0.6, -0.8], [0.8, 0.6]])
    for r in (0.5, 1.5):
        recurrent = params.inner.recurrent._replace(weight=r * rotation)
        still = jax.tree.map(jnp.zeros_like, params.inner.input)
        at = params._replace(inner=params.inner._replace(input=still, recurrent=recurrent))
        carry, value = gradient(at, state, jnp.ones((1, 10, 1)), jnp.ones((1, 2))).notes[".inner"]
        sizes = jnp.linalg.norm(carry + value, axis=(1, 2))
        np.testing.assert_allclose(sizes[:-1] / sizes[1:], np.full(9, r), rtol=1e-5)


def test_walk_and_replaced_go_into_it():
    net = Serial(Recurrent(TanhCell(3), 2), Dense(1))
    path = (SequenceKey(0), GetAttrKey("inner"))
    assert dict(jaxnn.walk(net))[path] == TanhCell(3)
    assert jaxnn.replaced(net, path, LSTMCell(3)) == Serial(Recurrent(LSTMCell(3), 2), Dense(1))


@pytest.mark.parametrize(
    ("cell", "truncation"), [pytest.param(TanhCell(4), None, marks=pytest.mark.slow), (LSTMCell(4), 2)], ids=str
)
def test_backprop_and_autodiff_train_alike(cell, truncation, x64):
    """Params after 20 steps."""
    net = Serial(Recurrent(cell, truncation), Recurrent(TanhCell(3), sequence=False), Dense(2))
    x = jax.random.normal(jax.random.key(1), (8, 5, 3))
    data = x, (x[:, 0, 0] > x[:, -1, 0]).astype(int)

    def trained(gradient):
        return jaxnn.bgd(
            net,
            SoftmaxCrossEntropy(),
            data,
            key=jax.random.key(0),
            epochs=20,
            update=jaxnn.momentum(0.5),
            gradient=gradient,
        )

    (by_hand, history), (by_machine, _) = trained(jaxnn.backprop), trained(jaxnn.autodiff)
    assert error(by_hand.params, by_machine.params) <= SAME
    assert history.loss[-1] < 0.8 * history.loss[0]


@pytest.mark.devices
@pytest.mark.parametrize("gradient", [jaxnn.backprop, pytest.param(jaxnn.autodiff, marks=pytest.mark.slow)])
def test_four_devices_train_as_one(gradient, x64):
    """What the scans carry is marked as varying from the start."""
    net = Serial(Recurrent(LSTMCell(3), 2), Remat(Recurrent(TanhCell(3), sequence=False)), Dense(2))
    x = jax.random.normal(jax.random.key(1), (8, 3, 2))
    options = {"key": jax.random.key(0), "epochs": 2, "update": jaxnn.gradient_descent(0.1), "gradient": gradient}
    data = x, (x[:, 0, 0] > 0).astype(int)
    on_one, _ = jaxnn.bgd(net, SoftmaxCrossEntropy(), data, **options)
    on_four, _ = parallel.data_parallel(jaxnn.bgd, net, SoftmaxCrossEntropy(), data, devices=4, **options)
    assert error(on_four.params, on_one.params) <= SAME


# A cell of one's own.


@recipe
class NoisyCounter:
    """The carry is the sum of x; a number drawn at each step is added to y; the state counts steps. No params."""

    def start(self, batch: int, dtype: Any) -> jax.Array:
        return jnp.ones((batch, 2), dtype)

    def init(self, key: jax.Array, shape: Any, dtype: Any = None) -> Init:
        return Init((), jnp.zeros((), jnp.int32))

    def output_shape(self, shape: Any) -> Any:
        return shape

    def forward(self, params: Any, state: Any, x: Step, *, key: Any = None, train: bool = False) -> Forward:
        total = x.carry + x.value
        return Forward(Step(total, total + jax.random.normal(key, total.shape)), state + 1, ())

    def backward(self, params: Any, cache: Any, dy: Step) -> Backward:
        dtotal = dy.carry + dy.value
        return Backward((), Step(dtotal, dtotal))


def test_a_cell_of_ones_own(x64, key):
    """Its start isn't 0, its state goes from step to step, and its key is split over time."""
    net = Recurrent(NoisyCounter())
    params, state = net.init(key, (3, 2))
    x = jax.random.normal(jax.random.key(1), (4, 3, 2))
    y, new_state, cache = net.forward(params, state, x, key=key)
    noise = jnp.stack([jax.random.normal(each, (4, 2)) for each in jax.random.split(key, 3)], axis=1)
    assert error(y, 1 + jnp.cumsum(x, axis=1) + noise) <= SAME
    assert new_state.inner == 3
    dy = normal_like(y, seed=0)
    assert error(net.backward(params, cache, dy).dx, jnp.cumsum(dy[:, ::-1], axis=1)[:, ::-1]) <= SAME


class RandomWalk(NoisyCounter):
    """Number and count go into the carry too."""

    def forward(self, params: Any, state: Any, x: Step, *, key: Any = None, train: bool = False) -> Forward:
        total = x.carry + x.value + jax.random.normal(key, x.value.shape) + state.astype(x.value.dtype)
        return Forward(Step(total, total), state + 1, ())


@pytest.mark.devices
@pytest.mark.parametrize("varying", ["key", "state"])
def test_on_a_mesh_key_or_state_may_vary_while_x_does_not(varying, x64):
    """What the scan carries must vary from its first step on; each device does what it would do alone."""
    mesh = jax.make_mesh((4,), ("devices",), axis_types=(jax.sharding.AxisType.Auto,))
    of_each, of_all = jax.sharding.PartitionSpec("devices"), jax.sharding.PartitionSpec()
    net, x = Recurrent(RandomWalk()), jax.random.normal(jax.random.key(1), (2, 3, 2))
    params, state = net.init(jax.random.key(0), (3, 2))

    def both_passes(own, x):
        seed, count = (own[0], 0) if varying == "key" else (5, own[0])
        arguments = params, state._replace(inner=state.inner + count), x
        y, new_state, cache = net.forward(*arguments, key=jax.random.key(seed), train=True)
        return jax.tree.map(lambda leaf: leaf[None], (y, new_state, net.backward(params, cache, jnp.sin(y)).dx))

    own = jnp.arange(4, dtype=jnp.int32)
    on_mesh = jax.shard_map(both_passes, mesh=mesh, in_specs=(of_each, of_all), out_specs=of_each, check_vma=True)
    alone = [jax.jit(both_passes)(own[i : i + 1], x) for i in range(4)]
    assert error(jax.jit(on_mesh)(own, x), jax.tree.map(lambda *parts: jnp.concatenate(parts), *alone)) <= SAME


# Bugs that only a long enough sequence shows.


class StaleDerivative(Recurrent):
    """The derivative of step T-2 for all steps before it too: right for T = 2, wrong for T = 3."""

    def fold(self, visit, path, params, cache, dy):
        h, n_steps = cache.inner.h, cache.n_steps.value
        stale = cache.inner._replace(h=h.at[: max(n_steps - 2, 0)].set(h[max(n_steps - 2, 0)]))
        return super().fold(visit, path, params, cache._replace(inner=stale), dy)


class UntrainedRecurrence(Recurrent):
    """U is never trained: right for T = 1, wrong for T = 2."""

    def fold(self, visit, path, params, cache, dy):
        (dparams,), dx, notes = super().fold(visit, path, params, cache, dy)
        untrained = dparams._replace(recurrent=jax.tree.map(jnp.zeros_like, dparams.recurrent))
        return jaxnn.Folded(params._replace(inner=untrained), dx, notes)


@pytest.mark.parametrize(("planted", "right_until"), [(Recurrent, 3), (StaleDerivative, 2), (UntrainedRecurrence, 1)])
def test_planted_bugs_are_found_when_there_is_time_enough(planted, right_until, x64):
    """Source: the recurrent network of hanbingtao's part 5, whose delta is right for T = 2 and wrong for T = 3."""
    net = planted(TanhCell(4))
    for n_steps in (1, 2, 3):
        difference = error(*both_gradients(net, *made(net, (n_steps, 3))))
        assert difference <= SAME if n_steps <= right_until else difference > 1e-3, n_steps


# Errors.


def test_errors():
    for candidate in (Dense(3), Tanh(), 3, None):
        with pytest.raises(TypeError, match=r"takes a cell, got a .*: a cell, such as TanhCell\(n\).*has start"):
            Recurrent(candidate)
    with pytest.raises(TypeError, match=r"takes a cell, got the class TanhCell: write TanhCell\(...\)"):
        Recurrent(TanhCell)
    for truncation in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match="truncation should be a positive int"):
            Recurrent(TanhCell(3), truncation)
    net = Recurrent(TanhCell(3))
    params, state, _ = made(net, (5, 2))
    with pytest.raises(ValueError, match=r"x should be \(B, T, N\).*got the example shape \(5,\): put Reshape"):
        net.forward(params, state, jnp.ones((2, 5)))
    for shape in ((), (5,)):
        with pytest.raises(ValueError, match=r"x should be \(B, T, N\)"):
            net.init(jax.random.key(0), shape)
    with pytest.raises(ValueError, match="no steps of time, T = 0"):
        net.forward(params, state, jnp.ones((2, 0, 2)))
    with pytest.raises(ValueError, match="no steps of time, T = 0"):
        net.output_shape((0, 2))
    with pytest.raises(ValueError, match=r"TanhCell\(3\): one step of one example should be a vector"):
        net.forward(params, state, jnp.ones((2, 5, 2, 2)))
    with pytest.raises(ValueError, match="should have 2 features"):
        net.forward(params, state, jnp.ones((2, 5, 3)))
    with pytest.raises(TypeError, match=r"Recurrent\(TanhCell\(3\)\): x should be floating, got uint8"):
        net.forward(params, state, jnp.ones((2, 5, 2), jnp.uint8))
