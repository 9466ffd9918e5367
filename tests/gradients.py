"""How two gradients are compared: the measure of error, finite differences, and the tolerances of the whole suite.

The measure is max|a - b| / max(max|b|, s) for each tensor, where s is the contraction that makes b, taken with absolute
values: the size that rounding acts on. A gradient that is truly 0 (that of a bias before BatchNorm) has no other.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.tree_util import keystr

from jaxnn import Branches
from jaxnn.layer import Backward, Folded, Layer, Path, is_composite

# Two programs for the same float64 sums of at most a few hundred terms: sqrt(n) u is 1e-15; the rest is room for the
# condition of what is computed (a normalisation subtracts nearly equal numbers).
SAME = 1e-12
# The five-point difference with h = 1e-3 has the error h^4 f^(5) / 30, 1e-12 for derivatives of order 30, and rounding
# u / h = 1e-13 times the number of terms.
DIFFERENCES = 1e-9


def error(got: Any, truth: Any, scale: Any = None) -> float:
    """The largest error over the tensors of a tree, each by the measure above; without `scale`, s = 0.

    Structures, shapes and dtypes must be equal, and so must the places of NaN and of infinities.
    """
    assert jax.tree.structure(got) == jax.tree.structure(truth), (jax.tree.structure(got), jax.tree.structure(truth))
    scales = [0.0] * len(jax.tree.leaves(truth)) if scale is None else jax.tree.leaves(scale)
    triples = zip(jax.tree.leaves(got), jax.tree.leaves(truth), scales, strict=True)
    return max((_tensor_error(*triple) for triple in triples), default=0.0)


def _tensor_error(a: Any, b: Any, s: Any) -> float:
    assert a.shape == b.shape, (a.shape, b.shape)
    assert a.dtype == b.dtype, (a.dtype, b.dtype)
    a, b, s = (np.asarray(jnp.asarray(each), np.float64) for each in (a, b, s))
    finite = np.isfinite(b)
    np.testing.assert_array_equal(a[~finite], b[~finite])
    difference = np.max(np.abs(a[finite] - b[finite]), initial=0.0)
    size = max(np.max(np.abs(b[finite]), initial=0.0), float(np.max(s, initial=0.0)))
    return float(difference / size) if difference > 0 else 0.0


def rounding_scale(net: Layer, params: Any, cache: Any, dy: jax.Array) -> Backward:
    """s for each tensor of net.backward(params, cache, dy): the largest entry of sum_i |backward(e_i dy_i)|.

    e_i runs over the entries of dy: backward is linear, so these terms add up to backward(dy) but for their signs. In a
    network the sum is taken at each layer, of its own dy: upstream of a BatchNorm the terms themselves may be zeros.
    It is a fold whose dparams are the scales; that of dx is the sum over the layers that x goes into: the first one, or
    each branch's.
    """

    def visit(path: Path, layer: Layer, params: Any, cache: Any, dy: jax.Array) -> Folded:
        if is_composite(layer):
            return layer.fold(visit, path, params, cache, dy)
        if dy is None:
            return Folded((), None, OrderedDict())
        entries, unflatten = ravel_pytree(dy)
        parts = jax.vmap(lambda one_entry: layer.backward(params, cache, unflatten(one_entry)))(jnp.diag(entries))
        sums = jax.tree.map(lambda part: jnp.sum(jnp.abs(part), axis=0), parts)
        scales = jax.tree.map(lambda total: jnp.full_like(total, jnp.max(total, initial=0)), sums)
        return Folded(scales.dparams, layer.backward(params, cache, dy).dx, OrderedDict({keystr(path): scales.dx}))

    scales, dx, notes = visit((), net, params, cache, dy)
    if dx is None:
        return Backward(scales, None)
    of_dx = [jnp.max(ravel_pytree(notes[keystr(path)])[0], initial=0) for path in entrances(net)]
    return Backward(scales, sum(of_dx, jnp.zeros(())))


def entrances(net: Any, path: Path = ()) -> list[Path]:
    """The paths of the layers that a network's own x goes into, combinators looked into."""
    if not is_composite(net):
        return [path]
    inside = [entrances(child, (*path, key)) for key, child in net.children]
    if isinstance(net, Branches):
        return [each for found in inside for each in found]
    return next((found for found in inside if found), [])


def central_differences(f: Callable[[Any], jax.Array], point: Any, h: float = 1e-3) -> Any:
    """The gradient of a scalar function at a tree of numbers, entry by entry, by the five-point rule.

    f'(x) = (f(x - 2h) - 8 f(x - h) + 8 f(x + h) - f(x + 2h)) / 12h + O(h^4).
    """
    flat, unflatten = ravel_pytree(point)

    def along(direction: jax.Array) -> jax.Array:
        steps = jnp.asarray([-2, -1, 1, 2], flat.dtype)
        values = jax.vmap(lambda step: f(unflatten(flat + step * h * direction)))(steps)
        return (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * h)

    return unflatten(jax.vmap(along)(jnp.eye(flat.size, dtype=flat.dtype)))


def inner_product(a: Any, b: Any) -> tuple[jax.Array, jax.Array]:
    """<a, b> over two trees, and the same with absolute values."""
    products = [(x * y).ravel() for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)]
    flat = jnp.concatenate(products) if products else jnp.zeros(0)
    return jnp.sum(flat), jnp.sum(jnp.abs(flat))


def normal_like(tree: Any, seed: int) -> Any:
    """A tree of the same structure, shapes and floating dtypes, of normal numbers: no init's zeros and ones."""
    generator = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.asarray(generator.normal(size=leaf.shape), leaf.dtype), tree)
