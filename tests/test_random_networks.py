"""Backpropagation against `jax.grad` on whole networks, in float64: layers in every place, and networks that are drawn.

The error is at most 1e-12, in the measure of `gradients.py`.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradients import SAME, error, rounding_scale
from hypothesis import given, settings
from hypothesis import strategies as st
from table import FORMS, LOSS_FORMS, LOSSES, WITH_GRADIENT, LayerCase, LossCase, labels, real_targets

import jaxnn
from jaxnn import (
    ELU,
    GELU,
    BatchNorm,
    Branches,
    Dense,
    Dropout,
    Flatten,
    GroupNorm,
    HalfSquaredError,
    LayerNorm,
    LeakyReLU,
    PReLU,
    ReLU,
    Remat,
    Repeat,
    Rescale,
    Reshape,
    Residual,
    RMSNorm,
    Serial,
    Sigmoid,
    SoftmaxCrossEntropy,
    Tanh,
    l1,
    l2,
)

# Optimized, what both gradients need is computed once. Without that the forward is computed and rounded twice; where
# tanh saturates, one unit in the last place of y is 1e-11 of 1 - y^2, and says nothing about a rule.
pytestmark = pytest.mark.usefixtures("x64", "optimized")


def assert_backprop_is_autodiff(case, loss, target, weights=None, penalty=None):
    """Value, gradients, dx, outputs and state of the two, at a random point."""
    point = case.point(3)
    arguments = (point.params, point.state, point.x, target)
    options = {"key": point.key, "weights": weights, "train": case.train}

    @jax.jit
    def both(arguments, options, penalty):
        options = options | {"train": case.train}
        by_hand = jaxnn.backprop(case.layer, loss, penalty)(*arguments, **options)
        by_machine = jaxnn.autodiff(case.layer, loss, penalty)(*arguments, **options)
        y, _, cache = case.forward(point._replace(params=arguments[0], x=arguments[2]))
        values, loss_cache = loss.forward(y, target)
        dy = loss.backward(loss_cache, jnp.full_like(values, 1 / case.batch))
        return by_hand, by_machine, rounding_scale(case.layer, arguments[0], cache, dy)

    by_hand, by_machine, scale = both(arguments, {name: options[name] for name in ("key", "weights")}, penalty)
    # The loss of one example may be the small difference of large logits, so its own size is that of 1.
    for name in ("value", "loss", "penalty"):
        assert error(getattr(by_hand, name), getattr(by_machine, name), 1.0) <= SAME
    assert error((by_hand.outputs, by_hand.state), (by_machine.outputs, by_machine.state)) <= SAME
    assert error(by_hand.grads, by_machine.grads, scale.dparams) <= SAME
    assert error(by_hand.dx, by_machine.dx, scale.dx) <= SAME
    assert (by_hand.dx is None) == case.integer


def squares(case, seed=0):
    """Targets for the half squared error of a network's outputs."""
    shape = (case.batch, *case.layer.output_shape(case.shape))
    return jnp.asarray(real_targets(np.random.default_rng(seed), shape))


def after_dense(case):
    """A network of one vector an example whose layers end where the case's layer begins."""
    return Dense(math.prod(case.shape)), Reshape(case.shape)


# Layers in each place: a wrong dx is seen only where something stands before it. `test_laws.py` proves what each rule
# gives; here it is the fold that is asked, which knows nothing of them.


@pytest.mark.parametrize("case", FORMS[::4], ids=str)
def test_in_the_middle(case):
    net = Serial(*after_dense(case), case.layer, Flatten(), Tanh(), Dense(3))
    middle = case._replace(layer=net, shape=(2,))
    assert_backprop_is_autodiff(middle, HalfSquaredError(), squares(middle))


@pytest.mark.parametrize("case", [*FORMS[3::8], *(case for case in WITH_GRADIENT if case.integer)][:6], ids=str)
def test_first(case):
    first = case._replace(layer=Serial(case.layer, Flatten(), Dense(3)))
    assert_backprop_is_autodiff(first, HalfSquaredError(), squares(first))


@pytest.mark.parametrize("case", FORMS[1::8], ids=str)
def test_last(case):
    last = case._replace(layer=Serial(*after_dense(case), case.layer), shape=(2,))
    assert_backprop_is_autodiff(last, HalfSquaredError(), squares(last))


@pytest.mark.parametrize(
    ("case", "penalty"),
    [(LOSS_FORMS[0], None), *((case, (l1(0.01), l2(0.2))) for case in [*LOSS_FORMS[1:], *LOSSES[::9]])],
    ids=str,
)
def test_under_every_loss_with_weights_and_penalties(case, penalty):
    _, target, weights = case.point()
    net = Serial(Dense(4), Tanh(), Dense(math.prod(case.shape)), Reshape(case.shape))
    weights = weights if penalty else None
    assert_backprop_is_autodiff(LayerCase(net, (3,), case.batch), case.loss, target, weights, penalty)


def test_images_of_integers():
    net = Serial(Rescale(1 / 255, -0.5), Flatten(), Dense(4), BatchNorm(), ReLU(), Dropout(0.2), Dense(3))
    case = LayerCase(net, (3, 3), 6, integer=True)
    target = jnp.asarray(labels(np.random.default_rng(0), (6, 3)))
    assert_backprop_is_autodiff(case, SoftmaxCrossEntropy(0.1), target, penalty=l2(0.1))


# Random networks, with 1 to 7 features. Normalisations take three rows or features or more: two leave them nothing but
# their sign, and a gradient that is the small rest of a cancellation.

SIZES = st.integers(1, 7)
KEEPING = (Tanh(), Sigmoid(), ReLU(), LeakyReLU(0.2), PReLU(), ELU(), GELU(), Dropout(0.3))


def simple(n, with_batch_norm):
    """One layer that keeps n features."""
    layers = [st.sampled_from(KEEPING), st.builds(lambda bias: Dense(n, bias=bias), st.booleans())]
    if with_batch_norm:
        layers.append(st.just(BatchNorm()))
    if n > 2:
        layers.append(st.sampled_from((LayerNorm(), GroupNorm(1), RMSNorm())))
    return st.one_of(layers)


def keeping(n, with_batch_norm):
    """A layer that keeps n features, nested up to two combinators deep."""

    def nested(inner):
        return st.one_of(
            st.builds(lambda a, b: Serial(a, b), inner, inner),
            st.builds(lambda a, b: Branches(a, b), inner, inner),
            st.builds(lambda a, b: Serial(Branches(a, b, merge="concatenate"), Dense(n)), inner, inner),
            st.builds(Residual, inner, st.sampled_from((1.0, 0.5))),
            st.builds(Repeat, inner, st.integers(1, 3)),
            st.builds(Remat, inner),
        )

    one = simple(n, with_batch_norm)
    return st.one_of(one, nested(one), nested(nested(one)))


@st.composite
def cases(draw):
    batch = draw(SIZES)
    shape = draw(st.sampled_from([(1,), (3,), (5,), (2, 3)]))
    layers = []
    for width in draw(st.lists(SIZES, min_size=1, max_size=4)):
        layers += [Dense(width), draw(keeping(width, with_batch_norm=batch > 2))]
    layers += [Flatten(), Dense(draw(st.integers(2, 5)))]
    return LayerCase(Serial(*layers), shape, batch, train=draw(st.booleans()))


@settings(max_examples=6)  # each is a network to compile; the table of laws has forty more that are composed
@given(
    cases(), st.sampled_from(["labels", "real"]), st.booleans(), st.sampled_from([None, l2(0.1), (l1(0.1), l2(0.1))])
)
def test_drawn_networks(case, kind, weighted, penalty):
    shape = case.layer.output_shape(case.shape)
    loss, targets = (SoftmaxCrossEntropy(), labels) if kind == "labels" else (HalfSquaredError(), real_targets)
    _, target, weights = LossCase(kind, loss, shape, targets, case.batch).point()
    weights = weights if weighted and case.batch > 1 else None
    assert_backprop_is_autodiff(case, loss, target, weights, penalty)
