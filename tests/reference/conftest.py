"""How the two sides are held against each other, and the reference against finite differences of itself.

A recipe of jaxnn stands in each table; `twin` makes its NumPy counterpart.
"""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn
from jaxnn.networks.rebuild import mapped
from jaxnn.reference import twin
from jaxnn.reference.arrays import leaves


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def agree():
    return _agree


@pytest.fixture
def numeric_gradient():
    return _numeric_gradient


@pytest.fixture
def drawn(rng):
    """Params and state of a network in float64, none of them 0 or 1; variances positive."""

    def draw(net, shape):
        params, state = jax.eval_shape(lambda key: net.init(key, shape), jax.random.key(0))
        return (
            jax.tree.map(lambda a: rng.standard_normal(a.shape), params),
            jax.tree.map(lambda a: rng.uniform(0.5, 1.5, a.shape), state),
        )

    return draw


@pytest.fixture
def masks_of():
    """The Dropout masks that a network draws from a key, in forward order."""

    def masks(net, params, state, x, key):
        if not any(isinstance(layer, jaxnn.Dropout) for _, layer in jaxnn.walk(net)):
            return []
        net = mapped(net, lambda layer: replace(layer, keep="bools") if isinstance(layer, jaxnn.Dropout) else layer)
        return jax.tree.map(np.asarray, _drawn_masks(net, *jax.tree.map(jnp.asarray, (params, state, x)), key))

    return masks


@pytest.fixture
def derives(rng, drawn, masks_of):
    """Whether a reference layer's backward is the derivative of its forward: all params and inputs."""

    def check(recipe, shape, train):
        x = rng.standard_normal((4, *shape))
        params, state = drawn(recipe, shape)
        masks = masks_of(recipe, params, state, x, jax.random.key(1))
        layer = twin(recipe)

        def forward():
            return layer.forward(params, state, x, masks=iter(masks), train=train)

        y, _, cache = forward()
        dy = rng.standard_normal(y.shape)
        dparams, dx = layer.backward(params, cache, dy)
        expected = _numeric_gradient(lambda: np.sum(forward().y * dy), (params, x))
        _agree((dparams, dx), expected, 1e-9, scale=np.abs(dy).sum())

    return check


@pytest.fixture
def matches(rng, drawn, masks_of):
    """Whether a layer of jaxnn and its twin have the same outputs, state, dparams and dx."""

    def check(layer, shape, train):
        x = rng.standard_normal((4, *shape))
        params, state = drawn(layer, shape)
        key = jax.random.key(1)
        masks = iter(masks_of(layer, params, state, x, key))
        expected = twin(layer).forward(params, state, x, masks=masks, train=train)
        dy = rng.standard_normal(expected.y.shape)
        (y, new_state), backward = _passes(layer, *jax.tree.map(jnp.asarray, (params, state, x, dy)), key, train)
        _agree((y, new_state), (expected.y, expected.state))
        _agree(tuple(backward), tuple(twin(layer).backward(params, expected.cache, dy)))
        assert next(masks, None) is None or not train

    return check


@partial(jax.jit, static_argnames=("layer", "train"))
def _passes(layer, params, state, x, dy, key, train):
    y, new_state, cache = layer.forward(params, state, x, key=key, train=train)
    return (y, new_state), layer.backward(params, cache, dy)


def _agree(ours, expected, tolerance=1e-12, scale=0.0):
    """max|a - b| <= tolerance max(max|b|, scale) for each array of two trees; the same paths, and NaN alike."""
    named = [jax.tree_util.tree_flatten_with_path(tree)[0] for tree in (ours, expected)]
    paths = [[jax.tree_util.keystr(path) for path, _ in leaves] for leaves in named]
    assert paths[0] == paths[1]
    for path, (_, a), (_, b) in zip(paths[0], *named, strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert a.shape == b.shape, path
        if a.size == 0:
            continue
        assert (np.isnan(a) == np.isnan(b)).all(), path
        differs = ~((a == b) | np.isnan(b))
        error = np.abs(np.subtract(a, b, where=differs, out=np.zeros(a.shape))).max()
        size = max(np.abs(np.nan_to_num(b, posinf=0, neginf=0)).max(), scale)
        assert error <= tolerance * size, f"{path}: {error} of {size}"


def _numeric_gradient(f, arguments, h=2e-4):
    """The derivative of f() by each number in the arrays it reads: the central difference of fourth order.

    f' = (f(-2h) - 8 f(-h) + 8 f(h) - f(2h)) / 12h + O(h^4); the arrays are changed in place, and put back.
    """
    slopes = {}
    for leaf in leaves(arguments):
        slope = np.zeros_like(leaf)
        for index in np.ndindex(leaf.shape):
            here = leaf[index]
            values = []
            for step in (-2, -1, 1, 2):
                leaf[index] = here + step * h
                values.append(f())
            leaf[index] = here
            slope[index] = np.dot([1, -8, 8, -1], values) / (12 * h)
        slopes[id(leaf)] = slope
    return jax.tree.map(lambda leaf: slopes[id(leaf)], arguments)


@partial(jax.jit, static_argnums=0)
def _drawn_masks(net, params, state, x, key):
    return _masks(net, params, net.forward(params, state, x, key=key, train=True).cache)


def _masks(layer, params, cache):
    if isinstance(layer, jaxnn.Dropout):
        return [] if cache.keep is None else [cache.keep]
    if isinstance(layer, jaxnn.Serial):
        return [mask for each in zip(layer.layers, params, cache, strict=True) for mask in _masks(*each)]
    if isinstance(layer, jaxnn.Branches):
        return [mask for each in zip(layer.layers, params, cache.branches, strict=True) for mask in _masks(*each)]
    if isinstance(layer, jaxnn.Residual):
        return _masks(layer.inner, params.inner, cache.inner)
    if isinstance(layer, jaxnn.Repeat):
        slices = [jax.tree.map(lambda a, i=i: a[i], (params.inner, cache.inner)) for i in range(layer.n)]
        return [mask for each in slices for mask in _masks(layer.inner, *each)]
    if isinstance(layer, jaxnn.Remat):
        again = layer.inner.forward(params.inner, cache.state, cache.x, key=cache.key, train=True)
        return _masks(layer.inner, params.inner, again.cache)
    return []
