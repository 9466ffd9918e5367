"""Exploding gradients: the mean logarithm of one layer's factor says in which layer float32 overflows.

The notes: factors above 1 are multiplied and may overflow. Which factor decides is left open. In a deep ReLU net of
width n with weights N(0, s/n), an error term's length is a random walk of equal steps,

    |d_(l-1)|^2 / |d_l|^2 = s/n sum_i b_i g_i^2,    b_i a coin, g_i ~ N(0, 1),    in the mean s/2:

it crosses 1 at s = 2. A typical net is below the mean, E ln = ln(s/2) / 2 - 5/(4n) with variance 5/(4n) a layer in the
first order of 1/n (exactly: sums of digamma functions); the same for signals, forward. Overflow has a depth,

    l = 1 + (ln 3.4e38 - ln sqrt(s) - E ln max_i g_i) / E ln factor,    and half a layer, for l is a whole number.

Source: PRINCIPLES E1; Hanin and Nica 2018.

    python scripts/experiments/exploding.py

Eight seconds on 2 cores. Expect a logarithm of 0.18 at n = 64, s = 3, which is a factor 1.20 (1.2247 in the mean of
squares), and overflow of float32 in layer 130 for s = 8.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from claims import BLUE, GREEN, ORANGE, PREDICTED, PURPLE, main, panels
from scipy import special, stats

import jaxnn
from jaxnn.backward.observers import norms

WIDTH = 64
LIMIT = float(np.finfo(np.float32).max)


def experiment(claims, quick, seed):
    keys = jax.random.split(jax.random.key(seed), 50 if quick else 200)
    figure, (through_depth, forward) = panels(2, width=5.4, height=4.2)
    gain(claims, keys, through_depth)
    overflow(claims, keys[::2], forward)
    return figure


def log_factor(variance):
    """Mean and variance of the logarithm of a layer's factor: with k units on, the sum of squares is chi^2_k."""
    k = np.arange(1, WIDTH + 1)
    p = stats.binom.pmf(k, WIDTH, 0.5)
    log_square = np.log(2 * variance / WIDTH) + special.digamma(k / 2)
    mean = np.sum(p * log_square)
    return mean / 2, np.sum(p * (special.polygamma(1, k / 2) + (log_square - mean) ** 2)) / 4


def length_and_largest(node):
    """An observer: at a Dense layer the error term's length, the largest signal and the largest error term."""
    if isinstance(node.layer, jaxnn.Dense):
        return norms(node).error_term, jnp.max(jnp.abs(node.cache.x)), jnp.max(jnp.abs(node.dy))
    return None


@partial(jax.jit, static_argnames="depth")
def deep_networks(keys, depth, variance, x):
    """What the observer sees in each of M deep networks, (M, depth)."""
    hidden = jaxnn.Serial(jaxnn.Dense(WIDTH, jaxnn.Normal(WIDTH**-0.5), bias=False), jaxnn.ReLU())
    net = jaxnn.Repeat(hidden, depth)

    def one(key):
        params, state = net.init(key, (WIDTH,))
        params = jax.tree.map(lambda weight: jnp.sqrt(variance) * weight, params)
        y, _, cache = net.forward(params, state, jnp.full((1, WIDTH), x))
        # Of random signs, for dy = 1 would lie along the signals, which are nowhere negative. Masks leave the share c^2
        # of an error term's square that lies along the signal whole, and (s/2)^k becomes (s/2)^k (1 + k c^2).
        # Half the units are off: sqrt(2) makes the first error term as long as the first signal, sqrt(n).
        dy = jnp.sqrt(2) * jax.random.rademacher(jax.random.fold_in(key, 1), y.shape, y.dtype)
        return jaxnn.fold(net, params, cache, dy, length_and_largest).notes[".inner[0]"]

    return jax.vmap(one)(keys)


def gain(claims, keys, axes, depth=50):
    back = np.arange(depth)
    for i, (variance, colour) in enumerate([(1.0, BLUE), (2.0, GREEN), (3.0, ORANGE), (4.0, PURPLE)]):
        lengths, _, _ = deep_networks(jax.vmap(jax.random.fold_in, (0, None))(keys, i), depth, variance, 1.0)
        walk, (mean, _) = np.log(np.asarray(lengths, np.float64))[:, ::-1], log_factor(variance)
        claims.mean(f"s = {variance:g}: ln of a layer's factor", (walk[:, -1] - walk[:, 0]) / (depth - 1), mean)
        axes.semilogy(back, np.exp(walk.mean(axis=0)), color=colour, label=f"s = {variance:g}, typical net")
        axes.semilogy(back, np.sqrt(WIDTH) * np.exp(mean * back), **PREDICTED)
        axes.semilogy(back, np.sqrt(WIDTH) * (variance / 2) ** (back / 2), color="grey", linewidth=0.8)
    axes.plot([], [], **PREDICTED, label="its theory")
    axes.plot([], [], color="grey", linewidth=0.8, label=r"$(s/2)^{k/2}$, of mean squares")
    axes.set(xlabel="layers back, k", ylabel="length of the error term", title="Through depth, n = 64")
    axes.set_ylim(1e-8, 1e17)
    axes.legend(fontsize=8, loc="upper left")


def overflow(claims, keys, axes, variance=8.0, depth=160):
    mean, spread = log_factor(variance)
    quantiles = (np.arange(100_000) + 0.5) / 100_000
    log_largest = np.log(variance) / 2 + np.mean(np.log(stats.norm.ppf(quantiles ** (1 / WIDTH))))
    predicted = 1 + (np.log(LIMIT) - log_largest) / mean + 0.5
    # Error terms don't depend on x's size, and a small x keeps the signals of all layers finite.
    _, signals, _ = map(np.asarray, deep_networks(keys, depth, variance, 1.0))
    _, _, error_terms = map(np.asarray, deep_networks(keys, depth, variance, 1e-30))
    for name, largest in ("signals", signals), ("error terms", error_terms[:, ::-1]):
        layer = np.argmin(np.isfinite(largest), axis=1)
        # Half a layer, for the walk passes the limit by a part of a step that isn't spread evenly.
        claims.mean(f"s = 8, float32: layer where {name} overflow", layer, predicted, room=0.5)
        # The deviation of n normal numbers is known to within 1 / sqrt(2 n) of itself.
        deviation, sure = np.sqrt(spread * predicted) / mean, 3.3 / np.sqrt(2 * len(layer))
        claims.relative(f"s = 8, float32: its deviation from net to net, {name}", np.std(layer), deviation, sure)
    axes.semilogy(signals[:20].T, color=BLUE, alpha=0.4, linewidth=0.8)
    layers = np.arange(depth - 15)
    axes.semilogy(layers, np.exp(log_largest + mean * (layers - 1)), **PREDICTED, label="typical net, theory")
    axes.plot([], [], color=BLUE, label="20 networks")
    axes.axhline(LIMIT, color=PURPLE, label="end of float32")
    axes.set(xlabel="layer", ylabel="largest signal", title="Forward at s = 8, n = 64")


if __name__ == "__main__":
    raise SystemExit(main(__doc__, experiment))
