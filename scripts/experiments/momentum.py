"""At its best rate gradient descent needs epochs in proportion to kappa; a heavy ball, to sqrt(kappa).

    gradient descent    theta <- theta - eta grad E
    heavy ball          theta <- theta - eta grad E + mu (theta - the theta before)

Where the notes are loose. They say that a small rate takes many epochs and a large one jumps past the minimum. Between
them there is a best one, 2 / (L + lambda_min), and it may be slow too. With L and lambda_min the largest and smallest
eigenvalue of H = sum [x, 1] [x, 1]^T and kappa = L / lambda_min, it leaves (kappa - 1) / (kappa + 1) of the error an
epoch. A heavy ball has sqrt(kappa) in kappa's place, and needs sqrt(kappa) times fewer epochs. Its best numbers are
eta = 4 / (sqrt(L) + sqrt(lambda_min))^2 and sqrt(mu) = the share of the error that an epoch then leaves.

    python scripts/experiments/momentum.py                  (3 s on 2 cores; --quick 3 s)

Expect 192.2 epochs a decade against 14.9 on linear_unit.py's salary data, and theory within 1 % for kappa 2 to 1000.
Source: PRINCIPLES B4 to B6, 2.2 (hanbingtao, part 2); Polyak 1964 for the heavy ball.
"""

import jax
import jax.numpy as jnp
import numpy as np
from claims import BLUE, PREDICTED, PURPLE, main, panels
from linear_unit import BEST, HIGH, LOW, YEARS

import jaxnn

jax.config.update("jax_enable_x64", True)

NET, LOSS = jaxnn.Dense(1), jaxnn.HalfSquaredError()  # the mean over five people, whose Hessian is H / 5


def best_rules(low, high):
    """(gradient descent, heavy ball) with the numbers that suit eigenvalues from low to high best."""
    narrow = (np.sqrt(high) - np.sqrt(low)) / (np.sqrt(high) + np.sqrt(low))
    ball = jaxnn.momentum(4 / (np.sqrt(high) + np.sqrt(low)) ** 2, narrow**2)
    return jaxnn.gradient_descent(2 / (low + high)), ball


def left_by_an_epoch(kappa):
    """The share of the error that remains; for the heavy ball put in the square root."""
    return (kappa - 1) / (kappa + 1)


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
    kappa, results = high / low, []
    for name, rule, reach in zip(("BGD", "heavy ball"), best_rules(low, high), (kappa, kappa**0.5), strict=True):
        left = np.asarray(jax.vmap(lambda rule, x: errors(rule, x, 12_000))(rule, x))
        measured = np.array([per_decade(row) for row in left])
        predicted = -1 / np.log10(left_by_an_epoch(reach))
        # At its best numbers the ball has double roots: its error falls as k rho^k, and over the second half of 250
        # decades the factor k tilts the slope by ln 2 / (125 ln 10) = 0.24 %.
        claims.relative(f"{name}, salary: epochs a decade", measured[-1], predicted[-1], 0.01)
        off = np.abs(measured / predicted - 1).max()
        claims.at_most(f"{name}, kappa 2 to 1000: farthest from theory", 100 * off, 1, "%")
        results.append((left, measured))
    claims.relative("salary: epochs of BGD for one of the ball", results[0][1][-1] / results[1][1][-1], 12.945, 0.01)
    return kappa, results


def drawn(kappa, results):
    figure, (falling, cost) = panels(2, width=5.4, height=4.2)
    epochs, names, colours = np.arange(1, 601), ("BGD", "heavy ball"), (BLUE, PURPLE)
    for (left, _), name, colour in zip(results, names, colours, strict=True):
        falling.semilogy(epochs, left[-1, :600], color=colour, alpha=0.6, linewidth=4, label=f"{name}, at its best")
    slow, fast = left_by_an_epoch(HIGH / LOW), left_by_an_epoch(np.sqrt(HIGH / LOW))
    falling.semilogy(epochs, slow**epochs, **PREDICTED, label="theory")
    # From rest, along the steep direction, the double root -rho gives 1 + (1 + rho) k in the place of k.
    falling.semilogy(epochs, (1 + (1 + fast) * epochs) * fast**epochs, **PREDICTED)
    falling.set(xlabel="epoch", ylabel="error / the first", ylim=(1e-12, 20), title="Salary data, $\\kappa$ = 166.9")

    grid = np.geomspace(2, 1000)
    for reach, label in ((grid, "theory, with $\\kappa$ and $\\sqrt{\\kappa}$"), (grid**0.5, None)):
        cost.loglog(grid, -1 / np.log10(left_by_an_epoch(reach)), **PREDICTED, label=label)
    for (_, measured), name, colour in zip(results, names, colours, strict=True):
        cost.loglog(kappa[:-1], measured[:-1], "o", color=colour, label=name)
        cost.loglog(kappa[-1:], measured[-1:], "*", color=colour, markersize=14, label=f"{name}, salary data")
    cost.set(xlabel="condition number $\\kappa$", ylabel="epochs for a decade of error", title="What momentum saves")
    return figure


def experiment(claims, quick, seed):
    return drawn(*momentum_pays(claims, quick))


if __name__ == "__main__":
    raise SystemExit(main(__doc__, experiment))
