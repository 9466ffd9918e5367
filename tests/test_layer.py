"""The protocol, the recipe, and the fold with somebody watching."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradients import SAME, error
from table import BLOCK, CASES, COMBINATORS

import jaxnn
from jaxnn import BatchNorm, Branches, Dense, Dropout, Remat, Repeat, Residual, Serial, Tanh
from jaxnn.arrays import Static
from jaxnn.layer import Composite, completed, couples_batch, fold, kept, recipe, require_layer, walk


def test_structure_alone_makes_a_layer():
    assert all(isinstance(case.layer, jaxnn.Layer) for case in CASES)
    assert all(isinstance(case.layer, Composite) for case in COMBINATORS)
    assert not any(isinstance(layer, Composite) for layer in (Dense(2), Tanh(), BatchNorm()))
    assert not isinstance(jnp.tanh, jaxnn.Layer)


def test_a_repr_is_what_one_would_type():
    @recipe
    class Stretch:
        factor: float
        offset: float = 0.0
        name: str = "x"

    assert repr(Stretch(2.0)) == "Stretch(2.0)"
    assert repr(Stretch(2.0, 1.0)) == "Stretch(2.0, 1.0)"
    assert repr(Stretch(2.0, name="y")) == "Stretch(2.0, name='y')"
    assert repr(Dense(3, bias=False)) == "Dense(3, bias=False)"


def test_walk_and_couples_batch():
    net = Serial(Dense(3), Repeat(Residual(Branches(Tanh(), BatchNorm())), 2))
    paths = [jax.tree_util.keystr(path) for path, _ in walk(net)]
    inside = ["[1].inner", "[1].inner.inner", "[1].inner.inner[0]", "[1].inner.inner[1]"]
    assert paths == ["", "[0]", "[1]", *inside]
    assert couples_batch(net)
    assert not couples_batch(Serial(Dense(3), Residual(Dropout())))


@pytest.mark.parametrize(
    ("candidate", "words"),
    [
        ([Dense(2)], "Serial takes layers one by one, got a list: write Serial"),
        ((Dense(2), Tanh()), "one by one, got a tuple"),
        (Tanh, r"got the class Tanh: write Tanh\(\.\.\.\)"),
        (jnp.tanh, "Serial takes layers, got a .*forward and backward"),
        (None, "Serial takes layers, got a NoneType"),
    ],
)
def test_what_is_no_layer(candidate, words):
    with pytest.raises(TypeError, match=words):
        require_layer("Serial", candidate)
    with pytest.raises(TypeError, match=words):
        Serial(Dense(3), candidate)


@pytest.mark.parametrize("combinator", [Residual, Remat, lambda inner: Repeat(inner, 2)])
def test_combinators_want_a_layer(combinator):
    with pytest.raises(TypeError, match="takes layers one by one, got a list"):
        combinator([Dense(2)])


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


def test_a_cache_is_kept_by_one_barrier_a_mask():
    """Values, structure, keys and static parts are what they were; what nobody uses is dropped."""
    cache = (jnp.ones(3), jax.random.key(0), Static("x"), None, jnp.zeros(2, bool))
    again = jax.jit(kept)(cache)
    assert jax.tree.structure(again) == jax.tree.structure(cache)
    np.testing.assert_array_equal(again[0], cache[0])
    assert again[1] == cache[1]

    def n_barriers(i, platform):
        traced = jax.jit(lambda cache: kept(cache)[i]).trace(cache)
        return traced.lower(lowering_platforms=(platform,)).as_text().count("optimization_barrier")

    assert [(n_barriers(0, platform), n_barriers(4, platform)) for platform in ("cpu", "cuda", "tpu")] == [
        (0, 1),
        (0, 1),
        (0, 0),
    ]


def test_what_is_completed_waits_on_a_gpu_alone():
    results = (jnp.ones(3), None), jnp.zeros(2)
    assert jax.tree.structure(jax.jit(completed)(*results)) == jax.tree.structure(results)

    def text(platform):
        return jax.jit(completed).trace(*results).lower(lowering_platforms=(platform,)).as_text()

    assert ["optimization_barrier" in text(platform) for platform in ("cpu", "cuda", "tpu")] == [False, True, False]
    assert text("cuda").count("optimization_barrier") == 1  # one around all: none is there before the others
