"""Named axes: with none, everything is the identity; on devices, shares are padded and means are taken."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import mesh_axes


def on_four_devices(f, argument):
    """f of the same argument on each, along an axis called "devices"."""
    every = jax.pmap(lambda _: f(argument), axis_name="devices", devices=jax.devices()[:4])
    return every(jnp.zeros(4))


def test_one_device_needs_no_axis():
    indices, key = jnp.arange(5), jax.random.key(0)
    mine, real = mesh_axes.share(indices, None)
    assert mine is indices
    assert real.all()
    assert mesh_axes.own_key(key, None) is key
    assert mesh_axes.varying_like(indices, (indices,)) is indices
    assert mesh_axes.mean_over(indices, None) is indices
    assert mesh_axes.n_devices(None) == 1
    mesh_axes.require_axis("it", None)


@pytest.mark.devices
@pytest.mark.parametrize("n", [4, 7, 8, 1])
def test_shares_make_the_whole_and_padding_is_marked(n):
    indices = 10 + jnp.arange(n)
    mine, real = on_four_devices(partial(mesh_axes.share, axis_name="devices"), indices)
    assert mine.shape == real.shape == (4, -(-n // 4))
    np.testing.assert_array_equal(mine[real], indices)
    assert (mine[~real] == indices[0]).all()


@pytest.mark.devices
def test_keys_differ_between_devices():
    def draw(seed):
        return jax.random.normal(mesh_axes.own_key(jax.random.key(seed), "devices"), (3,))

    assert len(np.unique(on_four_devices(draw, 0))) == 12


@pytest.mark.devices
def test_the_mean_over_devices():
    def of_each(x):
        mesh_axes.require_axis("it", "devices")
        return mesh_axes.n_devices("devices") * mesh_axes.mean_over({"x": x}, "devices")["x"]

    found = jax.pmap(of_each, axis_name="devices", devices=jax.devices()[:4])(jnp.array([1.0, 2.0, 0.0, 9.0]))
    np.testing.assert_array_equal(found, np.full(4, 12.0))


def test_an_axis_that_is_not_there():
    with pytest.raises(ValueError, match="it: in training it works over the mesh axis 'rows'.*leave out axis_name"):
        mesh_axes.require_axis("it", "rows")


@pytest.mark.devices
def test_varying_like_marks_what_differs():
    mesh = jax.make_mesh((4,), ("devices",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec

    @partial(jax.shard_map, mesh=mesh, in_specs=(spec(), spec("devices")), out_specs=spec("devices"))
    def local_gradients(w, x):
        """Of marked params each device has a gradient of its own, unsummed."""
        marked = mesh_axes.varying_like(w, x)
        assert mesh_axes.varying_like(marked, x) is marked
        return jax.grad(lambda w: jnp.sum(w * x))(marked)[None]

    np.testing.assert_array_equal(local_gradients(jnp.array(1.0), jnp.arange(4.0)), np.arange(4.0))
