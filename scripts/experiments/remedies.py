"""Each remedy for vanishing gradients is a factor a layer at the start, derived before it is measured.

    plain sigmoid     sqrt(E[sigma'(z)^2]), a quarter at most: 1e-19 of the error term after 30 layers
    ReLU, He          1, but for the scatter at width n: exp(-5 / 4n); orthogonal weights scatter less: exp(-3 / 4n)
    batch norm.       sqrt(pi / (pi - 1)) = 1.211 for ReLU, so gradients *explode*: `batch_norm_explosion`
    residual          x + W relu(x) grows by sqrt(2) a block, 2^15 after 30, and x + relu(W x) faster; times
                      1 / sqrt(L) the branch makes sqrt(e) at most, however deep: `residual`

All of them are in the figure, beside plain sigmoid; the table has the initialisations, and the scripts that are named
have the others. An initialisation's scatter shows at width 64; the other networks are 256 wide.

    E log |delta^l|^2 / |delta^(l+1)|^2 = log(4 / n) + E[digamma(k / 2)]                 for He's weights
                                        = log(2) - digamma(n / 2) + E[digamma(k / 2)]    for orthogonal ones

where k of n units are on: delta is a sum of k squares out of n, and with orthogonal weights their share in a sum of all
n squares, which scatters less.

Where the notes are loose. Their list lacks initialisation, the first of all remedies, and takes for granted what each
depends on: ReLU on its initialisation, BN on few layers, a residual network on the scale of its branches.

    python scripts/experiments/remedies.py                                      (12 s on 2 cores; --quick 8 s)

Expect .980 (He) and .988 (orthogonal) a layer of width 64, which is .55 and .69 over 30 layers.
Source: PRINCIPLES D4, D6, D7, section 4 (25); Saxe 2014; He et al. 2015 and 2016; Hanin and Nica 2018.
"""

import jax
import numpy as np
import residual
from batch_norm_explosion import BATCH, batch_normalised, normalised
from claims import BLUE, ORANGE, PREDICTED, main, panels
from scipy import special, stats
from vanishing import DEPTH, WIDTH, error_terms, relative, upwards

import jaxnn

NARROW = 64
# Name: the block, and its colour.
INITIALISED = {
    "ReLU, He": (jaxnn.Serial(jaxnn.Dense(NARROW, jaxnn.He("normal")), jaxnn.ReLU()), ORANGE),
    "ReLU, orthogonal": (jaxnn.Serial(jaxnn.Dense(NARROW, jaxnn.Orthogonal(2**0.5)), jaxnn.ReLU()), "black"),
}
PLAIN = jaxnn.Serial(jaxnn.Dense(WIDTH, jaxnn.Glorot("normal")), jaxnn.Sigmoid())


def initialised(name):
    """ReLU behind Gaussian or orthogonal weights, exactly: of n units k are on, with k of n squares."""
    on = np.arange(1, NARROW + 1)
    of_k = stats.binom.pmf(on, NARROW, 0.5) @ special.digamma(on / 2)  # E log of a sum of k squares is this + log 2
    logs = {"ReLU, He": np.log(4 / NARROW), "ReLU, orthogonal": np.log(2) - special.digamma(NARROW / 2)}
    return np.full(DEPTH, (logs[name] + of_k) / 2)


def initialisations(claims, keys):
    """By name: log |delta| over that at the top, measured (n_seeds, DEPTH + 1) and foretold."""
    results = {}
    for name, (block, _) in INITIALISED.items():
        measured, foretold = relative(error_terms(keys, block=block, width=NARROW)[0]), upwards(initialised(name))
        a_layer, total = np.exp(measured[:, 0] / DEPTH), np.exp(foretold[0])
        claims.mean(f"{name}, n = {NARROW}: factor a layer ({total:.3g} in all)", a_layer, total ** (1 / DEPTH))
        results[name] = measured, foretold
    (he, he_foretold), (orthogonal, orthogonal_foretold) = results.values()
    statement = f"n = {NARROW}: log of what orthogonal weights keep over what He's do"
    claims.mean(statement, orthogonal[:, 0] - he[:, 0], orthogonal_foretold[0] - he_foretold[0])
    return results


def averages(of_initialisations, keys, n_batches):
    """For the figure, from bottom to top: name: (average log |delta|, what is foretold of it, colour)."""

    def measured(block, keys, **options):
        return relative(error_terms(keys, block=block, **options)[0])

    results = {"sigmoid, Xavier": (measured(PLAIN, keys).mean(axis=0), upwards(residual.sigmoid_blocks(0)), BLUE)}
    for name, (block, colour) in residual.BLOCKS.items():
        results[name] = residual.average(name, measured(block, keys)), residual.FORETOLD[name], colour
    for name, (by_seed, foretold) in of_initialisations.items():
        results[name] = by_seed.mean(axis=0), foretold, INITIALISED[name][1]
    by_seed = measured(normalised(WIDTH), keys[:n_batches], rows=BATCH)
    results["batch normalisation"] = by_seed.mean(axis=0), upwards(batch_normalised(WIDTH)), "grey"
    return results


def drawn(results):
    figure, (every, near) = panels(2, width=5.6, height=4.6)
    for name, (measured, foretold, colour) in results.items():
        for panel in (every, near) if abs(foretold[0]) < 1 else (every,):
            panel.semilogy(np.exp(measured), "o", color=colour, markersize=4, label=name)
            panel.semilogy(np.exp(foretold), **PREDICTED)
    every.set(title="All remedies, at the start")
    near.set(ylim=(0.5, 2), yticks=(0.5, 1, 2), yticklabels=("0.5", "1", "2"), title="Those that stay near 1")
    near.minorticks_off()
    for panel in (every, near):
        panel.plot([], [], **PREDICTED, label="theory")
        panel.set(xlabel="blocks below", ylabel="$|\\partial E / \\partial x|$, over that at the top")
    return figure


def experiment(claims, quick, seed):
    keys = jax.random.split(jax.random.key(seed), 128 if quick else 512)
    results = initialisations(claims, keys)
    return drawn(averages(results, keys[: 24 if quick else 128], n_batches=8 if quick else 24))


if __name__ == "__main__":
    raise SystemExit(main(__doc__, experiment))
