"""A rule that is meant to differ from the derivative isn't judged, is named, and hides no wrong rule beside it."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn
from jaxnn import Backward, Forward
from jaxnn.audit.network.own_rules import WithOwnRule, is_meant_to_differ, with_own_rules


@dataclass(frozen=True)
class Rounded(jaxnn.Parameterless):
    """y = round(x), with dx = dy: the straight-through estimate, where the derivative is 0."""

    differs_by_design = "from autodiff"

    def forward(self, params, state, x, *, key=None, train=False):
        return Forward(jnp.round(x), state, ())

    def backward(self, params, cache, dy):
        return Backward((), dy)


class Reversed(jaxnn.Serial):
    """A composite whose own rule is meant to differ: the gradient that leaves it has the other sign."""

    differs_by_design = "from autodiff"

    def fold(self, visit, path, params, cache, dy):
        folded = super().fold(visit, path, params, cache, dy)
        return folded._replace(dx=-folded.dx)


class Spiking(jaxnn.TanhCell):
    """A cell with a surrogate: tanh's rule for a step function's forward."""

    differs_by_design = "from autodiff"

    def forward(self, params, state, x, *, key=None, train=False):
        (h, _), state, cache = super().forward(params, state, x, key=key, train=train)
        h = jnp.where(h > 0, 1, 0).astype(h.dtype) + 0.1 * h
        return Forward(jaxnn.layers.cells.Step(h, h), state, cache)


class Doubled(jaxnn.Dense):
    def backward(self, params, cache, dy):
        dparams, dx = super().backward(params, cache, dy)
        return Backward(dparams, 2 * dx)


def compared(net, shape=(4,), **options):
    rng = np.random.default_rng(0)
    params, state = net.init(jax.random.key(0), shape)
    x, labels = 3 * rng.normal(size=(8, *shape)).astype(np.float32), rng.integers(0, 3, 8)
    return jaxnn.compare(net, jaxnn.SoftmaxCrossEntropy(), params, state, x, labels, costs=False, **options)


def serial(before, layer, after):
    return jaxnn.Serial(before(4), layer, after(3))


@pytest.mark.parametrize("layer", [Rounded(), jaxnn.Repeat(Rounded(), 2)], ids=str)
def test_a_straight_through_layer_is_named_and_the_rest_is_right(layer):
    comparison = compared(serial(jaxnn.Dense, layer, jaxnn.Dense), every_rule=True)
    assert comparison.ok, str(comparison)
    path = "[1]" if layer == Rounded() else "[1].inner"
    assert comparison.not_judged == (f"the rule of {path} Rounded()",)
    assert str(comparison).endswith(f"NOT JUDGED: the rule of {path} Rounded()\nall other gradients agree")
    assert f"error term of {path}" in [row.name for row in comparison.rows]
    assert comparison.as_dict()["not_judged"] == [f"the rule of {path} Rounded()"]
    assert next(row for row in comparison.rows if row.path == "[0].weight").truth != 0


def test_a_wrong_rule_before_and_after_it_is_found():
    comparison = compared(serial(Doubled, Rounded(), Doubled))
    assert [(rule.path, rule.tensor) for rule in comparison.wrong] == [("[0]", "dx"), ("[2]", "dx")]
    assert "NOT JUDGED: the rule of [1] Rounded()" in str(comparison)


def test_a_composite_of_that_kind_is_one_and_its_layers_are_judged():
    comparison = compared(serial(jaxnn.Dense, Reversed(jaxnn.Tanh(), Doubled(4)), jaxnn.Dense))
    assert comparison.not_judged == ("the rule of [1] Reversed(Tanh(), Doubled(4))",)
    assert [(rule.path, rule.tensor) for rule in comparison.wrong] == [("[1][1]", "dx")]


def test_a_cell_with_a_surrogate():
    net = jaxnn.Serial(jaxnn.Recurrent(Spiking(3), sequence=False), jaxnn.Dense(3))
    comparison = compared(net, shape=(5, 2), every_rule=True)
    assert comparison.ok, str(comparison)
    assert comparison.not_judged == ("the rule of [0].inner Spiking(3)",)


def test_truncation_is_the_automatic_rule_and_is_judged():
    net = jaxnn.Serial(jaxnn.Recurrent(jaxnn.TanhCell(3), truncation=2, sequence=False), jaxnn.Dense(3))
    assert with_own_rules(net) is net
    comparison = compared(net, shape=(5, 2), every_rule=True)
    assert comparison.ok, str(comparison)
    assert comparison.not_judged == ()


def test_grad_of_it_is_its_rule():
    layer = WithOwnRule(Rounded())
    x = jnp.array([[0.4, 1.7]])
    y, pull = jax.vjp(lambda x: layer.forward((), (), x).y, x)
    np.testing.assert_array_equal(y, [[0, 2]])
    np.testing.assert_array_equal(pull(x)[0], x)
    assert is_meant_to_differ(Rounded())
    assert not is_meant_to_differ(jaxnn.Serial(Rounded()))
