"""What one epoch is, in each of the loops: a recipe, called on a task, a run and the data.

They differ in how many examples one step uses: all of them, a batch, or one.
"""

from collections.abc import Callable
from typing import Protocol

import jax
import jax.numpy as jnp

from jaxnn.arrays import PyTree, added, params_dtype, wide_dtype, widened
from jaxnn.layer import recipe
from jaxnn.mesh_axes import mean_over, share
from jaxnn.training.examples import Examples
from jaxnn.training.run import Run
from jaxnn.training.sgd_in_blocks import descend_block
from jaxnn.training.step import (
    Direction,
    Means,
    Measured,
    Task,
    batch_gradient,
    descend,
    direction_by,
    local_means,
    take_step,
)


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
        """The gradient over all examples: in one pass, or as the sum of the chunks' parts, in float32 at least."""
        everything = jnp.arange(data.n)
        if self.chunk_size is None or self.chunk_size >= data.n:
            batch = data if task.axis_name is None else _batch(task, run, data, everything)
            return batch_gradient(task, run, batch, data.n)

        n_rest = data.n % self.chunk_size
        whole, rest = jnp.split(everything, [data.n - n_rest])
        chunks = whole.reshape(-1, self.chunk_size)

        def means_of(run: Run) -> tuple[Means, PyTree]:
            def part(chunk: jax.Array) -> tuple[Means, PyTree]:
                key = jax.random.fold_in(jax.random.fold_in(run.keys.noise, run.step), chunk[0])
                n = chunk.shape[0]
                means, state = local_means(task, run, _batch(task, run, data, chunk), n, key)
                return jax.tree.map(lambda mean: widened(mean) * (n / data.n), means), state

            means, state = part(chunks[0])
            means, _ = jax.lax.scan(lambda means, chunk: (added(means, part(chunk)[0]), None), means, chunks[1:])
            if n_rest:
                means = added(means, part(rest)[0])
            return mean_over(means, task.axis_name), state

        return direction_by(means_of, run, data.n)


@recipe
class MiniBatches:
    """A step for each `batch_size` examples of the epoch's order; `remainder` says what becomes of the rest.

    "step": a smaller step of their own; "drop": none; "merge": they go into the last whole batch.
    """

    batch_size: int
    shuffle: bool = True
    remainder: str = "step"

    def n_steps(self, n: int) -> int:
        return len(self.sizes(n))

    def sizes(self, n: int) -> list[int]:
        """How many examples each step of an epoch has."""
        n_whole, rest = divmod(n, self.batch_size)
        whole = [self.batch_size] * n_whole
        if rest == 0 or self.remainder == "drop":
            return whole
        return [*whole[:-1], self.batch_size + rest] if self.remainder == "merge" else [*whole, rest]

    def __call__(self, task: Task, run: Run, data: Examples) -> tuple[Run, Measured]:
        def step(run: Run, batch: jax.Array) -> tuple[Run, Measured]:
            return take_step(task, run, _batch(task, run, data, batch), batch.shape[0])

        return _in_order(run, _order(run, data.n, self.shuffle), self.sizes(data.n), step)


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

        n_whole, rest = divmod(data.n, self.block)
        sizes = [self.block] * n_whole + [rest] * (rest > 0)
        return _in_order(run, _order(run, data.n, self.shuffle), sizes, steps)


def _order(run: Run, n: int, shuffle: bool) -> jax.Array:
    """The order in which an epoch visits the examples: a permutation by the run's key and the epoch's number."""
    if not shuffle:
        return jnp.arange(n)
    return jax.random.permutation(jax.random.fold_in(run.keys.order, run.epoch), n)


def _in_order(
    run: Run, order: jax.Array, sizes: list[int], step: Callable[[Run, jax.Array], tuple[Run, Measured]]
) -> tuple[Run, Measured]:
    """step(run, indices) for one batch of the order after another: of equal sizes, but for the last."""
    n_equal = len(sizes) - (sizes[-1] != sizes[0])
    n_whole = n_equal * sizes[0]
    run, steps = jax.lax.scan(step, run, order[:n_whole].reshape(n_equal, sizes[0]))
    steps = jax.tree.map(jnp.ravel, steps)
    if n_equal < len(sizes):
        run, last = step(run, order[n_whole : n_whole + sizes[-1]])
        steps = jax.tree.map(jnp.append, steps, last)
    return run, steps


def _batch(task: Task, run: Run, data: Examples, indices: jax.Array) -> Examples:
    """The examples at some indices: all of them on one device, its share of them on one of several."""
    mine, real = share(indices, task.axis_name)
    x, target, weights = data.at(mine)
    if task.axis_name is not None:
        dtype = wide_dtype(params_dtype(run.params)) if weights is None else weights.dtype
        weights = jnp.where(real, 1 if weights is None else weights, jnp.zeros((), dtype))
    return Examples(x, target, weights)
