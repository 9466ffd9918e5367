"""Named axes: what a gradient and a loop must know when one program runs on several devices.

Inside `shard_map` or `pmap`, every device holds the same params and its own share of a batch. `axis_name` None means
one device, and every function here is then the identity.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.arrays import PyTree


def varying_like(tree: PyTree, others: PyTree) -> PyTree:
    """The tree, marked as varying over every mesh axis that one of the others varies over.

    `shard_map(check_vma=True)` tracks which values differ between devices. They have to be marked in two places:
    - `jax.grad` with respect to replicated params gives a gradient that is already summed over the devices. Here a
      gradient is local, whichever function computes it, so params are first marked as varying like the examples.
    - What a loop carries must be marked at its start as it will be at its end.
    """
    axes = frozenset().union(*map(_varying, jax.tree.leaves(others)))

    def mark(leaf: jax.Array) -> jax.Array:
        missing = tuple(sorted(axes - _varying(leaf)))
        return jax.lax.pcast(leaf, missing, to="varying") if missing else leaf

    return jax.tree.map(mark, tree)


def _varying(x: Any) -> frozenset[str]:
    return frozenset(jax.typeof(x).manual_axis_type.varying)


def n_devices(axis_name: str | None) -> int:
    """How many devices an axis has."""
    return 1 if axis_name is None else jax.lax.axis_size(axis_name)


def mean_over(tree: PyTree, axis_name: str | None) -> PyTree:
    """The mean of what the devices hold, the same on all of them."""
    return tree if axis_name is None else jax.lax.pmean(tree, axis_name)


def require_axis(owner: object, axis_name: str | None) -> None:
    try:
        n_devices(axis_name)
    except NameError:
        raise ValueError(
            f"{owner}: in training it works over the mesh axis {axis_name!r}, and there is none of that name here: "
            f"train by parallel.data_parallel, whose axis is 'devices', or inside of a shard_map or pmap over "
            f"{axis_name!r}; on one device leave out axis_name"
        ) from None


def share(indices: jax.Array, axis_name: str | None) -> tuple[jax.Array, jax.Array]:
    """This device's share of a batch's indices, and 1 for each of them that is real, 0 for padding.

    A batch that the devices don't divide (the ragged last one) is padded with its first index; the objective gives
    padding the weight 0, so it changes no mean.
    """
    if axis_name is None:
        return indices, jnp.ones(indices.shape, bool)
    n, devices = indices.shape[0], n_devices(axis_name)
    share_size = -(-n // devices)
    padded = jnp.concatenate([indices, jnp.broadcast_to(indices[:1], (share_size * devices - n,))])
    start = jax.lax.axis_index(axis_name) * share_size
    mine = jax.lax.dynamic_slice_in_dim(padded, start, share_size)
    return mine, start + jnp.arange(share_size, dtype=start.dtype) < n


def own_key(key: jax.Array, axis_name: str | None) -> jax.Array:
    """A key of this device's own, so that no two devices draw the same dropout mask."""
    return key if axis_name is None else jax.random.fold_in(key, jax.lax.axis_index(axis_name))
