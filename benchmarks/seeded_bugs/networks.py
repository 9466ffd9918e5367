"""Escaped bugs of whole networks: layers, depth, time, and what is wrong between layers that are right."""

import jax
import jax.numpy as jnp
from seeded_bugs.drawing import drawn, escape, escape_of_layer, normal
from table import LayerCase

from jaxnn import Dense, DenseParams, Dropout, Residual
from jaxnn.layer import Backward, Folded
from jaxnn.networks.combinators import INNER, Inner

# Layers.


class RedrawnDropout(Dropout):
    """Backward throws the dice again."""

    def backward(self, params, cache, dy):
        keep = jax.random.bernoulli(jax.random.key(1), jnp.float32(1 - self.rate), dy.shape)
        return super().backward(params, cache._replace(keep=keep), dy)


class UnscaledDropout(Dropout):
    """Backward forgets the 1 / (1 - rate) of forward."""

    def backward(self, params, cache, dy):
        return Backward((), jnp.where(cache.keep, dy, 0))


class ResidualWithoutPath(Residual):
    """x is added forward, dy isn't backward."""

    def fold(self, visit, path, params, cache, dy):
        dinner, dx, notes = visit((*path, INNER), self.inner, params.inner, cache.inner, self.scale * dy)
        return Folded(Inner(dinner), dx, notes)


class SwappedDense(Dense):
    """dW with its axes swapped: of the right shape where W is square."""

    def backward(self, params, cache, dy):
        (dweight, dbias), dx = super().backward(params, cache, dy)
        return Backward(DenseParams(dweight.T, dbias), dx)


class RowForgetfulDense(Dense):
    """One row of dW is never written."""

    def backward(self, params, cache, dy):
        (dweight, dbias), dx = super().backward(params, cache, dy)
        return Backward(DenseParams(dweight.at[-1].set(0), dbias), dx)


LAYERS = (
    escape_of_layer(
        "Dropout: mask drawn anew in backward",
        "a recomputed forward without the saved state of its generator",
        RedrawnDropout(0.3, keep="bools"),
        LayerCase(Dropout(0.3), (9,), 4),
        "dx",
    ),
    escape_of_layer(
        "Dropout: dx not rescaled",
        "the 1 / (1 - rate) of inverted dropout in one pass only",
        UnscaledDropout(0.3, keep="bools"),
        LayerCase(Dropout(0.3), (9,), 4),
        "dx",
    ),
    escape_of_layer(
        "Residual adds x, but not dy",
        "the 1 on the diagonal lost: the gradient of the inner layers is right",
        ResidualWithoutPath(Dense(3)),
        LayerCase(Residual(Dense(3)), (3,), 4),
        "dx",
    ),
    escape_of_layer(
        "Dense: axes of a square dW swapped",
        "W stored (out, in) and used (in, out); only a weight that isn't square raises",
        SwappedDense(3),
        LayerCase(Dense(3), (3,), 4),
        "dW",
    ),
    escape_of_layer(
        "Dense: one row of a large dW stays 0",
        "what tolerances times the array's size hide: JAX issue #3130, llm.c's matmul_forward.c line 203",
        RowForgetfulDense(16),
        LayerCase(Dense(16), (24,), 4),
        "the last row of dW",
    ),
)

# Depth. Shapes: x (B, n), W1 (n, h), W2 (h, k).


def two_layers(w1, w2, x):
    """Sigmoid, then tanh."""
    return jnp.tanh(jax.lax.logistic(x @ w1) @ w2)


def two_layers_backward(w1, w2, x, dy, *, derivative=lambda h: h * (1 - h), sign=1.0):
    h = jax.lax.logistic(x @ w1)
    y = jnp.tanh(h @ w2)
    dz2 = (1 - y * y) * dy
    dz1 = derivative(h) * (dz2 @ w2.T)
    return sign * (x.T @ dz1), sign * (h.T @ dz2), dz1 @ w1.T


def two_layers_own_derivative(*arguments):
    return two_layers_backward(*arguments, derivative=lambda h: 1 - h * h)


def two_layers_descent(*arguments):
    return two_layers_backward(*arguments, sign=-1.0)


def autoencoder(w, x, target):
    """E = 1/2 sum (tanh(x W) W^T - t)^2."""
    return jnp.sum(jnp.square(jnp.tanh(x @ w) @ w.T - target)) / 2


def autoencoder_right(w, x, target, dy):
    h = jnp.tanh(x @ w)
    error = dy * (h @ w.T - target)
    dz = (1 - h * h) * (error @ w)
    return x.T @ dz + error.T @ h, dz @ w.T, -error


def autoencoder_swapped(w, x, target, dy):
    return autoencoder_right(w, target, x, dy)


# 20 - 12 - 5, tanh and cross-entropy, as one objective. Labels are integers: no cotangent.


def objective(w1, b1, w2, b2, x, labels):
    log_p = log_softmax(hidden(w1, b1, x) @ w2 + jnp.broadcast_to(b2, (x.shape[0], b2.size)))
    return -jnp.mean(jnp.take_along_axis(log_p, labels[:, None], axis=1))


def hidden(w1, b1, x):
    return jnp.tanh(x @ w1 + jnp.broadcast_to(b1, (x.shape[0], b1.size)))


def log_softmax(z):
    shifted = z - jax.lax.stop_gradient(jnp.max(z, axis=1, keepdims=True))
    return shifted - jnp.log(jnp.sum(jnp.exp(shifted), axis=1, keepdims=True))


def objective_right(w1, b1, w2, b2, x, labels, dy):
    h = hidden(w1, b1, x)
    p = jnp.exp(log_softmax(h @ w2 + jnp.broadcast_to(b2, (x.shape[0], b2.size))))
    dz2 = dy / x.shape[0] * (p - jax.nn.one_hot(labels, p.shape[1], dtype=p.dtype))
    dz1 = (1 - h * h) * (dz2 @ w2.T)
    return x.T @ dz1, jnp.sum(dz1, axis=0), h.T @ dz2, jnp.sum(dz2, axis=0), dz1 @ w1.T, None


def changed(i, change):
    """The right rule, but for its i-th cotangent."""

    def backward(*arguments):
        cotangents = list(objective_right(*arguments))
        cotangents[i] = change(cotangents[i])
        return tuple(cotangents)

    return backward


def classified(generator):
    shapes = ((20, 12), (12,), (12, 5), (5,), (16, 20))
    return *(generator.normal(size=shape) / shape[0] ** 0.5 for shape in shapes), generator.integers(0, 5, size=16)


EMULATED = "planted in a network of tanh and cross-entropy; one random direction in float32 misses it in {} of 20 draws"

DEPTH = (
    escape(
        "the layer's own derivative at its input",
        "hanbingtao's fc.py, backward: right only where both layers have one activation",
        two_layers,
        two_layers_own_derivative,
        two_layers_backward,
        normal((3, 4), (4, 2), (5, 3)),
        "two activations",
    ),
    escape(
        "+g compared with -g",
        "hanbingtao's fc.py, gradient_check: W_grad is -dE/dW, printed beside dE/dW, with the same five digits",
        two_layers,
        two_layers_descent,
        two_layers_backward,
        normal((3, 4), (4, 2), (5, 3)),
        "the sign",
    ),
    escape(
        "sample and label swapped",
        "hanbingtao's bp.py, gradient_check: get_gradient(feature, label) for (label, sample), where the two are equal",
        autoencoder,
        autoencoder_swapped,
        autoencoder_right,
        normal((4, 2), (3, 4), (3, 4)),
        "a label that isn't the sample",
    ),
    *(
        escape(
            f"network: {name}",
            EMULATED.format(missed),
            objective,
            changed(i, change),
            objective_right,
            drawn(classified),
            tells,
        )
        for name, missed, i, change, tells in (
            ("dW2 * 1.01", 14, 2, lambda g: 1.01 * g, "argument 2"),
            ("dW1 * 1.01", 5, 0, lambda g: 1.01 * g, "argument 0"),
            ("a row of dW1 is 0", 3, 0, lambda g: g.at[7].set(0), "argument 0"),
            ("db2 = 0", 2, 3, jnp.zeros_like, "argument 3"),
            ("db1 = 0", 1, 1, jnp.zeros_like, "argument 1"),
        )
    ),
)

# Time: s_t = tanh(x_t U + s_(t-1) W), s_0 = 0. Shapes: U (n, h), W (h, h), x (B, T, n) -> s (B, T, h), T = 4.


def recurrent(u, w, x):
    states, s = [], jnp.zeros((x.shape[0], w.shape[0]), x.dtype)
    for t in range(x.shape[1]):
        s = jnp.tanh(x[:, t] @ u + s @ w)
        states.append(s)
    return jnp.stack(states, axis=1)


def recurrent_backward(u, w, x, dy, *, derivative=lambda s: 1 - s * s, reach=None, learns_u=True):
    """delta_t = f'(s_t) (dy_t + W delta_(t+1)); `reach`: how many steps back an error goes."""
    states, n_steps = recurrent(u, w, x), x.shape[1]
    du, dw, dx = jnp.zeros_like(u), jnp.zeros_like(w), jnp.zeros_like(x)
    for end in reversed(range(n_steps)):
        ds = dy[:, end]
        for t in reversed(range(0 if reach is None else max(0, end - reach), end + 1)):
            # The error of step t itself goes through f', that of the steps before through `derivative`.
            delta = (1 - states[:, t] ** 2 if t == end else derivative(states[:, t])) * ds
            du, dx = du + x[:, t].T @ delta, dx.at[:, t].add(delta @ u.T)
            if t > 0:
                dw = dw + states[:, t - 1].T @ delta
            ds = delta @ w.T
    return du if learns_u else jnp.zeros_like(du), dw, dx


def recurrent_state_for_derivative(*arguments):
    return recurrent_backward(*arguments, derivative=lambda s: s)


def recurrent_two_steps(*arguments):
    return recurrent_backward(*arguments, reach=1)


def recurrent_without_u(*arguments):
    return recurrent_backward(*arguments, learns_u=False)


SEQUENCES = normal((2, 3), (3, 3), (2, 4, 2))

TIME = (
    escape(
        "BPTT: the state for its derivative",
        "hanbingtao's rnn.py, calc_delta_k: f' is applied to a list, then the unmapped copy used",
        recurrent,
        recurrent_state_for_derivative,
        recurrent_backward,
        SEQUENCES,
        "any sequence longer than one step",
    ),
    escape(
        "BPTT: right for T = 2, wrong for 3",
        "an error that goes back one step and no further",
        recurrent,
        recurrent_two_steps,
        recurrent_backward,
        SEQUENCES,
        "T = 3",
    ),
    escape(
        "BPTT: U is never trained",
        "hanbingtao's rnn.py: the input's weights have no gradient",
        recurrent,
        recurrent_without_u,
        recurrent_backward,
        SEQUENCES,
        "argument 0",
    ),
)

NETWORKS = LAYERS + DEPTH + TIME
