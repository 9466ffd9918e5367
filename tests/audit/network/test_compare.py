"""The comparison finds nothing where nothing is wrong, and a planted error where it was planted."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn

LOSS = jaxnn.SoftmaxCrossEntropy()


def compared(net, shape=(6,), n=32, integer=False, n_classes=3, dtype=None, **options):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 17, (n, *shape)).astype(np.uint8) if integer else rng.normal(size=(n, *shape))
    x = x if integer else x.astype(dtype or np.float32)
    params, state = net.init(jax.random.key(0), shape, dtype)
    labels = rng.integers(0, n_classes, n).astype(np.int32)
    return jaxnn.compare(net, LOSS, params, state, x, labels, **{"costs": False} | options)


def test_every_tensor_and_the_input_have_a_row():
    net = jaxnn.Serial(jaxnn.Dense(4), jaxnn.BatchNorm(), jaxnn.ReLU(), jaxnn.Dropout(0.2), jaxnn.Dense(3))
    comparison = compared(net, key=jax.random.key(1), penalty=jaxnn.l2(0.1))
    paths = ["[0].weight", "[0].bias", "[1].scale", "[1].bias", "[4].weight", "[4].bias", "x"]
    assert [row.path for row in comparison.rows if row.kind == "gradient"] == paths
    assert [row.path for row in comparison.rows if row.kind == "error term"] == [f"[{i}]" for i in range(5)]
    assert comparison.ok
    assert comparison.dtype == "float32"
    assert comparison.worst.float64_error <= 1e-12
    for row in comparison.rows:
        assert row.manual_error < 1e-5
        assert row.closer in ("manual", "automatic", "equal")
        assert row.closer != "manual" or row.manual_error < row.automatic_error


def test_a_gradient_that_is_zero_has_an_error_relative_to_its_terms():
    """A bias before batch normalisation: the truth is rounding noise, and a relative error would be of order 1."""
    comparison = compared(jaxnn.Serial(jaxnn.Dense(4), jaxnn.BatchNorm(), jaxnn.Tanh(), jaxnn.Dense(3)))
    bias = next(row for row in comparison.rows if row.path == "[0].bias")
    assert abs(bias.truth) < 1e-15
    assert bias.ok
    assert bias.manual_error < 1e-6


def test_integer_input_has_no_row():
    net = jaxnn.Serial(jaxnn.Rescale(1 / 16), jaxnn.Flatten(), jaxnn.Dense(3))
    comparison = compared(net, shape=(2, 3), integer=True)
    assert [row.name for row in comparison.rows] == [
        "[2].weight", "[2].bias", "error term of [0]", "error term of [1]", "error term of [2]"
    ]  # fmt: skip
    assert comparison.ok


def test_inside_repeat_and_remat():
    block = jaxnn.Serial(jaxnn.Dense(6), jaxnn.Dropout(0.1), jaxnn.Tanh())
    net = jaxnn.Serial(jaxnn.Repeat(block, 3), jaxnn.Remat(jaxnn.Residual(block)), jaxnn.Dense(3))
    comparison = compared(net, key=jax.random.key(1))
    assert comparison.ok
    assert comparison.rows[0].shape == (3, 6, 6)


def test_branches_have_their_rows():
    net = jaxnn.Branches(jaxnn.Dense(2), jaxnn.Serial(jaxnn.Dropout(0.1), jaxnn.Dense(3)), merge="concatenate")
    comparison = compared(jaxnn.Serial(net, jaxnn.Dense(3)), key=jax.random.key(1), every_rule=True)
    assert comparison.ok
    assert [row.name for row in comparison.rows if "error" not in row.name][:4] == [
        "[0][0].weight", "[0][0].bias", "[0][1][1].weight", "[0][1][1].bias"
    ]  # fmt: skip


def test_float64_params(x64):
    comparison = compared(jaxnn.Serial(jaxnn.Dense(4), jaxnn.Tanh(), jaxnn.Dense(3)), dtype=jnp.float64)
    assert comparison.ok
    assert comparison.dtype == "float64"


@dataclass(frozen=True)
class Planted(jaxnn.Dense):
    """A Dense layer whose backward is wrong by a factor in one tensor."""

    weight_factor: float = 1.0
    bias_factor: float = 1.0
    dx_factor: float = 1.0

    def backward(self, params, cache, dy):
        (weight, bias), dx = super().backward(params, cache, dy)
        dparams = jaxnn.DenseParams(self.weight_factor * weight, self.bias_factor * bias)
        return jaxnn.Backward(dparams, self.dx_factor * dx)


@pytest.mark.parametrize(
    ("planted", "wrong", "tensor", "pattern"),
    [
        (Planted(6, weight_factor=1.001), ["[1].weight"], "weight", "times 1.001"),
        (Planted(6, dx_factor=1.001), ["[0].weight", "[0].bias", "x"], "dx", "times 1.001"),
        (Planted(6, bias_factor=jnp.nan), ["[1].bias"], "bias", "6 of 6 entries are NaN"),
    ],
    ids=str,
)
def test_a_planted_error_is_found_and_named(planted, wrong, tensor, pattern):
    comparison = compared(jaxnn.Serial(jaxnn.Dense(5), planted, jaxnn.Dense(3)), n=8)
    assert not comparison.ok
    assert [row.path for row in comparison.rows if row.kind == "gradient" and not row.ok] == wrong
    (rule,) = comparison.wrong
    assert (rule.path, rule.tensor) == ("[1]", tensor)
    assert pattern in rule.pattern
    assert f"WRONG RULE [1] {planted!r:.50}"[:40] in str(comparison)
    assert comparison.worst.path in [row.path for row in comparison.rows if not row.ok]


class Doubled(jaxnn.Serial):
    """A Serial whose own rule is wrong: its layers' are right."""

    def fold(self, visit, path, params, cache, dy):
        dparams, dx, notes = super().fold(visit, path, params, cache, dy)
        return jaxnn.Folded(dparams, 2 * dx, notes)


def test_a_combinator_of_ones_own_is_judged_as_it_is():
    comparison = compared(jaxnn.Serial(jaxnn.Dense(5), Doubled(jaxnn.Dense(4), jaxnn.Tanh()), jaxnn.Dense(3)))
    (rule,) = comparison.wrong
    assert (rule.path, rule.tensor) == ("[1]", "dx")
    assert rule.factor == pytest.approx(2)


@pytest.mark.usefixtures("optimized")
def test_images_with_blank_parts_lie_on_kinks_and_are_not_called_wrong():
    """Where all is blank, pooling's maximum is one of equals that every program rounds in its own way."""
    blocks = [
        layer
        for n_out in (24, 48)
        for layer in (jaxnn.Conv2D(n_out, bias=False), jaxnn.BatchNorm(), jaxnn.MaxPool(2), jaxnn.ReLU())
    ]
    net = jaxnn.Serial(jaxnn.Rescale(1 / 255), *blocks, jaxnn.Flatten(), jaxnn.Dense(3))
    x = np.zeros((16, 28, 28, 1), np.uint8)
    rng = np.random.default_rng(0)
    for image in x:
        top, left = rng.integers(2, 9, 2)
        image[top:-top, left:-left] = rng.integers(0, 256, (28 - 2 * top, 28 - 2 * left, 1))
    params, state = net.init(jax.random.key(0), x.shape[1:])
    found = jaxnn.compare(net, LOSS, params, state, x, np.arange(16) % 3, costs=False)
    assert found.ok, str(found)


def test_a_wrong_rule_behind_integer_images_is_named():
    """Under x64 integers become float64, and a convolution takes no params of float32 beside it."""
    net = jaxnn.Serial(jaxnn.Rescale(1 / 16), jaxnn.Conv2D(2), jaxnn.Flatten(), Planted(3, dx_factor=1.001))
    (rule,) = compared(net, shape=(4, 4, 1), integer=True).wrong
    assert (rule.path, rule.tensor) == ("[3]", "dx")


def test_the_table_is_text_that_lines_up():
    text = str(compared(jaxnn.Serial(jaxnn.Dense(4), jaxnn.Tanh(), jaxnn.Dense(3))))
    head, rule, *rows = text.splitlines()
    assert head.startswith("tensor")
    assert set(rule) == {"-"}
    assert rows[-1] == "all gradients agree"
    verdicts = [row[head.index("verdict") :].split()[0] for row in rows[:8]]
    assert set(verdicts) <= {"exact", "close"}


def test_a_nearly_singular_point_is_not_called_wrong():
    """Units that hardly vary, before a normalisation: float64 itself knows few digits there, and a spread says so."""
    net = jaxnn.Serial(jaxnn.Dense(3), jaxnn.BatchNorm(epsilon=1e-30), jaxnn.Tanh(), jaxnn.Dense(2))
    params, state = net.init(jax.random.key(0), (4,))
    params = (params[0]._replace(weight=1e-5 * params[0].weight, bias=1 + jnp.arange(3.0)), *params[1:])
    x, labels = jax.random.normal(jax.random.key(1), (8, 4)), jnp.array([0, 1] * 4)
    loss = jaxnn.SoftmaxCrossEntropy()
    found = jaxnn.compare(net, loss, params, state, x, labels, costs=False)
    assert found.ok, str(found)
    assert found.worst.float64_error > 1e-13

    class Wrong(jaxnn.BatchNorm):
        def backward(self, params, cache, dy):
            dparams, dx = super().backward(params, cache, dy)
            return jaxnn.Backward(dparams, 1.001 * dx)

    wrong = jaxnn.replaced(net, (1,), Wrong(epsilon=1e-30))
    (rule,) = jaxnn.compare(wrong, loss, params, state, x, labels, costs=False).wrong
    assert (rule.path, rule.tensor) == ("[1]", "dx")
