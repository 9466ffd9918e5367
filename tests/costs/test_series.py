"""The walk that tables of layers share: what it takes apart and what is one layer, with the shapes of each."""

import jax
import jax.numpy as jnp
import numpy as np
from outsiders import BLOCK, NET, Chain, Forgetful, Gain, Transparent

from jaxnn import BatchNorm, Dense, Dropout, MaxPool, Remat, Residual, Serial, recipe, walk
from jaxnn.costs.series import batch, one_by_one


def layers(net, shape=(4,)):
    return [layer for _, layer, _, _ in one_by_one(net, shape, 2)]


def test_paths_and_shapes_are_those_of_the_network():
    """As if the whole of it had been taken through at once; state and key among them."""
    net = Serial(MaxPool(2), Serial(BatchNorm(), Dropout()), Residual(Dense(3)))
    params, state = net.init(jax.random.key(0), (4, 4, 3))
    x = jnp.ones((2, 4, 4, 3))
    whole = net.forward(params, state, x, key=jax.random.key(0), train=True)
    like = lambda tree: jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)  # noqa: E731
    works = list(one_by_one(net, (4, 4, 3), 2))
    assert [(path, layer) for path, layer, _, _ in works] == [
        (path, layer) for path, layer in walk(net) if layer not in (net, net.layers[1], Dense(3))
    ]
    assert like([work.arguments.params for work in works]) == like([params[0], *params[1], params[2]])
    assert like([work.arguments.state for work in works]) == like([state[0], *state[1], state[2]])
    assert like([work.result.cache for work in works]) == like([whole.cache[0], *whole.cache[1], whole.cache[2]])
    assert like(works[-1].result.y) == like(whole.y)


def test_what_runs_in_series_is_taken_apart_whoever_wrote_it():
    center, forgetful, (remat, head) = NET.links[0], NET.links[1], NET.links[2].layers
    works = list(one_by_one(NET, (4,), 2))
    assert [work.layer for work in works] == [center, forgetful, remat, head]
    assert [jax.tree_util.keystr(work.path) for work in works] == [
        "['center']",
        "['block']",
        "['head'][0]",
        "['head'][1]",
    ]
    assert [work.result.y.shape for work in works] == [(2, 4), (2, 4), (2, 5), (2, 3)]
    assert works[1].arguments.params["layer"]["g"]["gain"]["gain"].shape == (4,)


@recipe
class Named(Gain):
    """A leaf whose fields happen to be called as those of combinators are."""

    layers: tuple = (1, 2)
    in_series: bool = True


def test_everything_else_is_one_layer():
    for layer in (BLOCK, Forgetful(Gain()), Gain(), Named(), Residual(Dense(4)), Remat(Serial(Dense(4)))):
        assert layers(layer) == [layer]


def test_a_wrapper_that_hands_on_every_word_is_one_layer():
    """It would lose itself, were it taken apart."""
    for inside in (Serial(Dense(4), Dense(3)), NET, Serial()):
        assert layers(Transparent(inside)) == [Transparent(inside)]
        assert layers(Serial(Transparent(inside), Gain())) == [Transparent(inside), Gain()]


class Around(Transparent):
    """It can be copied around another layer, and its children aren't in series, which it doesn't say."""

    @property
    def children(self):
        return (("wrapped", self.wrapped),)

    def with_children(self, layers):
        return Around(*layers)


def test_a_word_handed_on_is_not_a_composites_own():
    assert layers(Around(Serial(Dense(3)))) == [Around(Serial(Dense(3)))]


def test_a_batch():
    assert batch((3,), 2) == jax.ShapeDtypeStruct((2, 3), jnp.float32)
    assert batch((8, 8, 1), 5, np.uint8) == jax.ShapeDtypeStruct((5, 8, 8, 1), np.uint8)
    assert Chain((), ()).init(jax.random.key(0), (3,)) == ({}, {})
