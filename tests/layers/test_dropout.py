"""Dropout: what is kept, how often, and what it is scaled by."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn
from jaxnn import Branches, Dropout, Remat, Repeat, Serial, Tanh
from jaxnn.arrays import n_bytes
from jaxnn.command_line.report import layer_rows


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_the_kept_grow_and_the_mean_stays(rate):
    """40,000 numbers: the fraction kept to 5 standard errors."""
    x = jnp.ones((200, 200))
    y, _, cache = Dropout(rate).forward((), (), x, key=jax.random.key(0), train=True)
    np.testing.assert_allclose(np.unique(y), [0, 1 / (1 - rate)], rtol=1e-6)
    assert abs(np.mean(y != 0) - (1 - rate)) <= 5 * np.sqrt(rate * (1 - rate) / x.size)
    assert (cache.keep.shape, cache.keep.dtype) == ((5000,), jnp.uint8)


# What is kept of the mask changes no number.

KINDS = ["bits", "bools", "key"]


def passes(net, x, key):
    """y and dx of a network without params, in training; dy is exact, so that nothing rounds but the layer."""
    params, state = net.init(jax.random.key(0), x.shape[1:])
    y, _, cache = net.forward(params, state, x, key=key, train=True)
    return y, net.backward(params, cache, jnp.flip(x)).dx


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (3, 2, 8), (2, 3, 5, 1), (4,), (0, 3)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_what_is_kept_changes_no_bit(shape, dtype):
    """Compiled, eager, and with forward and backward apart."""
    with jax.enable_x64(dtype == "float64"):
        x = jnp.asarray(np.random.default_rng(0).normal(size=shape), dtype)
        of_bools = passes(Dropout(0.3, "bools"), x, jax.random.key(1))
        for kind in KINDS:
            layer, key = Dropout(0.3, kind), jax.random.key(1)
            for form in (passes, jax.jit(passes, static_argnums=0)):
                for ours, truth in zip(form(layer, x, key), of_bools, strict=True):
                    np.testing.assert_array_equal(ours, truth)
            cache = jax.jit(lambda x, key, layer=layer: layer.forward((), (), x, key=key, train=True).cache)(x, key)
            np.testing.assert_array_equal(jax.jit(layer.backward)((), cache, jnp.flip(x)).dx, of_bools[1])


NETS = {
    "vmap over x": lambda layer: jax.vmap(lambda x, key: passes(layer, x, key), (0, None)),
    "vmap over keys": lambda layer: jax.vmap(lambda x, key: passes(layer, x, key), (None, 0)),
    "Repeat": lambda layer: lambda x, key: passes(Repeat(layer, 3), x, key),
    "Remat": lambda layer: lambda x, key: passes(Remat(Serial(Tanh(), layer)), x, key),
    "Repeat of Remat": lambda layer: lambda x, key: passes(Repeat(Remat(Serial(layer, Tanh())), 2), x, key),
    "Branches": lambda layer: lambda x, key: passes(Branches(layer, layer), x, key),
    "scan": lambda layer: lambda x, keys: jax.lax.scan(lambda x, key: passes(layer, x, key), x, keys),
    "checkpoint": lambda layer: jax.checkpoint(lambda x, key: passes(layer, x, key)),
}


@pytest.mark.parametrize("name", NETS)
def test_what_is_kept_changes_no_bit_in_company(name):
    x = jax.random.normal(jax.random.key(0), (4, 5, 3))
    key = jax.random.split(jax.random.key(1), 2) if name in ("vmap over keys", "scan") else jax.random.key(1)
    of_bools, *others = (jax.jit(NETS[name](Dropout(0.3, kind)))(x, key) for kind in ("bools", "bits", "key"))
    for other in others:
        jax.tree.map(np.testing.assert_array_equal, other, of_bools)


@pytest.mark.parametrize("kind", KINDS)
def test_keys_and_bits_are_residuals_of_custom_vjp(kind):
    """`jax.grad` of the export, of the plain forward, and of the export under `scan`."""
    x, key, layer = jax.random.normal(jax.random.key(0), (4, 3)), jax.random.key(1), Dropout(0.3, kind)
    exported = jaxnn.as_custom_vjp(layer)
    by_hand = jax.jit(jax.grad(lambda x: jnp.sum(jnp.sin(exported((), (), x, key=key, train=True)[0]))))(x)
    by_machine = jax.grad(lambda x: jnp.sum(jnp.sin(layer.forward((), (), x, key=key, train=True).y)))(x)
    np.testing.assert_allclose(by_hand, by_machine, rtol=1e-6)

    def deep(x):
        step = lambda x, key: (exported((), (), x, key=key, train=True)[0], None)  # noqa: E731
        return jnp.sum(jax.lax.scan(step, x, jax.random.split(key, 2))[0])

    dropped = layer.forward((), (), jnp.ones_like(x), key=jax.random.split(key)[0], train=True).y
    dropped *= layer.forward((), (), jnp.ones_like(x), key=jax.random.split(key)[1], train=True).y
    np.testing.assert_allclose(jax.grad(deep)(x), dropped, rtol=1e-6)


def test_bytes_of_the_cache():
    """1000 numbers: 125 bytes, 1000, or those of a key; a key counts as the two numbers that it is made of."""
    x = jnp.ones((10, 100))
    caches = {kind: Dropout(0.5, kind).forward((), (), x, key=jax.random.key(0), train=True).cache for kind in KINDS}
    assert {kind: n_bytes(cache) for kind, cache in caches.items()} == {"bits": 125, "bools": 1000, "key": 8}
    rows = layer_rows(Serial(*(Dropout(0.5, kind) for kind in KINDS)), (100,), 10)
    assert [row.cache_bytes for row in rows] == [125, 1000, 8]


def test_a_mask_drawn_again_is_not_kept_alive():
    """A compiler that merges the two draws, or makes the second ahead, would keep the mask from one to the other."""
    x, key = jnp.ones((8, 8)), jax.random.key(0)
    program = str(jax.make_jaxpr(lambda x: passes(Dropout(0.5, "key"), x, key))(x))
    assert "optimization_barrier" in program
    assert "optimization_barrier" not in str(jax.make_jaxpr(lambda x: passes(Dropout(0.5), x, key))(x))


@pytest.mark.parametrize("kind", KINDS)
def test_the_rule_itself_can_be_differentiated(kind):
    """It is linear in dy: its derivative along u is the rule of u; and it is its own transpose."""
    layer, u = Dropout(0.5, kind), jnp.arange(1.0, 7.0).reshape(2, 3)
    cache = layer.forward((), (), u, key=jax.random.key(0), train=True).cache
    rule = lambda dy: layer.backward((), cache, dy).dx  # noqa: E731
    np.testing.assert_array_equal(jax.jvp(rule, (jnp.ones_like(u),), (u,))[1], rule(u))
    np.testing.assert_array_equal(jax.grad(lambda dy: jnp.sum(u * rule(dy)))(jnp.ones_like(u)), rule(u))


def test_old_keys_are_kept_too():
    """Keys as arrays of two numbers, as `jax.random.PRNGKey` makes them."""
    x, key = jnp.ones((4, 3)), jax.random.key_data(jax.random.key(0))
    with jax.legacy_prng_key("allow"):
        (y, dx), (of_new, _) = passes(Dropout(0.5, "key"), x, key), passes(Dropout(0.5), x, jax.random.key(0))
        np.testing.assert_array_equal(y, of_new)
        np.testing.assert_array_equal(dx != 0, y != 0)


def test_backward_drops_what_forward_dropped():
    x = jnp.ones((5, 7))
    y, _, cache = Dropout(0.3).forward((), (), x, key=jax.random.key(3), train=True)
    np.testing.assert_array_equal(Dropout(0.3).backward((), cache, x).dx, y)


def test_keys_decide():
    def dropped(key, train=True):
        return Dropout(0.5).forward((), (), jnp.ones((4, 8)), key=key, train=train).y

    np.testing.assert_array_equal(dropped(jax.random.key(0)), dropped(jax.random.key(0)))
    assert np.any(dropped(jax.random.key(0)) != dropped(jax.random.key(1)))
    rows = dropped(jax.random.key(0))
    assert np.any(rows[0] != rows[1])


def test_evaluation_is_the_identity_and_needs_no_key():
    x = jnp.arange(6.0).reshape(2, 3)
    for layer, train in ((Dropout(0.5), False), (Dropout(0.0), True)):
        y, _, cache = layer.forward((), (), x, train=train)
        assert y is x
        assert cache.keep is None
        assert layer.backward((), cache, x).dx is x


def test_the_same_numbers_are_dropped_in_every_precision():
    kept = []
    for dtype in ("bfloat16", "float32", "float64"):
        with jax.enable_x64(dtype == "float64"):
            y = Dropout(0.3).forward((), (), jnp.ones((3, 5), dtype), key=jax.random.key(0), train=True).y
            assert y.dtype == dtype
            kept.append(np.asarray(y != 0))
    np.testing.assert_array_equal(kept[0], kept[1])
    np.testing.assert_array_equal(kept[1], kept[2])


def test_errors():
    with pytest.raises(ValueError, match=r"Dropout\(\): needs a key in training and got none: pass key="):
        Dropout().forward((), (), jnp.ones((2, 3)), train=True)
    for rate in (1.0, -0.1, float("nan")):
        with pytest.raises(ValueError, match=r"Dropout: rate should be in \[0, 1\)"):
            Dropout(rate)
    with pytest.raises(ValueError, match="Dropout: keep should be one of bits, bools, key, got 'bytes'"):
        Dropout(keep="bytes")
    with pytest.raises(TypeError, match="x should be floating"):
        Dropout().forward((), (), jnp.ones((2, 3), jnp.int32))
