"""Many runs at once, and one run on many devices: the loops under `vmap`, `shard_map` and `pmap`; no loop is copied.

    ensemble        M independent runs as one program; their members may be spread over devices
    data_parallel   one run whose batches are shared over devices

`shard_map` is JAX's way to say what each device does; `pmap` is its predecessor, in maintenance mode since JAX 0.8.
Here both take the same arguments and give the same numbers.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxnn.arrays import PyTree, require_positive
from jaxnn.layer import Layer
from jaxnn.objective.losses import Loss
from jaxnn.training.evaluation import metric_for
from jaxnn.training.examples import checked_splits
from jaxnn.training.run import History, Keys, Run, as_argument, require_loop, require_run

Devices = int | Sequence[jax.Device] | None


class Members(NamedTuple):
    """What may differ from member to member: where a leaf has a leading axis of M, each member has its own."""

    keys: Keys | None
    update: PyTree
    penalty: PyTree
    run: Run | None


def ensemble(
    loop: Callable,
    net: Layer,
    loss: Loss,
    data: Any,
    *,
    keys: jax.Array | None = None,
    update: Any,
    penalty: PyTree = None,
    validation: Any = None,
    run: Run | None = None,
    share_order: bool = True,
    devices: Devices = None,
    by: str = "shard_map",
    **options: Any,
) -> tuple[Run, History]:
    """M independent runs of a loop as one program: over keys, and over any number of the update rule or penalty.

    A number of shape (M,) in `update` or `penalty` is one for each member, a single one is for all.

    Args:
        loop: `bgd`, `mbgd` or `sgd`; `options` go to it.
        keys: (M,) keys, one per member, for its initial params and its noise.
        share_order: whether all members meet the examples in the order of the first key, so that one gather serves
            all; otherwise each has its own (a permutation of 60,000 costs a sort for each member).
        run: an ensemble to continue, in place of keys.
        devices: how many devices, or which, to spread the members over; None keeps them on one, by `vmap` alone.
        by: "shard_map" or "pmap".
    Returns: (run, history) with a leading axis of M on every leaf of history and on params, state, update_state and
        the keys of run (order only without `share_order`); `member(run, i)` picks one.
    Raises: ValueError if a number is neither single nor (M,), if the devices don't divide M, or what the loop raises.

    >>> import jaxnn
    >>> x, t = jnp.linspace(-1, 1, 8)[:, None], jnp.linspace(-1, 1, 8)[:, None]
    >>> rule = jaxnn.gradient_descent(jnp.array([0.01, 0.1, 1.0]))
    >>> run, history = ensemble(jaxnn.sgd, jaxnn.Dense(1), jaxnn.HalfSquaredError(), (x, t),
    ...                         keys=jax.random.split(jax.random.key(0), 3), update=rule, epochs=4)
    >>> history.loss.shape
    (3, 4)
    """
    require_loop("ensemble", loop)
    data, validation = checked_splits(data, validation, net, loss)
    options["metric"] = metric_for(options.get("metric", "auto"), net, loss, data)
    if run is not None:
        require_run(run)
    if (keys is None) == (run is None):
        raise ValueError("ensemble: give either keys=jax.random.split(key, M), or run= to go on with an ensemble")
    own_keys = None if keys is None else _members_keys(keys, share_order)
    members = Members(own_keys, as_argument(update, net), penalty, run)
    n_members = jax.tree.leaves(own_keys if run is None else run.keys)[0].shape[0]
    mesh = None if devices is None else _mesh(devices, by, n_members, f"an ensemble of {n_members} members")
    own = [_is_own(leaf, n_members) for leaf in jax.tree.leaves(members._replace(run=None))]
    if run is not None:
        own += jax.tree.leaves(_own_leaves(run))
    structure = jax.tree.structure(members)
    program = _ensemble_program(loop, net, loss, structure, tuple(own), mesh, by, tuple(sorted(options.items())))
    if mesh is not None:
        moved = None if run is None else jax.tree.map(partial(_moved, mesh), run, _own_leaves(run))
        members, data, validation = members._replace(run=moved), _moved(mesh, data), _moved(mesh, validation)
    return program(members, data, validation)


def member(run: Run, i: int) -> Run:
    """One member of an ensemble, as a run of its own.

    What all members share (epoch, step, and a shared order) is taken as it is.
    """
    n_members = run.keys.init.shape[0]
    if not -n_members <= i < n_members:
        raise IndexError(f"member {i} of an ensemble of {n_members}")  # JAX would silently clamp it
    return jax.tree.map(lambda leaf, own: leaf[i] if own else leaf, run, _own_leaves(run))


def data_parallel(
    loop: Callable,
    net: Layer,
    loss: Loss,
    data: Any,
    *,
    key: jax.Array | Keys | None = None,
    update: Any,
    penalty: PyTree = None,
    validation: Any = None,
    run: Run | None = None,
    devices: Devices = None,
    by: str = "shard_map",
    **options: Any,
) -> tuple[Run, History]:
    """One run of `bgd` or `mbgd` whose every batch is shared over devices: the same steps as on one, up to rounding.

    Each device holds all data and all params, and takes its slice of the one global permutation; gradients are summed
    over the devices once a step. The ragged last batch, and BGD's whole set, may be of any size: padding has weight 0.
    Dropout masks differ from those of one device, since each device draws its own. Validation is not shared: each
    device evaluates all of it. `BatchNorm(axis_name="devices")` has the statistics of the whole batch; padding would
    enter them, so every batch must then be a multiple of the devices.

    Args: those of the loop; `devices` and `by` as in `ensemble`, but None means all devices.
    Raises: ValueError if the devices don't divide `batch_size`, for `sgd`, for a BatchNorm without `axis_name`, and for
        one with it if a batch isn't a multiple of the number of devices.
    """
    require_loop("data_parallel", loop)
    data, validation = checked_splits(data, validation, net, loss)
    options["metric"] = metric_for(options.get("metric", "auto"), net, loss, data)
    if run is not None:
        require_run(run)
    size = options.get("batch_size", options.get("chunk_size"))
    mesh = _mesh(devices, by, size, f"a batch of {size} examples")
    program = _data_parallel_program(loop, net, loss, mesh, by, tuple(sorted(options.items())))
    members = Members(None if key is None else Keys.of(key), as_argument(update, net), penalty, _moved(mesh, run))
    return program(members, _moved(mesh, data), _moved(mesh, validation))


AXIS = "devices"


@lru_cache(maxsize=64)
def _ensemble_program(
    loop: Callable, net: Layer, loss: Loss, structure: Any, own: tuple, mesh: Mesh | None, by: str, options: tuple
) -> Callable:
    """The compiled form of one kind of ensemble, made once: `jit` knows a function by its identity."""
    axes = jax.tree.unflatten(structure, [0 if is_own else None for is_own in own])
    keys_axes = axes.keys if axes.run is None else axes.run.keys
    shared: Any = None
    run_axes = Run(0, 0, 0, keys_axes._replace(init=0, noise=0), epoch=shared, step=shared, rounding=0)

    def one(member: Members, data: Any, validation: Any) -> tuple[Run, History]:
        return _call(loop, net, loss, member, data, validation, options)

    many = jax.vmap(one, in_axes=(axes, None, None), out_axes=(run_axes, 0))
    if mesh is None:
        return jax.jit(many)
    if by == "shard_map":
        on_mesh = jax.tree.map(lambda axis: P() if axis is None else P(AXIS), (axes, run_axes), is_leaf=_is_none)
        specs = {"in_specs": (on_mesh[0], P(), P()), "out_specs": (on_mesh[1], P(AXIS))}
        return jax.jit(jax.shard_map(many, mesh=mesh, **specs))
    n_devices = mesh.size

    def split(axis: int | None, leaf: jax.Array) -> jax.Array:
        return leaf if axis is None else leaf.reshape(n_devices, -1, *leaf.shape[1:])

    def joined(axis: int | None, leaf: jax.Array) -> jax.Array:
        return leaf if axis is None else leaf.reshape(-1, *leaf.shape[2:])

    mapped = jax.pmap(many, in_axes=(axes, None, None), out_axes=(run_axes, 0), devices=list(mesh.devices.flat))

    def program(members: Members, data: Any, validation: Any) -> tuple[Run, History]:
        results = mapped(_over(split, axes, members), data, validation)
        return _over(joined, (run_axes, 0), results)

    return program


@lru_cache(maxsize=64)
def _data_parallel_program(loop: Callable, net: Layer, loss: Loss, mesh: Mesh, by: str, options: tuple) -> Callable:
    def on_each(member: Members, data: Any, validation: Any) -> tuple[Run, History]:
        return _call(loop, net, loss, member, data, validation, (*options, ("axis_name", AXIS)))

    if by == "shard_map":
        return jax.jit(jax.shard_map(on_each, mesh=mesh, in_specs=P(), out_specs=P()))
    # pmap maps over the devices' numbers: everything else is the same on each.
    numbers = np.arange(mesh.size)
    mapped = jax.pmap(
        lambda _, *arguments: on_each(*arguments),
        axis_name=AXIS,
        in_axes=(0, None, None, None),
        out_axes=None,
        devices=list(mesh.devices.flat),
    )
    return lambda *arguments: mapped(numbers, *arguments)


def _call(
    loop: Callable, net: Layer, loss: Loss, member: Members, data: Any, validation: Any, options: tuple
) -> tuple[Run, History]:
    return loop(
        net,
        loss,
        data,
        key=member.keys,
        update=member.update,
        penalty=member.penalty,
        run=member.run,
        validation=validation,
        **dict(options),
    )


def _own_leaves(run: Run) -> Run:
    """Which leaves of an ensemble's run have an axis of members; epoch, step and perhaps the order are shared."""
    own = jax.tree.map(lambda _: True, run)
    return own._replace(keys=own.keys._replace(order=run.keys.order.ndim > 0), epoch=False, step=False)


def _members_keys(keys: jax.Array, share_order: bool) -> Keys:
    keys = jnp.stack(keys) if isinstance(keys, list | tuple) and keys else keys
    if jnp.ndim(keys) != 1 or not jnp.issubdtype(keys.dtype, jax.dtypes.prng_key):
        raise ValueError("ensemble: keys should be typed keys of shape (M,): jax.random.split(jax.random.key(seed), M)")
    members_keys = jax.vmap(Keys.of)(keys)
    return members_keys._replace(order=members_keys.order[0]) if share_order else members_keys


def _is_own(leaf: Any, n_members: int) -> bool:
    """Whether a number differs from member to member."""
    shape = jnp.shape(leaf)
    if shape not in ((), (n_members,)):
        raise ValueError(
            f"ensemble: a number of the update rule or penalty should be single or one per member, ({n_members},), "
            f"got shape {shape}"
        )
    return shape == (n_members,)


def _mesh(devices: Devices, by: str, size: int | None, what: str) -> Mesh:
    """A mesh of the requested devices, whose number has to divide what is to be shared."""
    if by not in ("shard_map", "pmap"):
        raise ValueError(f'by should be "shard_map" or "pmap", got {by!r}')
    chosen = jax.devices() if devices is None else devices
    if isinstance(chosen, str | int | float | np.generic):
        require_positive("devices, if a number,", chosen)
        n = int(chosen)
        if n > len(jax.devices()):
            raise ValueError(
                f"{n} devices were asked for, but JAX has {len(jax.devices())}: on a CPU start it with "
                f'jax.config.update("jax_num_cpu_devices", {n})'
            )
        chosen = jax.devices()[:n]
    n = len(chosen)
    if size is not None and size % n:
        raise ValueError(
            f"{what} can't be shared equally by {n} devices: make it a multiple of {n}, such as {size - size % n or n}"
        )
    return Mesh(np.asarray(chosen), (AXIS,))


def _moved(mesh: Mesh, tree: PyTree, own: bool = False) -> PyTree:
    """The arrays on the devices of a mesh, wherever they lie now: all of them on each, or each device's own part."""
    return jax.device_put(tree, NamedSharding(mesh, P(AXIS) if own else P()))


def _is_none(leaf: Any) -> bool:
    return leaf is None


def _over(f: Callable, axes: PyTree, tree: PyTree) -> PyTree:
    """f(axis, leaf) over a tree, with axes a prefix of it."""
    return jax.tree.map(lambda axis, part: jax.tree.map(lambda leaf: f(axis, leaf), part), axes, tree, is_leaf=_is_none)
