"""L1 by the proximal step gives weights of exactly 0; the gradient of L1 never does, nor does L2.

The notes name L1 and L2 against overfitting. What L1 is good for, weights that are 0, is a matter of the step. With
f(w) = mean (x . w - t)^2 / 2, H = mean x x^T, c = mean x t, so that f' = H w - c, and L1's strength lambda:

    proximal step      w <- sign(v) max(|v| - eta lambda, 0), v = w - eta f'. It converges to the lasso:
                       f_i' = -lambda sign(w_i) where w_i != 0, else |f_i'| <= lambda and w_i is exactly 0
    gradient of L1     w <- w - eta (f' + lambda sign(w)). It doesn't converge: where the lasso is 0 and |f_i'| < lambda
                       it jumps to and fro across 0, by eta (lambda - f_i') and eta (lambda + f_i'). What goes up comes
                       down, so that the shares of the two are as (lambda + f_i') to (lambda - f_i'), and the mean jump
                       is eta lambda (1 - (f_i' / lambda)^2)
    gradient of L2     ridge, (H + lambda) w = c: smaller in norm, and no weight is 0

Source: PRINCIPLES H1; Tibshirani 1996 (the lasso); Beck and Teboulle 2009 (the proximal step).

    python scripts/experiments/lasso.py

Five seconds on 2 cores. Expect 35 of 40 weights exactly 0 by the proximal step, and by the gradients none.
"""

import jax
import numpy as np
from claims import BLUE, GREEN, PREDICTED, PURPLE, main, panels

import jaxnn

jax.config.update("jax_enable_x64", True)

N_EXAMPLES, N_FEATURES = 400, 40
NET, LOSS = jaxnn.Dense(1, bias=False), jaxnn.HalfSquaredError()
PLANTED = np.zeros(N_FEATURES)
PLANTED[:5] = 3.0, -2.0, 0.6, -0.6, 0.6
STRENGTH = 0.15
SMALL_RATE, N_STEPS = 0.01, 400


def experiment(claims, quick, seed):
    rng, key = np.random.default_rng(seed), jax.random.key(seed)
    data, hessian, c = regression(rng)
    largest = np.linalg.norm(hessian, 2)  # eigenvalue

    ridge = weights(converged(data, key, jaxnn.gradient_descent(1 / largest), 400, jaxnn.l2(STRENGTH)))
    proximal = jaxnn.chain(jaxnn.gradient_descent(1 / largest), jaxnn.proximal_l1(1 / largest, STRENGTH))
    lasso = weights(converged(data, key, proximal, 400))
    gradient, off = hessian @ lasso - c, lasso == 0
    claim_that_it_is_the_lasso(claims, ridge, lasso, gradient)

    path = path_by_gradient_of_l1(data, key)
    # Of each weight that the lasso sets to 0: the size of its mean jump, as measured and as foretold.
    jumps = np.abs(np.diff(path[:, off], axis=0)).mean(axis=0)
    expected = SMALL_RATE * STRENGTH * (1 - (gradient[off] / STRENGTH) ** 2)
    claim_that_the_gradient_jumps(claims, path, off, jumps, expected, largest)
    return drawn(ridge, lasso, gradient, path, jumps)


def regression(rng):
    """Data whose targets depend on 5 of 40 features, with H and c."""
    x = rng.standard_normal((N_EXAMPLES, N_FEATURES))
    t = x @ PLANTED + 0.5 * rng.standard_normal(N_EXAMPLES)
    return (x, t[:, None]), x.T @ x / N_EXAMPLES, x.T @ t / N_EXAMPLES


def weights(run):
    return np.asarray(run.params.weight)[..., 0]


def converged(data, key, rule, epochs, penalty=None):
    run, _ = jaxnn.bgd(NET, LOSS, data, key=key, epochs=epochs, update=rule, penalty=penalty, metric=None)
    return run


def path_by_gradient_of_l1(data, key):
    """At a small rate, from near its end on: the weights after each of N_STEPS steps."""
    rule, penalty = jaxnn.gradient_descent(SMALL_RATE), jaxnn.l1(STRENGTH)
    run, path = converged(data, key, rule, 4000, penalty), []
    for _ in range(N_STEPS):
        run, _ = jaxnn.bgd(NET, LOSS, data, run=run, epochs=1, update=rule, penalty=penalty, metric=None)
        path.append(weights(run))
    return np.array(path)


def claim_that_it_is_the_lasso(claims, ridge, lasso, gradient):
    claims.equal("gradient descent, L2: weights that are 0", int(np.sum(ridge == 0)), 0)
    # The noise's share in a gradient has deviation 0.5 / sqrt(400), a sixth of lambda: it makes no weight nonzero.
    claims.equal("proximal L1: weights that are exactly 0", int(np.sum(lasso == 0)), N_FEATURES - 5)
    # A condition of H of 4 or so loses no more than a digit of the 16.
    on = lasso != 0
    slack = np.abs(gradient + STRENGTH * np.sign(lasso))[on].max()
    claims.at_most("lasso: |f' + lambda sign w| where w isn't 0", slack, 1e-13)
    claims.at_most("lasso: |f'| where w is 0", np.abs(gradient[~on]).max(), STRENGTH)


def claim_that_the_gradient_jumps(claims, path, off, jumps, expected, lipschitz):
    claims.equal("gradient of L1: weights that are 0 at one of 400 steps", int(np.sum(path == 0)), 0)
    highest = np.abs(path[:, off]).max()
    claims.at_most("the same: max |w| where the lasso is 0", highest, 2 * SMALL_RATE * STRENGTH)
    # A jump changes f' itself, by eta L of lambda; and the average is over whole jumps.
    room = 2 * SMALL_RATE * lipschitz + 4 / N_STEPS
    claims.relative("the same: mean jump", jumps.mean(), expected.mean(), room)


def show_weights(axes, solutions):
    """The planted weights, and those found: by name (weights, marker, colour)."""
    axes.vlines(np.arange(N_FEATURES), 0, PLANTED, color="lightgrey", linewidth=5, label="planted")
    for name, (solution, marker, colour) in solutions.items():
        axes.plot(solution, marker, markersize=4, color=colour, label=name)
    axes.set(xlabel="feature", ylabel="weight", title="What they converge to")


def drawn(ridge, lasso, gradient, path, jumps):
    figure, (limits, single_weight, all_jumps) = panels(3, height=4.2)
    off, unit = np.flatnonzero(lasso == 0), SMALL_RATE * STRENGTH
    show_weights(limits, {"L2: ridge": (ridge, "o", BLUE), "proximal L1: lasso": (lasso, "s", GREEN)})

    some = off[np.argmin(np.abs(gradient[off]))]
    single_weight.plot(path[:60, some] / unit, ".-", color=PURPLE, linewidth=0.8, label="gradient of L1")
    single_weight.plot(np.zeros(60), color=GREEN, label="proximal step: exactly 0")
    single_weight.hlines([-1, 1], 0, 60, **PREDICTED, label=r"$\pm\eta\lambda$")
    single_weight.set(xlabel="step", ylabel=r"weight, in units of $\eta\lambda$")
    single_weight.set_title("A weight that the lasso sets to 0")
    single_weight.set_ylim(-1.15, 1.75)

    share = np.linspace(-1, 1, 100)
    all_jumps.plot(gradient[off] / STRENGTH, jumps / unit, "o", markersize=4, color=PURPLE, label="gradient of L1")
    all_jumps.plot(share, 1 - share**2, **PREDICTED, label=r"$1 - (f_i' / \lambda)^2$")
    all_jumps.set(xlabel=r"$f_i' / \lambda$", ylabel=r"mean jump, in units of $\eta\lambda$")
    all_jumps.set(title="All weights that the lasso sets to 0", xticks=(-1, -0.5, 0, 0.5, 1), ylim=(0, 1.3))
    return figure


if __name__ == "__main__":
    raise SystemExit(main(__doc__, experiment))
