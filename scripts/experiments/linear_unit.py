"""Gradient descent reaches the least-squares solution itself below eta = 2 / L, and none above it.

    E = 1/2 sum (t - y)^2,  y = w x + b        w <- w + eta (t - y) x        b <- b + eta (t - y)

Where the notes are loose. They say that one ends *near* the minimum because a last step might overshoot. With
H = sum [x, 1] [x, 1]^T, batch descent multiplies the error along an eigenvector by 1 - eta lambda: below 2 / L, with L
the largest lambda, every error goes to 0, and above it one grows. What stays near is descent by one example at a time
at a constant rate. In a fixed order its epoch is an affine map, theta <- A theta + c with A = prod (I - eta x x^T), and
it ends at the map's fixed point, which is off by what eta makes it, not by the time spent.
With kappa = L / lambda_min the best rate leaves (kappa - 1) / (kappa + 1) of the error an epoch. A heavy ball has
sqrt(kappa) in kappa's place, and needs sqrt(kappa) times fewer epochs.

    python scripts/experiments/linear_unit.py               (5 s on 2 cores; --quick 5 s)

Expect the article's numbers digit by digit, 2 / L = 0.0097211, and 192.2 epochs a decade against 14.8.
Source: PRINCIPLES B3 to B6, 2.2 (hanbingtao, part 2); Polyak 1964 for the heavy ball.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from claims import BLUE, GREEN, ORANGE, PREDICTED, PURPLE, RED, SKY, main, panels

import jaxnn
from jaxnn.data import toys
from jaxnn.perceptron import half_squared_error, least_squares, predict_linear_unit, train_linear_unit

jax.config.update("jax_enable_x64", True)

YEARS, SALARY = toys.salary()
BEST = least_squares(YEARS, SALARY)
NET, LOSS = jaxnn.Dense(1), jaxnn.HalfSquaredError()
LOW, HIGH = 1.23263951, 205.73736049  # eigenvalues of H; kappa = 166.908

# w, b | half the sum of squares | salaries at 3.4, 15, 1.5 and 6.3 years, as the article asks.
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
        name, *expected = (each.strip() for each in row.split("|"))
        salaries = predict_linear_unit(unit, [[3.4], [15], [1.5], [6.3]])
        error = half_squared_error(unit, YEARS, SALARY)
        found = f"{unit.w[0]:.7f}, {unit.b:.7f}", f"{error:,.2f}", " ".join(f"{each:.2f}" for each in salaries)
        for what, digits, measured in zip(("w, b", "E", "salaries"), expected, found, strict=True):
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
    claims.near("spectral radius of A, published", radius, 0.98650, 5e-6)
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
    # By then the slow direction holds less than 1e-7 of the error.
    claims.relative("BGD 0.01: error's growth in an epoch", far[-1] / far[-2], 0.01 * HIGH - 1, 1e-6)
    far = distances(trained("bgd", 0.001, 5000)[1])
    claims.near("BGD 0.001: epochs a decade", 2000 / np.log10(far[2999] / far[4999]), 1867, 0.5)
    far = distances(trained("bgd", 2 / (LOW + HIGH), 4000)[1])
    # Rounding moves w, 1e3, by 1e-13 an epoch, which is forgotten in 1 / 0.012 epochs.
    claims.at_most("BGD at its best eta: distance from least squares", far[-1], 1e-9)


def best_rules(low, high):
    """(gradient descent, heavy ball) with the numbers that suit eigenvalues from low to high best."""
    narrow = (np.sqrt(high) - np.sqrt(low)) / (np.sqrt(high) + np.sqrt(low))
    ball = jaxnn.momentum(4 / (np.sqrt(high) + np.sqrt(low)) ** 2, narrow**2)
    return jaxnn.gradient_descent(2 / (low + high)), ball


def errors(rule, x, epochs):
    """The larger error of w and b after each epoch, from 1: with targets of 0 what is left may fall to 1e-300."""
    gradient, t = jaxnn.backprop(NET, LOSS), jnp.zeros((len(x), 1))
    params = jaxnn.DenseParams(BEST.w[:, None] / BEST.w[0], BEST.b[None] / BEST.w[0])

    def epoch(carry, _):
        params, state = carry
        updates, state = rule.update(gradient(params, (), x, t).grads, state, params)
        params = jaxnn.apply_updates(params, updates)
        return (params, state), jnp.maximum(jnp.abs(params.weight[0, 0]), jnp.abs(params.bias[0]))

    return jax.lax.scan(epoch, (params, rule.init(params)), length=epochs)[1]


def per_decade(left):
    """Epochs a decade, from the slope of log10 error over the second half of what lies above 1e-250."""
    n = int((left > 1e-250).sum())
    half = np.arange(n // 2, n)
    return -1 / np.polyfit(half, np.log10(left[half]), 1)[0]


def momentum_pays(claims, quick):
    """(kappa, errors, epochs a decade) of both rules; the last row is the salary data's."""
    kappa = np.geomspace(2, 1000, 4 if quick else 10)
    # Years of mean a and deviation 1 have, for this a, the eigenvalues kappa^(1/2) and kappa^(-1/2) of H / 5.
    shifted = (YEARS - YEARS.mean()) / YEARS.std() + (kappa**0.25 - kappa**-0.25)[:, None, None]
    x = np.concatenate([shifted, YEARS[None]])
    low, high = np.append(kappa**-0.5, LOW / 5), np.append(kappa**0.5, HIGH / 5)
    kappa, found = high / low, []
    for name, rule, reach in zip(("BGD", "heavy ball"), best_rules(low, high), (kappa, kappa**0.5), strict=True):
        left = np.asarray(jax.vmap(lambda rule, x: errors(rule, x, 12_000))(rule, x))
        measured = np.array([per_decade(row) for row in left])
        predicted = -1 / np.log10((reach - 1) / (reach + 1))
        # At its best numbers the ball has double roots: its error falls as k rho^k, and over the second half of 250
        # decades the factor k tilts the slope by ln 2 / (125 ln 10) = 0.24 %.
        claims.relative(f"{name}, salary: epochs a decade", measured[-1], predicted[-1], 0.01)
        off = np.abs(measured / predicted - 1).max()
        claims.at_most(f"{name}, kappa 2 to 1000: farthest from theory", 100 * off, 1, "%")
        found.append((left, measured))
    claims.relative("salary: epochs of BGD for one of the ball", found[0][1][-1] / found[1][1][-1], 12.945, 0.01)
    return kappa, found


def drawn(kappa, found):
    figure, (lines, falling, cost) = panels(3)
    lines.plot(YEARS, SALARY, "o", color="black", label="five people")
    ten, ever = trained("sgd", 0.01, 10)[0], trained("sgd", 0.01, 4000)[0]
    for unit, colour, name in ((BEST, GREEN, "least squares"), (ten, BLUE, "10 epochs"), (ever, ORANGE, "for ever")):
        label = name if unit is BEST else f"SGD, $\\eta$ = 0.01, {name}"
        lines.plot([0, 16], predict_linear_unit(unit, [[0], [16]]), color=colour, label=label)
    lines.set(xlabel="experience (years)", ylabel="salary a month", title="Five people, three lines")
    lines.legend()

    for name, rate, epochs, colour in (("BGD", 0.01, 150, RED), ("SGD", 0.01, 1500, ORANGE), ("BGD", 0.001, 1500, SKY)):
        far = distances(trained(name.lower(), rate, epochs)[1])
        falling.semilogy(far / np.hypot(BEST.w[0], BEST.b), color=colour, label=f"{name}, $\\eta$ = {rate}")
    for (left, _), colour, name in zip(
        found, (BLUE, PURPLE), ("BGD, best $\\eta$ = 0.00966", "heavy ball at its best"), strict=True
    ):
        falling.semilogy(left[-1, :1500], color=colour, label=name)
    falling.set(xlabel="epoch", ylabel="distance from the minimum / the first", ylim=(1e-12, 1e4))
    falling.set_title("Salary data, $\\kappa$ = 166.9")
    falling.legend(fontsize=8)

    grid = np.geomspace(2, 1000)
    for reach, label in ((grid, "theory, with $\\kappa$ and $\\sqrt{\\kappa}$"), (grid**0.5, None)):
        cost.loglog(grid, -1 / np.log10((reach - 1) / (reach + 1)), **PREDICTED, label=label)
    for (_, measured), colour, name in zip(found, (BLUE, PURPLE), ("BGD", "heavy ball"), strict=True):
        cost.loglog(kappa[:-1], measured[:-1], "o", color=colour, label=name)
        cost.loglog(kappa[-1:], measured[-1:], "*", color=colour, markersize=14, label=f"{name}, salary data")
    cost.set(xlabel="condition number $\\kappa$", ylabel="epochs for a decade of error", title="What momentum saves")
    cost.legend(fontsize=8)
    return figure


def experiment(claims, quick, seed):
    table(claims)
    cyclic_sgd(claims)
    stable_step(claims)
    return drawn(*momentum_pays(claims, quick))


if __name__ == "__main__":
    raise SystemExit(main(__doc__, experiment))
