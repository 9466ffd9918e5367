"""The three loops: batch, mini-batch and stochastic gradient descent.

They differ in how many examples one step uses: all of them (BGD), a batch (MBGD), or one (SGD). An epoch of each is
defined in `epochs`; a whole run is one compiled program (see `program`).
"""

from collections.abc import Sequence
from typing import Any

import jax

from jaxnn.arrays import PyTree, require_positive
from jaxnn.layer import Layer, couples_batch, walk
from jaxnn.mesh_axes import n_devices, require_axis
from jaxnn.objective.gradient import backprop
from jaxnn.objective.losses import Loss
from jaxnn.training.augment import Augment
from jaxnn.training.epochs import MiniBatches, SingleExamples, SingleExamplesInBlocks, WholeBatch
from jaxnn.training.evaluation import Metric, metric_for
from jaxnn.training.examples import checked_splits
from jaxnn.training.program import run_epochs
from jaxnn.training.run import History, Keys, Run
from jaxnn.training.sgd_in_blocks import require_delayable
from jaxnn.training.step import Task
from jaxnn.training.updates import UpdateRule


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
    metric: Metric | str | None = "auto",
    augment: Augment | None = None,
    run: Run | None = None,
    record: str = "epoch",
    axis_name: str | None = None,
) -> tuple[Run, History]:
    """Batch gradient descent: one step an epoch, along the exact gradient over all examples.

    `chunk_size` computes that gradient in several passes, to bound memory; each pass is augmented by a key of its own.
    All other arguments, the result and the errors are those of `mbgd`.
    Source: PRINCIPLES B7.  NumPy twin: reference/loops.py.
    """
    data, validation = checked_splits(data, validation, net, loss)
    if chunk_size is not None:
        require_positive("chunk_size", chunk_size)
        if couples_batch(net):
            raise ValueError(
                f"bgd: {net} couples the rows of a batch (BatchNorm), so chunks don't add up to the whole: "
                "leave out chunk_size"
            )
    _require_own_rows("bgd", net, axis_name, (data.n,))
    task = Task(
        net=net,
        loss=loss,
        gradient=gradient,
        update=update,
        penalty=penalty,
        metric=metric_for(metric, net, loss, data),
        augment=augment,
        record=record,
        axis_name=axis_name,
    )
    return run_epochs(WholeBatch(chunk_size), task, data, validation, key=key, run=run, epochs=epochs)


def mbgd(
    net: Layer,
    loss: Loss,
    data: Any,
    *,
    key: jax.Array | Keys | None = None,
    epochs: int,
    batch_size: int,
    remainder: str = "step",
    update: UpdateRule,
    gradient: Any = backprop,
    penalty: PyTree = None,
    validation: Any = None,
    metric: Metric | str | None = "auto",
    augment: Augment | None = None,
    shuffle: bool = True,
    run: Run | None = None,
    record: str = "epoch",
    axis_name: str | None = None,
) -> tuple[Run, History]:
    """Mini-batch gradient descent: an epoch visits the examples in a new order, `batch_size` per step.

    The examples left over after the whole batches make one smaller batch, unless `remainder` says otherwise.

    Args:
        data: (x, target) or (x, target, weights), n examples along the first axis; `validation` likewise. Weights say
            how much an example counts in the objective, sum w l / sum w over the whole set, whatever the batches are: a
            step of B examples divides by B and the mean weight of the set. Divided by the batch's own sum of weights
            instead, an example would count by the company it is in, and alone, in SGD, always once.
        key: a key, or `Keys`. Not needed with `run`.
        update: an update rule of this library or of optax. optax's are functions, each equal only to itself: make
            the optimiser once, since a second one compiles the program again.
        remainder: what becomes of the examples that are left over: "step", a smaller step of their own; "drop", none in
            this epoch; "merge", they go into the last whole batch. A BatchNorm needs two examples in each.
        gradient: `backprop` or `autodiff`, or anything called in the same way: gradient(net, loss, penalty=penalty).
        penalty: l1, l2, or a tuple of penalties.
        metric: (outputs, target) -> one value per example; None for no metric; "auto": accuracy where targets are
            classes. A function is equal only to itself: a lambda in each call compiles the program each time.
        augment: how each step's examples are changed before its gradient is taken, by a key of the step's own; see
            `augment`. The training columns of the history are of the changed examples; validation changes none.
        run: the run to continue, from a loop's result; None starts one from `key`.
        record: "epoch" or "step".
        axis_name: the mesh axis to share each batch over; see `parallel.data_parallel`. A BatchNorm needs the same
            one, and every batch must then be a multiple of the number of devices.
    Returns: (run, history); see `Run` and `History`.
    Raises: ValueError or TypeError for data that can't be trained on (see `examples.checked`), for a batch larger
        than the set, for augmentation that changes x's shape or dtype, or mixes examples where a batch has only one,
        and unless exactly one of key and run is given.
    Source: PRINCIPLES B8.  NumPy twin: reference/loops.py.

    >>> import jax.numpy as jnp, jaxnn
    >>> x, t = jnp.array([[0.0], [1.0], [2.0]]), jnp.array([[1.0], [3.0], [5.0]])
    >>> run, history = mbgd(jaxnn.Dense(1), jaxnn.HalfSquaredError(), (x, t), key=jax.random.key(0), epochs=500,
    ...                     batch_size=2, update=jaxnn.gradient_descent(0.2))
    >>> run.params.weight.round(3), run.params.bias.round(3)
    (Array([[2.]], dtype=float32), Array([1.], dtype=float32))
    """
    data, validation = checked_splits(data, validation, net, loss)
    require_positive("batch_size", batch_size)
    if batch_size > data.n:
        raise ValueError(
            f"mbgd: batch_size {batch_size} is larger than the set of {data.n} examples: "
            f"use at most {data.n}, or bgd for the whole set"
        )
    if batch_size == 1:
        _require_unmixed("mbgd", augment)
    if remainder not in ("step", "drop", "merge"):
        raise ValueError(f'mbgd: remainder should be "step", "drop" or "merge", got {remainder!r}')
    epoch = MiniBatches(int(batch_size), shuffle, remainder)
    _require_own_rows("mbgd", net, axis_name, sorted(set(epoch.sizes(data.n))))
    task = Task(
        net=net,
        loss=loss,
        gradient=gradient,
        update=update,
        penalty=penalty,
        metric=metric_for(metric, net, loss, data),
        augment=augment,
        record=record,
        axis_name=axis_name,
    )
    return run_epochs(epoch, task, data, validation, key=key, run=run, epochs=epochs)


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
    metric: Metric | str | None = "auto",
    augment: Augment | None = None,
    shuffle: bool = True,
    run: Run | None = None,
    record: str = "epoch",
    axis_name: str | None = None,
) -> tuple[Run, History]:
    """Stochastic gradient descent: each example makes a step of its own, n steps an epoch.

    `block` takes that many steps with the first layer's updates delayed: the same iterates up to rounding, several
    times faster (see `sgd_in_blocks`). It is for plain gradient descent, without a penalty, on a Serial that begins
    with Dense.
    All other arguments, the result and the errors are those of `mbgd`. There is no data-parallel form, since a step has
    one example: the parallel form of SGD is `parallel.ensemble`.
    Source: PRINCIPLES B9.  NumPy twin: reference/loops.py.
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
    data, validation = checked_splits(data, validation, net, loss)
    task = Task(
        net=net,
        loss=loss,
        gradient=gradient,
        update=update,
        penalty=penalty,
        metric=metric_for(metric, net, loss, data),
        augment=augment,
        record=record,
        axis_name=axis_name,
    )
    epoch = SingleExamples(shuffle)
    if block is not None:
        require_positive("block", block)
        require_delayable(task, data.x.shape[1:])
        epoch = SingleExamplesInBlocks(block, shuffle)
    return run_epochs(epoch, task, data, validation, key=key, run=run, epochs=epochs)


def _require_unmixed(loop: str, augment: Augment | None) -> None:
    """Refuse augmentation that mixes examples, where a step has one: it would mix it with itself."""
    if getattr(augment, "couples_batch", False):
        raise ValueError(
            f"{loop}: {augment} mixes the examples of a batch (Mixup), and a step has only one here: use mbgd with a "
            "larger batch_size, or leave it out"
        )


def _require_own_rows(loop: str, net: Layer, axis_name: str | None, batches: Sequence[int]) -> None:
    """Refuse layers that couple rows over an axis other than the loop's, or over devices with unequal shares."""
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
