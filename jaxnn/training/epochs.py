"""What one epoch is, in each of the loops: a recipe, called on a task, a run and the data.

They differ in how many examples one step uses: all of them, a batch, or one.
"""

from collections.abc import Callable
from typing import Protocol

import jax
import jax.numpy as jnp

from jaxnn.arrays import added, params_dtype, scaled
from jaxnn.layer import recipe
from jaxnn.mesh_axes import pooled, share
from jaxnn.training.examples import Examples
from jaxnn.training.run import Run
from jaxnn.training.sgd_in_blocks import descend_block
from jaxnn.training.step import Direction, Means, Measured, Task, batch_gradient, descend, local_gradient, take_step


class Epoch(Protocol):
    """An epoch: the run after it, and what its steps measured, in columns (steps,)."""

    def n_steps(self, n: int) -> int:
        """How many steps there are over n examples."""
        ...

    def __call__(self, task: Task, run: Run, data: Examples) -> tuple[Run, Measured]: ...


@recipe
class WholeBatch:
    """One step, along the gradient over all examples; `chunk_size` takes it in several passes, to bound memory."""

    chunk_size: int | None = None

    def n_steps(self, n: int) -> int:
        return 1

    def __call__(self, task: Task, run: Run, data: Examples) -> tuple[Run, Measured]:
        run, step = descend(task, run, self._gradient(task, run, data))
        return run, jax.tree.map(lambda number: number[None], step)

    def _gradient(self, task: Task, run: Run, data: Examples) -> Direction:
        """The gradient over all examples: in one pass, or as the mean of the chunks' means, each with its weight."""
        everything = jnp.arange(data.n)
        if self.chunk_size is None or self.chunk_size >= data.n:
            return batch_gradient(task, run, data if task.axis_name is None else _batch(task, run, data, everything))

        def chunk_sums(chunk: jax.Array) -> tuple[tuple[Means, jax.Array], object]:
            key = jax.random.fold_in(jax.random.fold_in(run.keys.noise, run.step), chunk[0])
            means, weight, state = local_gradient(task, run, _batch(task, run, data, chunk), key)
            return (scaled(weight, means), weight), state

        n_rest = data.n % self.chunk_size
        whole, rest = jnp.split(everything, [data.n - n_rest])
        chunks = whole.reshape(-1, self.chunk_size)
        sums, state = chunk_sums(chunks[0])
        sums, _ = jax.lax.scan(lambda sums, chunk: (added(sums, chunk_sums(chunk)[0]), None), sums, chunks[1:])
        if n_rest:
            sums = added(sums, chunk_sums(rest)[0])
        total, weight = sums
        return Direction(*pooled(total, weight, task.axis_name), state)


@recipe
class MiniBatches:
    """A step for each `batch_size` examples of the epoch's order, and one for those that remain."""

    batch_size: int
    shuffle: bool = True

    def n_steps(self, n: int) -> int:
        return -(-n // self.batch_size)

    def __call__(self, task: Task, run: Run, data: Examples) -> tuple[Run, Measured]:
        def step(run: Run, batch: jax.Array) -> tuple[Run, Measured]:
            return take_step(task, run, _batch(task, run, data, batch))

        return _in_order(run, _order(run, data.n, self.shuffle), self.batch_size, step)


@recipe
class SingleExamples:
    """A step for each example of the epoch's order."""

    shuffle: bool = True

    def n_steps(self, n: int) -> int:
        return n

    def __call__(self, task: Task, run: Run, data: Examples) -> tuple[Run, Measured]:
        def step(run: Run, example: jax.Array) -> tuple[Run, Measured]:
            return take_step(task, run, data.at(example[None]))

        return jax.lax.scan(step, run, _order(run, data.n, self.shuffle))


@recipe
class SingleExamplesInBlocks:
    """The same steps, with the first layer's updates delayed to the end of each block (see `sgd_in_blocks`)."""

    block: int
    shuffle: bool = True

    def n_steps(self, n: int) -> int:
        return n

    def __call__(self, task: Task, run: Run, data: Examples) -> tuple[Run, Measured]:
        def steps(run: Run, block: jax.Array) -> tuple[Run, Measured]:
            return descend_block(task, run, data.at(block))

        return _in_order(run, _order(run, data.n, self.shuffle), self.block, steps)


def _order(run: Run, n: int, shuffle: bool) -> jax.Array:
    """The order in which an epoch visits the examples: a permutation by the run's key and the epoch's number."""
    if not shuffle:
        return jnp.arange(n)
    return jax.random.permutation(jax.random.fold_in(run.keys.order, run.epoch), n)


def _in_order(
    run: Run, order: jax.Array, size: int, step: Callable[[Run, jax.Array], tuple[Run, Measured]]
) -> tuple[Run, Measured]:
    """step(run, indices) for each whole batch of the order, then for what remains."""
    n = order.shape[0]
    size = min(size, n)
    n_rest = n % size
    whole, rest = jnp.split(order, [n - n_rest])
    run, steps = jax.lax.scan(step, run, whole.reshape(-1, size))
    steps = jax.tree.map(jnp.ravel, steps)
    if n_rest:
        run, last = step(run, rest)
        steps = jax.tree.map(jnp.append, steps, last)
    return run, steps


def _batch(task: Task, run: Run, data: Examples, indices: jax.Array) -> Examples:
    """The examples at some indices: all of them on one device, its share of them on one of several."""
    mine, real = share(indices, task.axis_name)
    x, target, weights = data.at(mine)
    if task.axis_name is not None:
        weights = jnp.where(real, 1 if weights is None else weights, jnp.zeros((), params_dtype(run.params)))
    return Examples(x, target, weights)
