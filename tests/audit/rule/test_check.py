"""`check` of our own rules and of others': silent where all is right, precise where it isn't."""

import equinox
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx
from table import AUDITED, FORMS, LOSSES, PENALTIES

import jaxnn
from jaxnn.audit import Auditor, check
from jaxnn.audit.rule.gates import GATES

X = np.random.default_rng(0).normal(size=(4, 5))


# The other way to say what `test_laws.py` says of the whole table: a rule of each kind, for each is a dozen programs.
# `benchmarks/kill_table.py` audits all of them, at many points.
KINDS = {str(case) for case in [*FORMS[::4], LOSSES[0], PENALTIES[0]]}
RULES = [rule for rule in AUDITED if rule.name in KINDS]


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_every_kind_of_rule_passes_every_gate(rule):
    report = check(rule.subject, *rule.arguments(0), **rule.options)
    assert report.ok, str(report)


@pytest.mark.parametrize("penalty", PENALTIES[:1], ids=str)
def test_a_penalty_of_biases_is_found(penalty):
    params, _ = jaxnn.Serial(jaxnn.Dense(3), jaxnn.Dense(2)).init(jax.random.key(0), (2,))
    params = jax.tree.map(lambda leaf: leaf + 0.5, params)
    assert not check(wrong_penalty(penalty), params, until_failure=True).ok


def wrong_penalty(penalty):
    """It penalises biases too."""

    class Wrong(type(penalty)):
        def gradient(self, params):
            return jax.tree.map(lambda leaf: leaf + 0 * leaf, jax.tree.map(lambda p: self.strength * p, params))

    return Wrong(penalty.strength)


LABELS = np.random.default_rng(1).dirichlet(np.ones(5), 4)


@pytest.mark.parametrize(
    ("f", "arguments"),
    [(jax.nn.relu, (X,)), (optax.softmax_cross_entropy, (X, LABELS)), (equinox.nn.LayerNorm(5), (X[0],))],
    ids=["relu", "softmax_ce", "eqx.LayerNorm"],
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


# At points where something happens.

ZEROS = np.where(np.arange(20).reshape(4, 5) % 3 == 0, 0.0, X)


@jax.custom_vjp
def relu(x):
    return jnp.maximum(x, 0)


relu.defvjp(lambda x: (jnp.maximum(x, 0), x), lambda x, dy: (dy * (x > 0),))


@jax.custom_vjp
def steep_relu(x):
    return jnp.maximum(x, 0)


steep_relu.defvjp(lambda x: (jnp.maximum(x, 0), x), lambda x, dy: (dy * jnp.where(x == 0, 1.5, x > 0),))


def test_on_a_kink_the_machine_is_no_truth_and_the_slopes_to_both_sides_are():
    """jnp.maximum's derivative at 0 is 0.5, by the tie; the rule's 0 is as good, and its 1.5 isn't."""
    report = check(relu, ZEROS)
    assert report.ok, str(report)
    assert "it lies on a kink" in str(report)
    assert {finding.gate for finding in check(steep_relu, ZEROS).failures} == {"kinks"}


def test_what_a_pair_declares_at_a_kink_it_gives():
    """A forward written with `where` says what its derivative at the kink is."""
    forward = lambda x: jnp.where(x > 0, x, 0.0)  # noqa: E731
    backward = lambda x, dy, at_0=0.0: (dy * jnp.where(x == 0, at_0, x > 0),)  # noqa: E731
    assert check((forward, backward), ZEROS).ok
    half = (forward, lambda x, dy: backward(x, dy, 0.5))
    assert not check(half, ZEROS, until_failure=True).ok
    assert check(half, ZEROS, declares=False).ok


def test_a_rule_of_ties_is_found_in_spite_of_rounding():
    """Equal numbers are moved together, or the spread would hide who wins."""
    tied = np.array([[0.3, 0.3, 0.1], [0.2, 0.7, 0.7]])

    def first(x):
        return jnp.take_along_axis(x, jnp.argmax(x, axis=1, keepdims=True), axis=1)[:, 0]

    def all_of_them(x, dy):
        return (jnp.where(x == jnp.max(x, axis=1, keepdims=True), dy[:, None], 0),)

    report = check((first, all_of_them), tied, until_failure=True)
    assert {finding.gate for finding in report.failures} == {"autodiff"}


def test_a_branch_that_a_program_takes_at_one_point_is_no_truth():
    """softplus'(0) is 1/2; the machine's derivative of its program is 0 there, where a maximum ties."""
    report = check(jax.nn.softplus, ZEROS)
    assert report.ok, str(report)


def test_what_the_machine_cannot_differentiate_is_held_against_differences():
    def power(x, n=5):  # a loop whose end isn't known
        return jax.lax.while_loop(lambda c: c[0] < n, lambda c: (c[0] + 1, c[1] * x), (jnp.sum(0 * x), x))[1]

    report = check((power, lambda x, dy: (6 * x**5 * dy,)), X)
    assert report.ok, str(report)
    assert "can't differentiate the forward" in str(report)
    wrong = check((power, lambda x, dy: (6.001 * x**5 * dy,)), X)
    assert {finding.gate for finding in wrong.failures} == {"differences"}


def test_nan_where_the_forward_is_finite_is_found():
    report = check(jnp.linalg.norm, np.zeros(3))
    assert {finding.gate for finding in report.failures} == {"differences"}


def test_where_nothing_can_be_judged_nothing_is_ok():
    report = check(jnp.log, -np.ones(3))
    assert not report.ok
    assert not report.failures
    assert "NOTHING TO HOLD IT AGAINST" in str(report)
    assert check(jnp.log, np.ones(3)).ok


def test_a_tensor_much_smaller_than_its_sibling_is_resolved():
    def f(x, tiny):
        return jnp.sin(x) + 1e-12 * jnp.sum(jnp.sin(tiny))

    def backward(x, tiny, dy):
        return dy * jnp.cos(x), 1.001e-12 * jnp.sum(dy) * jnp.cos(tiny)

    report = check((f, backward), X, X[0], gates=("autodiff",))
    assert [finding.argument for finding in report.failures] == ["argument 1"]


def test_a_truncated_rule_is_no_derivative_and_is_the_machines():
    layer = jaxnn.Recurrent(jaxnn.TanhCell(2), 1)
    params, state = layer.init(jax.random.key(0), (4, 3))
    report = check(layer, params, state, np.random.default_rng(0).normal(size=(2, 4, 3)))
    assert report.ok, str(report)
    assert "differences   skipped: the layer says that its rule is meant to differ" in str(report)


def test_an_auditor_compiles_once_for_many_points(compilations):
    audit = Auditor(jaxnn.SoftmaxCrossEntropy(), gates=("autodiff", "differences", "kinks", "float32"))
    rng = np.random.default_rng(0)
    assert audit(rng.normal(size=(3, 4)), rng.integers(0, 4, 3)).ok
    with compilations.none():
        assert all(audit(rng.normal(size=(3, 4)), rng.integers(0, 4, 3), seed=seed).ok for seed in range(3))


def test_a_module_that_has_none_and_what_has_no_gradient():
    """Equinox's attention has both: no bias, and a dropout rate."""
    attention = equinox.nn.MultiheadAttention(1, 2, key=jax.random.key(0))
    x = np.random.default_rng(0).normal(size=(3, 2))
    report = check(attention, x, x, x, gates=("structure",))
    assert report.ok, str(report)


def test_a_flax_layer_that_writes_its_statistics():
    report = check(nnx.BatchNorm(5, rngs=nnx.Rngs(0)), X, gates=("structure", "autodiff", "transforms"))
    assert report.ok, str(report)


def test_a_rule_that_rounds_more_than_the_machine_is_right_and_inexact():
    """Right in float64, where its own rounding explains the difference; in float32 it loses three digits."""
    cancelling = lambda x, dy: ((1e3 * dy + dy * jnp.cos(x)) - 1e3 * dy,)  # noqa: E731
    report = check((jnp.sin, cancelling), X)
    assert {finding.gate for finding in report.failures} == {"float32", "bfloat16"}


def test_the_derivative_of_a_rule_may_round_more_than_the_machines():
    """p (1 - p) near p = 1: the rule's derivative subtracts nearly equal numbers where the machine's doesn't."""
    audit = Auditor(jaxnn.SigmoidCrossEntropy(), gates=("second order",))
    for seed in range(20):
        y = np.random.default_rng(seed).uniform(3, 8, size=(1, 1))
        report = audit(y, np.array([[1]]), seed=seed)
        assert report.ok, str(report)


class StraightThrough(jaxnn.Parameterless):
    """y = round(x), with dx = factor dy: no derivative, and meant to be none."""

    differs_by_design = "from autodiff"

    def __init__(self, rule=lambda dy: dy):
        self.rule = rule

    def forward(self, params, state, x, *, key=None, train=False):
        return jaxnn.Forward(jnp.round(x), state, ())

    def backward(self, params, cache, dy):
        return jaxnn.Backward((), self.rule(dy))


def test_a_rule_that_is_meant_to_differ_is_held_against_itself_alone():
    report = check(StraightThrough(), (), (), 3 * X)
    assert report.ok, str(report)
    assert not report.judged
    assert {finding.gate for finding in report.findings} == {
        "structure", "linearity", "additivity", "purity", "jit", "vmap"
    }  # fmt: skip
    assert [skipped.gate for skipped in report.skipped] == [
        "autodiff", "differences", "complex step", "adjointness", "second order", "extremes", "kinks",
        "float32", "bfloat16",
    ]  # fmt: skip
    assert {skipped.reason for skipped in report.skipped} == {
        "the layer says that its rule is meant to differ from the derivative"
    }
    verdict = str(report).splitlines()[0]
    assert "every gate holds" not in verdict
    assert "the rule agrees with itself; NOT JUDGED is whether it is the derivative" in verdict
    nothing = check(StraightThrough(), (), (), 3 * X, gates=("autodiff",))
    assert not nothing.ok
    assert "no gate was run; NOT JUDGED" in str(nothing)


@pytest.mark.parametrize(
    ("rule", "gates"),
    [
        (lambda dy: dy + 1e-9 * dy**2, {"linearity"}),
        (lambda dy: dy + 1e-9 * jnp.sum(dy, axis=0, keepdims=True), {"additivity"}),
        (lambda dy: dy[:1], {"structure"}),
    ],
)
def test_a_rule_that_is_meant_to_differ_may_still_be_wrong(rule, gates):
    report = check(StraightThrough(rule), (), (), 3 * X)
    assert not report.ok
    assert {finding.gate for finding in report.failures} == gates
    assert "NOT JUDGED" in str(report).splitlines()[0]
