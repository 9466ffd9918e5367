"""Residual networks of ReLU explode at the start, unless their branches are scaled by 1 / sqrt(L).

    x + W relu(x)     (I + J)^T delta has the norm sqrt(1 + 1), 2^15 after 30 blocks. Times 1 / sqrt(L) it is
                      (1 + 1/L)^(L/2), sqrt(e) at most, however deep
    x + relu(W x)     grows faster, 9e5, for x . dE/dx is the same before and after each block (Euler: a network without
                      biases is homogeneous), while |x| grows by its mean, which ReLU adds to
    x + sigmoid(W x)  sqrt(1 + E[sigma'(z)^2]), nearer to 1 with each block, as |x| grows and sigma saturates

of L = 30 blocks, with He's weights for ReLU and Xavier's for sigmoid, of width n = 256.

Where the notes are loose. "Always a 1" doesn't save a residual network: it is I + J, and the 1 must stay the larger
part. Unscaled, a branch of ReLU is as large as what it is added to. In x + relu(W x) one direction at the top, that of
y, makes nearly all of the mean square below: about two networks in three lie below the root of the prediction.

    python scripts/experiments/residual.py                                      (10 s on 2 cores; --quick 5 s)

Expect 3.1e4, which is 2^15 but for the width, and 8.6e5, where 8.75e5 is predicted (unscaled), 1.63 (scaled), 1.21
(sigmoid) over 30 blocks.
Source: PRINCIPLES D7, section 4 (15); He et al. 2016; Hanin and Nica 2018; Yang et al. 2019.
"""

import jax
import jax.numpy as jnp
import numpy as np
from claims import GREEN, PREDICTED, PURPLE, RED, SKY, main, panels
from vanishing import DEPTH, WIDTH, error_terms, moments, relative, upwards

import jaxnn

RELU, SIGMOID = jaxnn.ReLU(), jaxnn.Sigmoid()
WITH_HE, WITH_XAVIER = (jaxnn.Dense(WIDTH, init) for init in (jaxnn.He("normal"), jaxnn.Glorot("normal")))
POSTACTIVATED = "x + relu(W x)"
BLOCKS = {
    "x + sigmoid(W x)": (jaxnn.Residual(jaxnn.Serial(WITH_XAVIER, SIGMOID)), SKY),
    "x + W relu(x) / sqrt(L)": (jaxnn.Residual(jaxnn.Serial(RELU, WITH_HE), scale=DEPTH**-0.5), GREEN),
    "x + W relu(x)": (jaxnn.Residual(jaxnn.Serial(RELU, WITH_HE)), PURPLE),
    POSTACTIVATED: (jaxnn.Residual(jaxnn.Serial(WITH_HE, RELU)), RED),
}


def sigmoid_blocks(residual):
    """q = |x|^2 / n and the mean of x, block by block; sigma adds 1/2 to the mean, whatever z."""
    logs, q, mean = [], 1.0, 0.0
    for _ in range(DEPTH):
        square, slope, _ = moments(SIGMOID, q)
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


FORETOLD = {
    "x + sigmoid(W x)": upwards(sigmoid_blocks(residual=1)),
    "x + W relu(x) / sqrt(L)": upwards(preactivated(DEPTH**-0.5)),
    "x + W relu(x)": upwards(preactivated(1)),
    POSTACTIVATED: postactivated(),
}


def average(name, measured):
    """Mean over the seeds of log |delta|, or what is foretold of the heavy tail: half the log of its mean square."""
    return np.log(np.mean(np.exp(2 * measured), axis=0)) / 2 if name == POSTACTIVATED else measured.mean(axis=0)


@jax.jit
def euler(x, dx, y, dy):
    """How far y . dE/dy is from x . dE/dx, relative to |y| |dE/dy|: one network's."""
    return jnp.abs((jnp.sum(y * dy) - jnp.sum(x * dx)) / (jnp.linalg.norm(y) * jnp.linalg.norm(dy)))


def growth(claims, keys, n_seeds):
    results = {}
    for name, (block, _) in BLOCKS.items():
        lengths, ends = error_terms(keys if name == POSTACTIVATED else keys[:n_seeds], block=block)
        results[name], total = relative(lengths), np.exp(FORETOLD[name][0])
        if name == POSTACTIVATED:
            # Thirty blocks, each known to 1 / n. A sum of few squares: their mean is foretold, and not its logarithm.
            squares = np.exp(2 * (results[name][:, 0] - FORETOLD[name][0]))
            statement = f"{name}: mean square after {DEPTH} blocks over that foretold, {total:.3g}^2"
            claims.mean(statement, squares, 1, room=DEPTH / WIDTH)
            # Each block sums 256 products, rounded by 2^-24.
            apart = np.max(jax.vmap(euler)(*ends))
            claims.at_most(f"{name}: x . dE/dx differs, bottom from top", apart, DEPTH * WIDTH / 2**24)
        else:
            a_block = np.exp(results[name][:, 0] / DEPTH)  # known to 1 / n
            claims.mean(f"{name}: factor a block ({total:.3g} in all)", a_block, total ** (1 / DEPTH), room=1 / WIDTH)
    return results


def drawn(results):
    figure, (every, near, tail) = panels(3, width=5)
    for name, (_, colour) in BLOCKS.items():
        for panel in (every, near) if abs(FORETOLD[name][0]) < 1 else (every,):
            panel.semilogy(np.exp(average(name, results[name])), "o", color=colour, markersize=4, label=name)
            panel.semilogy(np.exp(FORETOLD[name]), **PREDICTED)
    every.set(title="Residual networks, at the start")
    near.set(yticks=(1, 1.2, 1.5), yticklabels=("1", "1.2", "1.5"), title="Those that stay near 1")
    near.minorticks_off()
    for panel in (every, near):
        panel.plot([], [], **PREDICTED, label="theory")
        panel.set(xlabel="blocks below", ylabel="$|\\partial E / \\partial x|$, over that at the top")
    bottom = np.exp(results[POSTACTIVATED][:, 0])
    tail.hist(bottom, np.geomspace(bottom.min(), bottom.max(), 25), color=RED, alpha=0.6, label=POSTACTIVATED)
    tail.axvline(np.exp(FORETOLD[POSTACTIVATED][0]), **PREDICTED, label="theory, root mean square")
    tail.set(xscale="log", xlabel=f"$|\\partial E / \\partial x|$ {DEPTH} blocks below, over that at the top")
    tail.set(ylabel="networks", title="One direction at the top decides")
    return figure


def experiment(claims, quick, seed):
    keys = jax.random.split(jax.random.key(seed), 128 if quick else 512)
    return drawn(growth(claims, keys, 24 if quick else 128))


if __name__ == "__main__":
    raise SystemExit(main(__doc__, experiment))
