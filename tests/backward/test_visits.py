"""The fold with somebody watching."""

import jax
import jax.numpy as jnp
import numpy as np
from gradients import SAME, error
from outsiders import Mixture, Scale, Transparent
from table import BLOCK

import jaxnn
from jaxnn import Branches, Dense, Dropout, Remat, Repeat, Residual, Serial, Tanh
from jaxnn.backward.visits import fold
from jaxnn.layer import recipe, walk

# The fold shows error terms; that of a layer is the gradient with respect to a perturbation of its output.


@recipe
class Perturbed:
    """y = f(x) + the perturbation, which stands beside f's params."""

    inner: object

    def init(self, key, shape, dtype=None):
        made = self.inner.init(key, shape, dtype)
        return jaxnn.Init((made.params, jnp.zeros(self.output_shape(shape), dtype)), made.state)

    def output_shape(self, shape):
        return self.inner.output_shape(shape)

    def forward(self, params, state, x, *, key=None, train=False):
        y, state, cache = self.inner.forward(params[0], state, x, key=key, train=train)
        return jaxnn.Forward(y + params[1], state, cache)

    def backward(self, params, cache, dy):
        raise AssertionError("autodiff does without it")


def test_error_terms_are_gradients_of_perturbed_outputs(x64, key):
    branches = Branches(Dense(3), Serial(Dropout(0.3), Tanh()))
    layers = (Dense(3), Repeat(BLOCK, 2), Residual(branches), Remat(Serial(Dropout(0.3), Tanh())), Dense(2))
    net, loss, batch = Serial(*layers), jaxnn.HalfSquaredError(), 4
    x, target = jax.random.normal(key, (batch, 2)), jax.random.normal(key, (batch, 2))
    params, state = net.init(key, (2,))

    # A fold whose notes are all that it is shown, under jit.
    watched = jax.jit(jaxnn.backprop(net, loss, observe=lambda node: (node.dy, node.dx, node.dparams)))
    result = watched(params, state, x, target, key=key)
    assert list(result.notes) == [jax.tree_util.keystr(path) for path, _ in walk(net)]
    dy, dx, dparams = result.notes[""]
    assert error((dx, dparams), (result.dx, result.grads)) == 0

    perturbed = Serial(*map(Perturbed, layers))
    at_zero = tuple((each, jnp.zeros((batch, 3 if i < 4 else 2))) for i, each in enumerate(params))
    truth = jax.jit(jaxnn.autodiff(perturbed, loss))(at_zero, state, x, target, key=key)
    for i in range(len(layers)):
        assert error(result.notes[f"[{i}]"][0], truth.grads[i][1]) <= SAME
    assert error(dy, truth.grads[-1][1]) <= SAME

    # Inside Repeat the notes have an axis of depth: the error term of the last is that of Repeat itself.
    dy, dx, dparams = result.notes["[1].inner"]
    assert dy.shape == (2, batch, 3)
    assert error(dy[-1], result.notes["[1]"][0]) == 0
    assert error(dy[0], dx[1]) == 0
    assert error(dx[0], result.notes["[1]"][1]) == 0
    assert error(dparams, result.grads[1].inner) == 0


def test_an_observer_may_change_nothing_and_note_nothing(key):
    net = Serial(Dense(3), Tanh())
    params, state = net.init(key, (2,))
    y, _, cache = net.forward(params, state, jnp.ones((4, 2)))
    alone, silent = fold(net, params, cache, y), fold(net, params, cache, y, observe=lambda node: None)
    assert silent.notes == alone.notes == {}
    assert error(tuple(silent)[:2], tuple(alone)[:2]) == 0
    assert error(tuple(net.backward(params, cache, y)), tuple(alone)[:2]) == 0
    # Notes may be of any kind outside jit.
    assert fold(net, params, cache, y, lambda node: type(node.layer).__name__).notes["[1]"] == "Tanh"


def test_integers_have_no_error_term_below_them():
    net = Serial(jaxnn.Flatten(), jaxnn.Rescale(0.5), Dense(2))
    params, state = net.init(jax.random.key(0), (2, 2))
    x = jnp.ones((3, 2, 2), jnp.uint8)
    result = jaxnn.backprop(net, jaxnn.HalfSquaredError(), observe=lambda node: node.dx is None)(
        params, state, x, jnp.zeros((3, 2))
    )
    assert result.dx is None
    assert dict(result.notes) == {"": True, "[0]": True, "[1]": True, "[2]": False}
    np.testing.assert_array_equal(jax.tree.leaves(result.grads)[0].shape, (4, 2))


def test_a_foreign_network_is_seen_layer_by_layer(x64, key):
    """A wrapper that hands on what it wraps is one layer, whose own backward is called, on every Python."""
    net = Serial(Mixture(Dense(3), Serial(Dense(3), Scale())), Transparent(Serial(Tanh(), Dense(2))))
    paths = ["", "[0]", "[0]['a']", "[0]['b']", "[0]['b'][0]", "[0]['b'][1]", "[1]"]
    params, state = net.init(key, (4,))
    x, target = jax.random.normal(key, (5, 4)), jax.random.normal(key, (5, 2))
    loss = jaxnn.HalfSquaredError()
    watched = jaxnn.backprop(net, loss, observe=lambda node: node.dy)(params, state, x, target)
    assert list(watched.notes) == paths
    truth = jaxnn.autodiff(net, loss)(params, state, x, target)
    assert error((watched.grads, watched.dx), (truth.grads, truth.dx)) <= SAME
    g = jax.nn.sigmoid(params[0]["gate"])
    assert error(watched.notes["[0]['a']"], g * watched.notes["[0]"]) == 0
