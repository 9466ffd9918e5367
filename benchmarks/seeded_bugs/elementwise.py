"""Escaped bugs of activations, of kinks and ties, and of what moves numbers without changing them."""

import jax
import jax.numpy as jnp
from seeded_bugs.drawing import drawn, escape, normal

# Shapes: x (B, N) -> y (B, N), or (B,) for a maximum over the last axis.


def tanh(x):
    return jnp.tanh(x)


def tanh_right(x, dy):
    y = jnp.tanh(x)
    return (dy * (1 - y * y),)


def tanh_without_parentheses(x, dy):
    y = jnp.tanh(x)
    return (dy * jnp.ones_like(y) - y * y,)


def softmax(x):
    exponentials = jnp.exp(x - jax.lax.stop_gradient(jnp.max(x, axis=-1, keepdims=True)))
    return exponentials / jnp.sum(exponentials, axis=-1, keepdims=True)


def softmax_right(x, dy):
    y = softmax(x)
    return (y * (dy - jnp.sum(y * dy, axis=-1, keepdims=True)),)


def softmax_for_equal_cotangents(x, dy):
    return (softmax(x) * (dy - jnp.mean(dy, axis=-1, keepdims=True)),)


# Kinks: the arguments hold exact zeros, edges and ties; the declared derivative there is that of f's own `where`.


def relu(x):
    return jnp.where(x <= 0, 0, x)


def relu_right(x, dy):
    return (jnp.where(x <= 0, 0, dy),)


def relu_one_at_zero(x, dy):
    return (jnp.where(x < 0, 0, dy),)


def relu_half_at_zero(x, dy):
    return (jnp.where(x < 0, 0, jnp.where(x == 0, dy / 2, dy)),)


def clip(x):
    return jnp.where(x <= -1, -1, jnp.where(x >= 1, 1, x))


def clip_right(x, dy):
    return (jnp.where(jnp.abs(x) >= 1, 0, dy),)


def clip_open_at_its_edges(x, dy):
    return (jnp.where(jnp.abs(x) > 1, 0, dy),)


def absolute(x):
    return jnp.sign(x) * x


def absolute_right(x, dy):
    return (jnp.sign(x) * dy,)


def absolute_one_at_zero(x, dy):
    return (jnp.where(x >= 0, dy, -dy),)


def maximum(x):
    return jnp.take_along_axis(x, jnp.argmax(x, axis=-1, keepdims=True), axis=-1)


def maximum_right(x, dy):
    return (jax.nn.one_hot(jnp.argmax(x, axis=-1), x.shape[-1], dtype=dy.dtype) * dy,)


def maximum_to_every_winner(x, dy):
    return (jnp.where(x == maximum(x), dy, 0),)


def maximum_shared_by_winners(x, dy):
    wins = (x == maximum(x)).astype(dy.dtype)
    return (wins * dy / jnp.sum(wins, axis=-1, keepdims=True),)


def with_kinks(generator):
    """Normal numbers, but for 0, 1 and -1 in every row."""
    x = generator.normal(size=(3, 7))
    x[:, :3] = 0.0, 1.0, -1.0
    return (x,)


def with_ties(generator):
    """Two rows whose largest number comes two and three times, and one where it comes once."""
    x = generator.normal(size=(3, 5))
    x[0, 1] = x[0, 3] = 4.0
    x[1, 0] = x[1, 2] = x[1, 4] = 3.0
    return (x,)


# A rule for one precision, and a rule that works in place.


def scale(a, x):
    return a * x


def scale_right(a, x, dy):
    return x * dy, a * dy


def scale_in_bfloat16(a, x, dy):
    short = dy.astype(jnp.bfloat16).astype(dy.dtype)
    return x * short, a * short


def split(x):
    """Pairs (x_0, x_1), (x_2, x_3), ... as all firsts, then all seconds: the layout of a rotary embedding."""
    return jnp.concatenate([x[:, 0::2], x[:, 1::2]], axis=1)


def split_right(x, dy):
    half = dy.shape[1] // 2
    return (jnp.stack([dy[:, :half], dy[:, half:]], axis=2).reshape(dy.shape),)


def split_in_place(x, dy):
    half = dy.shape[1] // 2
    for i in range(half):
        first, second = dy[:, i], dy[:, half + i]  # both may have been written over by now
        dy = dy.at[:, 2 * i].set(first).at[:, 2 * i + 1].set(second)
    return (dy,)


# The sign of a derivative that is a sum of two terms.


def log_density(x, variance):
    """log N(x; 0, variance), summed over the last axis, without its constant."""
    return -jnp.sum(jnp.log(variance) + x * x / variance, axis=-1) / 2


def log_density_right(x, variance, dy):
    dy = dy[:, None]
    return -dy * x / variance, dy * (x * x / variance - 1) / (2 * variance)


def log_density_of_the_other_sign(x, variance, dy):
    dx, dvariance = log_density_right(x, variance, dy)
    return dx, -dvariance


def positive_variance(generator):
    return generator.normal(size=(4, 3)), generator.uniform(0.5, 2.0, size=(4, 3))


ELEMENTWISE = (
    escape(
        "tanh without its parentheses",
        "TVM PR #7340: dy * 1 - y * y for dy * (1 - y * y); its tests had a cotangent of ones",
        tanh,
        tanh_without_parentheses,
        tanh_right,
        normal((3, 4)),
        "a cotangent that isn't all ones",
    ),
    escape(
        "softmax: right for equal cotangents",
        "what numpy-ml's and tinygrad's all-ones cotangents can't see: the true dx is then 0",
        softmax,
        softmax_for_equal_cotangents,
        softmax_right,
        normal((3, 4)),
        "a cotangent that isn't all ones",
    ),
    escape(
        "relu'(0) = 1",
        "torch.clamp_min, PyTorch issue #184572",
        relu,
        relu_one_at_zero,
        relu_right,
        drawn(with_kinks),
        "x = 0",
    ),
    escape("relu'(0) = 1/2", "JAX issue #37821", relu, relu_half_at_zero, relu_right, drawn(with_kinks), "x = 0"),
    escape(
        "clip lets dy through at its edges",
        "torch.clamp, PyTorch issue #184574",
        clip,
        clip_open_at_its_edges,
        clip_right,
        drawn(with_kinks),
        "x = 1 or -1",
    ),
    escape(
        "|x|' = 1 at 0",
        "jax.grad(jnp.abs)(0.0), where the declared subgradient is 0",
        absolute,
        absolute_one_at_zero,
        absolute_right,
        drawn(with_kinks),
        "x = 0",
    ),
    escape(
        "maximum: every winner takes all",
        "Theano issue #4568: (1, 1) at a tie, outside of the subdifferential",
        maximum,
        maximum_to_every_winner,
        maximum_right,
        drawn(with_ties),
        "a tie",
    ),
    escape(
        "maximum: winners share",
        "TensorFlow PR #109337 documents it, and jnp.max does it: not the declared first winner",
        maximum,
        maximum_shared_by_winners,
        maximum_right,
        drawn(with_ties),
        "a tie",
    ),
    escape(
        "cotangent rounded to bfloat16",
        "a rule tested in one dtype: tt-metal issue #55349 was right in bfloat16 and wrong in float32",
        scale,
        scale_in_bfloat16,
        scale_right,
        normal((3, 4), (3, 4)),
        "more digits than bfloat16 has",
    ),
    escape(
        "rotary layout undone in place",
        "Megatron-LM issue #4640, PR #5981: cotangents written over before they are read; the test was called flaky",
        split,
        split_in_place,
        split_right,
        normal((2, 8)),
        "rows longer than two pairs",
    ),
    escape(
        "normal density: sign of the variance's gradient",
        "autograd PR #412; a misspelt name had kept its test from running",
        log_density,
        log_density_of_the_other_sign,
        log_density_right,
        drawn(positive_variance),
        "argument 1",
    ),
)
