"""Early stopping is much like ridge, mode by mode: tau steps of size eta act as a penalty of 1 / (eta tau).

The notes list early stopping and regularisation as two remedies of overfitting. On least squares they are nearly one.
Descent from 0 brings a mode of curvature lambda, an eigenvalue of X^T X / n, to a share of its optimum in tau steps;
the penalty alpha/2 |w|^2 to another:

    stopped    1 - (1 - eta lambda)^tau        ridge    lambda / (lambda + alpha)

With alpha = 1 / (eta tau) and s = eta lambda tau that is 1 - e^-s, nearly, beside s / (1 + s): never less, and by
0.2036 more at most, where e^(s/2) = 1 + s. Both leave modes of s << 1 near 0 and bring those of s >> 1 to their
optimum; the two are not the same, and stopping separates the two kinds more sharply.

Source: PRINCIPLES F2, F3. What both are worth to a network is in overfitting.

    python scripts/experiments/early_stopping.py

Seconds. Expect shares that are 0.0003 to 0.2039 apart.
"""

import jax
import numpy as np
from claims import BLUE, GREEN, ORANGE, PREDICTED, main, panels

import jaxnn

N_EXAMPLES, N_MODES, TAU = 200, 25, 300
LARGEST = 0.2036  # 1 - e^-s - s / (1 + s) where e^(s/2) = 1 + s


def experiment(claims, quick, seed):
    """Least squares of known curvatures in float64: which share of each mode's optimum is reached. Quick as it is."""
    rng = np.random.default_rng(seed)
    curvatures = np.logspace(-4, 0, N_MODES)
    eta = 0.9 / curvatures.max()
    left, right = (np.linalg.qr(rng.standard_normal((rows, N_MODES)))[0] for rows in (N_EXAMPLES, N_MODES))
    # So X^T X / n has these curvatures as eigenvalues, and the columns of `right` as vectors.
    x = np.sqrt(N_EXAMPLES) * left * np.sqrt(curvatures) @ right.T
    optimum = right @ np.ones(N_MODES)

    stopped = right.T @ descended(x, x @ optimum, eta, jax.random.key(seed))
    hessian = x.T @ x / N_EXAMPLES
    ridge = right.T @ np.linalg.solve(hessian + np.eye(N_MODES) / (eta * TAU), hessian @ optimum)

    apart = np.abs(stopped - 1 + (1 - eta * curvatures) ** TAU).max()
    rounding = TAU * N_EXAMPLES * 2.0**-52  # so many steps, each with sums of so many products
    claims.at_most("stopping: share of each mode - (1 - (1 - eta lambda)^tau)", apart, rounding)
    # (1 - s/tau)^tau lies below e^-s by s^2 e^-s / tau at most, and s^2 e^-s is 4 / e^2 at most.
    largest = LARGEST + 4 / np.e**2 / TAU
    claims.between("stopping - ridge: least share", (stopped - ridge).min(), 0, largest)
    claims.between("stopping - ridge: largest share", (stopped - ridge).max(), 0, largest)
    return drawn(eta * TAU * curvatures, stopped, ridge)


def descended(x, targets, eta, key):
    """The weights after tau steps of gradient descent from 0."""
    net, rule = jaxnn.Dense(1, jaxnn.Zeros(), bias=False), jaxnn.gradient_descent(eta)
    with jax.enable_x64(True):
        data, options = (x, targets[:, None]), {"epochs": TAU, "update": rule, "metric": None}
        run, _ = jaxnn.bgd(net, jaxnn.HalfSquaredError(), data, key=key, **options)
    return np.asarray(run.params.weight)[:, 0]


def drawn(s, stopped, ridge):
    figure, (shares, difference) = panels(columns=2, width=5.2)
    every = np.geomspace(s[0], s[-1], 200)
    filters = 1 - np.exp(-every), every / (1 + every)
    shares.plot(s, stopped, "o", color=BLUE, label=r"stopped after $\tau$ steps")
    shares.plot(s, ridge, "s", color=ORANGE, markersize=4, label=r"ridge, $\alpha = 1 / \eta \tau$")
    shares.plot(every, filters[0], **PREDICTED, label="$1 - e^{-s}$ and $s / (1 + s)$")
    shares.plot(every, filters[1], **PREDICTED)
    shares.set(ylabel="share of its optimum", title="early stopping is much like ridge")
    difference.plot(s, stopped - ridge, "o", color=GREEN, label="stopped less ridge")
    difference.plot(every, filters[0] - filters[1], **PREDICTED, label="$1 - e^{-s} - s / (1 + s)$")
    difference.axhline(LARGEST, color="black", linestyle=":", label=f"{LARGEST}, where $e^{{s/2}} = 1 + s$")
    difference.set(ylabel="share, stopped less ridge", ylim=(-0.01, 0.29), title="never less, a fifth more at most")
    for panel in (shares, difference):
        panel.set(xscale="log", xlabel=r"$s = \eta \lambda \tau$ of the mode")
    return figure


if __name__ == "__main__":
    raise SystemExit(main(__doc__, experiment))
