"""Wrong rules are named: layers and combinators, tensor, factor; and no right one is."""

import jax
import numpy as np
import pytest

import jaxnn
from jaxnn.audit.network.rules import wrong_rules

LOSS = jaxnn.SoftmaxCrossEntropy()


def found(net, n=8, dtype=np.float32):
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(n, 4)).astype(dtype), rng.integers(0, 3, n)
    params, state = jax.tree.map(np.asarray, tuple(net.init(jax.random.key(0), (4,))))
    return wrong_rules(net, LOSS, (params, state, x, labels, None), key=jax.random.key(1), train=True, dtype=dtype)


class ForgetsThePath(jaxnn.Residual):
    """A residual that adds x and not dy."""

    def fold(self, visit, path, params, cache, dy):
        folded = super().fold(visit, path, params, cache, dy)
        return folded._replace(dx=folded.dx - dy)


class KeepsTheFirst(jaxnn.Branches):
    """Branches whose dx is that of one alone."""

    def fold(self, visit, path, params, cache, dy):
        (_, first), *_ = self.children
        folded = super().fold(visit, path, params, cache, dy)
        return folded._replace(dx=first.backward(params[0], cache.branches[0], dy).dx)


class OnlyInFloat32(jaxnn.Dense):
    def backward(self, params, cache, dy):
        dparams, dx = super().backward(params, cache, dy)
        return jaxnn.Backward(dparams, dx * (1.001 if dx.dtype == np.float32 else 1.0))


def test_nothing_is_wrong_where_nothing_is():
    block = jaxnn.Serial(jaxnn.BatchNorm(), jaxnn.Dropout(0.1))
    two = jaxnn.Branches(jaxnn.Residual(jaxnn.Tanh()), jaxnn.ReLU(), merge="concatenate")
    assert found(jaxnn.Serial(jaxnn.Repeat(block, 2), jaxnn.Remat(two), jaxnn.Dense(3))) == ()


@pytest.mark.parametrize(
    ("wrong", "tensor", "dtype"),
    [
        (ForgetsThePath(jaxnn.Sigmoid()), "dx", "float64"),
        (KeepsTheFirst(jaxnn.Sigmoid(), jaxnn.Tanh()), "dx", "float64"),
        (OnlyInFloat32(4), "dx", "float32"),
    ],
)
def test_a_wrong_combinator_and_a_wrong_precision_are_named(wrong, tensor, dtype):
    net = jaxnn.Serial(jaxnn.Tanh(), jaxnn.Serial(jaxnn.Tanh(), wrong), jaxnn.Dense(3))
    (rule,) = found(net)
    assert (rule.path, rule.tensor, rule.dtype) == ("[1][1]", tensor, dtype)
    assert "[1][1]" in str(rule)


def test_two_wrong_rules_are_two():
    class Halved(jaxnn.Tanh):
        def backward(self, params, cache, dy):
            return jaxnn.Backward((), super().backward(params, cache, dy).dx / 2)

    rules = found(jaxnn.Serial(jaxnn.Dense(4), Halved(), jaxnn.Repeat(Halved(), 2), jaxnn.Dense(3)))
    assert [(rule.path, rule.pattern) for rule in rules] == [
        ("[1]", "a factor: times 1/2"),
        ("[2].inner", "a factor: times 1/2"),
    ]
