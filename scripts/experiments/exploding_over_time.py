"""Exploding over time: where tanh is linear, a step's factor is the spectral radius of the recurrent matrix.

The notes: factors above 1 are multiplied and may overflow. Over time the factor is a matrix U, the same in each step.
Where tanh is linear,

    d_t = U d_(t+1):    |d| after k steps back ~ r^k,    r the spectral radius of U.

Exactly so for U = r Q with Q orthogonal; for others |d| / r^k stays between |w . d|, w the leading left eigenvector,
and cond(eigenvectors). Away from 0, tanh' < 1, and r^k is only a bound of the orthogonal ones: driven by noise, error
terms shrink even with r = 1.1.

Source: PRINCIPLES E1; Pascanu et al. 2013.

    python scripts/experiments/exploding_over_time.py

Five seconds on 2 cores. Expect |d| = r^k to 2e-15 for an orthogonal matrix, |d| / r^k = 0.11 for a Gaussian one after
99 steps.
"""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from claims import BLUE, GREEN, ORANGE, PREDICTED, PURPLE, main, panels
from scipy import stats

import jaxnn
from jaxnn.backward.observers import norms

WIDTH, N_STEPS = 64, 100
BACK = np.arange(N_STEPS)


def experiment(claims, quick, seed):
    rng = np.random.default_rng(seed)
    figure, (lengths, ratios) = panels(2, width=5.4, height=4.2)
    with jax.enable_x64(True):
        over_time(claims, rng, lengths, ratios)
    return figure


def lengths_of_error_terms(weight, x, dy):
    """|d| after k = 0, 1, ... steps back in time, of a net whose recurrent matrix is `weight`."""
    net = jaxnn.Recurrent(jaxnn.TanhCell(WIDTH), sequence=False)
    params, state = net.init(jax.random.key(0), (N_STEPS, 1), jnp.float64)
    recurrent = params.inner.recurrent._replace(weight=jnp.asarray(weight))
    params = params._replace(inner=params.inner._replace(recurrent=recurrent))
    _, _, cache = net.forward(params, state, x)
    return np.asarray(jaxnn.fold(net, params, cache, dy, norms).notes[".inner"].error_term)[::-1]


def over_time(claims, rng, lengths, ratios):
    dy = jnp.asarray(stats.uniform_direction.rvs(WIDTH, random_state=rng)[None])
    # Still: all signals are 0, where tanh is linear.
    still, driven = jnp.zeros((1, N_STEPS, 1)), jnp.asarray(rng.standard_normal((1, N_STEPS, 1)))
    orthogonal, gaussian = stats.ortho_group.rvs(WIDTH, random_state=rng), rng.standard_normal((WIDTH, WIDTH))
    eigenvalues, left, right = scipy.linalg.eig(gaussian, left=True)
    leading = np.argmax(np.abs(eigenvalues))
    gaussian /= np.abs(eigenvalues[leading])
    rounding = N_STEPS * WIDTH**1.5 * 2.0**-52  # of sums of n products with U, n eps |U|_F a step
    for radius, colour in (0.9, BLUE), (1.0, GREEN), (1.1, ORANGE):
        exact, bounded, tamed = (
            lengths_of_error_terms(radius * u, x, dy) / radius**BACK
            for u, x in ((orthogonal, still), (gaussian, still), (orthogonal, driven))
        )
        claims.at_most(f"r = {radius}, orthogonal, linear: |d| / r^k - 1", np.max(np.abs(exact - 1)), rounding)
        claims.at_most(f"r = {radius}, orthogonal, driven: max |d| / r^k", np.max(tamed), 1 + rounding)
        lengths.semilogy(BACK[::9], (exact * radius**BACK)[::9], "o", markersize=3.5, color=colour)
        lengths.semilogy(BACK, bounded * radius**BACK, color=colour, label=f"r = {radius}, Gaussian U")
        lengths.semilogy(BACK, tamed * radius**BACK, ":", color=colour)
        lengths.semilogy(BACK, 1.0 * radius**BACK, **PREDICTED)
        ratios.semilogy(BACK, tamed, ":", color=colour, label=f"r = {radius}, orthogonal U, driven")
    # Of the last one, r = 1.1: slopes of tanh are below 1 where signals aren't 0.
    claims.at_most(f"r = 1.1, orthogonal, driven: |d| after {N_STEPS - 1} steps", tamed[-1] * 1.1 ** BACK[-1], 1)
    low, high = np.abs(left[:, leading].conj() @ dy[0]), np.linalg.cond(right)
    claims.between(f"r = 1.1, Gaussian, linear: |d| / r^k after {N_STEPS - 1} steps", bounded[-1], low, high)
    lengths.plot([], [], **PREDICTED, label=r"$r^k$")
    lengths.plot([], [], "o", markersize=3.5, color="grey", label="orthogonal U")
    lengths.plot([], [], ":", color="grey", label="the same, driven by noise")
    lengths.set(xlabel="steps of time back, k", ylabel="length of the error term", title="Over time, n = 64")
    ratios.plot(BACK, bounded, color=PURPLE, label="Gaussian U, any r")
    for bound in low, 1.0, high:
        ratios.axhline(bound, **PREDICTED)
    ratios.plot([], [], **PREDICTED, label=f"bounds: {low:.2g} and {high:.2g} of Gaussian U, 1 of orthogonal U")
    ratios.set(xlabel="steps of time back, k", ylabel=r"length of the error term / $r^k$", title=r"Divided by $r^k$")
    ratios.set_ylim(1e-11, 1e3)


if __name__ == "__main__":
    raise SystemExit(main(__doc__, experiment))
