"""The three loops: batch, mini-batch and stochastic gradient descent.

They differ in how many examples have a say in one step: all of them (BGD), a batch (MBGD), one (SGD). Under each loop
stands its epoch. Each whole run is one compiled program (see `run_epochs`).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnn.arrays import PyTree, added, norm, params_dtype, require_positive, scaled, weighted_mean
from jaxnn.layer import Layer, couples_batch, walk
from jaxnn.mesh_axes import mean_over, n_devices, own_key, pooled, require_axis, share
from jaxnn.objective.gradient import backprop
from jaxnn.objective.losses import Loss
from jaxnn.training.augment import Augment
from jaxnn.training.evaluation import Metric, accuracy
from jaxnn.training.examples import Examples, checked
from jaxnn.training.run import History, Keys, Run, Step, Task, run_epochs
from jaxnn.training.sgd_in_blocks import descend_block, require_delayable
from jaxnn.training.updates import UpdateRule, apply_updates


def bgd(
    net: Layer,
    loss: Loss,
    data: Any,
    *,
    key: jax.Array | Keys | None = None,
    epochs: int,
    update: UpdateRule,
    chunk_size: int | None = None,
    gradient: Any = backprop,
    penalty: PyTree = None,
    validation: Any = None,
    metric: Metric | None = accuracy,
    augment: Augment | None = None,
    run: Run | None = None,
    record: str = "epoch",
    axis_name: str | None = None,
) -> tuple[Run, History]:
    """Batch gradient descent: one step an epoch, along the exact gradient over all examples.

    `chunk_size` takes that gradient in several passes, to bound memory; each pass has an augmentation of its own.
    Arguments, result and errors else as `mbgd`.
    Source: PRINCIPLES B7.  NumPy twin: reference/descent.py.
    """
    data = checked(data, net, loss)
    if chunk_size is not None:
        require_positive("chunk_size", chunk_size)
        if couples_batch(net):
            raise ValueError(
                f"bgd: {net} couples the rows of a batch (BatchNorm), so chunks don't add up to the whole: "
                "leave out chunk_size"
            )
    _require_own_rows("bgd", net, axis_name, (data.n,))
    task = Task(net, loss, gradient, update, penalty, metric, record, axis_name, chunk_size, False, augment)
    return run_epochs(_bgd_epoch, task, data, validation, key=key, run=run, epochs=epochs, n_steps=1)


def _bgd_epoch(task: Task, run: Run, data: Examples) -> tuple[Run, Step]:
    run, step = _descend(task, run, *_full_gradient(task, run, data))
    return run, jax.tree.map(lambda leaf: leaf[None], step)


def mbgd(
    net: Layer,
    loss: Loss,
    data: Any,
    *,
    key: jax.Array | Keys | None = None,
    epochs: int,
    batch_size: int,
    update: UpdateRule,
    gradient: Any = backprop,
    penalty: PyTree = None,
    validation: Any = None,
    metric: Metric | None = accuracy,
    augment: Augment | None = None,
    shuffle: bool = True,
    run: Run | None = None,
    record: str = "epoch",
    axis_name: str | None = None,
) -> tuple[Run, History]:
    """Mini-batch gradient descent: an epoch visits the examples in a new order, `batch_size` to a step.

    The examples left over after the whole batches make one smaller batch.

    Args:
        data: (x, target) or (x, target, weights), n examples along the first axis; `validation` likewise.
        key: a key, or `Keys`. Not needed with `run`.
        update: an update rule of this library or of optax. optax's are functions, equal to themselves alone: make the
            optimiser once, since a second one compiles the program anew.
        gradient: `backprop` or `autodiff`, or what is called as they are: gradient(net, loss, penalty=penalty).
        penalty: l1, l2, or a tuple of penalties.
        metric: (outputs, target) -> one value an example; None for none.
        augment: how each step's examples are changed before its gradient is taken, by a key of the step's own; see
            `augment`. What the history tells of training is of the changed examples. Validation has them as they are.
        run: the run to go on with, from a loop's result; None starts one from `key`.
        record: "epoch" or "step".
        axis_name: the mesh axis to share each batch over; see `parallel.data_parallel`. A BatchNorm has to have it too,
            and its batches are then multiples of the devices.
    Returns: (run, history); see `Run` and `History`.
    Raises: ValueError or TypeError for data that can't be trained on (see `examples.checked`), for a batch larger
        than the set, for augmentation that changes x's shape or mixes examples of batches of one, and unless exactly
        one of key and run is given.
    Source: PRINCIPLES B8.  NumPy twin: reference/descent.py.

    >>> import jaxnn
    >>> x, t = jnp.array([[0.0], [1.0], [2.0]]), jnp.array([[1.0], [3.0], [5.0]])
    >>> run, history = mbgd(jaxnn.Dense(1), jaxnn.HalfSquaredError(), (x, t), key=jax.random.key(0), epochs=500,
    ...                     batch_size=2, update=jaxnn.gradient_descent(0.2), metric=None)
    >>> run.params.weight.round(3), run.params.bias.round(3)
    (Array([[2.]], dtype=float32), Array([1.], dtype=float32))
    """
    data = checked(data, net, loss)
    require_positive("batch_size", batch_size)
    if batch_size > data.n:
        raise ValueError(
            f"mbgd: batch_size {batch_size} is larger than the set of {data.n} examples: "
            f"use at most {data.n}, or bgd for the whole set"
        )
    if batch_size == 1:
        _require_unmixed("mbgd", augment)
    _require_own_rows("mbgd", net, axis_name, (batch_size, data.n % batch_size))
    task = Task(net, loss, gradient, update, penalty, metric, record, axis_name, batch_size, shuffle, augment)
    n_steps = -(-data.n // batch_size)
    return run_epochs(_mbgd_epoch, task, data, validation, key=key, run=run, epochs=epochs, n_steps=n_steps)


def _mbgd_epoch(task: Task, run: Run, data: Examples) -> tuple[Run, Step]:
    def step(run: Run, batch: jax.Array) -> tuple[Run, Step]:
        return _descend(task, run, *_gradient(task, run, _batch(task, run, data, batch)))

    return _in_order(task, run, data.n, step)


def sgd(
    net: Layer,
    loss: Loss,
    data: Any,
    *,
    key: jax.Array | Keys | None = None,
    epochs: int,
    update: UpdateRule,
    block: int | None = None,
    gradient: Any = backprop,
    penalty: PyTree = None,
    validation: Any = None,
    metric: Metric | None = accuracy,
    augment: Augment | None = None,
    shuffle: bool = True,
    run: Run | None = None,
    record: str = "epoch",
    axis_name: str | None = None,
) -> tuple[Run, History]:
    """Stochastic gradient descent: every example makes a step of its own, n steps an epoch.

    `block` takes that many steps with the first layer's updates delayed: the same iterates but for rounding, several
    times faster (see `delayed`). It is for plain gradient descent, without a penalty, on a Serial that begins with
    Dense.
    Arguments, result and errors else as `mbgd`. There is no data-parallel form, since a step has one example: the
    parallel form of SGD is `parallel.ensemble`.
    Source: PRINCIPLES B9.  NumPy twin: reference/descent.py.
    """
    if axis_name is not None:
        raise ValueError(
            "sgd: a step has one example, which can't be shared over devices: use mbgd with a batch size, or train "
            "an ensemble with members spread over the devices"
        )
    if couples_batch(net):
        raise ValueError(
            f"sgd: {net} couples the rows of a batch (BatchNorm), and a batch of one has no variance: use mbgd"
        )
    _require_unmixed("sgd", augment)
    data = checked(data, net, loss)
    task = Task(net, loss, gradient, update, penalty, metric, record, axis_name, block, shuffle, augment)
    one_epoch = _sgd_epoch
    if block is not None:
        require_positive("block", block)
        require_delayable(task, data.x.shape[1:])
        one_epoch = _sgd_epoch_in_blocks
    return run_epochs(one_epoch, task, data, validation, key=key, run=run, epochs=epochs, n_steps=data.n)


def _sgd_epoch(task: Task, run: Run, data: Examples) -> tuple[Run, Step]:
    def step(run: Run, example: jax.Array) -> tuple[Run, Step]:
        return _descend(task, run, *_gradient(task, run, data.at(example[None])))

    return jax.lax.scan(step, run, _order(task, run, data.n))


def _sgd_epoch_in_blocks(task: Task, run: Run, data: Examples) -> tuple[Run, Step]:
    return _in_order(task, run, data.n, lambda run, block: descend_block(task, run, data.at(block)))


def _in_order(task: Task, run: Run, n: int, step: Callable[[Run, jax.Array], tuple[Run, Step]]) -> tuple[Run, Step]:
    """step(run, indices) for each whole batch of the epoch's order, then for what remains."""
    size = min(task.batch_size, n)
    order, n_rest = _order(task, run, n), n % size
    whole, rest = jnp.split(order, [n - n_rest])
    run, steps = jax.lax.scan(step, run, whole.reshape(-1, size))
    steps = jax.tree.map(jnp.ravel, steps)
    if n_rest:
        run, last = step(run, rest)
        steps = jax.tree.map(jnp.append, steps, last)
    return run, steps


# What an epoch is made of: the order of the examples, a batch of them, its gradient, a step along it.


def _order(task: Task, run: Run, n: int) -> jax.Array:
    """The order in which an epoch visits the examples: a permutation that the epoch's number determines."""
    if not task.shuffle:
        return jnp.arange(n)
    return jax.random.permutation(jax.random.fold_in(run.keys.order, run.epoch), n)


def _batch(task: Task, run: Run, data: Examples, indices: jax.Array) -> Examples:
    """The examples at some indices: all of them on one device, its share of them on one of several."""
    mine, real = share(indices, task.axis_name)
    x, target, weights = data.at(mine)
    if task.axis_name is not None:
        weights = jnp.where(real, 1 if weights is None else weights, jnp.zeros((), params_dtype(run.params)))
    return Examples(x, target, weights)


class Means(NamedTuple):
    """Weighted means over some examples."""

    loss: jax.Array
    penalty: jax.Array
    metric: jax.Array | None
    grads: PyTree


Gradient = tuple[Means, jax.Array, PyTree]  # the means, the sum of their weights, and the state after the pass


def _gradient(task: Task, run: Run, batch: Examples) -> Gradient:
    """The gradient over a batch, of which each device holds its share."""
    means, weight, state = _local_gradient(task, run, batch, jax.random.fold_in(run.keys.noise, run.step))
    if task.axis_name is not None:
        means, weight = pooled(scaled(weight, means), weight, task.axis_name)
    return means, weight, state


def _full_gradient(task: Task, run: Run, data: Examples) -> Gradient:
    """The gradient over all examples: in one pass, or as the mean of the chunks' means, each with its weight."""
    everything = jnp.arange(data.n)
    if task.batch_size is None or task.batch_size >= data.n:
        return _gradient(task, run, data if task.axis_name is None else _batch(task, run, data, everything))

    def chunk_sums(chunk: jax.Array) -> tuple[tuple[Means, jax.Array], PyTree]:
        key = jax.random.fold_in(jax.random.fold_in(run.keys.noise, run.step), chunk[0])
        means, weight, state = _local_gradient(task, run, _batch(task, run, data, chunk), key)
        return (scaled(weight, means), weight), state

    n_rest = data.n % task.batch_size
    whole, rest = jnp.split(everything, [data.n - n_rest])
    chunks = whole.reshape(-1, task.batch_size)
    sums, state = chunk_sums(chunks[0])
    sums, _ = jax.lax.scan(lambda sums, chunk: (added(sums, chunk_sums(chunk)[0]), None), sums, chunks[1:])
    if n_rest:
        sums = added(sums, chunk_sums(rest)[0])
    total, weight = sums
    return *pooled(total, weight, task.axis_name), state


def _local_gradient(task: Task, run: Run, batch: Examples, key: jax.Array) -> Gradient:
    """The gradient over the examples that this device holds."""
    gradient = task.gradient(task.net, task.loss, penalty=task.penalty)
    key = own_key(key, task.axis_name)
    x, target, weights = task.augmented(batch, key)
    # Where rows couple across devices, each device's cotangents have a say in the others' gradients: one scale for all.
    across = task.axis_name if couples_batch(task.net) else None
    scale = {} if across is None else {"axis_name": across}
    result = gradient(run.params, run.state, x, target, key=key, weights=weights, **scale)
    total = None if weights is None else mean_over(jnp.sum(weights), across)
    metric = None if task.metric is None else weighted_mean(task.metric(result.outputs, target), weights, total)
    weight = jnp.asarray(batch.n if total is None else total, result.loss.dtype)
    return Means(result.loss, result.penalty, metric, result.grads), weight, result.state


def _descend(task: Task, run: Run, means: Means, weight: jax.Array, state: PyTree) -> tuple[Run, Step]:
    """One step along a gradient, by the update rule."""
    updates, update_state = task.rule.update(means.grads, run.update_state, run.params)
    run = run._replace(
        params=apply_updates(run.params, updates), state=state, update_state=update_state, step=run.step + 1
    )
    gradient_norm = norm(means.grads) if task.record == "step" else None
    return run, Step(means.loss, means.penalty, means.metric, weight, gradient_norm)


def _require_unmixed(loop: str, augment: Augment | None) -> None:
    """A step with one example mixes it with itself."""
    if getattr(augment, "couples_batch", False):
        raise ValueError(
            f"{loop}: {augment} mixes the examples of a batch (Mixup), and a step has but one here: use mbgd with a "
            "larger batch_size, or leave it out"
        )


def _require_own_rows(loop: str, net: Layer, axis_name: str | None, batches: tuple[int, ...]) -> None:
    """Layers that couple the rows of a batch do so over the loop's own axis, whose devices share each batch equally."""
    for _, layer in walk(net):
        over = getattr(layer, "axis_name", None)
        if not getattr(layer, "couples_batch", False) or over == axis_name:
            continue
        if axis_name is None:
            raise ValueError(
                f"{loop}: {layer} works over the mesh axis {over!r}, and this run is on no axis: train by "
                "parallel.data_parallel, whose axis is 'devices', or leave out the layer's axis_name"
            )
        raise ValueError(
            f"{loop}: {layer} couples the rows of a batch (BatchNorm), and each device would see its own share of them "
            f"alone: give it axis_name={axis_name!r} for statistics over all, or train on one device, or as an ensemble"
        )
    if axis_name is None or not couples_batch(net):
        return
    require_axis(loop, axis_name)
    for size in batches:
        if size % n_devices(axis_name):
            raise ValueError(
                f"{loop}: a batch of {size} examples can't be shared equally by {n_devices(axis_name)} devices, and "
                f"padding would enter the statistics of {net} (BatchNorm): choose the number of examples and "
                "batch_size such that every batch, also the ragged last one, is a multiple of the devices"
            )
