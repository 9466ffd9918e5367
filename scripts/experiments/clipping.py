"""Clipping: by norm it keeps the gradient's direction, by value it turns it; a weight penalty comes too late.

Where the notes are loose: they force a gradient into a range, which is clipping by value, and turns it; Pascanu's
clipping is by norm, and doesn't. By value, at c deviations of a Gaussian gradient, the cosine of the turn is

    P(|g| < c) / sqrt(E clip(g)^2),    down to sqrt(2/pi) = 0.80 for small c.

On a cliff, (w^20 - 1/2)^2 / 2 at w = 1.3, gradient descent overflows in three steps; clipped, no step
is longer than eta theta. The notes' other remedy, a weight norm term, limits an explosion only in part: a penalty,
w <- (1 - eta alpha) w, needs ln(1.3) / (eta alpha) steps to bring w below 1, and the jump is earlier.

Source: PRINCIPLES E2, E3, section 4 (16, 17); Pascanu et al. 2013.

    python scripts/experiments/clipping.py

Three seconds on 2 cores. Expect a cosine of 0.808 at 0.05 deviations; on the cliff w = -5541 after one step, infinity
after three, and the minimum after 37 clipped ones; the penalty alone takes 263 steps.
"""

import jax
import jax.numpy as jnp
import numpy as np
from claims import BLUE, ORANGE, PREDICTED, PURPLE, main, panels
from scipy import special, stats

import jaxnn


def experiment(claims, quick, seed):
    rng = np.random.default_rng(seed)
    figure, (turn, walk, shrink) = panels(3)
    with jax.enable_x64(True):
        clipping(claims, rng, turn)
        cliff(claims, walk, shrink)
    return figure


def cosine(a, b):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return np.sum(a * b, axis=-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)


def cosine_by_value(limit):
    """Of a Gaussian gradient, clipped at so many deviations, to itself."""
    # E g clip(g) = E clip'(g) = P(|g| < limit), by Stein's lemma
    inside = special.erf(limit / np.sqrt(2))
    return inside / np.sqrt(inside - 2 * limit * stats.norm.pdf(limit) + limit**2 * (1 - inside))


def clipping(claims, rng, axes):
    gradients, limits = rng.standard_normal((30, 10_000)), np.geomspace(0.05, 4, 9)
    for i, limit in enumerate(limits):
        by_value, _ = jaxnn.clip_by_value(limit).update(jnp.asarray(gradients), None)
        axes.semilogx(limit, cosine(by_value, gradients).mean(), "o", color=ORANGE)
        if i % 4 == 0:  # a quotient of means over n numbers is off by some 1/n in the mean
            claim, room = f"clipped by value at {limit:.3g} deviations: cosine", 5 / gradients.shape[1]
            claims.mean(claim, cosine(by_value, gradients), cosine_by_value(limit), room)
    by_norm, _ = jaxnn.clip_by_global_norm(1.0).update(jnp.asarray(gradients[0]), None)
    # Each number is rounded by itself, which turns the vector by eps at most, and a cosine by its square; what is left
    # is the rounding of the cosine's own sums.
    claims.at_most("clipped by norm: |cosine - 1|", abs(cosine(by_norm, gradients[0]) - 1), 2.0**-46)
    fine = np.geomspace(0.05, 4, 100)
    axes.semilogx(fine, cosine_by_value(fine), **PREDICTED, label="by value, theory")
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


if __name__ == "__main__":
    raise SystemExit(main(__doc__, experiment))
