"""Exploding gradients: one factor a layer, or a step of time, tells how fast; clipping holds it, a penalty comes late.

The notes: products of factors above 1 overflow; the remedies are clipping and a weight norm term.

1. Deep ReLU net of width n, weights N(0, s/n): an error term's length is a random walk of equal steps,
       |d_(l-1)|^2 / |d_l|^2 = s/n sum_i b_i g_i^2,    b_i a coin, g_i ~ N(0, 1),    in the mean s/2:
   it crosses 1 at s = 2. A typical net is below the mean, E ln = ln(s/2) / 2 - 5/(4n) with variance 5/(4n) a layer in
   the first order of 1/n (exactly: sums of digamma functions); the same for signals, forward. Overflow has a depth,
       l = 1 + (ln 3.4e38 - ln sqrt(s) - E ln max_i g_i) / E ln factor,    and half a layer, for l is a whole number.
2. Over time, where tanh is linear, d_t = U d_(t+1): the factor is U's spectral radius r. Exactly so for U = r Q with Q
   orthogonal; for others |d| / r^k stays between |w . d|, w the leading left eigenvector, and cond(eigenvectors).
   Away from 0, tanh' < 1, and r^k is only a bound.
3. Clipping by norm keeps the direction. Clipping by value turns it: of a Gaussian gradient at c deviations the cosine
   is P(|g| < c) / sqrt(E clip(g)^2), down to sqrt(2/pi) = 0.80 for small c.
4. On a cliff, (w^20 - 1/2)^2 / 2 at w = 1.3, gradient descent jumps out of the numbers in three steps; clipped, no step
   is longer than eta theta. A penalty, w <- (1 - eta alpha) w, needs ln(1.3) / (eta alpha) steps: the jump is earlier.

Source: PRINCIPLES E1 to E3; Hanin and Nica 2020; Pascanu et al. 2013.
Command: python scripts/experiments/exploding.py    (15 s on 2 cores)
Expect: a factor 1.201 at n = 64, s = 3 (1.2247 in the mean of squares); float32 overflows at layer 130 for s = 8.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from claims import BLUE, GREEN, ORANGE, PREDICTED, PURPLE, main, panels
from scipy import special, stats

import jaxnn
from jaxnn.observe import norms

WIDTH = 64
LIMIT = float(np.finfo(np.float32).max)


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


def over_time(claims, rng, axes, n_steps=100):
    net = jaxnn.Recurrent(jaxnn.TanhCell(WIDTH), sequence=False)
    params, state = net.init(jax.random.key(0), (n_steps, 1), jnp.float64)

    def error_terms(weight, x):
        recurrent = params.inner.recurrent._replace(weight=jnp.asarray(weight))
        with_weight = params._replace(inner=params.inner._replace(recurrent=recurrent))
        _, _, cache = net.forward(with_weight, state, x)
        return np.asarray(jaxnn.fold(net, with_weight, cache, dy, norms).notes[".inner"].error_term)[::-1]

    dy = jnp.asarray(stats.uniform_direction.rvs(WIDTH, random_state=rng)[None])
    still, driven = jnp.zeros((1, n_steps, 1)), jnp.asarray(rng.standard_normal((1, n_steps, 1)))
    orthogonal, gaussian = stats.ortho_group.rvs(WIDTH, random_state=rng), rng.standard_normal((WIDTH, WIDTH))
    eigenvalues, left, right = scipy.linalg.eig(gaussian, left=True)
    leading, back = np.argmax(np.abs(eigenvalues)), np.arange(n_steps)
    gaussian /= np.abs(eigenvalues[leading])
    rounding = n_steps * WIDTH**1.5 * 2.0**-52  # of sums of n products with U, n eps |U|_F a step
    for radius, colour in (0.9, BLUE), (1.0, GREEN), (1.1, ORANGE):
        exact, bounded, tamed = (
            error_terms(radius * u, x) / radius**back
            for u, x in ((orthogonal, still), (gaussian, still), (orthogonal, driven))
        )
        claims.at_most(f"r = {radius}, orthogonal, linear: |d| / r^k - 1", np.max(np.abs(exact - 1)), rounding)
        claims.at_most(f"r = {radius}, orthogonal, driven: max |d| / r^k", np.max(tamed), 1 + rounding)
        axes.semilogy(back[::9], (exact * radius**back)[::9], "o", markersize=3.5, color=colour)
        axes.semilogy(back, bounded * radius**back, color=colour, label=f"r = {radius}, Gaussian U")
        axes.semilogy(back, tamed * radius**back, ":", color=colour)
        axes.semilogy(back, 1.0 * radius**back, **PREDICTED)
    low, high = np.abs(left[:, leading].conj() @ dy[0]), np.linalg.cond(right)
    claims.between(f"r = 1.1, Gaussian, linear: |d| / r^k after {n_steps - 1} steps", bounded[-1], low, high)
    axes.plot([], [], **PREDICTED, label=r"$r^k$")
    axes.plot([], [], "o", markersize=3.5, color="grey", label="orthogonal U")
    axes.plot([], [], ":", color="grey", label="the same, driven by noise")
    axes.set(xlabel="steps of time back, k", ylabel="length of the error term", title="Over time, n = 64")


def cosine(a, b):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return np.sum(a * b, axis=-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)


def clipping(claims, rng, axes):
    def theory(limit):  # E g clip(g) = E clip'(g) = P(|g| < limit), by Stein's lemma
        inside = special.erf(limit / np.sqrt(2))
        return inside / np.sqrt(inside - 2 * limit * stats.norm.pdf(limit) + limit**2 * (1 - inside))

    gradients, limits = rng.standard_normal((30, 10_000)), np.geomspace(0.05, 4, 9)
    for i, limit in enumerate(limits):
        by_value, _ = jaxnn.clip_by_value(limit).update(jnp.asarray(gradients), None)
        axes.semilogx(limit, cosine(by_value, gradients).mean(), "o", color=ORANGE)
        if i % 4 == 0:  # a quotient of means over n numbers is off by some 1/n in the mean
            claim, room = f"clipped by value at {limit:.3g} deviations: cosine", 5 / gradients.shape[1]
            claims.mean(claim, cosine(by_value, gradients), theory(limit), room)
    by_norm, _ = jaxnn.clip_by_global_norm(1.0).update(jnp.asarray(gradients[0]), None)
    # Each number is rounded by itself, which turns the vector by eps at most, and a cosine by its square; what is left
    # is the rounding of the cosine's own sums.
    claims.at_most("clipped by norm: |cosine - 1|", abs(cosine(by_norm, gradients[0]) - 1), 2.0**-46)
    axes.semilogx(limits, theory(limits), **PREDICTED, label="by value, theory")
    axes.plot([], [], "o", color=ORANGE, label="by value")
    axes.axhline(1, color=BLUE, label="by norm")
    axes.set(xlabel="limit, deviations of the gradient", ylabel="cosine to the gradient", title="Clipping")


def descend(loss, rule, start, n_steps):
    """w before the first step and after each."""

    def step(carry, _):
        params, state = carry
        updates, state = rule.update(jax.grad(lambda params: loss(params.weight))(params), state, params)
        params = jaxnn.apply_updates(params, updates)
        return (params, state), params.weight

    params = jaxnn.DenseParams(jnp.asarray(start), None)  # decay is for fields named `weight`
    return np.append(start, jax.lax.scan(step, (params, rule.init(params)), length=n_steps)[1])


def cliff(claims, walk, shrink, start=1.3, eta=0.01, theta=1.0, alpha=0.1):
    def loss(w):
        return (w**20 - 0.5) ** 2 / 2

    descent, decay = jaxnn.gradient_descent(eta), jaxnn.weight_decay(alpha)
    plain = descend(loss, descent, start, 10)
    penalised = descend(loss, jaxnn.chain(decay, descent), start, 10)
    clipped = descend(loss, jaxnn.chain(jaxnn.clip_by_global_norm(theta), descent), start, 60)
    decayed = descend(lambda w: 0 * w, jaxnn.chain(decay, descent), start, 400)
    optimum, gradient, k = 0.5 ** (1 / 20), (start**20 - 0.5) * 20 * start**19, np.arange(401)
    claims.relative("cliff, unclipped: w after one step", plain[1], start - eta * gradient, 1e-12)
    # |w| = 5.5e3 makes the next one 0.2 of its 39th power, 2e145, and the 39th power of that is beyond float64.
    claims.equal("cliff, unclipped: first step to infinity", int(np.argmin(np.isfinite(plain))), 3)
    claims.equal("cliff, with a penalty: first step to infinity", int(np.argmin(np.isfinite(penalised))), 3)
    needed = int(np.ceil(np.log(start) / -np.log(1 - eta * alpha)))
    claims.equal("steps in which the penalty alone makes w < 1", int(np.argmax(decayed < 1)), needed)
    claims.at_most("cliff, clipped: longest step", np.max(np.abs(np.diff(clipped))), eta * theta + 2.0**-52)
    # Down at the speed limit; near the bottom a step leaves 1 - eta L'' = -0.07 of the error, five steps make it 1e-6.
    arrival, n_walk = int(np.argmax(np.abs(clipped - optimum) < 1e-6)), (start - optimum) / (eta * theta)
    claims.between("cliff, clipped: steps to within 1e-6 of the minimum", arrival, n_walk, n_walk + 10)

    walk.plot(clipped, color=BLUE, label="clipped by norm")
    walk.plot(k[:34], start - eta * theta * k[:34], **PREDICTED, label=r"$\eta\,\theta$ a step, to the minimum")
    walk.plot(0, start, "x", color=PURPLE, label="unclipped, next: -5541, then 2e145")
    walk.set(xlabel="step", ylabel="w", title=r"On the cliff of $(w^{20} - 1/2)^2 / 2$")
    shrink.plot(decayed, color=BLUE, label="w, by the penalty alone")
    shrink.plot(start * (1 - eta * alpha) ** k, **PREDICTED, label=r"$(1 - \eta\,\alpha)^k\,w_0$")
    shrink.axvline(3, color=PURPLE, label="w is infinite, penalty or not")
    shrink.set(xlabel="step, k", ylabel="w", title="A weight penalty comes late")


def experiment(claims, quick, seed):
    keys, rng = jax.random.split(jax.random.key(seed), 50 if quick else 200), np.random.default_rng(seed)
    figure, axes = panels(3, 2)
    gain(claims, keys, axes[0])
    overflow(claims, keys[::2], axes[1])
    with jax.enable_x64(True):
        over_time(claims, rng, axes[2])
        clipping(claims, rng, axes[3])
        cliff(claims, axes[4], axes[5])
    for each in axes:
        each.legend(fontsize=8)
    axes[0].legend(fontsize=8, loc="upper left")
    return figure


if __name__ == "__main__":
    raise SystemExit(main(__doc__, experiment))
