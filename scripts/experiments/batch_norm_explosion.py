"""Batch normalisation makes gradients explode at the start, by sqrt(pi / (pi - 1)) = 1.21 a layer of ReLU.

BN divides by the standard deviation of what ReLU left over, and backward divides by it too, while ReLU lets half pass:

    relu's variance = 1/2 - 1/2pi,    E[relu'^2] = 1/2,    |delta^l| / |delta^(l+1)| -> sqrt(1/2 / (1/2 - 1/2pi))

for layers of Dense, BN and ReLU with He's weights, which BN makes the same as any other normal ones. As
sqrt(pi / (pi - 1)) = 1.211 is above 1, gradients explode with depth, and no variance of the weights helps.

Where the notes are loose. BN's gain isn't that "gradients become larger": at the start they do so without end. What BN
brings into the sensitive region of an activation is its input, and not a weight. BN's 1.186 a layer, measured at
n = 256 and B = 128, isn't 1.211 a bit off: the first layer has 0.707, for its input isn't rectified, which makes it
1.190 over 30; the batch makes it 1.195, and the width 1.191 again.

    python scripts/experiments/batch_norm_explosion.py                          (5 s on 2 cores; --quick 2 s)

Expect 1.19 a layer at n = 256, where 1.191 is predicted, and 1.193 at n = 1024, where 1.194 is.
Source: PRINCIPLES D6, section 4 (13, 14); Yang et al. 2019.
"""

import jax
import numpy as np
from claims import BLUE, ORANGE, PREDICTED, main, panels
from vanishing import DEPTH, error_terms, relative, upwards

import jaxnn

BATCH = 128


def normalised(width):
    return jaxnn.Serial(jaxnn.Dense(width, jaxnn.He("normal")), jaxnn.BatchNorm(), jaxnn.ReLU())


def batch_normalised(width):
    """Mean log factors of Dense, BN, ReLU, to order 1 / B and 1 / n.

    BN makes a feature a vector of the batch, uniform on a sphere: two of its entries correlate by r = -1 / (B - 1), and
    ReLU leaves the variance 1/2 - E[relu relu'], 1/2 - 1/2pi without r. BN above divides by it, and removes what lies
    along 1 and x^. At width n inputs become unequal. The variance of their log norms gains 4.4 / n by a layer, which is
    E[u^4] / E[u^2]^2 - 1 of u = relu - its mean, over n; and it shrinks, for each input has a say in its own divisors,
    which leave 1 - (1 + E[z^4]) / B of a change of its log norm, where E[z^4] is just below 3. E[relu]^2 is less by
    exp(-variance / 4). Two inputs' squared cosine gains 1 / n, and shrinks by ReLU's kernel. Both
    make features' variances scatter, and E[1 / variance] more; less 2 / n, for z is made by the W that delta meets.
    """
    r = -1 / (BATCH - 1)
    product = (np.sqrt(1 - r**2) + r * (np.pi / 2 + np.arcsin(r))) / (2 * np.pi)  # E[relu relu'], the arc-cosine kernel
    both_on = 1 / 4 + np.arcsin(r) / (2 * np.pi)
    norms_variance, cosine_square = 2 / width, 1 / width
    logs = [np.log(1 / 2) / 2]  # the first layer's input isn't rectified: its variance is 1, and ReLU's slope 1/2
    for _ in range(1, DEPTH):
        norms_variance = (1 - 3.9 / BATCH) ** 2 * norms_variance + 4.4 / width
        cosine_square = (1 / 4 / (1 / 2 - product)) ** 2 * cosine_square + 1 / width
        variance = 1 / 2 - product * np.exp(-norms_variance / 4)
        scatter = 2 * (np.exp(norms_variance) / BATCH + cosine_square)
        inverse = (1 + 1 / BATCH) * (1 - 2 / width) / (1 - scatter) / variance
        logs.append(np.log(inverse * ((1 - 1 / BATCH) / 2 + (both_on - variance) / BATCH)) / 2)
    return np.array(logs)


def with_batches(claims, keys, widths):
    """By width: log |delta| from bottom to top over that at the top, (n_seeds, DEPTH + 1)."""
    measurements = {}
    for width, n_seeds in widths.items():
        measured, _ = error_terms(keys[:n_seeds], block=normalised(width), rows=BATCH, width=width)
        measurements[width], logs = relative(measured), batch_normalised(width)
        # The theory has the first order of 1 / n: the next one is well below 1 / n itself.
        statement = f"batch normalisation, n = {width}, B = {BATCH}: factor a layer"
        claims.mean(statement, np.exp(measurements[width][:, 0] / DEPTH), np.exp(logs.mean()), room=1 / width)
    return measurements


def drawn(measurements):
    figure, (whole, a_layer) = panels(2, width=5.4, height=4.2)
    layers, limit = np.arange(DEPTH + 1), np.sqrt(np.pi / (np.pi - 1))
    for (width, measured), colour, size in zip(measurements.items(), (ORANGE, BLUE), (7, 3), strict=False):
        look = {"color": colour, "markersize": size, "label": f"n = {width}, B = {BATCH}"}
        logs = batch_normalised(width)
        whole.semilogy(layers, np.exp(measured.mean(axis=0)), "o", **look)
        whole.semilogy(layers, np.exp(upwards(logs)), **PREDICTED)
        a_layer.plot(layers[2:], np.exp(-np.diff(measured, axis=1).mean(axis=0))[1:], "o", **(look | {"markersize": 4}))
        a_layer.plot(layers[2:], np.exp(logs)[1:], **PREDICTED)
    a_layer.axhline(limit, color="gray", linestyle=":", label="$\\sqrt{\\pi / (\\pi - 1)}$")
    whole.set(xlabel="layers below", ylabel="$|\\partial E / \\partial x|$, over that at the top")
    whole.set(title="Batch normalisation explodes")
    a_layer.set(ylim=(1.195, 1.23), xlabel="layer", ylabel="factor of that layer")
    a_layer.set_title("All layers but the first (0.7)")
    for panel in (whole, a_layer):
        panel.plot([], [], **PREDICTED, label="theory")
    return figure


def experiment(claims, quick, seed):
    keys = jax.random.split(jax.random.key(seed), 128 if quick else 512)
    return drawn(with_batches(claims, keys, {256: 8} if quick else {256: 24, 1024: 8}))


if __name__ == "__main__":
    raise SystemExit(main(__doc__, experiment))
