"""Where a plane separates the classes the perceptron makes at most (R / gamma)^2 mistakes, at any eta.

    |(x, 1)| <= R  and  |u . x + c| >= gamma, on the right side, for all x:        mistakes <= (R / gamma)^2

Where the notes are loose. The rule of perceptron.py ends only if the classes can be separated. Then Novikoff's bound
holds, in any order, at any eta and for either value of step(0), for each plane (u, c) of norm 1 from which all
examples are at least gamma away. R includes the bias's constant input. Why: a mistake moves (w, b) / eta by at least
gamma along (u, c), and adds at most R^2 to its squared length. After k of them

    k gamma <= |(w, b)| / eta <= sqrt(k) R,

and a line can't stay below a square root. From w = 0 eta is only a unit of measure.

    python scripts/experiments/novikoff.py                  (6 s on 2 cores; --quick 5 s)

Expect no ratio of mistakes to bound above 1: 0.25 or so at most on random points. On orthogonal ones 256 mistakes, of
258 at most, so that the bound can't be improved.
Source: PRINCIPLES A7, 2.1 (hanbingtao, part 1); Novikoff 1962.
"""

from functools import partial

import jax
import numpy as np
from claims import BLUE, GREEN, ORANGE, PREDICTED, PURPLE, main, panels
from perceptron import gate

from jaxnn.data import toys
from jaxnn.training.perceptron import train_perceptron

jax.config.update("jax_enable_x64", True)

# gamma of the best plane, which for AND is 2 x1 + 2 x2 = 3; R^2 is 3.
BEST_GAMMA = {"and": 17**-0.5, "or": 1 / 3, "nand": 17**-0.5}


def length(trace):
    """|(w, b)| at the end of each epoch."""
    return np.sqrt(np.square(trace.w).sum(axis=-1) + np.square(trace.b))


def planted(claims, quick, seed):
    """Points that a known plane separates by gamma: (gamma, bound of each set, {step(0): traces of all})."""
    margins = np.repeat(np.geomspace(0.5, 0.1 if quick else 0.02, 6), 8)
    sets = [toys.separable(100, 5, margin, seed + i) for i, margin in enumerate(margins)]
    x, t = np.stack([sample[0] for sample in sets]), np.stack([sample[1] for sample in sets])
    bounds = (1 + np.square(x).sum(axis=2).max(axis=1)) / margins**2
    # An epoch that isn't the last has a mistake in it: after so many epochs the bound leaves none to be made.
    epochs = int(bounds.max()) + 1
    traces = {}
    for at_zero in (0, 1):
        train = partial(train_perceptron, learning_rate=1, epochs=epochs, at_zero=at_zero)
        traces[at_zero] = jax.vmap(train)(x, t)[1]
        mistakes = np.asarray(traces[at_zero].mistakes)
        case = f"{len(margins)} planted sets, step(0) = {at_zero}"
        claims.at_most(f"{case}: largest mistakes gamma^2 / R^2", (mistakes.sum(axis=1) / bounds).max(), 1)
        claims.equal(f"{case}: mistakes in the last epoch", mistakes[:, -1].sum(), 0)
    return margins, bounds, traces


def tight(claims):
    """Orthogonal examples with labels 1, 0, 1, 0, ... teach nothing about each other: nearly the bound's mistakes.

    The plane (1, -1, 1, -1, ...) / sqrt(n) has gamma = |x| / sqrt(n), so the bound is n (1 + 1 / |x|^2). Mistakes: the
    bias is 0 where a label is 1 and 1 where it is 0, which is wrong every time; after n of them w decides.
    Returns [(gamma, bound, trace)].
    """
    rows = []
    for n in (4, 16, 64, 256):
        _, trace = train_perceptron(10 * np.eye(n), 1 - np.arange(n) % 2, learning_rate=1, epochs=3)
        claims.equal(
            f"{n} orthogonal examples, bound {1.01 * n:.2f}: mistakes in each epoch", trace.mistakes, (n, 0, 0)
        )
        rows.append((10 / np.sqrt(n), 1.01 * n, trace))
    return rows


def any_rate(claims, seed):
    """From w = 0 eta is a unit of measure. Powers of two scale every number without rounding: the same bits follow."""
    x, t, _ = toys.separable(100, 5, 0.1, seed)
    rates = 2.0 ** np.arange(-20, 21)
    units, traces = jax.vmap(lambda rate: train_perceptron(x, t, learning_rate=rate, epochs=100))(rates)
    claims.equal(
        "eta 2^-20 to 2^20: mistakes of an epoch that differ", (traces.mistakes != traces.mistakes[20]).sum(), 0
    )
    claims.equal("eta 2^-20 to 2^20: weights / eta that differ", (units.w / rates[:, None] != units.w[20]).sum(), 0)


def drawn(margins, bounds, traces, orthogonal):
    figure, (totals, proof) = panels(2, width=5.4, height=4.2)
    span = np.array([2, 2 * bounds.max()])
    totals.loglog(span, span, **PREDICTED, label="Novikoff: $(R/\\gamma)^2$")
    # In the units of the proof, k gamma^2 / R^2 and |(w, b)| gamma / R^2, both of its lines go through (1, 1).
    share = np.geomspace(2e-4, 2)
    proof.loglog(share, np.sqrt(share), **PREDICTED, label="theory: at most $\\sqrt{k}\\ R$, at least $k \\gamma$")
    proof.loglog(share, share, **PREDICTED)
    for (at_zero, trace), colour, marker in zip(traces.items(), (BLUE, ORANGE), "ox", strict=True):
        mistakes = np.asarray(trace.mistakes)
        label = f"planted margin, step(0) = {at_zero}"
        totals.loglog(bounds, mistakes.sum(axis=1), marker, color=colour, alpha=0.7, label=label)
        shares = mistakes.cumsum(axis=1) / bounds[:, None]
        scaled = length(trace) / (bounds * margins)[:, None]
        moving = mistakes > 0
        proof.loglog(shares[moving], scaled[moving], marker, color=colour, alpha=0.5, markersize=4, label=label)
    for i, (gamma, bound, trace) in enumerate(orthogonal):
        mistakes, label = trace.mistakes.sum(), None if i else "orthogonal examples, step(0) = 0"
        totals.loglog(bound, mistakes, "D", color=PURPLE, label=label)
        proof.loglog(mistakes / bound, length(trace)[-1] / (bound * gamma), "D", color=PURPLE, label=label)
    counts = [gate(name).mistakes.sum() for name in BEST_GAMMA]
    totals.loglog([3 / gamma**2 for gamma in BEST_GAMMA.values()], counts, "s", color=GREEN, label="AND, OR, NAND")
    totals.set(xlabel="$(R/\\gamma)^2$", ylabel="mistakes until none is left", title="Mistakes against the bound")
    proof.set(xlabel="mistakes so far, $k\\ \\gamma^2 / R^2$", ylabel="$|(w, b)|\\ \\gamma / R^2$ at $\\eta$ = 1")
    proof.set_title("The proof: $|(w, b)|$ is caught between two lines")
    return figure


def experiment(claims, quick, seed):
    results = planted(claims, quick, seed)
    any_rate(claims, seed)
    return drawn(*results, tight(claims))


if __name__ == "__main__":
    raise SystemExit(main(__doc__, experiment))
