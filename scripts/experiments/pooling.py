"""Pooling takes away places, not examples, and makes what is left more robust to shifts, in part.

The notes: down-sampling makes the number of samples smaller, and the network more robust. What holds, exactly:

1. It is the places of an image that get fewer; the examples stay. Pooling has no parameters itself, and divides what a
   dense layer after it has, by k^2.

2. With independent pixels a k x k maximum, moved by one pixel, shares k (k - 1) of its pixels with the old one, and
   both see k (k + 1): it stays the same if the largest is among the shared, with the probability (k - 1) / (k + 1). A
   k x k mean always changes, but by a root mean square that is k^(-3/2) times a pixel's.

Source: PRINCIPLES G8, section 4 (21).

    python scripts/experiments/pooling.py

Seconds. Expect shares of 0.3327, 0.5004 and 0.6005 for k = 2, 3 and 4.
"""

import jax
import jax.numpy as jnp
import numpy as np
from claims import BLUE, GREEN, ORANGE, PREDICTED, main, panels
from dense_to_convolution import n_params

import jaxnn

IMAGE = (32, 32, 1)


def experiment(claims, quick, seed):
    weights = claim_the_parameters(claims)
    robustness = claim_the_robustness_to_shifts(claims, jax.random.key(seed), n=20_000 if quick else 200_000)
    return drawn(weights, robustness)


def claim_the_parameters(claims):
    """The weights of a dense layer to 100 behind k x k pooling, of each k."""
    claims.equal("max pooling: params", n_params(jaxnn.MaxPool(2), IMAGE), 0)
    y = jaxnn.MaxPool(2).forward((), (), jnp.zeros((10, *IMAGE))).y
    claims.equal("2 x 2 pooling of ten images of 32 x 32: shape", y.shape, (10, 16, 16, 1))
    dense = jaxnn.Flatten(), jaxnn.Dense(100, bias=False)
    weights = {k: n_params(jaxnn.Serial(jaxnn.MaxPool(k), *dense), IMAGE) for k in (2, 4, 8)}
    weights[1] = n_params(jaxnn.Serial(*dense), IMAGE)  # without
    saved = weights[1] / weights[2]
    claims.equal("weights of a dense layer: without over with 2 x 2 pooling before it", saved, 4.0)
    return weights


def claim_the_robustness_to_shifts(claims, key, n):
    """Windows of k x k independent pixels, before and after a shift by one: images of k rows and k + 1 columns."""
    results = {}
    for k in (2, 3, 4):
        x = jax.random.uniform(key, (n, k, k + 1, 1))
        here, there = x[:, :, :k], x[:, :, 1:]
        largest, mean = (
            [pool.forward((), (), pixels).y.ravel() for pixels in (here, there)]
            for pool in (jaxnn.MaxPool(k), jaxnn.AvgPool(k))
        )
        same = int(jnp.sum(largest[0] == largest[1]))
        claims.fraction(f"{k} x {k} maximum: share that a shift leaves as it is", same, n, (k - 1) / (k + 1))
        # Between two pixels the mean square is 2 / 12. Of the mean's change 2k pixels have a part, each of 1 / k^2.
        change = 6 * np.square(np.asarray(mean[0] - mean[1], np.float64))
        claims.mean(f"{k} x {k} mean: mean square of its change, over a pixel's", change, 1 / k**3)
        results[k] = same / n, np.sqrt(change.mean())
    return results


def drawn(weights, robustness):
    figure, (sizes, shifts) = panels(columns=2, width=5.2)
    every = np.geomspace(1, 8, 100)
    sizes.loglog(list(weights), list(weights.values()), "o", color=GREEN, label="behind k x k pooling")
    sizes.plot(every, weights[1] / every**2, **PREDICTED, label="$102\\,400 / k^2$")
    sizes.set(xlabel="window k in pixels", ylabel="weights of a dense layer to 100", title="an image of 32 x 32 pixels")
    sizes.set_xticks(sorted(weights), sorted(weights))
    sizes.minorticks_off()
    windows = np.array(list(robustness))
    share, change = np.array(list(robustness.values())).T
    every = np.linspace(1, 5, 100)
    shifts.plot(windows, share, "o", color=BLUE, label="maximum: share unchanged")
    shifts.plot(windows, change, "s", color=ORANGE, label="mean: change, over a pixel's")
    shifts.plot(every, (every - 1) / (every + 1), **PREDICTED, label="$(k - 1) / (k + 1)$ and $k^{-3/2}$")
    shifts.plot(every, every**-1.5, **PREDICTED)
    shifts.set(xlabel="window k in pixels", ylabel="after a shift by one pixel", title="pooling is robust in part")
    return figure


if __name__ == "__main__":
    raise SystemExit(main(__doc__, experiment))
