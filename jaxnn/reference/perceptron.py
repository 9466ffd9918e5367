"""NumPy twin of jaxnn/perceptron.py: the same names in float64, loops over examples and inputs spelled out.

To be read beside a textbook and compared with the compiled version; it checks no arguments.
"""

from typing import NamedTuple

import numpy as np


class Unit(NamedTuple):
    w: np.ndarray  # (N,)
    b: float


class PerceptronTrace(NamedTuple):
    mistakes: np.ndarray  # (E,) in each epoch, each at the weights it met
    w: np.ndarray  # (E, N) at the end of each epoch
    b: np.ndarray  # (E,)


class LinearUnitTrace(NamedTuple):
    loss: np.ndarray  # (E,) over the whole set, at the end of each epoch
    w: np.ndarray  # (E, N)
    b: np.ndarray  # (E,)


def step(z, at_zero=0):
    """1 if z > 0, 0 if z < 0, at_zero if z = 0."""
    if z > 0:
        return 1
    if z == 0:
        return at_zero
    return 0


def net_input(unit, x):
    """z = w_1 x_1 + ... + w_N x_N + b for one example x (N,)."""
    z = 0.0
    for w_n, x_n in zip(unit.w, x, strict=True):
        z += w_n * x_n
    return z + unit.b


def predict_perceptron(unit, x, *, at_zero=0):
    """y = step(z) for each row of x (B, N)."""
    return np.array([step(net_input(unit, row), at_zero) for row in x])


def predict_linear_unit(unit, x):
    """y = z for each row of x (B, N)."""
    return np.array([net_input(unit, row) for row in x])


def train_perceptron(x, t, *, learning_rate, epochs, at_zero=0, start=None):
    """w <- w + eta (t - y) x, b <- b + eta (t - y), y = step(w . x + b), example after example."""
    w, b = _start(start, x)
    trace = []
    for _ in range(epochs):
        mistakes = 0
        for x_i, t_i in zip(x, t, strict=True):
            error = t_i - step(net_input(Unit(w, b), x_i), at_zero)
            for n in range(len(w)):
                w[n] += learning_rate * error * x_i[n]
            b += learning_rate * error
            mistakes += error != 0
        trace.append((mistakes, w.copy(), b))
    return Unit(w, b), PerceptronTrace(*map(np.array, zip(*trace, strict=True)))


def find_cycle(trace):
    """(first epoch, period), epochs counted from 1, or None: each epoch is compared with all before it."""
    for later in range(len(trace.mistakes)):
        if trace.mistakes[later] == 0:
            return None
        for earlier in range(later):
            if (trace.w[earlier] == trace.w[later]).all() and trace.b[earlier] == trace.b[later]:
                return earlier + 1, later - earlier
    return None


def half_squared_error(unit, x, t):
    """E = 1/2 sum (t - y)^2."""
    loss = 0.0
    for x_i, t_i in zip(x, t, strict=True):
        loss += (t_i - net_input(unit, x_i)) ** 2 / 2
    return loss


def train_linear_unit(x, t, *, learning_rate, epochs, loop="sgd", start=None):
    """sgd: w <- w + eta (t - y) x for each example. bgd: w <- w + eta sum (t - y) x. b likewise."""
    w, b = _start(start, x)
    trace = []
    for _ in range(epochs):
        if loop == "sgd":
            for x_i, t_i in zip(x, t, strict=True):
                error = t_i - net_input(Unit(w, b), x_i)
                for n in range(len(w)):
                    w[n] += learning_rate * error * x_i[n]
                b += learning_rate * error
        else:
            dw, db = np.zeros_like(w), 0.0
            for x_i, t_i in zip(x, t, strict=True):
                error = t_i - net_input(Unit(w, b), x_i)
                for n in range(len(w)):
                    dw[n] += error * x_i[n]
                db += error
            w += learning_rate * dw
            b += learning_rate * db
        trace.append((half_squared_error(Unit(w, b), x, t), w.copy(), b))
    return Unit(w, b), LinearUnitTrace(*map(np.array, zip(*trace, strict=True)))


def least_squares(x, t):
    """Solves the normal equations H (w, b) = sum t [x, 1]; they need an H of full rank."""
    moments = np.zeros(len(x[0]) + 1)
    for x_i, t_i in zip(x, t, strict=True):
        moments += t_i * np.append(x_i, 1.0)
    solution = np.linalg.solve(hessian(x), moments)
    return Unit(solution[:-1], float(solution[-1]))


def hessian(x):
    """H[m, n] = sum_i [x_i, 1][m] [x_i, 1][n]."""
    n_in = len(x[0])
    h = np.zeros((n_in + 1, n_in + 1))
    for x_i in x:
        augmented = np.append(x_i, 1.0)
        for m in range(n_in + 1):
            for n in range(n_in + 1):
                h[m, n] += augmented[m] * augmented[n]
    return h


def stable_learning_rate(x):
    """2 / L, L the largest eigenvalue of the Hessian."""
    return 2 / np.linalg.eigvalsh(hessian(x))[-1]


def _start(start, x):
    """A copy, because the loops write into it."""
    if start is None:
        return np.zeros(len(x[0])), 0.0
    return np.array(start.w, dtype=np.float64), float(start.b)
