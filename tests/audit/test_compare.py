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
    return jaxnn.compare(net, LOSS, params, state, x, labels, **options)


def test_every_tensor_and_the_input_have_a_row():
    net = jaxnn.Serial(jaxnn.Dense(4), jaxnn.BatchNorm(), jaxnn.ReLU(), jaxnn.Dropout(0.2), jaxnn.Dense(3))
    comparison = compared(net, key=jax.random.key(1), penalty=jaxnn.l2(0.1))
    paths = ["[0].weight", "[0].bias", "[1].scale", "[1].bias", "[4].weight", "[4].bias", "x"]
    assert [row.path for row in comparison.rows] == paths
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
    assert [row.path for row in comparison.rows] == ["[2].weight", "[2].bias"]
    assert comparison.ok


def test_inside_repeat_and_remat():
    block = jaxnn.Serial(jaxnn.Dense(6), jaxnn.Dropout(0.1), jaxnn.Tanh())
    net = jaxnn.Serial(jaxnn.Repeat(block, 3), jaxnn.Remat(jaxnn.Residual(block)), jaxnn.Dense(3))
    comparison = compared(net, key=jax.random.key(1))
    assert comparison.ok
    assert comparison.rows[0].shape == (3, 6, 6)


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
    ("planted", "wrong"),
    [
        (Planted(6, weight_factor=1.001), ["[1].weight"]),
        (Planted(6, bias_factor=0.999), ["[1].bias"]),
        (Planted(6, dx_factor=1.001), ["[0].weight", "[0].bias", "x"]),
        (Planted(6, weight_factor=-1.0), ["[1].weight"]),
        (Planted(6, bias_factor=jnp.nan), ["[1].bias"]),
    ],
    ids=str,
)
def test_a_planted_error_is_found_and_named(planted, wrong):
    comparison = compared(jaxnn.Serial(jaxnn.Dense(5), planted, jaxnn.Dense(3)))
    assert not comparison.ok
    assert [row.path for row in comparison.rows if not row.ok] == wrong
    assert "WRONG: " + ", ".join(wrong) in str(comparison)
    assert comparison.worst.path in wrong


def test_the_table_is_text_that_lines_up():
    text = str(compared(jaxnn.Serial(jaxnn.Dense(4), jaxnn.Tanh(), jaxnn.Dense(3))))
    head, rule, *rows, verdict = text.splitlines()
    assert head.startswith("tensor")
    assert set(rule) == {"-"}
    assert verdict == "all gradients agree"
    assert len({row.index("equal") if "equal" in row else head.index("closer") for row in rows}) == 1
