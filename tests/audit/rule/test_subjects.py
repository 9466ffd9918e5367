"""All that can be audited comes to one form."""

import equinox
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

import jaxnn
from jaxnn.audit.rule.subjects import design_of, is_key, subject_of

X = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


def cotangents_are_the_machines(subject):
    leaves = [jnp.asarray(leaf) for leaf in subject.leaves]
    y, pull = jax.vjp(subject.plain, leaves)
    mine = subject.cotangents(leaves, y)
    assert [g.shape for g in mine] == [leaf.shape for leaf in leaves]
    for g, truth in zip(mine, pull(y)[0], strict=True):
        np.testing.assert_allclose(g, truth, rtol=1e-5, atol=1e-5)


def test_a_layer_and_a_loss():
    layer = jaxnn.Serial(jaxnn.Dense(2), jaxnn.BatchNorm())
    params, state = layer.init(jax.random.key(0), (3,))
    subject = subject_of(layer, (params, state, X))
    assert subject.leaf_names[0] == "params[0].weight"
    assert subject.leaf_names[-1] == "x"
    assert (subject.rows, subject.couples) == ((2,), True)
    cotangents_are_the_machines(subject)
    cotangents_are_the_machines(subject_of(jaxnn.SoftmaxCrossEntropy(), (X, np.array([0, 1, 2, 0]))))


def test_foreign_modules():
    with jax.numpy_dtype_promotion("standard"):
        dense = linen.Dense(2)
        variables = dense.init(jax.random.key(0), X)
        cotangents_are_the_machines(subject_of(dense, (variables, X)))
        subject = subject_of(nnx.Linear(3, 2, rngs=nnx.Rngs(0)), (X,))
        assert len(subject.leaves) == 3
        cotangents_are_the_machines(subject)
        module = equinox.nn.MLP(3, 2, 4, 1, key=jax.random.key(0))
        cotangents_are_the_machines(subject_of(module, (X[0],)))


def test_functions_with_integer_arguments():
    subject = subject_of(lambda table, i: table[i], (X, np.array([0, 2])))
    assert subject.leaf_names == ["argument 0"]
    cotangents_are_the_machines(subject)


def test_what_is_not_floating_has_no_cotangent():
    labels = np.array([0, 1, 2, 0])
    of = lambda cotangent: subject_of((lambda x, i: x[i], lambda x, i, dy: (dy, cotangent)), (X, labels))  # noqa: E731
    for none in (None, np.zeros(4, jax.dtypes.float0)):
        assert len(of(none).cotangents([X], [X])) == 1
    extra = subject_of((lambda p: p["w"] * 2, lambda p, dy: ({"w": 2 * dy, "b": dy},)), ({"w": X, "b": None},))
    with pytest.raises(TypeError, match="a part of argument 0, which isn't floating, should be None, got float32"):
        extra.cotangents([X], [X])
    with pytest.raises(TypeError, match="argument 1, which isn't floating, should be None, got float32"):
        of(X).cotangents([X], [X])


def test_mistakes():
    with pytest.raises(TypeError, match="got a int"):
        subject_of(3, (X,))
    with pytest.raises(TypeError, match="takes params, state and x, got 1"):
        subject_of(jaxnn.Tanh(), (X,))
    with pytest.raises(TypeError, match="takes outputs and targets, got 1"):
        subject_of(jaxnn.HalfSquaredError(), (X,))


@pytest.mark.parametrize(
    ("backward", "words"),
    [
        (lambda x, w, dy: dy, "a tuple of 2 cotangents"),
        (lambda x, w, dy: (dy,), "a tuple of 2 cotangents"),
        (lambda x, w, dy: (dy, None), "cotangent of argument 1 is None"),
        (lambda x, w, dy: (dy, (dy, dy)), "should have its structure"),
    ],
)
def test_cotangents_of_another_structure(backward, words):
    subject = subject_of((lambda x, w: x * w, backward), (X, X))
    with pytest.raises(TypeError, match=words):
        subject.cotangents(subject.leaves, [X])


def test_what_a_network_says_of_its_rules():
    class Surrogate(jaxnn.Tanh):
        differs_by_design = "from autodiff"

    truncated = jaxnn.Recurrent(jaxnn.TanhCell(2), truncation=1)
    assert design_of(jaxnn.Serial(jaxnn.Dense(2), jaxnn.Recurrent(jaxnn.TanhCell(2)))) is None
    assert design_of(jaxnn.Serial(truncated, jaxnn.Flatten())) == "from values"
    assert design_of(jaxnn.Serial(truncated, jaxnn.Residual(Surrogate()))) == "from autodiff"
    subject = subject_of(Surrogate(), ((), (), X))
    assert (subject.design, subject.has_machine, subject.draws) == ("from autodiff", False, False)


def test_a_layer_that_draws_from_a_key_in_its_state_draws_for_the_batch():
    assert is_key(jax.random.key(0))
    assert not any(map(is_key, (jax.random.key_data(jax.random.key(0)), X, 3, None)))
    assert subject_of(jaxnn.Tanh(), ((), {"key": jax.random.key(0)}, X)).draws
