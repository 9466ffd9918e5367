"""An epoch: which examples make a step, in which order, and how many steps there are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradients import SAME, error
from small_runs import LOSS, examples

import jaxnn
from jaxnn import Dense, Serial, backprop
from jaxnn.layer import changed
from jaxnn.training.epochs import MiniBatches, SingleExamples, SingleExamplesInBlocks, WholeBatch
from jaxnn.training.examples import checked
from jaxnn.training.step import Task

NET, RULE = Serial(Dense(3)), jaxnn.gradient_descent(0.1)
TASK = Task(net=NET, loss=LOSS, gradient=backprop, update=RULE)
EPOCHS = [WholeBatch(), WholeBatch(3), MiniBatches(3), MiniBatches(7), SingleExamples(), SingleExamplesInBlocks(3)]


def begun():
    data = checked(examples(), NET, LOSS)
    return jaxnn.start(NET, (2,), key=jax.random.key(0), update=RULE), data


@pytest.mark.parametrize("epoch", EPOCHS, ids=str)
def test_it_has_as_many_steps_as_it_says(epoch):
    run, data = begun()
    after, measured = jax.jit(epoch, static_argnums=())(TASK, run, data)
    assert measured.loss.shape == measured.n.shape == (epoch.n_steps(data.n),)
    assert int(after.step) == epoch.n_steps(data.n)
    assert float(jnp.sum(measured.n)) == data.n


@pytest.mark.parametrize("epoch", [MiniBatches(3), SingleExamples(), SingleExamplesInBlocks(3)], ids=str)
def test_every_example_has_its_turn_once(epoch):
    """At a rate of 0 the steps' losses are those of the first params: of the examples in the epoch's own order."""
    run, data = begun()
    task = Task(net=NET, loss=LOSS, gradient=backprop, update=jaxnn.gradient_descent(0.0))
    values = LOSS.forward(NET.forward(run.params, run.state, data.x).y, data.target).values
    order = jax.random.permutation(jax.random.fold_in(run.keys.order, 3), data.n)
    size = getattr(epoch, "batch_size", 1)
    expected = [np.mean(values[order[i : i + size]]) for i in range(0, data.n, size)]
    _, measured = epoch(task, run._replace(epoch=run.epoch + 3), data)
    np.testing.assert_allclose(measured.loss, expected, rtol=1e-6)
    in_order = changed(epoch, shuffle=False)
    _, measured = in_order(task, run, data)
    expected = [np.mean(values[i : i + size]) for i in range(0, data.n, size)]
    np.testing.assert_allclose(measured.loss, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("remainder", "sizes"), [("step", [3, 3, 1]), ("drop", [3, 3]), ("merge", [3, 4])], ids=["step", "drop", "merge"]
)
def test_what_becomes_of_the_remainder(remainder, sizes):
    """Seven examples in batches of three; the steps' losses are those of the first params."""
    run, data = begun()
    task = Task(net=NET, loss=LOSS, gradient=backprop, update=jaxnn.gradient_descent(0.0))
    epoch = MiniBatches(3, shuffle=False, remainder=remainder)
    _, measured = jax.jit(epoch)(task, run, data)
    values = np.asarray(LOSS.forward(NET.forward(run.params, run.state, data.x).y, data.target).values)
    ends = np.cumsum(sizes)
    np.testing.assert_array_equal(measured.n, sizes)
    expected = [np.mean(values[end - size : end]) for end, size in zip(ends, sizes, strict=True)]
    np.testing.assert_allclose(measured.loss, expected, rtol=1e-6)
    assert epoch.n_steps(data.n) == len(sizes)


@pytest.mark.parametrize("chunk_size", [1, 3, 7, 20])
def test_chunks_are_the_whole(x64, chunk_size):
    run, data = begun()
    whole, measured = WholeBatch()(TASK, run, data)
    chunked, in_chunks = WholeBatch(chunk_size)(TASK, run, data)
    assert error((chunked.params, in_chunks.loss), (whole.params, measured.loss)) <= SAME


def test_blocks_of_single_examples_are_single_examples(x64):
    run, data = begun()
    one_by_one, measured = SingleExamples()(TASK, run, data)
    in_blocks, blocks = SingleExamplesInBlocks(3)(TASK, run, data)
    assert error((in_blocks.params, blocks.loss), (one_by_one.params, measured.loss)) <= SAME
