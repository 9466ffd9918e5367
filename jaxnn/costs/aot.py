"""Ahead of time: what a training step costs on an accelerator that isn't here, as its own compiler counts it.

XLA compiles for a GPU or a TPU on a machine that has none, and says how much temporary memory the program takes and
how many operations. Nothing runs, so the compiler tunes nothing by running it: all is its first choice.

    TARGETS          the accelerators, by name
    mesh             the devices of one
    compiled_for     what any function costs there
    step_cost        what a loop's step costs there, on one device or with the batch shared over several
    costs            a network's step with its gradient by hand, and by machine in three forms

Needs the compiler of the target: libtpu (extra `aot`) for TPUs, JAX's CUDA plugin (extra `cuda13`) for GPUs.
"""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax._src import xla_bridge
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxnn.arrays import PyTree
from jaxnn.audit.network.idiomatic import idiomatic, idiomatic_loss
from jaxnn.layer import Backward, Forward, Layer, forward_of, is_composite, says
from jaxnn.networks.rebuild import mapped, own_copy, rebuilt
from jaxnn.networks.wrapped import Wrapped
from jaxnn.objective.gradient import autodiff, backprop
from jaxnn.objective.losses import Loss
from jaxnn.optional import require
from jaxnn.training.examples import Examples
from jaxnn.training.parallel import AXIS
from jaxnn.training.run import start
from jaxnn.training.step import Task, take_step
from jaxnn.training.updates import UpdateRule, momentum

LABEL = "compiler's own count, no autotuning"


class Target(NamedTuple):
    """A kind of accelerator, and how many of them; `topology` is the name of what they are taken from."""

    platform: str
    topology: str
    n_devices: int


TARGETS = {
    "h100": Target("cuda", "1x1x1", 1),
    "h100x4": Target("cuda", "1x1x4", 4),
    "v5e": Target("tpu", "v5e:2x2", 1),
    "v5ex4": Target("tpu", "v5e:2x2", 4),
}


class Compiled(NamedTuple):
    """What a compiler says of its program, for each device.

    Bytes of temporaries, arguments and outputs. Floating-point operations of a call, and bytes that it reads and
    writes: NaN where the compiler doesn't count them. The number of fusions, of calls by library routine (convolutions
    and matrix products among them, for which the compiler has routines of its own), and of collectives by kind.
    """

    temporary_bytes: int
    argument_bytes: int
    output_bytes: int
    flops: float
    bytes_accessed: float
    fusions: int
    library_calls: dict[str, int]
    collectives: dict[str, int]


@lru_cache
def mesh(target: str) -> Mesh:
    """The devices of a target, along the axis "devices" as in `jaxnn.data_parallel`: to compile for, not to run on.

    Raises: ValueError for a name that isn't known; ImportError if the target's compiler isn't installed.
    """
    if target not in TARGETS:
        raise ValueError(f"there is no target {target!r}: expected one of {', '.join(TARGETS)}")
    platform, topology, n_devices = TARGETS[target]
    devices = (_tpus if platform == "tpu" else _gpus)(topology)
    return Mesh(np.asarray(devices[:n_devices]), (AXIS,))


# Without these, libtpu looks for a TPU's machine around it, and locks other processes out of a TPU's chips, of which
# there are none here.
TPU_MACHINE = {
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
}


SKIP_GPU_CHECK = "JAX_SKIP_CUDA_CONSTRAINTS_CHECK"


def _tpus(topology: str) -> list[jax.Device]:
    require("libtpu", "aot")
    for name, value in TPU_MACHINE.items():
        os.environ.setdefault(name, value)
    return topologies.get_topology_desc(topology, "tpu").devices


def _gpus(topology: str) -> list[jax.Device]:
    _register_cuda()
    config = Path(__file__).with_name("h100.txtpb").read_text(encoding="utf-8")
    return topologies.get_topology_desc("h100", "cuda", target_config=config, topology=topology).devices


def _register_cuda() -> None:
    """JAX's CUDA plugin looks for a GPU when it registers, unless `SKIP_GPU_CHECK` is set.

    Starting any backend registers the plugins; if one was started before, the plugin may have failed then.
    """
    before = os.environ.get(SKIP_GPU_CHECK)
    os.environ[SKIP_GPU_CHECK] = "1"
    try:
        jax.devices("cpu")
        if "cuda" not in xla_bridge._backend_factories:
            require("jax_plugins.xla_cuda13", "cuda13").initialize()
    finally:
        del os.environ[SKIP_GPU_CHECK]
        if before is not None:
            os.environ[SKIP_GPU_CHECK] = before


def compiled_for(target: str, function: Callable[..., Any], *arguments: PyTree) -> Compiled:
    """What a function costs on a target, for arguments of some shapes and dtypes: arrays or `jax.ShapeDtypeStruct`.

    Every device holds the whole of an argument, unless it is a ShapeDtypeStruct with a sharding on `mesh(target)`. To
    share work among several devices, give such arguments, or a function that is a `shard_map` over that mesh.
    Raises: as `mesh`.

    >>> x = jax.ShapeDtypeStruct((128, 128), "float32")
    >>> compiled_for("v5e", lambda x: x @ x, x).flops  # doctest: +SKIP
    4194304.0
    """
    everywhere = NamedSharding(mesh(target), P())

    def placed(leaf: Any) -> jax.ShapeDtypeStruct:
        there = leaf.sharding if isinstance(leaf, jax.ShapeDtypeStruct) else None  # an array's is where it is now
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=there or everywhere)

    lowered = jax.jit(function).lower(*jax.tree.map(placed, arguments))
    untuned: dict[str, bool | str] = {"xla_gpu_autotune_level": "0"} if TARGETS[target].platform == "cuda" else {}
    return _facts(lowered.compile(compiler_options=untuned))


def _facts(compiled: Any) -> Compiled:
    memory, counted, program = compiled.memory_analysis(), compiled.cost_analysis() or {}, compiled.as_text()
    return Compiled(
        memory.temp_size_in_bytes,
        memory.argument_size_in_bytes,
        memory.output_size_in_bytes,
        float(counted.get("flops", "nan")),
        float(counted.get("bytes accessed", "nan")),
        len(re.findall(r" fusion\(", program)),
        dict(sorted(Counter(_library_calls(program)).items())),
        dict(sorted(Counter(re.findall(COLLECTIVE, program)).items())),
    )


# An instruction of the compiler's text is `%name = type operation(operands), attributes`.
COLLECTIVE = r" (all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute|collective-broadcast)(?:-start)?\("


def _library_calls(program: str) -> Iterator[str]:
    for operation, attributes in re.findall(r" (convolution|dot|custom-call)\((.*)", program):
        called = re.search(r'custom_call_target="([^"]+)"', attributes)
        yield called[1] if operation == "custom-call" and called else operation


def step_cost(target: str, task: Task, x: Any, labels: Any) -> Compiled:
    """What a loop's step costs on a target: x and labels are a batch, or its shapes and dtypes.

    On several devices the step is a `shard_map`, as in `jaxnn.data_parallel`: each has its part of the batch and all
    params. A layer that couples the batch has to work over the axis "devices" then; see `across_devices`.
    """
    devices = mesh(target)
    axis_name, rows = (AXIS, P(AXIS)) if devices.size > 1 else (None, P())
    task = replace(task, axis_name=axis_name)
    key = jax.eval_shape(lambda: jax.random.key(0))
    run = jax.eval_shape(lambda key: start(task.net, x.shape[1:], key=key, update=task.update), key)
    step = partial(take_step, task)
    if axis_name is not None:
        step = jax.shard_map(step, mesh=devices, in_specs=(P(), rows), out_specs=P())
    sharding = NamedSharding(devices, rows)
    arrays: Any = (jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding) for array in (x, labels))
    batch = Examples(*arrays)
    return compiled_for(target, step, run, batch)


def across_devices(net: Layer) -> Layer:
    """The same network over the axis "devices": a layer that couples the batch couples the rows of all devices.

    Raises: TypeError for such a layer without a copy of its own `over_axis`.
    """
    return mapped(net, _over_devices)


def _over_devices(layer: Any) -> Layer:
    if not getattr(layer, "couples_batch", False) or (is_composite(layer) and not says(layer, "over_axis")):
        return layer  # a composite's children are over the axis already
    if not hasattr(layer, "over_axis") and getattr(layer, "axis_name", None) != AXIS:
        raise TypeError(
            f"{layer} couples the rows of a batch, and on several devices each would see its own alone: write "
            "over_axis(name), which gives its copy with that axis_name"
        )
    return own_copy(layer, "over_axis", AXIS)


def without_remat(net: Layer) -> Layer:
    """The same network, keeping the caches that a Remat, or another layer with `keeping_cache`, makes again.

    A wrapper that can't be copied around another layer stays as it is.
    """

    def kept(layer: Any) -> Layer:
        return layer.keeping_cache() if says(layer, "keeping_cache") else layer

    return mapped(net, kept, opaque=True)


class Form(NamedTuple):
    """One way to write the same step: a gradient, `backprop` or `autodiff`, and what it is of."""

    kind: str
    name: str
    net: Layer
    loss: Loss
    gradient: Any
    penalty: PyTree = None

    def task(self, update: UpdateRule, axis_name: str | None = None) -> Task:
        """What a loop's step is asked to do."""
        objective = {"net": self.net, "loss": self.loss, "gradient": self.gradient, "penalty": self.penalty}
        return Task(**objective, update=update, axis_name=axis_name)


def forms(net: Layer, loss: Loss, penalty: PyTree = None) -> list[Form]:
    """A network's gradient by hand, and by machine: of the idiomatic forward, of its own, and with `jax.checkpoint`.

    The first two by machine are without Remat. The third comes in several forms, of which the best counts: the network
    as written, if it has a Remat; all computed again in backward; all but matrix products and convolutions; each child
    of the network by itself.
    """
    bare = without_remat(net)
    plain, plain_loss = idiomatic(bare), idiomatic_loss(loss)
    all_forms = [
        Form(BY_HAND, "as written", net, loss, backprop, penalty),
        Form(IDIOMATIC, "without Remat", plain, plain_loss, autodiff, penalty),
        Form(OWN_FORWARD, "without Remat", bare, loss, autodiff, penalty),
    ]
    if bare is not net:
        all_forms.append(Form(CHECKPOINT, "own forward, Remat as written", net, loss, autodiff, penalty))
    for what, whole, its_loss in (("own forward", bare, loss), ("idiomatic", plain, plain_loss)):
        for name, saved in _checkpointed(whole):
            all_forms.append(Form(CHECKPOINT, f"{what}, {name}", saved, its_loss, autodiff, penalty))
    return all_forms


BY_HAND, IDIOMATIC, OWN_FORWARD, CHECKPOINT = "by hand", "idiomatic", "own forward", "best with checkpoint"
KINDS = (BY_HAND, IDIOMATIC, OWN_FORWARD, CHECKPOINT)


@dataclass(frozen=True)
class Checkpointed(Wrapped):
    """A layer under `jax.checkpoint`, for `autodiff` alone."""

    policy: Callable[..., Any] | None = None

    def forward(self, params: PyTree, state: PyTree, x: PyTree, *, key: Any = None, train: bool = False) -> Forward:
        def forward(params: PyTree, state: PyTree, x: PyTree, key: Any) -> tuple[PyTree, PyTree]:
            y, new_state, _ = forward_of(self.layer, params, state, x, key=key, train=train)
            return y, new_state

        y, new_state = jax.checkpoint(forward, policy=self.policy)(params, state, x, key)
        return Forward(y, new_state, ())

    def backward(self, params: PyTree, cache: PyTree, dy: PyTree) -> Backward:
        raise NotImplementedError(f"{self.layer} under jax.checkpoint has no hand-written backward: use autodiff")


def _checkpointed(net: Any) -> Iterator[tuple[str, Layer]]:
    yield "all made again", Checkpointed(net)
    yield "products kept", Checkpointed(net, jax.checkpoint_policies.dots_saveable)
    if is_composite(net):
        yield "layer by layer", rebuilt(net, [Checkpointed(child) for _, child in net.children])


class Cost(NamedTuple):
    """One form of a network's training step, and what it costs."""

    kind: str
    form: str
    compiled: Compiled


def costs(
    target: str,
    net: Layer,
    loss: Loss,
    x: Any,
    labels: Any,
    update: UpdateRule | None = None,
    penalty: PyTree = None,
) -> Iterator[Cost]:
    """What a training step costs on a target, in each of its `forms`, one by one: half a minute of compilation each.

    x and labels are a batch, or its shapes and dtypes; the update is `momentum` where none is given. On several devices
    a layer that couples the batch, as BatchNorm does, couples all of it; see `across_devices`.
    """
    update = momentum(0.1) if update is None else update
    net = across_devices(net) if TARGETS[target].n_devices > 1 else net
    for form in forms(net, loss, penalty):
        yield Cost(form.kind, form.name, step_cost(target, form.task(update), x, labels))


def best(step_costs: Iterable[Cost]) -> list[Cost]:
    """Of each kind, in the order of `KINDS`, the form with the least temporary memory."""
    by_kind: dict[str, list[Cost]] = {kind: [] for kind in KINDS}
    for cost in step_costs:
        by_kind[cost.kind].append(cost)
    return [min(group, key=lambda cost: cost.compiled.temporary_bytes) for group in by_kind.values() if group]
