"""The perceptron learns AND, OR and NAND in a few epochs; on XOR it goes in a cycle for ever.

    y = step(w . x + b)        w <- w + eta (t - y) x        b <- b + eta (t - y)

Where the notes are loose. A perceptron isn't "the" neuron: its output is a step, whose derivative is 0, so that no
gradient of its mistakes could train it. What the rule descends is the sum over the mistakes of (y - t) z, with
z = w . x + b, and it ends only if the classes can be separated; novikoff.py says how soon. XOR's can't. Its weights, in
units of eta, are whole numbers that stay bounded, so that they come back to where they were. Counts depend on step(0),
and at eta = 0.1 on rounding too, where z should be 0.

    python scripts/experiments/perceptron.py                (4 s on 2 cores; --quick 4 s)

Expect the article's table of AND's weights, ten mistakes on AND, or eleven if step(0) is 1, and on XOR, from
the third epoch on, four mistakes an epoch for ever.
Source: PRINCIPLES A6 to A8, 2.1 (hanbingtao, part 1).
"""

import jax
import jax.numpy as jnp
import numpy as np
from claims import BLUE, GREEN, ORANGE, PREDICTED, PURPLE, main, panels

from jaxnn.data import toys
from jaxnn.training.perceptron import find_cycle, step, train_perceptron

jax.config.update("jax_enable_x64", True)

# AND at eta = 0.1: mistakes, w1, w2, b of each epoch, as the article's program goes through them.
AND_TABLE = [(3, 0, 0.1, -0.1), (3, 0, 0.1, -0.2), (2, 0.1, 0.1, -0.2), (2, 0.1, 0.2, -0.2), (0, 0.1, 0.2, -0.2)]
# Mistakes at eta = 1, for step(0) = 0 and 1.
GATES = {"and": (10, 11), "or": (2, 5), "nand": (11, 10)}


def gate(name, learning_rate=1.0, at_zero=0, epochs=60):
    """The trace of a truth table. In units of eta all numbers are whole, so that eta = 1 is exact arithmetic."""
    return train_perceptron(*toys.truth_table(name), learning_rate=learning_rate, epochs=epochs, at_zero=at_zero)[1]


def article(claims):
    """Part 1's runs, number by number."""
    trace = gate("and", learning_rate=0.1, epochs=5)
    mistakes, *weights = np.array(AND_TABLE).T
    claims.equal("AND, eta 0.1: mistakes in each epoch", trace.mistakes, mistakes.astype(int))
    # A weight is a sum of ten terms of 0.1 at most, none larger than 0.3: each rounds by 0.3 x 2^-53.
    off = np.abs(np.column_stack([trace.w, trace.b]) - np.transpose(weights)).max()
    claims.at_most("AND, eta 0.1: weights' largest distance from the table", off, 10 * 0.3 * 2**-53)
    for name, counts in GATES.items():
        totals = [gate(name, at_zero=at_zero).mistakes.sum() for at_zero in (0, 1)]
        claims.equal(f"{name.upper()}: mistakes for step(0) = 0 and 1", totals, counts)
    rounded = [gate(name, 0.1, at_zero).mistakes.sum() for name, at_zero in (("and", 1), ("nand", 0))]
    claims.equal("AND for 1, NAND for 0, at eta 0.1: rounded at z = 0", rounded, (8, 8))


def without_gradient(claims, key):
    """The mean of 1/2 (t - step(z))^2 is flat wherever it is smooth: gradient descent would never move."""
    x, t = toys.truth_table("and")
    slope = jax.grad(lambda w: jnp.mean(jnp.square(t - step(x @ w[:2] + w[2]))) / 2)
    slopes = jax.vmap(slope)(jax.random.normal(key, (1000, 3)))
    claims.equal("largest gradient through the step, of 1000 units", np.abs(slopes).max(), 0.0)


def circles(claims):
    """On XOR the weights at the end of an epoch come back: first epoch of the cycle, its length, mistakes in each."""
    for at_zero, cycle in ((0, (2, 1)), (1, (1, 1))):
        trace = gate("xor", at_zero=at_zero)
        claims.equal(f"XOR, step(0) = {at_zero}: the cycle's first epoch and length", find_cycle(trace), cycle)
        later = np.asarray(trace.mistakes[cycle[0] :])
        claims.equal(f"XOR, step(0) = {at_zero}: fewest and most mistakes in it", (later.min(), later.max()), (4, 4))


def drawn():
    figure, (lines, epochs, losses) = panels(3)
    x, t = toys.truth_table("and")
    trace, across = gate("and", epochs=4), np.array([-0.5, 1.5])
    for epoch, (w, b) in enumerate(zip(np.asarray(trace.w), np.asarray(trace.b), strict=True), start=1):
        label = f"after epoch {epoch}: {w[0]:.0f} $x_1$ + {w[1]:.0f} $x_2$ = {-b:.0f}"
        lines.plot(across, -(b + w[0] * across) / w[1], color=BLUE, alpha=epoch / 4, label=label)
    for label, marker in ((0, "o"), (1, "s")):
        lines.plot(*x[t == label].T, marker, color=ORANGE if label else "black", markersize=9, label=f"label {label}")
    lines.set(xlim=(-0.5, 1.5), ylim=(-0.5, 3.9), xlabel="$x_1$", ylabel="$x_2$")
    lines.set_title("AND at $\\eta$ = 1: the line w.x + b = 0")
    lines.legend(loc="upper right", fontsize=8)

    for name, colour, marker in (("and", BLUE, "o"), ("or", GREEN, "s"), ("nand", PURPLE, "^"), ("xor", ORANGE, "x")):
        mistakes = gate(name, epochs=10).mistakes
        epochs.plot(range(1, 11), mistakes, marker + "-", color=colour, alpha=0.8, label=name.upper())
    epochs.axhline(4, **PREDICTED, label="predicted for XOR's cycle")
    epochs.set(xlabel="epoch", ylabel="mistakes", title="XOR goes round in a circle", ylim=(-0.2, 5.5))
    epochs.legend(ncols=3, loc="upper center", fontsize=8)

    # Along the bias of the weights that AND ends with: what a gradient would see, and what the rule descends.
    b = np.linspace(-5, 1, 1201)
    z = x @ np.asarray(trace.w[-1]) + b[:, None]
    y = np.asarray(step(z))
    losses.plot(b, np.square(t - y).sum(axis=1) / 2, color=ORANGE, label="$\\frac{1}{2} \\sum (t - y)^2$: flat")
    losses.plot(b, ((y - t) * z).sum(axis=1), color=BLUE, label="$\\sum (y - t)\\, z$: leads down")
    losses.plot([-3, -2], [0, 0], color=GREEN, linewidth=7, solid_capstyle="butt", alpha=0.5, label="no mistakes")
    losses.set(xlabel="b, at w = (1, 2)", ylabel="loss over the four rows", title="AND: a step leaves no slope")
    return figure


def experiment(claims, quick, seed):
    article(claims)
    without_gradient(claims, jax.random.key(seed))
    circles(claims)
    return drawn()


if __name__ == "__main__":
    raise SystemExit(main(__doc__, experiment))
