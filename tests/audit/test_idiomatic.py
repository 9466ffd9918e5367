"""The idiomatic forms are the same functions: values, states and gradients of ours, for every layer of the table."""

import jax
import numpy as np
import pytest
from gradients import SAME, error
from table import FORMS, LAYERS, LOSSES, slow_unless

import jaxnn
from jaxnn.audit.idiomatic import LAYERS as LAYER_FORMS
from jaxnn.audit.idiomatic import LOSSES as LOSS_FORMS
from jaxnn.audit.idiomatic import idiomatic, idiomatic_loss

pytestmark = pytest.mark.usefixtures("x64")


@pytest.mark.parametrize("case", slow_unless([case for case in LAYERS if not case.integer], FORMS), ids=str)
def test_a_layer_is_its_idiomatic_form(case):
    point, other = case.point(), idiomatic(case.layer)
    assert type(case.layer) in LAYER_FORMS

    def both(layer):
        def value(params, x):
            y, state, _ = layer.forward(params, point.state, x, key=point.key, train=case.train)
            return (y * np.cos(np.arange(y.size)).reshape(y.shape)).sum(), (y, state)

        return jax.grad(value, argnums=(0, 1), has_aux=True)(point.params, point.x)

    (ours, values), (theirs, their_values) = both(case.layer), both(other)
    assert error(values, their_values) <= SAME
    scale = jax.tree.map(lambda leaf: 1.0, ours)
    assert error(ours, theirs, scale) <= SAME


@pytest.mark.parametrize("case", LOSSES, ids=str)
def test_a_loss_is_its_idiomatic_form(case):
    y, target, _ = case.point()
    assert type(case.loss) in LOSS_FORMS
    values = lambda loss: loss.forward(y, target).values  # noqa: E731
    assert error(values(idiomatic_loss(case.loss)), values(case.loss)) <= SAME


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
