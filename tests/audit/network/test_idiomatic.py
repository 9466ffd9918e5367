"""The idiomatic forms are the same functions: values, states and gradients of ours, for every layer of the table."""

import jax
import numpy as np
import pytest
from gradients import SAME, error
from table import CASES, CELLS, FORMS, LOSSES, RECURRENT

import jaxnn
from jaxnn.audit.network.idiomatic import LAYERS as LAYER_FORMS
from jaxnn.audit.network.idiomatic import LOSSES as LOSS_FORMS
from jaxnn.audit.network.idiomatic import idiomatic, idiomatic_loss
from jaxnn.layer import is_composite

pytestmark = pytest.mark.usefixtures("x64")


def test_every_layer_and_cell_that_is_not_made_of_others_has_a_form():
    recipes = [layer for case in CASES for _, layer in jaxnn.walk(case.layer)]
    assert {type(layer) for layer in recipes if not is_composite(layer)} == set(LAYER_FORMS)
    assert {type(cell) for cell in CELLS} <= set(LAYER_FORMS)
    assert {type(case.loss) for case in LOSSES} == set(LOSS_FORMS)


@pytest.mark.parametrize("case", [*FORMS, *RECURRENT[3:5]], ids=str)
def test_a_layer_is_its_idiomatic_form(case):
    point, other = case.point(), idiomatic(case.layer)
    assert other != case.layer

    def gradients(layer, params, x):
        def value(params, x):
            y, state, _ = layer.forward(params, point.state, x, key=point.key, train=case.train)
            return (y * np.cos(np.arange(y.size)).reshape(y.shape)).sum(), (y, state)

        return jax.grad(value, argnums=(0, 1), has_aux=True)(params, x)

    @jax.jit
    def both(params, x):
        return gradients(case.layer, params, x), gradients(other, params, x)

    (ours, values), (theirs, their_values) = both(point.params, point.x)
    assert error(values, their_values) <= SAME
    scale = jax.tree.map(lambda leaf: 1.0, ours)
    assert error(ours, theirs, scale) <= SAME


@pytest.mark.parametrize("case", LOSSES, ids=str)
def test_a_loss_is_its_idiomatic_form(case):
    @jax.jit
    def both(y, target):
        return [loss.forward(y, target).values for loss in (idiomatic_loss(case.loss), case.loss)]

    y, target, _ = case.point()
    assert error(*both(y, target)) <= SAME


def test_a_cell_in_another_form_is_a_cell_still():
    """So that Recurrent takes it, in a comparison that asks for every rule too."""
    net = jaxnn.Serial(jaxnn.Recurrent(jaxnn.LSTMCell(3), truncation=2, sequence=False), jaxnn.Dense(2))
    assert idiomatic(net).layers[0].inner.start(4, np.float32)[0].shape[-1:] == (3,)
    params, state = net.init(jax.random.key(0), (5, 2))
    x, labels = np.random.default_rng(0).normal(size=(4, 5, 2)), np.arange(4) % 2
    comparison = jaxnn.compare(net, jaxnn.SoftmaxCrossEntropy(), params, state, x, labels, costs=False, every_rule=True)
    assert comparison.ok
    assert all(row.idiomatic_error < 1e-14 for row in comparison.rows)


def test_it_has_no_backward_and_trains_all_the_same():
    net = idiomatic(jaxnn.Serial(jaxnn.Dense(3), jaxnn.BatchNorm(), jaxnn.Repeat(jaxnn.Residual(jaxnn.Tanh()), 2)))
    loss = idiomatic_loss(jaxnn.HalfSquaredError())
    x, t = np.random.default_rng(0).normal(size=(2, 8, 3))
    given = {"key": jax.random.key(0), "epochs": 3, "update": jaxnn.gradient_descent(0.1), "metric": None}
    _, history = jaxnn.bgd(net, loss, (x, t), gradient=jaxnn.autodiff, **given)
    assert history.loss[-1] < history.loss[0]
    with pytest.raises(NotImplementedError, match="no hand-written backward: use autodiff"):
        jaxnn.bgd(net, loss, (x, t), **given)


def test_what_the_table_does_not_know_stays():
    class Mine(jaxnn.Dense):
        pass

    assert idiomatic(Mine(3)) == Mine(3)
    assert idiomatic_loss("loss") == "loss"


def test_labels_are_checked_as_by_the_loss_itself():
    """A loop asks the loss how many classes there are; JAX would give a label out of range a row of zeros."""
    net, labels = jaxnn.Dense(3), np.array([0, 3])
    for loss in (jaxnn.SoftmaxCrossEntropy(), idiomatic_loss(jaxnn.SoftmaxCrossEntropy())):
        with pytest.raises(ValueError, match="labels should be 0 to 2.*got 0 to 3"):
            jaxnn.bgd(
                net, loss, (np.ones((2, 2)), labels), key=jax.random.key(0), epochs=1, gradient=jaxnn.autodiff,
                update=jaxnn.gradient_descent(0.1),
            )  # fmt: skip
