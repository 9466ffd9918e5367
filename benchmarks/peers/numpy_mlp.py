"""The same multilayer perceptron in NumPy, as one writes it first: vectorised over batch and neurons."""

import itertools

import numpy as np
from peers.specs import batches

# The activation function, and its derivative by its value.
ACTIVATIONS = {
    "sigmoid": (lambda z: 1 / (1 + np.exp(-z)), lambda h: h * (1 - h)),
    "tanh": (np.tanh, lambda h: 1 - h**2),
}


def gradient(layers, x, t, activation):
    """The gradient of the mean softmax cross-entropy over a batch, a (dW, db) for each layer."""
    f, slope = ACTIVATIONS[activation]
    values = [x]
    for w, b in layers[:-1]:
        values.append(f(values[-1] @ w + b))
    z = values[-1] @ layers[-1][0] + layers[-1][1]
    delta = np.exp(z - z.max(1, keepdims=True))
    delta /= delta.sum(1, keepdims=True)
    delta[np.arange(len(t)), t] -= 1
    delta /= len(t)
    grads = []
    for (w, _), value in zip(layers[::-1], values[::-1], strict=True):
        grads.append((value.T @ delta, delta.sum(0)))
        delta = (delta @ w.T) * slope(value)
    return grads[::-1]


def momentum(layers, moments, grads, learning_rate=0.01, decay=0.9):
    for layer, velocity, grad in zip(layers, moments, grads, strict=True):
        for p, v, g in zip(layer, velocity, grad, strict=True):
            v[:] = decay * v + g
            p -= learning_rate * v


def candidate(name, spec):
    rng = np.random.default_rng(0)
    sizes = spec["sizes"]
    layers = [
        (rng.normal(0, n_in**-0.5, (n_in, n_out)).astype(np.float32), np.zeros(n_out, np.float32))
        for n_in, n_out in itertools.pairwise(sizes)
    ]
    moments = [tuple(map(np.zeros_like, layer)) for layer in layers]
    x, t = batches(spec)

    def turn():
        for batch in zip(x, t, strict=True):
            momentum(layers, moments, gradient(layers, *batch, spec["activation"]))

    facts = {
        "n_params": sum(leaf.size for layer in layers for leaf in layer),
        "version": f"numpy {np.__version__}",
    }
    return turn, facts
