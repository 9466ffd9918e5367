"""Barriers against what a compiler would do to a backward pass, platform by platform. They change no number."""

from typing import Any

import jax

from jaxnn.arrays import PyTree, is_floating_array


def kept(cache: PyTree) -> PyTree:
    """The cache, with a barrier around each array that isn't floating (a mask, a winner), on a CPU or a CUDA GPU.

    A compiler sees forward and backward as one program. It may drop a mask of one byte a number, keep the array of four
    bytes a number that the mask was computed from, such as a convolution's output, and compute the mask again at each
    use. The barrier makes XLA keep the mask (on a CPU from JAX 0.12 on); a mask that nobody uses is still dropped.
    Floating arrays get no barrier: they are as large as what they are computed from, and a barrier would cost a copy
    now and then. On a TPU nothing gets one: its compiler chooses better what to fuse and what to compute again, and
    barriers cost memory there.
    """
    return jax.tree.map(lambda leaf: leaf if is_floating_array(leaf) else _barred(leaf, "cpu", "cuda"), cache)


def materialized(*arrays: jax.Array) -> tuple[jax.Array, ...]:
    """The arrays themselves; on a CPU each is computed once, and not again at each of its uses."""
    return tuple(_barred(array, "cpu") for array in arrays)


def completed(*results: PyTree) -> tuple[PyTree, ...]:
    """The results themselves; on a CUDA GPU none is used before all are computed, so that their inputs can be freed.

    Otherwise that compiler's scheduler puts off a weight's gradient, and keeps the two large arrays that it needs.
    """
    return _barred(results, "cuda")


def _barred(tree: PyTree, *platforms: str) -> Any:
    """A tree, with one barrier around all of it on these platforms; as it is on others."""
    by_barrier = dict.fromkeys(platforms, jax.lax.optimization_barrier)
    return jax.lax.platform_dependent(tree, default=lambda tree: tree, **by_barrier)
