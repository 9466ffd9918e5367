"""Values, kinks and extremes of the activation functions; their derivatives elsewhere are in test_laws.py."""

from functools import partial

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn
from jaxnn import ELU, GELU, Identity, LeakyReLU, PReLU, ReLU, Sigmoid, SiLU, Softmax, Softplus, Tanh
from jaxnn.layers.activations import PReLUParams

SMOOTH = [ELU(), Softplus(), SiLU(), GELU(), GELU(approximate=False)]
ALL = [
    *(Identity(), Sigmoid(), Tanh(), ReLU(), LeakyReLU(), LeakyReLU(0.3), PReLU(), PReLU(shared=True), ELU(0.3)),
    *(*SMOOTH, Softmax()),
]
SUBNORMAL = 1e-310


def params_of(layer, x):
    return layer.init(jax.random.key(0), x.shape[1:], x.dtype).params


def forward(layer, x):
    return layer.forward(params_of(layer, x), (), x)


def by_hand(layer, x, dy):
    return layer.backward(params_of(layer, x), forward(layer, x).cache, dy).dx


def by_machine(layer, x, dy):
    return jax.vjp(lambda x: forward(layer, x).y, x)[1](dy)[0]


@pytest.mark.parametrize(
    ("layer", "foreign"),
    [
        (Sigmoid(), jax.nn.sigmoid),
        (Tanh(), jnp.tanh),
        (ReLU(), jax.nn.relu),
        (LeakyReLU(0.2), lambda x: jax.nn.leaky_relu(x, 0.2)),
        (PReLU(0.2), lambda x: jax.nn.leaky_relu(x, 0.2)),
        (ELU(), jax.nn.elu),
        (ELU(0.3), lambda x: jax.nn.elu(x, 0.3)),
        (Softplus(), jax.nn.softplus),
        (SiLU(), jax.nn.silu),
        (GELU(), jax.nn.gelu),
        (GELU(approximate=False), partial(jax.nn.gelu, approximate=False)),
        (Softmax(), jax.nn.softmax),
    ],
    ids=lambda each: str(each) if hasattr(each, "backward") else "",
)
def test_values_and_gradients_are_those_of_jax_nn(x64, layer, foreign):
    """Away from kinks, where `jax.nn.leaky_relu` has declared another subgradient."""
    x, dy = jax.random.normal(jax.random.key(0), (2, 3, 5))
    np.testing.assert_allclose(forward(layer, x).y, foreign(x), rtol=1e-14)
    np.testing.assert_allclose(by_hand(layer, x, dy), jax.vjp(foreign, x)[1](dy)[0], rtol=1e-12)


# Kinks: the subgradient that the docstring declares, by hand and by machine alike.


@pytest.mark.parametrize(
    ("layer", "at_most_zero"),
    [
        *((ReLU(), 0.0), (LeakyReLU(), 0.01), (LeakyReLU(0.3), 0.3), (LeakyReLU(-1.0), -1.0)),
        *((PReLU(shared=True), 0.25), (PReLU(-1.0, shared=True), -1.0)),
    ],
)
@pytest.mark.parametrize("jit", [False, True])
def test_kinks_are_as_declared(x64, layer, at_most_zero, jit):
    x = jnp.array([-SUBNORMAL, -0.0, 0.0, SUBNORMAL, -1.0, 1.0])
    # XLA on a CPU may take subnormal numbers for zeros; a positive one then has the derivative of zero.
    of_subnormal = 1.0 if SUBNORMAL * jnp.ones(()) > 0 else at_most_zero
    expected = np.array([at_most_zero, at_most_zero, at_most_zero, of_subnormal, at_most_zero, 1.0])
    for rule in (by_hand, by_machine):
        compiled = jax.jit(rule, static_argnums=0) if jit else rule
        np.testing.assert_array_equal(compiled(layer, x, jnp.full(x.shape, 3.0)), 3 * expected)


@pytest.mark.parametrize("alpha", [1.0, 0.3])
def test_elu_has_alpha_at_zero(x64, alpha):
    """From the left; for alpha = 1 there is no kink."""
    for rule in (by_hand, by_machine):
        np.testing.assert_array_equal(rule(ELU(alpha), jnp.array([-0.0, 0.0, 1.0]), jnp.ones(3)), [alpha, alpha, 1.0])


def test_relu_keeps_the_sign_of_nothing():
    y = forward(ReLU(), jnp.array([-0.0, 0.0, -1.0])).y
    np.testing.assert_array_equal(y, [0.0, 0.0, 0.0])


@pytest.mark.parametrize("layer", ALL, ids=str)
def test_nan_is_not_swallowed(layer):
    """A NaN in x is a NaN in y, and a NaN in dy one in dx where the branch isn't flat."""
    x = jnp.array([[jnp.nan, 1.0, -1.0]])
    y = forward(layer, x).y
    assert jnp.isnan(y[0, 0])
    dy = jnp.array([[1.0, jnp.nan, 1.0]])
    dx = by_hand(layer, x, dy)
    assert jnp.isnan(dx[0, 1])
    if not isinstance(layer, Softmax):
        np.testing.assert_array_equal(jnp.isnan(y), [[True, False, False]])
    if isinstance(layer, Sigmoid | Tanh | Softplus | SiLU | GELU | Softmax):
        assert jnp.isnan(dx[0, 0])
    np.testing.assert_array_equal(jnp.isnan(dx), jnp.isnan(by_machine(layer, x, dy)))


@pytest.mark.parametrize("layer", ALL[:-1], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_far_out_are_the_limits(layer, dtype):
    """At +-1e30, where x^3 overflows, and at +-infinity: y and dx of both sides, and no NaN."""
    x = jnp.array([[-jnp.inf], [-1e30], [1e30], [jnp.inf]], dtype)
    y, dx = jax.jit(lambda x: (forward(layer, x).y, by_hand(layer, x, jnp.full_like(x, 3))))(x)
    lowest = {Tanh: -1.0, ELU: -getattr(layer, "alpha", 0.0)}.get(type(layer), 0.0)
    slope = 1.0 if layer == Identity() else getattr(layer, "slope", 0.0)
    saturates = isinstance(layer, Sigmoid | Tanh)
    given = np.asarray(x)
    np.testing.assert_array_equal(y[:2], slope * x[:2] if slope else np.full_like(given[:2], lowest))
    np.testing.assert_array_equal(y[2:], np.ones_like(given[2:]) if saturates else given[2:])
    np.testing.assert_array_equal(dx[:2], slope * jnp.full_like(x[:2], 3))
    np.testing.assert_array_equal(dx[2:], np.full_like(given[2:], 3 * (not saturates)))


def test_masks_take_one_byte_and_nan_is_not_in_them():
    cache = forward(ReLU(), jnp.array([jnp.nan, -1.0, 2.0])).cache
    assert cache.negative.dtype == bool
    np.testing.assert_array_equal(cache.negative, [False, True, False])
    np.testing.assert_array_equal(by_hand(ReLU(), jnp.array([jnp.nan, -1.0, 2.0]), jnp.ones(3)), [1.0, 0.0, 1.0])


@pytest.mark.parametrize("layer", ALL, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_extremes_make_no_nan(layer, dtype):
    """At +-1e4, saturated on both sides, nothing overflows; and dx is finite wherever that of `jax.grad` is."""
    x = jnp.array([[-1e4, 0.0, 1e4], [1e4, 1e4, 1e4], [-1e4, -1e4, 3.0]], dtype)
    dy = jnp.array([[1.0, -2.0, 0.5]] * 3, dtype)
    y, dx, truth = jax.jit(lambda x, dy: (forward(layer, x).y, by_hand(layer, x, dy), by_machine(layer, x, dy)))(x, dy)
    assert np.isfinite(np.asarray(y, float)).all()
    assert np.isfinite(np.asarray(dx, float)).all()
    np.testing.assert_allclose(
        np.asarray(dx, float), np.asarray(truth, float), rtol=2e-2 if dtype == "bfloat16" else 1e-6
    )


def test_saturated_tanh_keeps_its_digits():
    """(1 + y)(1 - y) is exact to 4 u for the y that was kept; 1 - y^2 loses two digits and more."""
    x = jnp.array([3.0, 4.0, 5.0, 6.0])
    y = np.asarray(forward(Tanh(), x).y, np.float64)
    np.testing.assert_allclose(by_hand(Tanh(), x, jnp.ones(4)), 1 - y**2, rtol=4 * 2**-24)


def test_softplus_keeps_its_digits_on_both_sides():
    """1 - exp(-y) by expm1: where y is small it is y, to the last bit or two, and not 1 less nearly 1."""
    x = jnp.array([-80.0, -30.0, -10.0, -1.0, 1.0, 10.0])
    truth = 1 / (1 + np.exp(-np.asarray(x, np.float64)))
    y = np.asarray(forward(Softplus(), x).y, np.float64)
    np.testing.assert_allclose(y, np.log1p(np.exp(np.asarray(x, np.float64))), rtol=16 * 2**-24)
    np.testing.assert_allclose(by_hand(Softplus(), x, jnp.ones(6)), truth, rtol=16 * 2**-24)


@pytest.mark.parametrize("layer", [SiLU(), GELU(), GELU(approximate=False)], ids=str)
def test_a_gate_keeps_its_digits_as_it_closes(layer):
    """y and dx at x = -5 are 1e-2 to 1e-6: right to 1e-5 of themselves, where 1 + tanh u and 1 + erf have 1e-2 or less.

    Their exponents, x^2 / 2 = 12 and 2 u = 17, multiply what x and they themselves round.
    """
    x = jnp.array([-5.0, -4.0, -2.0])
    with jax.enable_x64(True):
        exact = jnp.asarray(np.asarray(x), jnp.float64)
        y, dx = forward(layer, exact).y, by_hand(layer, exact, jnp.ones_like(exact))
    np.testing.assert_allclose(forward(layer, x).y, y, rtol=1e-5)
    np.testing.assert_allclose(by_hand(layer, x, jnp.ones_like(x)), dx, rtol=1e-5)


@pytest.mark.parametrize(
    ("layer", "y", "dx"),
    [
        (ELU(2.0), 2 / np.e - 2, 2 / np.e),
        (Softplus(), np.log(1 + 1 / np.e), 1 / (1 + np.e)),
        (SiLU(), -1 / (1 + np.e), (1 - np.e / (1 + np.e)) / (1 + np.e)),
        (GELU(), -0.15880800939172324, -0.08296408384578255),
        (GELU(approximate=False), -0.15865525393145707, 0.15865525393145707 - np.exp(-0.5) / np.sqrt(2 * np.pi)),
    ],
    ids=str,
)
def test_at_minus_one(x64, layer, y, dx):
    """By the definition; Phi(-1) = 0.1586552539, from a table of the normal distribution."""
    x = jnp.array([[-1.0]])
    np.testing.assert_allclose(forward(layer, x).y, [[y]], rtol=1e-14)
    np.testing.assert_allclose(by_hand(layer, x, jnp.ones_like(x)), [[dx]], rtol=1e-13)


def test_what_is_kept():
    """One array like x and no more; the output where that is enough, for the next layer keeps it too."""
    x = jnp.array([[-1.0, 2.0]])
    for layer in SMOOTH:
        (kept,) = jax.tree.leaves(forward(layer, x).cache)
        np.testing.assert_array_equal(kept, x if isinstance(layer, SiLU | GELU) else forward(layer, x).y)


# PReLU.


def test_prelu_by_hand():
    """Two features, slopes 1/2 and -1; x = 0 is on the left, and adds nothing to its slope."""
    x, dy = jnp.array([[-2.0, 3.0], [0.0, -4.0], [-6.0, 0.0]]), jnp.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])
    params = PReLUParams(jnp.array([0.5, -1.0]))
    y, _, cache = PReLU().forward(params, (), x)
    np.testing.assert_array_equal(y, [[-1.0, 3.0], [0.0, 4.0], [-3.0, 0.0]])
    dparams, dx = PReLU().backward(params, cache, dy)
    np.testing.assert_array_equal(dparams.slope, [-2.0 * 1 + -6.0 * 3, -4.0 * 20])
    np.testing.assert_array_equal(dx, [[0.5, 10.0], [1.0, -20.0], [1.5, -30.0]])
    shared = PReLUParams(jnp.array(0.5))
    dparams, _ = PReLU(shared=True).backward(shared, PReLU(shared=True).forward(shared, (), x).cache, dy)
    np.testing.assert_array_equal(dparams.slope, -20.0 - 80.0)


def test_prelu_is_leaky_relu_with_its_slope_and_flaxs_with_one_for_all(x64):
    x, dy = jax.random.normal(jax.random.key(0), (2, 3, 4, 5))
    np.testing.assert_array_equal(by_hand(PReLU(0.3), x, dy), by_hand(LeakyReLU(0.3), x, dy))
    foreign, layer = flax.linen.PReLU(negative_slope_init=0.3, param_dtype=jnp.float64), PReLU(0.3, shared=True)
    variables = foreign.init(jax.random.key(0), x)
    theirs, pull = jax.vjp(foreign.apply, variables, x)
    y, _, cache = layer.forward(params_of(layer, x), (), x)
    np.testing.assert_array_equal(y, theirs)
    (dparams, dx), (dvariables, their_dx) = layer.backward(params_of(layer, x), cache, dy), pull(dy)
    np.testing.assert_array_equal(dx, their_dx)
    np.testing.assert_allclose(dparams.slope, *jax.tree.leaves(dvariables), rtol=1e-13)


def test_prelu_starts_as_it_says_and_penalties_leave_it_alone():
    params, state = PReLU().init(jax.random.key(0), (2, 3))
    np.testing.assert_array_equal(params.slope, [0.25] * 3)
    assert state == ()
    assert PReLU(0.1, shared=True).init(jax.random.key(0), ()).params.slope == jnp.float32(0.1)
    assert jaxnn.weight_mask(params) == PReLUParams(False)
    net = jaxnn.Serial(jaxnn.Dense(2), PReLU())
    params, _ = net.init(jax.random.key(0), (3,))
    assert not np.any(jaxnn.l2(1.0).gradient(params)[1].slope)


def test_prelu_errors():
    with pytest.raises(ValueError, match=r"PReLU\(\): one example should have at least one axis.*shared=True"):
        PReLU().init(jax.random.key(0), ())
    params, _ = PReLU().init(jax.random.key(0), (3,))
    with pytest.raises(ValueError, match=r"PReLU\(\): the last axis of x should have 3 features"):
        PReLU().forward(params, (), jnp.ones((2, 4)))


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("inf"), float("nan")])
def test_elu_needs_a_positive_alpha(alpha):
    with pytest.raises(ValueError, match=r"ELU: alpha should be in \(0, inf\), got "):
        ELU(alpha)


def test_softmax_sums_to_one_and_an_equal_dy_changes_nothing():
    x = jax.random.normal(jax.random.key(0), (4, 3, 5))
    np.testing.assert_allclose(jnp.sum(forward(Softmax(), x).y, axis=-1), np.ones((4, 3)), rtol=1e-6)
    np.testing.assert_allclose(by_hand(Softmax(), x, jnp.ones_like(x)), np.zeros(x.shape), atol=1e-7)


@pytest.mark.parametrize("layer", ALL[1:], ids=str)
def test_integers_are_refused(layer):
    with pytest.raises(TypeError, match=f"{type(layer).__name__}.*x should be floating, got uint8"):
        forward(layer, jnp.ones((2, 3), jnp.uint8))
