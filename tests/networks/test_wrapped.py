"""A wrapper is the layer that it wraps, and a value as every recipe is."""

import pickle
from copy import deepcopy

import jax
import pytest
from gradients import error

import jaxnn
from jaxnn.networks.wrapped import Wrapped


def test_it_is_the_layer_inside():
    wrapped, key = Wrapped(jaxnn.BatchNorm(0.5)), jax.random.key(0)
    assert error(tuple(wrapped.init(key, (3,))), tuple(wrapped.layer.init(key, (3,)))) == 0
    assert wrapped.output_shape((3,)) == (3,)
    assert (wrapped.momentum, wrapped.couples_batch) == (0.5, True)
    with pytest.raises(AttributeError, match="no_such_thing"):
        wrapped.no_such_thing  # noqa: B018


def test_it_is_a_value():
    wrapped = Wrapped(jaxnn.Dense(3))
    for copy in (deepcopy(wrapped), pickle.loads(pickle.dumps(wrapped)), Wrapped(jaxnn.Dense(3))):
        assert copy == wrapped
        assert hash(copy) == hash(wrapped)
