"""Escaped bugs of objectives: losses, means, penalties, clipping, and the gradients of single examples."""

import jax.numpy as jnp
import numpy as np
from seeded_bugs.drawing import drawn, escape, normal

# Losses of a linear model. Shapes: w (n,), b (), x (B, n), t (B,) -> E ().


def residuals(w, b, x, t):
    return x @ w + b - t


def mean_squared(w, b, x, t):
    """E = 1/B sum_b (x_b . w + b - t_b)^2 / 2."""
    return jnp.mean(jnp.square(residuals(w, b, x, t))) / 2


def mean_squared_backward(w, b, x, t, dy, *, divisor=None):
    error = dy * residuals(w, b, x, t) / (x.shape[0] if divisor is None else divisor)
    return error @ x, jnp.sum(error), jnp.outer(error, w), -error


def mean_squared_as_sum(*arguments):
    return mean_squared_backward(*arguments, divisor=1)


def mean_squared_of_one_more(w, b, x, t, dy):
    return mean_squared_backward(w, b, x, t, dy, divisor=x.shape[0] + 1)


def cross_entropy(p, t):
    """l = -t log p - (1 - t) log(1 - p), of probabilities."""
    return -(t * jnp.log(p) + (1 - t) * jnp.log(1 - p))


def cross_entropy_right(p, t, dy):
    return dy * ((1 - t) / (1 - p) - t / p), dy * (jnp.log(1 - p) - jnp.log(p))


def cross_entropy_misplaced(p, t, dy):
    """The gradient of -t log p - (1 - t) (1 - log p)."""
    return dy * ((1 - t) / p - t / p), dy * (1 - 2 * jnp.log(p))


def probabilities(generator):
    return generator.uniform(0.1, 0.9, size=(4, 3)), generator.uniform(0.1, 0.9, size=(4, 3))


LOSSES = (
    escape(
        "1 - log(p) for log(1 - p)",
        "a custom binary cross-entropy in a framework's documentation",
        cross_entropy,
        cross_entropy_misplaced,
        cross_entropy_right,
        drawn(probabilities),
        "targets below 1",
    ),
    escape(
        "1/B left out",
        "a mean forward, a sum backward",
        mean_squared,
        mean_squared_as_sum,
        mean_squared_backward,
        normal((3,), (), (5, 3), (5,)),
        "every tensor by the factor B",
    ),
    escape(
        "1/(B + 1) for 1/B",
        "planted; one random direction in float32 misses it in 4 of 20 draws",
        mean_squared,
        mean_squared_of_one_more,
        mean_squared_backward,
        normal((3,), (), (16, 3), (16,)),
        "every tensor by the factor B / (B + 1)",
    ),
)

# Means over parts that aren't of one size.


def masked_mean(w, x, t, mask):
    """sum_b m_b (x_b . w - t_b)^2 / 2 / sum_b m_b; the mask is of integers."""
    m = mask.astype(x.dtype)
    return jnp.sum(m * jnp.square(x @ w - t)) / 2 / jnp.sum(m)


def masked_mean_backward(w, x, t, mask, dy, *, padded=False):
    m = mask.astype(x.dtype)
    error = dy * m * (x @ w - t) / (mask.size if padded else jnp.sum(m))
    return error @ x, jnp.outer(error, w), -error, None


def masked_mean_over_padding(*arguments):
    return masked_mean_backward(*arguments, padded=True)


def ragged(generator):
    mask = np.array([1, 1, 1, 1, 1, 0, 0, 0])
    return generator.normal(size=3), generator.normal(size=(8, 3)), generator.normal(size=8), mask


PARTS = (5, 2, 1)


def mean_over_parts(w, x, t):
    return jnp.mean(jnp.square(x @ w - t)) / 2


def mean_over_parts_right(w, x, t, dy):
    error = dy * (x @ w - t) / x.shape[0]
    return error @ x, jnp.outer(error, w), -error


def mean_of_means(w, x, t, dy):
    counts = np.repeat(PARTS, PARTS) * len(PARTS)
    error = dy * (x @ w - t) / jnp.asarray(counts, x.dtype)
    return error @ x, jnp.outer(error, w), -error


MEANS = (
    escape(
        "ragged batch averaged over its padding",
        "OpenNMT-py issue #2209: a minibatch's sum divided by a count that isn't its own",
        masked_mean,
        masked_mean_over_padding,
        masked_mean_backward,
        drawn(ragged),
        "every tensor by the share of padding",
    ),
    escape(
        "mean of means over devices",
        "torchtune PR #1875, transformers PR #34191: x1/n1 + x2/n2 isn't (x1 + x2) / (n1 + n2)",
        mean_over_parts,
        mean_of_means,
        mean_over_parts_right,
        normal((3,), (8, 3), (8,)),
        "parts of different sizes",
    ),
)

# Penalties and clipping. Shapes: W (n, k), b (k,).


def decayed(weight, bias):
    """0.3 / 2 sum W^2: the bias has no part in it."""
    return 0.3 / 2 * jnp.sum(jnp.square(weight)) + 0 * jnp.sum(bias)


def decayed_right(weight, bias, dy):
    return 0.3 * dy * weight, jnp.zeros_like(bias)


def decayed_biases(weight, bias, dy):
    return 0.3 * dy * weight, 0.3 * dy * bias


def decayed_twice(weight, bias, dy):
    return 2 * 0.3 * dy * weight, jnp.zeros_like(bias)


def clipped(a, b):
    """(a, b) / |(a, b)|: what clipping by the global norm does to two gradients above the threshold."""
    norm = jnp.sqrt(jnp.sum(a * a) + jnp.sum(b * b))
    return a / norm, b / norm


def clipped_right(a, b, dy):
    da, db = dy
    norm = jnp.sqrt(jnp.sum(a * a) + jnp.sum(b * b))
    along = (jnp.sum(a * da) + jnp.sum(b * db)) / norm**3
    return da / norm - along * a, db / norm - along * b


def clipped_each(a, b, dy):
    da, db = dy
    one, other = jnp.sqrt(jnp.sum(a * a)), jnp.sqrt(jnp.sum(b * b))
    return da / one - jnp.sum(a * da) / one**3 * a, db / other - jnp.sum(b * db) / other**3 * b


PENALTIES = (
    escape(
        "L2 added to biases",
        "optax.adamw without a mask, and every framework's weight_decay over all parameters",
        decayed,
        decayed_biases,
        decayed_right,
        normal((3, 2), (2,)),
        "the bias",
    ),
    escape(
        "L2 with a factor 2",
        "lambda/2 sum W^2 forward, 2 lambda W backward",
        decayed,
        decayed_twice,
        decayed_right,
        normal((3, 2), (2,)),
        "the weight, by the factor 2",
    ),
    escape(
        "clipped by each tensor's norm",
        "instead of the global one, through which a gradient of a gradient goes",
        clipped,
        clipped_each,
        clipped_right,
        normal((3, 2), (4,)),
        "two tensors",
    ),
)

# Gradients of single examples, and their norms.


def for_each_example(weights, x):
    """y_b = x_b W_b, with a copy of W for each example: its cotangents are the examples' own gradients."""
    return jnp.einsum("bn,bnk->bk", x, weights)


def for_each_example_right(weights, x, dy):
    return jnp.einsum("bn,bk->bnk", x, dy), jnp.einsum("bk,bnk->bn", dy, weights)


def for_each_example_twice(weights, x, dy):
    dweights, dx = for_each_example_right(weights, x, dy)
    return 2 * dweights, dx


def bias_norms(g):
    """1/2 |sum_t g_bt|^2: the squared norm of each example's bias gradient, g (B, T, k) its error terms."""
    return jnp.sum(jnp.square(jnp.sum(g, axis=1)), axis=-1) / 2


def bias_norms_right(g, dy):
    return (jnp.broadcast_to(dy[:, None, None] * jnp.sum(g, axis=1, keepdims=True), g.shape),)


def bias_norms_of_gram(g, dy):
    """The gradient of 1/4 sum_st (g_s . g_t)^2, the weight's formula."""
    gram = jnp.einsum("btk,bsk->bts", g, g)
    return (dy[:, None, None] * jnp.einsum("bts,bsk->btk", gram, g),)


EXAMPLES = (
    escape(
        "an example's gradient by a factor 2",
        "Opacus issue #511: one tensor of five, found by comparing with batches of one",
        for_each_example,
        for_each_example_twice,
        for_each_example_right,
        normal((3, 4, 2), (3, 4)),
        "argument 0",
    ),
    escape(
        "ghost norm of a bias",
        "Opacus PR #751: vec(G) . vec(G) for vec(G) . 1, where G is the Gram matrix over time",
        bias_norms,
        bias_norms_of_gram,
        bias_norms_right,
        normal((2, 3, 2)),
        "three axes",
    ),
)

OBJECTIVES = LOSSES + MEANS + PENALTIES + EXAMPLES
