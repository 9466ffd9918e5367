"""The best rate grows in proportion to the batch while that is small; then curvature holds it, whatever the batch.

The notes: a large batch is steadier, a small one cheaper, and the rate must be neither too large nor too small. How the
two go together is known, for a fixed number of epochs:

1. Small steps follow the gradient flow, whose time is eta times the steps: eta E n / B. What is reached after E epochs
   then depends on eta / B alone ("linear scaling rule": twice the batch, twice the rate), and contours of the loss are
   lines of slope 1. A step of rate eta carries a mode of curvature lambda as far as the flow does in the time
   -log(1 - eta lambda) / lambda, which lies between eta and what it is for the largest lambda: that bounds the error.

2. It ends at a ceiling. On a quadratic, steps on batches of B are stable below 2B / (beta + (B - 1) L), beta being the
   largest curvature of a single example and L that of the mean (from E[H_B^2] <= (beta / B + (1 - 1/B) L) H), and
   unstable above 2/L. So the usable rate grows with B up to about B = beta / L, the knee, and no further.

3. A network bends away from too large a rate, and 2/L at the start is no ceiling: at full batch up to 4 (linear) or 12
   (ReLU) in place of 2 was found to work (Lewkowycz et al. 2020, "catapult").

    python scripts/experiments/rate_and_batch_size.py       (about 40 s on 2 cores)

Source: PRINCIPLES B5, B12, section 4 (7); Ma, Bassily and Belkin 2018 (the quadratic); Goyal et al. 2017.
Expect a best rate that is proportional to B up to about 4, and grows by a factor of 4 from 16 to 1024.
"""

import jax
import jax.numpy as jnp
import numpy as np
from claims import BLUE, ORANGE, PREDICTED, RED, main, panels
from edge_of_stability import sharpness

import jaxnn
from jaxnn.data import load

STEP = np.sqrt(2)  # from one rate to the next
RATES = STEP ** np.arange(-32, 5)  # 2^-16 to 4
LOSS = jaxnn.HalfSquaredError()
OF_A_CONSTANT = 0.45  # the loss of the best constant output, 1/10 for each of ten classes: what a failed network has
DIVERGED = 1e3


def experiment(claims, quick, seed):
    digits = load("digits")
    centre = digits.train[0].mean(axis=0)
    data, validation = (
        (2 * digits.scale * (x[:1024] - centre), np.eye(10)[y[:1024]]) for x, y in (digits.train, digits.validation)
    )
    sizes = np.array((1, 4, 1024) if quick else (1, 2, 4, 8, 16, 64, 256, 1024))
    keys = jax.random.split(jax.random.key(seed), 1 if quick else 3)
    net = jaxnn.Serial(jaxnn.Flatten(), jaxnn.Dense(32, jaxnn.LeCun()), jaxnn.Tanh(), jaxnn.Dense(10, jaxnn.LeCun()))

    for_line = sizes[-1:] if quick else sizes
    quadratic, _ = trained(jaxnn.Serial(jaxnn.Flatten(), jaxnn.Dense(10)), data, validation, for_line, keys[:1])
    claim_the_ceiling_of_a_quadratic(claims, data, for_line, quadratic)
    losses, accuracies = trained(net, data, validation, sizes, keys)
    measure = jax.jit(sharpness(net, data, 100))
    starts = [jaxnn.start(net, data[0].shape[1:], key=key, update=jaxnn.gradient_descent(0)).params for key in keys]
    curvature = np.mean([float(measure(params, params)[0]) for params in starts])
    contour = claim_the_scaling_rule(claims, sizes, losses, curvature)
    claim_the_best_rate(claims, sizes, losses, curvature)
    return drawn(data, sizes, for_line, quadratic, losses, accuracies, contour, len(keys))


def trained(net, data, validation, sizes, keys):
    """Validation loss and accuracy after 20 epochs, means over the keys: (sizes, rates). One program a batch size."""
    starts = jnp.repeat(keys, len(RATES))
    rule = jaxnn.gradient_descent(jnp.tile(jnp.array(RATES), len(keys)))
    losses, accuracies = [], []
    for size in sizes.tolist():
        options = {"keys": starts, "update": rule, "validation": validation, "epochs": 20, "batch_size": size}
        _, histories = jaxnn.ensemble(jaxnn.mbgd, net, LOSS, data, **options)
        losses.append(histories.validation_loss[:, -1].reshape(len(keys), -1).mean(axis=0))
        accuracies.append(histories.validation_metric[:, -1].reshape(len(keys), -1).mean(axis=0))
    return np.nan_to_num(np.stack(losses), nan=np.inf), np.stack(accuracies)


def stability_bounds(data, sizes):
    """Of a linear net, whose Hessian is X^T X / n: the rates 2B / (beta + (B - 1) L), and 2/L."""
    x = np.column_stack([data[0].reshape(len(data[0]), -1), np.ones(len(data[0]))])
    beta, largest = np.sum(x**2, axis=1).max(), np.linalg.eigvalsh(x.T @ x / len(x))[-1]
    return 2 * sizes / (beta + (sizes - 1) * largest), 2 / largest


def first_above(losses, limit):
    """The first rate of each batch size, above the best one, whose loss is above the limit."""
    above_best = np.arange(len(RATES)) > losses.argmin(axis=1)[:, None]
    return RATES[np.argmax((losses > limit) & above_best, axis=1)]


def claim_the_ceiling_of_a_quadratic(claims, data, sizes, losses):
    stable, ceiling = stability_bounds(data, sizes)
    first = first_above(losses, DIVERGED)
    claims.at_least("linear net: first rate that diverges, over 2B / (beta + (B - 1) L)", (first / stable).min(), 1)
    # With the grid's step of sqrt(2), the first rate above 2/L may be too near it for twenty steps to tell; the one
    # after it multiplies the worst error by 2 sqrt(2) - 1 = 1.8 a step at least, the loss by 1e10.
    claims.at_most("linear net, B = n: first rate that diverges, over 2/L", first[-1] / ceiling, 2)


def claim_the_scaling_rule(claims, sizes, losses, curvature):
    """Where small steps are enough, eta / B alone says how far a network comes."""
    pace = 1 / (8 * curvature * sizes[-1])  # eta / B, chosen so that eta L = 1/8 at B = n
    rates, logs = np.log(RATES), np.log(losses)  # a loss falls as the rate grows, up to the best one
    level = np.interp(np.log(pace * sizes[0]), rates, logs[0])
    reaching = np.exp([np.interp(-level, -loss[: loss.argmin() + 1], rates[: loss.argmin() + 1]) for loss in logs])
    # With eta L <= 1/4, should L double on the way, steps lead the flow by -log(3/4) / (1/4) - 1 = 15 %, no more;
    # between rates h apart, log loss = -c eta is taken as straight in log eta, which adds h^2 / 8 = 1.5 %.
    spread = np.abs(reaching / (pace * sizes) - 1).max()
    claims.at_most("network: eta / B that reaches a given loss, relative spread over B = 1 to n", spread, 0.17)
    return reaching, pace * sizes


def claim_the_best_rate(claims, sizes, losses, curvature):
    """It grows with the batch at first, and not at last."""
    best = dict(zip(sizes.tolist(), RATES[losses.argmin(axis=1)], strict=True))
    # The exponent of B in the best rate is 1 where noise or the single example limits it, and 0 where the sharpness
    # does. Half a step of the grid for each of two best rates is 1/4 on a factor of 4: the room outside of 0 to 1.
    # Inside, where one regime goes over into the other, there is half a step of luck for each as well: 1/2.
    for low, high, least, most in ((1, 4, 0.5, 1.25), (256, 1024, -0.25, 0.5)):
        if low in best:  # the quick form has fewer sizes
            exponent = np.log(best[high] / best[low]) / np.log(high / low)
            claims.between(f"network: best rate ~ B^a from B = {low} to {high}, a", exponent, least, most)
    failing = first_above(losses, OF_A_CONSTANT)[-1]
    claims.between("network, B = n: first rate that fails, times L at the start", failing * curvature, 2, 12 * STEP)


def drawn(data, sizes, for_line, quadratic, losses, accuracies, contour, n_keys):
    figure, (chart, lines) = panels(columns=2, width=5.6, height=4.2)
    middles = np.sqrt(sizes[1:] * sizes[:-1])
    edges = np.concatenate([[sizes[0] ** 2 / middles[0]], middles, [sizes[-1] ** 2 / middles[-1]]])
    rates = RATES[0] / np.sqrt(STEP) * STEP ** np.arange(len(RATES) + 1)
    mesh = chart.pcolormesh(edges, rates, 100 * accuracies.T, cmap="cividis")
    figure.colorbar(mesh, ax=chart, label="validation accuracy in %")
    chart.plot(sizes, RATES[losses.argmin(axis=1)], "o-", color=RED, label="best rate")
    chart.plot(sizes, contour[0], "o", color="white", label="reaches a given loss")
    chart.plot(sizes, contour[1], **PREDICTED, label=r"$\eta \propto B$")
    lines.plot(sizes, first_above(losses, OF_A_CONSTANT), "s", color=BLUE, label="network: first rate that fails")
    lines.plot(for_line, first_above(quadratic, DIVERGED), "o", color=ORANGE, label="linear net: first that diverges")
    every = np.geomspace(1, sizes[-1], 100)
    stable, ceiling = stability_bounds(data, every)
    lines.plot(every, stable, **PREDICTED, label=r"linear net: $2B / (\beta + (B - 1) L)$, a lower bound")
    lines.axhline(ceiling, color="black", linewidth=1.2, linestyle=":", label="linear net: $2/L$")
    for axes, title in ((chart, f"{n_keys * accuracies.size} networks after 20 epochs"), (lines, "where it breaks")):
        axes.set(xscale="log", yscale="log", xlabel="batch size B", ylabel=r"learning rate $\eta$", title=title)
    chart.grid(False)
    chart.legend(fontsize=8, loc="lower right", facecolor="lightgrey")
    return figure


if __name__ == "__main__":
    raise SystemExit(main(__doc__, experiment))
