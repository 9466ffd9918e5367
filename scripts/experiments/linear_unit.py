"""Gradient descent reaches the least-squares solution itself below eta = 2 / L, and none above it.

    E = 1/2 sum (t - y)^2,  y = w x + b        w <- w + eta (t - y) x        b <- b + eta (t - y)

Where the notes are loose. They say that one ends *near* the minimum because a last step might overshoot. With
H = sum [x, 1] [x, 1]^T, batch descent multiplies the error along an eigenvector by 1 - eta lambda: below 2 / L, with L
the largest lambda, every error goes to 0, and above it one grows. Only descent by one example at a time at a
constant rate stays near. In a fixed order its epoch is an affine map, theta <- A theta + c with
A = prod (I - eta x x^T), and it ends at the map's fixed point, which is off by an amount that eta sets, not the time
spent.

    python scripts/experiments/linear_unit.py               (4 s on 2 cores; --quick 4 s)

Expect the article's numbers (SGD, 10 epochs) and those computed beside them digit by digit, 2 / L = 0.0097211, and
36.6 % above the least E where SGD ends.
Source: PRINCIPLES B3 to B6, 2.2 (hanbingtao, part 2).
"""

import math

import jax
import numpy as np
from claims import BLUE, GREEN, ORANGE, PREDICTED, PURPLE, RED, SKY, main, panels

from jaxnn.data import toys
from jaxnn.training.perceptron import half_squared_error, least_squares, predict_linear_unit, train_linear_unit

jax.config.update("jax_enable_x64", True)

YEARS, SALARY = toys.salary()
BEST = least_squares(YEARS, SALARY)
LOW, HIGH = 1.23263951, 205.73736049  # eigenvalues of H; kappa = 166.908

# w, b | half the sum of squares | salaries at 3.4, 15, 1.5 and 6.3 years, as the article asks. The first row is its.
TABLE = """
SGD 0.01, 10 epochs    | 1124.0634970, 85.4852888   | 1,794,174.15 | 3907.30 16946.44 1771.58 7167.09
SGD 0.01, 4000 epochs  | 1183.0369837, -518.3889231 | 1,397,707.01 | 3503.94 17227.17 1256.17 6934.74
BGD 0.001, 1500 epochs | 1085.8082660, -234.6382007 | 1,026,164.01 | 3457.11 16052.49 1394.07 6605.95
least squares          | 1095.4258675, -304.8422713 | 1,023,069.40 | 3419.61 16126.55 1338.30 6596.34
"""


def trained(loop, learning_rate, epochs):
    return train_linear_unit(YEARS, SALARY, learning_rate=learning_rate, epochs=epochs, loop=loop)


def distances(trace):
    """How far (w, b) is from least squares after each epoch."""
    return np.hypot(trace.w[:, 0] - BEST.w[0], trace.b - BEST.b)


def table(claims):
    units = [trained("sgd", 0.01, 10)[0], trained("sgd", 0.01, 4000)[0], trained("bgd", 0.001, 1500)[0], BEST]
    for row, unit in zip(TABLE.strip().splitlines(), units, strict=True):
        name, *expected = (cell.strip() for cell in row.split("|"))
        salaries = predict_linear_unit(unit, [[3.4], [15], [1.5], [6.3]])
        error = half_squared_error(unit, YEARS, SALARY)
        shown = f"{unit.w[0]:.7f}, {unit.b:.7f}", f"{error:,.2f}", " ".join(f"{salary:.2f}" for salary in salaries)
        for what, digits, measured in zip(("w, b", "E", "salaries"), expected, shown, strict=True):
            claims.equal(f"{name}: {what}", measured, digits)


def epoch_map(learning_rate):
    """A of an epoch of SGD in order, and the fixed point of theta <- A theta + c."""
    matrix, offset = np.eye(2), np.zeros(2)
    for x, t in zip(np.column_stack([YEARS, np.ones(5)]), SALARY, strict=True):
        factor = np.eye(2) - learning_rate * np.outer(x, x)
        matrix, offset = factor @ matrix, factor @ offset + learning_rate * t * x
    return matrix, np.linalg.solve(np.eye(2) - matrix, offset)


def cyclic_sgd(claims):
    matrix, fixed = epoch_map(0.01)
    _, trace = trained("sgd", 0.01, 4000)
    off = np.hypot(trace.w[:, 0] - fixed[0], trace.b - fixed[1])
    # 4000 epochs leave 0.9865^4000 = 1e-24; rounding adds 1e-12 a step, which is forgotten in 1 / 0.0135 epochs.
    claims.at_most("SGD 0.01: distance from the fixed point of its epoch", off[-1], 1e-9)
    radius = np.abs(np.linalg.eigvals(matrix)).max()
    claims.near("SGD 0.01: error left by an epoch", (off[999] / off[99]) ** (1 / 900), radius, 1e-6)
    claims.near("spectral radius of A, to five digits", radius, 0.98650, 5e-6)
    excess = trace.loss[-1] / half_squared_error(BEST, YEARS, SALARY) - 1
    claims.near("SGD 0.01: E above least squares, at the end", 100 * excess, 36.6, 0.05, "%")
    matrix, fixed = epoch_map(0.0001)
    unit, _ = trained("sgd", 0.0001, 100_000)
    left = np.linalg.matrix_power(matrix, 100_000) @ -fixed
    # Here rounding, 1e-13 a step, is forgotten in 8,000 epochs of 5 steps.
    off = np.hypot(*(np.array([unit.w[0], unit.b]) - fixed - left))
    claims.at_most("SGD 0.0001, 100,000 epochs: distance from the power of A", off, 1e-8)


def stable_step(claims):
    low, high = 0.001, 0.1
    while high / low > 1.0001:
        middle = math.sqrt(low * high)
        _, trace = trained("bgd", middle, 4000)
        low, high = (middle, high) if trace.loss[-1] < trace.loss[0] else (low, middle)  # nan isn't less
    claims.relative("largest stable eta of BGD, by bisection", low, 0.0097211, 1e-3)
    far = distances(trained("bgd", 0.01, 200)[1])
    # By then the slow direction holds 5e-7 of the error, and its square, which counts here, 3e-13.
    claims.relative("BGD 0.01: error's growth in an epoch", far[-1] / far[-2], 0.01 * HIGH - 1, 1e-6)
    far = distances(trained("bgd", 0.001, 5000)[1])
    claims.near("BGD 0.001: epochs a decade", 2000 / np.log10(far[2999] / far[4999]), 1867, 0.5)
    far = distances(trained("bgd", 2 / (LOW + HIGH), 4000)[1])
    # Rounding moves w, 1e3, by 1e-13 an epoch, which is forgotten in 1 / 0.012 epochs.
    claims.at_most("BGD at its best eta: distance from least squares", far[-1], 1e-9)


def drawn():
    figure, (lines, falling, factors) = panels(3)
    lines.plot(YEARS, SALARY, "o", color="black", label="five people")
    ten, ever = trained("sgd", 0.01, 10)[0], trained("sgd", 0.01, 4000)[0]
    for unit, colour, name in ((BEST, GREEN, "least squares"), (ten, BLUE, "10 epochs"), (ever, ORANGE, "for ever")):
        label = name if unit is BEST else f"SGD, $\\eta$ = 0.01, {name}"
        lines.plot([0, 16], predict_linear_unit(unit, [[0], [16]]), color=colour, label=label)
    lines.set(xlabel="experience (years)", ylabel="salary a month", title="Five people, three lines")

    first = np.hypot(BEST.w[0], BEST.b)
    for name, rate, colour in (("BGD", 0.01, RED), ("SGD", 0.01, ORANGE), ("BGD", 0.001, SKY), ("BGD", 0.00966, BLUE)):
        far = distances(trained(name.lower(), rate, 1500)[1])
        falling.semilogy(range(1, 1501), far / first, color=colour, label=f"{name}, $\\eta$ = {rate}")
    fixed = epoch_map(0.01)[1]
    off = np.hypot(fixed[0] - BEST.w[0], fixed[1] - BEST.b) / first
    falling.semilogy([0, 1500], [off, off], **PREDICTED, label="fixed point of SGD's epoch")
    falling.set(xlabel="epoch", ylabel="distance from the minimum / the first", ylim=(1e-9, 1e5))
    falling.set_title("BGD arrives, SGD stays near")

    # The largest |1 - eta lambda|: what an epoch leaves, once the other direction's error is small beside it.
    rates = np.linspace(0.0005, 0.01, 20)
    far = np.array([distances(trained("bgd", rate, 1000)[1]) for rate in rates])
    factors.plot(1000 * rates, (far[:, 999] / far[:, 899]) ** 0.01, "o", color=BLUE, label="BGD, epochs 900 to 1000")
    grid = np.linspace(0, 0.01, 400)
    left = np.maximum(np.abs(1 - grid * LOW), np.abs(1 - grid * HIGH))
    factors.plot(1000 * grid, left, **PREDICTED, label="theory: the largest $|1 - \\eta \\lambda|$")
    factors.axvline(2000 / HIGH, color=PURPLE, label="$\\eta$ = 2 / L")
    factors.set(xlabel="$\\eta$ in 1 / 1000", ylabel="error left by an epoch", title="The error grows above 2 / L")
    return figure


def experiment(claims, quick, seed):
    table(claims)
    cyclic_sgd(claims)
    stable_step(claims)
    return drawn()


if __name__ == "__main__":
    raise SystemExit(main(__doc__, experiment))
