"""Where a plane separates the classes the perceptron makes at most (R / gamma)^2 mistakes; else it goes on for ever.

    y = step(w . x + b)        w <- w + eta (t - y) x        b <- b + eta (t - y)

Where the notes are loose. A perceptron isn't "the" neuron: its output is a step, whose derivative is 0, so that no
gradient of its mistakes could train it. What the rule descends is the sum over the mistakes of (y - t) z, and it ends
only if the classes can be separated. Then Novikoff's bound holds, in any order, at any eta and for either value of
step(0): with |(x, 1)| <= R and a plane of norm 1 that all examples lie off by gamma, mistakes <= (R / gamma)^2. R has
the bias's constant input in it. Counts depend on step(0), and at eta = 0.1 on rounding too, where z should be 0.

    python scripts/experiments/perceptron.py                (6 s on 2 cores; --quick 5 s)

Expect AND's ten mistakes and its table of weights, four mistakes an epoch for ever on XOR, and no ratio of mistakes to
bound above 1: far below it on random points, 0.99 on orthogonal ones, so that the bound can't be improved.
Source: PRINCIPLES A6 to A8, 2.1 (hanbingtao, part 1); Novikoff 1962.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from claims import BLUE, GREEN, ORANGE, PREDICTED, PURPLE, main, panels

from jaxnn.data import toys
from jaxnn.perceptron import find_cycle, step, train_perceptron

jax.config.update("jax_enable_x64", True)

# AND at eta = 0.1: mistakes, w1, w2, b of each epoch, as the article's program goes through them.
AND_TABLE = [(3, 0, 0.1, -0.1), (3, 0, 0.1, -0.2), (2, 0.1, 0.1, -0.2), (2, 0.1, 0.2, -0.2), (0, 0.1, 0.2, -0.2)]
# Mistakes at eta = 1, for step(0) = 0 and 1; and 1 / gamma^2 of the best plane, which for AND is 2 x1 + 2 x2 = 3.
GATES = {"and": ((10, 11), 17), "or": ((2, 5), 9), "nand": ((11, 10), 17)}


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
    for name, (counts, _) in GATES.items():
        found = [gate(name, at_zero=at_zero).mistakes.sum() for at_zero in (0, 1)]
        claims.equal(f"{name.upper()}: mistakes for step(0) = 0 and 1", found, counts)
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


def planted(claims, quick, seed):
    """Mistakes on points that a known plane separates by gamma, and the bound: {step(0): (bound, mistakes)}."""
    margins = np.repeat(np.geomspace(0.5, 0.1 if quick else 0.02, 6), 8)
    sets = [toys.separable(100, 5, margin, seed + i) for i, margin in enumerate(margins)]
    x, t = np.stack([each[0] for each in sets]), np.stack([each[1] for each in sets])
    bounds = (1 + np.square(x).sum(axis=2).max(axis=1)) / margins**2
    # An epoch that isn't the last has a mistake in it: after so many epochs the bound leaves none to be made.
    epochs = int(bounds.max()) + 1
    found = {}
    for at_zero in (0, 1):
        train = partial(train_perceptron, learning_rate=1, epochs=epochs, at_zero=at_zero)
        mistakes = np.asarray(jax.vmap(train)(x, t)[1].mistakes)
        of = f"{len(margins)} planted sets, step(0) = {at_zero}"
        claims.at_most(f"{of}: largest mistakes gamma^2 / R^2", (mistakes.sum(axis=1) / bounds).max(), 1)
        claims.equal(f"{of}: mistakes in the last epoch", mistakes[:, -1].sum(), 0)
        found[at_zero] = bounds, mistakes.sum(axis=1)
    return found


def tight(claims):
    """Orthogonal examples with labels 1, 0, 1, 0, ... teach nothing of each other: [(bound, mistakes)], nearly equal.

    The plane (1, -1, 1, -1, ...) / sqrt(n) has gamma = |x| / sqrt(n), so the bound is n (1 + 1 / |x|^2). Mistakes: the
    bias is 0 where a label is 1 and 1 where it is 0, which is wrong every time; after n of them w decides.
    """
    found = []
    for n in (4, 16, 64, 256):
        _, trace = train_perceptron(10 * np.eye(n), 1 - np.arange(n) % 2, learning_rate=1, epochs=3)
        claims.equal(
            f"{n} orthogonal examples, bound {1.01 * n:.2f}: mistakes in each epoch", trace.mistakes, (n, 0, 0)
        )
        found.append((1.01 * n, int(trace.mistakes.sum())))
    return found


def any_rate(claims, seed):
    """From w = 0 eta is a unit of measure. Powers of two scale every number without rounding: the same bits follow."""
    x, t, _ = toys.separable(100, 5, 0.1, seed)
    rates = 2.0 ** np.arange(-20, 21)
    units, traces = jax.vmap(lambda rate: train_perceptron(x, t, learning_rate=rate, epochs=100))(rates)
    claims.equal(
        "eta 2^-20 to 2^20: mistakes of an epoch that differ", (traces.mistakes != traces.mistakes[20]).sum(), 0
    )
    claims.equal("eta 2^-20 to 2^20: weights / eta that differ", (units.w / rates[:, None] != units.w[20]).sum(), 0)


def drawn(found, tightest):
    figure, (bound, lines, epochs) = panels(3)
    span = np.array([2, 2 * max(bounds.max() for bounds, _ in found.values())])
    bound.loglog(span, span, **PREDICTED, label="Novikoff: $(R/\\gamma)^2$")
    for at_zero, colour, marker in ((0, BLUE, "o"), (1, ORANGE, "x")):
        bound.loglog(*found[at_zero], marker, color=colour, alpha=0.7, label=f"planted margin, step(0) = {at_zero}")
    bound.loglog(*np.transpose(tightest), "D", color=PURPLE, label="orthogonal examples, step(0) = 0")
    gates = [(3 * inverse, counts[0]) for counts, inverse in GATES.values()]
    bound.loglog(*np.transpose(gates), "s", color=GREEN, label="AND, OR, NAND")
    bound.set(xlabel="$(R/\\gamma)^2$", ylabel="mistakes until none is left", title="Mistakes against the bound")
    bound.legend(fontsize=8)

    x, t = toys.truth_table("and")
    trace, across = gate("and", epochs=4), np.array([-0.5, 1.5])
    for epoch, (w, b) in enumerate(zip(np.asarray(trace.w), np.asarray(trace.b), strict=True), start=1):
        along = -(b + w[0] * across) / w[1]
        lines.plot(
            across,
            along,
            color=BLUE,
            alpha=epoch / 4,
            label=f"after epoch {epoch}: {w[0]:.0f} $x_1$ + {w[1]:.0f} $x_2$ = {-b:.0f}",
        )
    for label, marker in ((0, "o"), (1, "s")):
        lines.plot(*x[t == label].T, marker, color=ORANGE if label else "black", markersize=9, label=f"label {label}")
    lines.set(
        xlim=(-0.5, 1.5),
        ylim=(-0.5, 3.9),
        xlabel="$x_1$",
        ylabel="$x_2$",
        title="AND at $\\eta$ = 1: the line w.x + b = 0",
    )
    lines.legend(loc="upper right", fontsize=8)

    for name, colour, marker in (("and", BLUE, "o"), ("or", GREEN, "s"), ("nand", PURPLE, "^"), ("xor", ORANGE, "x")):
        mistakes = gate(name, epochs=10).mistakes
        epochs.plot(range(1, 11), mistakes, marker + "-", color=colour, alpha=0.8, label=name.upper())
    epochs.set(xlabel="epoch", ylabel="mistakes", title="XOR goes round in a circle", ylim=(-0.2, 5.5))
    epochs.legend(ncols=4, loc="upper center", fontsize=8)
    return figure


def experiment(claims, quick, seed):
    article(claims)
    without_gradient(claims, jax.random.key(seed))
    circles(claims)
    found = planted(claims, quick, seed)
    any_rate(claims, seed)
    return drawn(found, tight(claims))


if __name__ == "__main__":
    raise SystemExit(main(__doc__, experiment))
