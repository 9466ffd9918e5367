"""Reshape moves no number, back and forth."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import Flatten, Reshape, Static


def test_row_major_there_and_back():
    x = jnp.arange(12).reshape(2, 6)
    y, _, cache = Reshape((2, -1)).forward((), (), x)
    np.testing.assert_array_equal(y[1], [[6, 7, 8], [9, 10, 11]])
    assert cache.shape == Static((6,))
    np.testing.assert_array_equal(Reshape((2, -1)).backward((), cache, y).dx, x)
    assert Reshape((2, -1)).backward((), cache, None).dx is None


def test_shapes():
    assert Reshape([4, 2]).shape == (4, 2)
    assert Flatten() == Reshape((-1,))
    assert Flatten().output_shape((28, 28, 1)) == (784,)
    assert Flatten().output_shape(()) == (1,)
    assert Reshape((2, 3)).output_shape((6,)) == (2, 3)
    assert Reshape((-1, 3)).output_shape((2, 6)) == (4, 3)


def test_errors():
    with pytest.raises(ValueError, match=r"an example of shape \(5,\) has 5 numbers, which don't fit \(2, 3\)"):
        Reshape((2, 3)).output_shape((5,))
    with pytest.raises(ValueError, match="don't fit"):
        Reshape((2, -1)).forward((), (), jnp.ones((4, 5)))
    for shape in ((-1, -1), (0,), (2, -3)):
        with pytest.raises(ValueError, match="positive ints and at most one -1"):
            Reshape(shape)
