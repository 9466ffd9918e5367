"""`check` of our own rules and of others': silent where all is right, precise where it isn't."""

import equinox
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen
from table import FORMS, LOSSES, slow_unless

from jaxnn.audit import check
from jaxnn.audit.gates import GATES

X = np.random.default_rng(0).normal(size=(4, 5))


@pytest.mark.parametrize("case", slow_unless(FORMS, FORMS[::4]), ids=str)
def test_every_layer_passes_every_gate(case):
    point = case.point()
    key = point.key if case.draws else None
    report = check(case.layer, point.params, point.state, point.x, key=key, train=case.train)
    assert report.ok, str(report)


@pytest.mark.parametrize("case", slow_unless(LOSSES[::6], LOSSES[:1]), ids=str)
def test_every_loss_passes_every_gate(case):
    y, target, _ = case.point()
    report = check(case.loss, y, target)
    assert report.ok, str(report)


LABELS = np.random.default_rng(1).dirichlet(np.ones(5), 4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("f", "arguments"),
    [
        (jax.nn.relu, (X,)),
        (jax.nn.silu, (X,)),
        (jax.nn.softmax, (X,)),
        (jax.nn.logsumexp, (X,)),
        (optax.softmax_cross_entropy, (X, LABELS)),
        (optax.sigmoid_binary_cross_entropy, (X, LABELS)),
        (equinox.nn.LayerNorm(5), (X[0],)),
    ],
    ids=["relu", "silu", "softmax", "logsumexp", "softmax_ce", "sigmoid_ce", "eqx.LayerNorm"],
)
def test_rules_of_others(f, arguments):
    report = check(f, *arguments)
    assert report.ok, str(report)


def test_a_flax_layer():
    layer = linen.LayerNorm()
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        variables = layer.init(jax.random.key(0), X)
        report = check(layer, variables, X, gates=("structure", "autodiff", "differences"))
    assert report.ok, str(report)


def test_the_report_names_gate_argument_index_values_and_tolerance():
    def swish(x, beta):
        return x * jax.nn.sigmoid(beta * x)

    def backward(x, beta, dy):
        s = jax.nn.sigmoid(beta * x)
        return dy * (s + beta * x * s * (1 - s)), jnp.sum(dy * x * s * (1 - s))  # an x is missing in the second

    report = check((swish, backward), X, np.float64(0.5))
    assert not report.ok
    assert {finding.argument for finding in report.failures if finding.gate == "autodiff"} == {"argument 1"}
    text = str(report)
    assert "autodiff: argument 1 is wrong" in text
    assert "tolerance" in text
    assert "skipped: no argument is said to have rows" in text
    first = check((swish, backward), X, np.float64(0.5), until_failure=True)
    assert {finding.gate for finding in first.failures} == {"autodiff"}


def test_a_bug_in_one_precision_alone():
    def backward(x, dy):
        return (dy * jnp.cos(x) * (1.001 if x.dtype == np.float32 else 1),)

    report = check((jnp.sin, backward), np.float32(X))
    assert {finding.gate for finding in report.failures} == {"float32"}


def test_mistakes():
    with pytest.raises(ValueError, match=r"unknown gates \['autodif'\]: there are structure, autodiff"):
        check(jnp.sin, X, gates=("autodif",))
    with pytest.raises(TypeError, match="no floating argument"):
        check(lambda x: x, np.arange(3))
    assert len(GATES) == 11
