"""Remedies for vanishing gradients: each is a factor a layer at the start, and can be derived before it is measured.

    plain sigmoid     sqrt(E[sigma'(z)^2]), a quarter at most: 1e-19 of the error term after 30 layers
    ReLU, He          1, but for the scatter at width n: exp(-5 / 4n); orthogonal weights scatter less: exp(-3 / 4n)
    batch norm.       sqrt(pi / (pi - 1)) = 1.211 for ReLU: BN divides by the standard deviation of what ReLU left over,
                      1/2 - 1/2pi of the variance, of which backward gets 1/2. So gradients *explode*
    residual          x + W relu(x): (I + J)^T delta has the norm sqrt(1 + 1), 2^15 after 30 blocks. Times 1 / sqrt(L)
                      it is (1 + 1/L)^(L/2), sqrt(e) at most, however deep
    x + relu(W x)     the notes' form grows faster, 8e5, for x . dE/dx is the same before and after each block (Euler:
                      a network without biases is homogeneous), while |x| grows by its mean, which ReLU adds to

Where the notes are loose. BN's gain isn't that "gradients become larger": at the start they do so without end. Nor does
"always a 1" save a residual network: the 1 must stay the larger part. And the list lacks initialisation, the first of
all remedies. BN's 1.186 a layer, measured at n = 256 and B = 128, isn't 1.211 a bit off: the first layer has 0.707, for
its input isn't rectified, which makes it 1.189 over 30; the batch makes it 1.195, and the width 1.191 again.

    python scripts/experiments/remedies.py                                      (25 s on 2 cores; --quick 9 s)

Expect 1.191 (BN), 2^15 and 8.7e5 (residual), 1.6 (scaled), 1.2 (sigmoid, residual) over 30 layers.
Source: PRINCIPLES D4, D6, D7, 4 (13 to 15, 25); Saxe 2014; He et al. 2016; Hanin and Nica 2018; Yang et al. 2019.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from claims import BLUE, GREEN, ORANGE, PREDICTED, PURPLE, RED, SKY, main, panels
from scipy import special, stats

import jaxnn
from jaxnn.observe import norms

WIDTH, NARROW, DEPTH, BATCH = 256, 64, 30, 128
HE, XAVIER, RELU, SIGMOID = jaxnn.He("normal"), jaxnn.Glorot("normal"), jaxnn.ReLU(), jaxnn.Sigmoid()


def dense(init, width=WIDTH):
    return jaxnn.Dense(width, init)


# The scatter of an initialisation shows at width 64; the other networks are 256 wide.
INITIALISED = {
    "ReLU, He": (jaxnn.Serial(dense(HE, NARROW), RELU), ORANGE),
    "ReLU, orthogonal": (jaxnn.Serial(dense(jaxnn.Orthogonal(2**0.5), NARROW), RELU), SKY),
}
BLOCKS = {
    "sigmoid, Xavier": (jaxnn.Serial(dense(XAVIER), SIGMOID), BLUE),
    "x + sigmoid(W x)": (jaxnn.Residual(jaxnn.Serial(dense(XAVIER), SIGMOID)), "black"),
    "x + W relu(x) / sqrt(L)": (jaxnn.Residual(jaxnn.Serial(RELU, dense(HE)), scale=DEPTH**-0.5), GREEN),
    "x + W relu(x)": (jaxnn.Residual(jaxnn.Serial(RELU, dense(HE))), PURPLE),
    "x + relu(W x)": (jaxnn.Residual(jaxnn.Serial(dense(HE), RELU)), RED),
}


def normalised(width):
    return jaxnn.Serial(dense(HE, width), jaxnn.BatchNorm(), RELU)


@partial(jax.jit, static_argnames=("block", "rows", "width"))
def error_terms(keys, *, block, rows=1, width=WIDTH):
    """|dE/dx| before and after each block, (n_seeds, DEPTH + 1), for a random error term at the top.

    Also how far y . dE/dy is from x . dE/dx, relative to |y| |dE/dy|.
    """
    net = jaxnn.Repeat(block, DEPTH)

    def of_one(key):
        at_weights, at_x, at_top = jax.random.split(key, 3)
        params, state = net.init(at_weights, (width,))
        x, top = jax.random.normal(at_x, (rows, width)), jax.random.normal(at_top, (rows, width))
        y, _, cache = net.forward(params, state, x, train=True)
        folded = jaxnn.fold(net, params, cache, top, norms)
        measured = jnp.append(jnp.linalg.norm(folded.dx), folded.notes[".inner"].error_term)
        apart = (jnp.sum(y * top) - jnp.sum(x * folded.dx)) / (jnp.linalg.norm(y) * jnp.linalg.norm(top))
        return measured, jnp.abs(apart)

    return jax.lax.map(of_one, keys)


# Theory: mean log factors of the blocks, from the first to the last.


def initialised(name):
    """ReLU behind Gaussian or orthogonal weights, exactly: of n units k are on, with k of n squares."""
    on = np.arange(1, NARROW + 1)
    of_k = stats.binom.pmf(on, NARROW, 0.5) @ special.digamma(on / 2)  # E log of a sum of k squares is this + log 2
    logs = {"ReLU, He": np.log(4 / NARROW), "ReLU, orthogonal": np.log(2) - special.digamma(NARROW / 2)}
    return np.full(DEPTH, (logs[name] + of_k) / 2)


def sigmoid_slope(q):
    """E[sigma(z)^2], E[sigma'(z)^2] for z ~ N(0, q)."""
    nodes, mass = np.polynomial.hermite_e.hermegauss(100)
    y = special.expit(np.sqrt(q) * nodes)
    return (mass @ y**2, mass @ (y * (1 - y)) ** 2) / np.sqrt(2 * np.pi)


def sigmoid_blocks(residual):
    """q = |x|^2 / n and the mean of x, block by block; sigma adds 1/2 to the mean, whatever z."""
    logs, q, mean = [], 1.0, 0.0
    for _ in range(DEPTH):
        square, slope = sigmoid_slope(q)
        logs.append(np.log(residual + slope) / 2)
        q, mean = (q + mean + square, mean + 1 / 2) if residual else (square, 1 / 2)
    return np.array(logs)


def preactivated(scale):
    """The branch's share chi = scale^2 of |delta|^2; mean logs lie lower by a quarter of the relative variance."""
    chi = scale**2
    variance = (4 * chi + 5 * chi**2) / WIDTH  # of 2 delta . J^T delta, and of |J^T delta|^2
    return np.full(DEPTH, np.log(1 + chi) / 2 - variance / (4 * (1 + chi) ** 2))


def postactivated():
    """Half the log of E |delta|^2 before each block over that at the top, for x' = x + relu(W x).

    |J^T delta|^2 averaged over delta is |J v|^2 averaged over v. Along x, J v = v x' / x; elsewhere J v = v + w where
    z = W x > 0, and w ~ N(0, 2 |v|^2 / n) is drawn anew. So a = v.x/n and b = v.1/n feed each other through relu's
    mean mu, and w feeds both by a share of 1 / n: the means of a^2, b^2, a b and s = |v|^2 / n follow themselves alone.
    """
    q, mean, geometry = 1.0, 0.0, []  # |x|^2 / n, and the mean of x
    for _ in range(DEPTH):
        mu = np.sqrt(q / np.pi)
        geometry.append((q, mean, mu))
        q, mean = 2 * q + 2 * mean * mu, mean + mu
    logs = [0.0]
    for first in reversed(range(DEPTH)):
        q, mean, _ = geometry[first]
        aa, bb, ab, s = q / WIDTH, 1 / WIDTH, mean / WIDTH, 1.0
        for q, mean, mu in geometry[first:]:
            k, c = 2 + mu * mean / q, mu / q  # a <- k a + mu b + noise,  b <- b + c a + noise
            aa, bb, ab, s = (
                k**2 * aa + 2 * k * mu * ab + mu**2 * bb + s * (4 * q - mu**2 + 4 * mean * mu) / WIDTH,
                bb + 2 * c * ab + c**2 * aa + s / WIDTH,
                k * c * aa + (k + mu * c) * ab + mu * bb + s * (mean + 2 * mu) / WIDTH,
                2 * s + 2 * c * ab,
            )
        logs.insert(0, np.log(s) / 2)
    return np.array(logs)


def batch_normalised(width):
    """Mean log factors of Dense, BN, ReLU, to order 1 / B and 1 / n.

    BN makes a feature a vector of the batch, uniform on a sphere: two of its entries correlate by r = -1 / (B - 1), and
    ReLU leaves the variance 1/2 - E[relu relu'], 1/2 - 1/2pi without r. BN above divides by it, and removes what lies
    along 1 and x^. At width n inputs become unequal. The variance of their log norms gains 4.4 / n by a layer, which is
    E[u^4] / E[u^2]^2 - 1 of u = relu - its mean, over n; and it shrinks, as each input has a say in its own divisor:
    E[relu]^2 is less by exp(-variance / 4). Two inputs' squared cosine gains 1 / n, and shrinks by ReLU's kernel. Both
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


def upwards(logs):
    """From the factors of the blocks to |delta| before each, and 0 at the top."""
    return np.append(np.cumsum(logs[::-1])[::-1], 0)


FORETOLD = {
    "sigmoid, Xavier": upwards(sigmoid_blocks(residual=0)),
    "ReLU, He": upwards(initialised("ReLU, He")),
    "ReLU, orthogonal": upwards(initialised("ReLU, orthogonal")),
    "x + sigmoid(W x)": upwards(sigmoid_blocks(residual=1)),
    "x + W relu(x) / sqrt(L)": upwards(preactivated(DEPTH**-0.5)),
    "x + W relu(x)": upwards(preactivated(1)),
    "x + relu(W x)": postactivated(),
}


def relative(measured):
    """log |dE/dx| over that at the top."""
    return np.log(measured) - np.log(measured[:, -1:])


def initialisations(claims, keys):
    found = {}
    for name, (block, _) in INITIALISED.items():
        found[name] = relative(error_terms(keys, block=block, width=NARROW)[0])
        a_layer, total = np.exp(found[name][:, 0] / DEPTH), np.exp(FORETOLD[name][0])
        claims.mean(f"{name}, n = {NARROW}: factor a layer ({total:.3g} in all)", a_layer, total ** (1 / DEPTH))
    kept, expected = ([logs[name][..., 0] for name in INITIALISED] for logs in (found, FORETOLD))
    statement = f"n = {NARROW}: log of what orthogonal weights keep over what He's do"
    claims.mean(statement, kept[1] - kept[0], expected[1] - expected[0])
    return found


def paths(claims, keys, n_seeds):
    """The residual networks, and the plain one beside them."""
    found = {}
    for name, (block, _) in BLOCKS.items():
        heavy_tailed = name == "x + relu(W x)"
        measured, apart = error_terms(keys if heavy_tailed else keys[:n_seeds], block=block)
        found[name], total = relative(measured), np.exp(FORETOLD[name][0])
        if heavy_tailed:
            # Thirty blocks, each known to 1 / n. A sum of few squares: their mean is foretold, and not its logarithm.
            growth = np.exp(2 * (found[name][:, 0] - FORETOLD[name][0]))
            statement = f"{name}: mean square after {DEPTH} blocks over that foretold, {total:.3g}^2"
            claims.mean(statement, growth, 1, room=DEPTH / WIDTH)
            # Each block sums 256 products, rounded by 2^-24.
            claims.at_most(f"{name}: x . dE/dx differs, bottom from top", np.max(apart), DEPTH * WIDTH / 2**24)
        elif name != "sigmoid, Xavier":
            a_block = np.exp(found[name][:, 0] / DEPTH)  # known to 1 / n
            claims.mean(f"{name}: factor a block ({total:.3g} in all)", a_block, total ** (1 / DEPTH), room=1 / WIDTH)
    return found


def with_batches(claims, keys, widths):
    found = {}
    for width, n_seeds in widths.items():
        measured, _ = error_terms(keys[:n_seeds], block=normalised(width), rows=BATCH, width=width)
        found[width], logs = relative(measured), batch_normalised(width)
        statement = f"batch normalisation, n = {width}, B = {BATCH}: factor a layer"
        claims.mean(statement, np.exp(found[width][:, 0] / DEPTH), np.exp(logs.mean()), room=1 / width)
    return found


def drawn(found, normal):
    figure, (every, near, batches) = panels(3, width=5)
    layers = np.arange(DEPTH + 1)
    lines = {name: (found[name], FORETOLD[name], colour) for name, (_, colour) in (BLOCKS | INITIALISED).items()}
    lines["batch normalisation"] = normal[WIDTH], upwards(batch_normalised(WIDTH)), "#999933"
    for name, (measured, logs, colour) in lines.items():
        mean = np.log(np.mean(np.exp(2 * measured), axis=0)) / 2 if name == "x + relu(W x)" else measured.mean(axis=0)
        for panel in (every, near) if abs(logs[0]) < 1 else (every,):
            panel.semilogy(layers, np.exp(mean), "o", color=colour, markersize=4, label=name)
            panel.semilogy(layers, np.exp(logs), **PREDICTED)
    every.set(title="All remedies, at the start")
    near.set(ylim=(0.5, 2), yticks=(0.5, 1, 2), yticklabels=("0.5", "1", "2"), title="Those that stay near 1")
    near.minorticks_off()
    for panel in (every, near):
        panel.plot([], [], **PREDICTED, label="theory")
        panel.set(xlabel="blocks below", ylabel="$|\\partial E / \\partial x|$, over that at the top")
        panel.legend(fontsize=7, loc="lower right")
    for (width, measured), colour in zip(normal.items(), (ORANGE, BLUE), strict=False):
        factor = np.exp(-np.diff(measured, axis=1).mean(axis=0))
        batches.plot(layers[2:], factor[1:], "o", color=colour, markersize=4, label=f"n = {width}, B = {BATCH}")
        batches.plot(layers[2:], np.exp(batch_normalised(width))[1:], **PREDICTED)
    batches.axhline(np.sqrt(np.pi / (np.pi - 1)), color="gray", linestyle=":", label="$\\sqrt{\\pi / (\\pi - 1)}$")
    batches.plot([], [], **PREDICTED, label="theory")
    batches.set(ylim=(1.195, 1.23), xlabel="layer", ylabel="factor of that layer", title="Batch normalisation explodes")
    batches.legend(fontsize=8)
    return figure


def experiment(claims, quick, seed):
    keys = jax.random.split(jax.random.key(seed), 128 if quick else 512)
    found = initialisations(claims, keys) | paths(claims, keys, 24 if quick else 128)
    return drawn(found, with_batches(claims, keys, {256: 8} if quick else {256: 24, 1024: 8}))


if __name__ == "__main__":
    raise SystemExit(main(__doc__, experiment))
