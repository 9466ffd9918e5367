"""The textbook MLP's epoch in NumPy, as one writes it first: vectorised over batch and neurons, a new array a term."""

import numpy as np


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def epoch(params, order, images, targets, learning_rate, scale, *, batch_size):
    """Every whole batch of an epoch in a given order: (params, losses)."""
    (w1, b1), (w2, b2) = params
    learning_rate, scale = np.float32(learning_rate), np.float32(scale)
    losses = []
    for batch in order[: len(order) // batch_size * batch_size].reshape(-1, batch_size):
        x, t = scale * images[batch], targets[batch]
        h = sigmoid(x @ w1 + b1)
        y = sigmoid(h @ w2 + b2)
        residual = y - t
        losses.append((residual**2).sum() / (2 * batch_size))
        delta2 = y * (1 - y) * residual / batch_size
        delta1 = h * (1 - h) * (delta2 @ w2.T)
        w1, b1 = w1 - learning_rate * (x.T @ delta1), b1 - learning_rate * delta1.sum(0)
        w2, b2 = w2 - learning_rate * (h.T @ delta2), b2 - learning_rate * delta2.sum(0)
    return ((w1, b1), (w2, b2)), np.array(losses)
