"""Each layer of sigmoid learns a fifth as fast as the next one, which predicts Nielsen's speeds of learning.

The notes: the early layers of a deep network hardly learn. Nielsen measured it at the start of training: the speed of a
layer is |dC/db^l|, the norm of the mean of its error terms over 1000 images. For two images a and b

    |dC/db^l| / |dC/db^(l+1)| -> sqrt(E[sigma'(z_a) sigma'(z_b)]),    z_a and z_b normal, of variance q and covariance c

where layer by layer q <- 1 + E[sigma(z)^2] and c <- 1 + E[sigma(z_a) sigma(z_b)]: biases are N(0, 1), and weights
N(0, 1 / n_in), which is sigma_w^2 = 1. At width 30 the mean logarithm lies lower, by what `vanishing` says.

Where the comparison is loose. Nielsen's networks start from N(0, 1 / n_in), by his program, and so chi predicts their
speeds. His are of one network each, and of MNIST; here they are of 128, and Fashion-MNIST stands in for MNIST. Only the
images' mean square and that of the mean image enter the theory.

    python scripts/experiments/learning_speeds.py                               (5 s on 2 cores; --quick 2 s)

Expect each layer of 30 sigmoid neurons slower than the next one in every network, five times in the mean: logarithms
of -1.60, and Nielsen's of -1.55, -1.59 and -1.52.
Source: PRINCIPLES D1, D2, 3.3; Nielsen, "Neural Networks and Deep Learning", chapter 5; Schoenholz et al. 2017.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from claims import BLUE, GREEN, ORANGE, PREDICTED, main, panels
from vanishing import MASS, NODES, moments, scatter, upwards

import jaxnn
from jaxnn.data import load

WIDTH = 30
# Nielsen's speeds of learning, |dC/db^l| of the hidden layers, one network each, MNIST.
NIELSEN = [(0.0657, 0.3092), (0.01184, 0.05997, 0.28314), (0.002975, 0.01708, 0.06954, 0.28514)]


def two_images(q, c):
    """E[f_a f_b] and E[f'_a f'_b] of sigmoid at two net inputs of variance q and covariance c."""
    a, b = NODES[:, None], c / q * NODES[:, None] + np.sqrt(1 - (c / q) ** 2) * NODES
    y_a, y_b = (1 / (1 + np.exp(-np.sqrt(q) * z)) for z in (a, b))
    return tuple(float(MASS @ g @ MASS / (2 * np.pi)) for g in (y_a * y_b, y_a * (1 - y_a) * y_b * (1 - y_b)))


def foretold_speeds(x, n_hidden):
    """By layer the mean log of its speed over the next one's, its variance, and what images' differences may add."""
    q, c = 1 + np.mean(x**2), 1 + np.mean(x.mean(axis=0) ** 2)
    rows = []
    for _ in range(n_hidden - 1):
        length, second, fourth = moments(jaxnn.Sigmoid(), q)
        together, slopes = two_images(q, c)
        below = scatter(second, fourth, WIDTH)  # which is the logarithm's variance, too
        rows.append((np.log(slopes) / 2 - below, below, np.log(second / slopes) / 2))
        q, c = 1 + length, 1 + together
    return np.transpose(rows)


@partial(jax.jit, static_argnames="n_hidden")
def speeds(keys, x, t, *, n_hidden):
    """(n_seeds, n_hidden): weights N(0, 1 / n_in) and cross-entropy, as in his program."""

    def dense(n_in, n_out):
        return jaxnn.Dense(n_out, jaxnn.Normal(n_in**-0.5), jaxnn.Normal(1))

    n_ins = [784] + [WIDTH] * (n_hidden - 1)
    hidden = [layer for n_in in n_ins for layer in (dense(n_in, WIDTH), jaxnn.Sigmoid())]
    net = jaxnn.Serial(*hidden, dense(WIDTH, 10))

    def of_one(key):
        params, state = net.init(key, (784,), "float32")
        grads = jaxnn.backprop(net, jaxnn.SigmoidCrossEntropy())(params, state, x, t).grads
        return jnp.stack([jnp.linalg.norm(grads[2 * i].bias) for i in range(n_hidden)])

    return jax.lax.map(of_one, keys)


def speeds_of_learning(claims, keys, networks):
    """By number of hidden layers: measured log speeds (n_seeds, n_hidden), and the foretold logs of their ratios."""
    images, labels = (part[:1000] for part in load("fashion-mnist").train)
    x = np.float32(1 / 255) * images.reshape(-1, 784)
    results = {}
    for published in networks:
        n = len(published)
        measured = np.asarray(speeds(keys, x, labels, n_hidden=n))
        logs, variances, differences = foretold_speeds(x, n)
        ratios = np.log(measured[:, :-1] / measured[:, 1:])
        faster = np.sum(ratios.max(axis=1) > 0)
        claims.equal(f"{n} hidden layers: networks in which an earlier layer is faster", faster, 0)
        # To second order in 1 / 30, and for images that are told apart by the first layers.
        room = 2 / WIDTH**2 + differences.mean()
        statement = f"{n} hidden layers: log of a layer's speed over the next one's"
        claims.mean(statement, ratios.mean(axis=1), logs.mean(), room)
        spread = 3.29 * np.sqrt(variances.mean() / (n - 1))
        his = np.mean(np.diff(np.log(published)))
        claims.near(f"{n} hidden layers: the same, of Nielsen's one network (MNIST)", -his, logs.mean(), spread)
        results[n] = np.log(measured), logs, np.log(published)
    return results


def drawn(results):
    figure, (speed, ratio) = panels(2, width=5.4, height=4.2)
    for (n, (measured, logs, published)), colour, size in zip(
        results.items(), (BLUE, ORANGE, GREEN), (13, 9, 5), strict=False
    ):
        layers = np.arange(1, n + 1) - n
        look = {"color": colour, "markersize": size, "markerfacecolor": "none", "markeredgewidth": 2}
        speed.semilogy(
            layers, np.exp((measured - measured[:, -1:]).mean(axis=0)), "o", **look, label=f"{n} hidden layers"
        )
        speed.semilogy(layers, np.exp(published - published[-1]), "x", color=colour)
        speed.semilogy(layers, np.exp(upwards(logs)), **PREDICTED)
        of_networks = -np.diff(measured, axis=1).mean(axis=1)
        ratio.hist(of_networks, np.arange(-2.2, -0.99, 0.1), histtype="step", color=colour, label=f"{n} hidden layers")
        ratio.plot(-np.diff(published).mean(), 1, "x", color=colour, markersize=9, markeredgewidth=2)
    speed.set(xlabel="hidden layer, counted from the last", ylabel="speed of learning, over the last layer's")
    speed.set(title=f"{WIDTH} sigmoid neurons a layer, mean of all", xticks=range(-3, 1))
    speed.plot([], [], **PREDICTED, label="mean field")
    ratio.set(xlabel="log of a layer's speed over the next one's", ylabel="networks", title="Network by network")
    ratio.axvline(results[max(results)][1].mean(), **PREDICTED, label="mean field")
    for panel in (speed, ratio):
        panel.plot([], [], "x", color="gray", label="Nielsen's networks, MNIST")
    return figure


def experiment(claims, quick, seed):
    keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), 1), 16 if quick else 128)
    return drawn(speeds_of_learning(claims, keys, NIELSEN[-1:] if quick else NIELSEN))


if __name__ == "__main__":
    raise SystemExit(main(__doc__, experiment))
