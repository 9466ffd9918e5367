"""A fully connected sigmoid network, neuron by neuron: the equations of the textbook and nothing else.

A network is a list of layers (w, b): w[i, j] is the weight of the connection from neuron i of the layer before to
neuron j, b[j] the bias of neuron j. An example x and its target t are vectors, E = 1/2 sum_j (t_j - y_j)^2 its error.

The error term of a neuron is delta_j = -dE/dnet_j, minus the derivative of E with respect to its net input
net_j = sum_i w_ij a_i + b_j. jaxnn's error terms have the opposite sign, that of the gradient.

Source: hanbingtao, part 3, with its equation numbers.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Layer(NamedTuple):
    w: np.ndarray  # (N_in, N_out)
    b: np.ndarray  # (N_out,)


Network = Sequence[Layer]


def sigmoid(z: float) -> float:
    """1 / (1 + e^-z), of which the derivative is y (1 - y)."""
    return 1 / (1 + math.exp(-z)) if z > 0 else math.exp(z) / (1 + math.exp(z))


def forward(network: Network, x: np.ndarray) -> list[np.ndarray]:
    """The outputs of all layers, from x itself to y: a_j = sigmoid(sum_i w_ij a_i + b_j)."""
    outputs = [x]
    for w, b in network:
        n_in, n_out = w.shape
        a = np.zeros(n_out)
        for j in range(n_out):
            net = b[j]
            for i in range(n_in):
                net += w[i, j] * outputs[-1][i]
            a[j] = sigmoid(net)
        outputs.append(a)
    return outputs


def half_squared_error(y: np.ndarray, t: np.ndarray) -> float:
    """E = 1/2 sum_j (t_j - y_j)^2."""
    error = 0.0
    for j in range(len(y)):
        error += (t[j] - y[j]) ** 2 / 2
    return error


def error_terms(network: Network, outputs: list[np.ndarray], t: np.ndarray) -> list[np.ndarray]:
    """delta of the neurons of each layer, from the first with weights to the last.

    Output neuron (equation 3):   delta_j = y_j (1 - y_j) (t_j - y_j)
    Hidden neuron (equation 4):   delta_i = a_i (1 - a_i) sum_j w_ij delta_j, over the neurons j that it feeds
    """
    y = outputs[-1]
    delta = np.zeros(len(y))
    for j in range(len(y)):
        delta[j] = y[j] * (1 - y[j]) * (t[j] - y[j])
    deltas = [delta]
    for (w, _), a in zip(reversed(network[1:]), reversed(outputs[1:-1]), strict=True):
        n_in, n_out = w.shape
        delta = np.zeros(n_in)
        for i in range(n_in):
            blame = 0.0
            for j in range(n_out):
                blame += w[i, j] * deltas[0][j]
            delta[i] = a[i] * (1 - a[i]) * blame
        deltas.insert(0, delta)
    return deltas


def update(network: Network, outputs: list[np.ndarray], deltas: list[np.ndarray], learning_rate: float) -> None:
    """w_ij <- w_ij + eta delta_j a_i (equation 5) and b_j <- b_j + eta delta_j, in place."""
    for (w, b), a, delta in zip(network, outputs[:-1], deltas, strict=True):
        n_in, n_out = w.shape
        for j in range(n_out):
            for i in range(n_in):
                w[i, j] += learning_rate * delta[j] * a[i]
            b[j] += learning_rate * delta[j]


def sgd(
    network: Network, x: np.ndarray, t: np.ndarray, *, orders: Sequence[np.ndarray], learning_rate: float
) -> tuple[list[Layer], np.ndarray]:
    """The trained network, and the mean error of each epoch's examples, each at the weights it met."""
    network = [Layer(w.copy(), b.copy()) for w, b in network]
    errors = []
    for order in orders:
        total = 0.0
        for n in order:
            outputs = forward(network, x[n])
            total += half_squared_error(outputs[-1], t[n])
            update(network, outputs, error_terms(network, outputs, t[n]), learning_rate)
        errors.append(total / len(order))
    return network, np.array(errors)
