"""Escaped bugs of normalisations: over the batch, and over the features of an example."""

import jax
import jax.numpy as jnp
from seeded_bugs.drawing import escape, escape_of_layer, normal
from table import LayerCase

from jaxnn import BatchNorm
from jaxnn.layers.batch_norm import BatchNormParams

EPSILON = 1e-3

# Shapes: scale (N,), bias (N,), x (R, N) -> y (R, N); R rows.


def like(feature, x):
    return jnp.broadcast_to(feature, x.shape)


def standardized(x):
    """x^ and s = 1 / sqrt(var + epsilon)."""
    mean = like(jnp.mean(x, axis=0), x)
    s = jax.lax.rsqrt(jnp.mean(jnp.square(x - mean), axis=0) + EPSILON)
    return (x - mean) * like(s, x), s


def batch_norm(scale, bias, x):
    return like(scale, x) * standardized(x)[0] + like(bias, x)


def batch_norm_backward(scale, bias, x, dy, *, mean_share=1.0, variance_share=1.0, extra_rows=0, scaled=True):
    """dx_r = scale s (dy_r - mean_share / R sum dy - variance_share x^_r / R sum dy x^)."""
    normalized, s = standardized(x)
    n_rows = x.shape[0] + extra_rows
    dbias, dscale = jnp.sum(dy, axis=0), jnp.sum(dy * normalized, axis=0)
    through_mean = like(mean_share * dbias / x.shape[0], x)
    through_variance = normalized * like(variance_share * dscale / n_rows, x)
    dx = like(s, x) * (dy - through_mean - through_variance)
    return dscale, dbias, like(scale, x) * dx if scaled else dx


def batch_norm_without_mean(*arguments):
    return batch_norm_backward(*arguments, mean_share=0.0)


def batch_norm_without_variance(*arguments):
    return batch_norm_backward(*arguments, variance_share=0.0)


def batch_norm_unbiased(*arguments):
    return batch_norm_backward(*arguments, extra_rows=-1)


def batch_norm_mlpack(scale, bias, x, dy):
    return batch_norm_backward(scale, bias, x, dy, mean_share=x.shape[0], variance_share=-1.0)


def batch_norm_unscaled(*arguments):
    return batch_norm_backward(*arguments, scaled=False)


def layer_norm(x):
    """Over the last axis of x (B, T, N)."""
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.mean(jnp.square(centred), axis=-1, keepdims=True) + EPSILON)


def layer_norm_backward(x, dy, *, axes=(-1,), mean_share=1.0):
    y = layer_norm(x)
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    s = jax.lax.rsqrt(jnp.mean(jnp.square(centred), axis=-1, keepdims=True) + EPSILON)
    through_mean = mean_share * jnp.mean(dy, axis=axes, keepdims=True)
    return (s * (dy - through_mean - y * jnp.mean(dy * y, axis=axes, keepdims=True)),)


def layer_norm_subtracted_twice(x, dy):
    return layer_norm_backward(x, dy, mean_share=2.0)


def layer_norm_of_a_matrix(x, dy):
    return layer_norm_backward(x, dy, axes=(1, 2))


class TrainingFormInEvaluation(BatchNorm):
    """Backward takes mu and var for functions of x, whatever the mode."""

    def backward(self, params, cache, dy):
        return super().backward(params, cache._replace(train=type(cache.train)(True)), dy)


class StatisticsMovedInEvaluation(BatchNorm):
    """Forward moves the running statistics in evaluation too, and backward finds them moved."""

    def backward(self, params, cache, dy):
        if cache.train.value:
            return super().backward(params, cache, dy)
        rows = tuple(range(cache.x.ndim - 1))
        kept = self.momentum
        mean = kept * cache.mean + (1 - kept) * jnp.mean(cache.x, axis=rows)
        variance = kept * (cache.inverse_std**-2 - self.epsilon) + (1 - kept) * jnp.var(cache.x, axis=rows)
        moved = cache._replace(mean=mean, inverse_std=jax.lax.rsqrt(variance + self.epsilon))
        return super().backward(params, moved, dy)


class DropsTheScale(BatchNorm):
    """As if scale were still the ones that init made."""

    def backward(self, params, cache, dy):
        return super().backward(BatchNormParams(jnp.ones_like(params.scale), params.bias), cache, dy)


def in_evaluation(name, source, layer, tells):
    return escape_of_layer(name, source, layer, LayerCase(BatchNorm(0.8), (3,), 5, train=False), tells)


ROWS = normal((3,), (3,), (5, 3))

NORMALIZATIONS = (
    escape(
        "BatchNorm forgets the mean's path",
        "dx through the variance alone; invisible where the next layer sums to nothing",
        batch_norm,
        batch_norm_without_mean,
        batch_norm_backward,
        ROWS,
        "dx",
    ),
    escape(
        "BatchNorm forgets the variance's path",
        "dx through the mean alone",
        batch_norm,
        batch_norm_without_variance,
        batch_norm_backward,
        ROWS,
        "dx",
    ),
    escape(
        "BatchNorm: biased forward, unbiased backward",
        "R in one pass, R - 1 in the other",
        batch_norm,
        batch_norm_unbiased,
        batch_norm_backward,
        ROWS,
        "dx",
    ),
    escape(
        "BatchNorm: sign of the variance's path, mean's path not divided",
        "mlpack issue #1923, the formula of its PR #1327: no layer stood before it in the test, so dx was never used",
        batch_norm,
        batch_norm_mlpack,
        batch_norm_backward,
        ROWS,
        "dx",
    ),
    escape(
        "BatchNorm: dx without scale",
        "makemore's note: an initial scale of ones hides it",
        batch_norm,
        batch_norm_unscaled,
        batch_norm_backward,
        ROWS,
        "dx where scale isn't 1",
    ),
    in_evaluation(
        "BatchNorm: dx of training in evaluation",
        "Flux issue #2179 and NNlib.jl issue #548: the argument `training` is ignored, on GPU only",
        TrainingFormInEvaluation(0.8),
        "dx in evaluation",
    ),
    in_evaluation(
        "BatchNorm: running statistics updated in evaluation",
        "Flux issue #1429",
        StatisticsMovedInEvaluation(0.8),
        "dx and dscale in evaluation",
    ),
    in_evaluation(
        "BatchNorm: dx without scale in evaluation",
        "makemore's note, in the other mode",
        DropsTheScale(0.8),
        "dx where scale isn't 1",
    ),
    escape(
        "LayerNorm: mean subtracted twice",
        "tt-metal PR #53215: an accumulator not cleared, passed at an absolute tolerance of 0.5",
        layer_norm,
        layer_norm_subtracted_twice,
        layer_norm_backward,
        normal((2, 3, 4)),
        "any cotangent whose mean isn't 0",
    ),
    escape(
        "LayerNorm: every x is a matrix",
        "FlagGems issue #5392: the axes after the first taken for the features",
        layer_norm,
        layer_norm_of_a_matrix,
        layer_norm_backward,
        normal((2, 3, 4)),
        "x of three axes",
    ),
)
