"""Barriers: what a compiler must not do to a backward pass, platform by platform. No number changes."""

from typing import Any

import jax

from jaxnn.arrays import PyTree, is_floating_array


def kept(cache: PyTree) -> PyTree:
    """The cache, and on a CPU or a CUDA GPU no other arrays in the place of its masks and winners.

    A compiler sees forward and backward as one program. It would gladly keep what a mask was made of, a convolution's
    output of four bytes a number, and make the mask of one byte again where it is used, as often as it is used. A
    barrier for each array that isn't floating has XLA keep it (on a CPU from JAX 0.12 on); one that nobody uses is
    dropped. Floating ones are as large as what they are made of, and a barrier would be a copy now and then. The TPU's
    compiler fuses and recomputes with better judgement: there barriers cost memory.
    """
    return jax.tree.map(lambda leaf: leaf if is_floating_array(leaf) else _barred(leaf, "cpu", "cuda"), cache)


def materialized(*arrays: jax.Array) -> tuple[jax.Array, ...]:
    """The arrays themselves; on a CPU each is made once, and not again at each of its uses."""
    return tuple(_barred(array, "cpu") for array in arrays)


def completed(*results: PyTree) -> tuple[PyTree, ...]:
    """The results themselves; on a CUDA GPU none is used before all are there, and what they are made of can go.

    That compiler's scheduler puts a weight's gradient off, and keeps the two large arrays that it is made of.
    """
    return _barred(results, "cuda")


def _barred(tree: PyTree, *platforms: str) -> Any:
    """A tree with a barrier around all of it on some platforms; on others as it is."""
    by_barrier = dict.fromkeys(platforms, jax.lax.optimization_barrier)
    return jax.lax.platform_dependent(tree, default=lambda tree: tree, **by_barrier)
