"""The opponent without a library: the textbook MLP's epoch in plain JAX, backward by hand, for this network alone.

Sigmoid hidden layer, sigmoid outputs, half squared error, gradient descent; uint8 images scaled in the step; one
permutation an epoch, a gather a batch, the mean loss of each batch recorded. jaxnn must add nothing to it.
"""

from functools import partial

import jax
import jax.numpy as jnp


def init(key, n_in, n_hidden, n_out):
    """((W, b), (W, b)), weights N(0, 1/n_in), float32."""
    first, second = jax.random.split(key)
    w1 = jax.random.normal(first, (n_in, n_hidden)) / jnp.sqrt(n_in)
    w2 = jax.random.normal(second, (n_hidden, n_out)) / jnp.sqrt(n_hidden)
    return (w1, jnp.zeros(n_hidden)), (w2, jnp.zeros(n_out))


def step(params, images, targets, learning_rate, scale):
    """One step of gradient descent on the mean over a batch: (params, loss)."""
    (w1, b1), (w2, b2) = params
    x = scale * images.astype(jnp.float32)
    h = jax.nn.sigmoid(x @ w1 + b1)
    y = jax.nn.sigmoid(h @ w2 + b2)
    residual = y - targets
    loss = jnp.mean(jnp.sum(residual**2, axis=1)) / 2
    delta2 = y * (1 - y) * residual / len(images)
    delta1 = h * (1 - h) * (delta2 @ w2.T)
    w1, b1 = w1 - learning_rate * (x.T @ delta1), b1 - learning_rate * delta1.sum(0)
    w2, b2 = w2 - learning_rate * (h.T @ delta2), b2 - learning_rate * delta2.sum(0)
    return ((w1, b1), (w2, b2)), loss


@partial(jax.jit, static_argnames="batch_size")
def epoch(params, key, images, targets, learning_rate, scale, *, batch_size):
    """Every whole batch of a shuffled epoch: (params, losses). The full batch isn't shuffled."""
    if batch_size == len(images):
        params, loss = step(params, images, targets, learning_rate, scale)
        return params, loss[None]
    order = jax.random.permutation(key, len(images))
    batches = order[: len(images) // batch_size * batch_size].reshape(-1, batch_size)

    def batch_step(params, batch):
        x, t = (a.at[batch].get(mode="promise_in_bounds") for a in (images, targets))
        return step(params, x, t, learning_rate, scale)

    return jax.lax.scan(batch_step, params, batches)
