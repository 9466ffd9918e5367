"""Dead ReLU: a deep narrow network may be born dead, and how often follows from width and depth alone.

What kills a network is a layer whose N units are all off: behind it the output is constant, before it the gradient is
exactly 0. With weights and biases drawn symmetrically about 0 a unit is off at one input with probability 1/2, whatever
came before, so with L layers (L - 1 hidden ones and the output)

    P(dead) = 1 - (1 - 2^-N)^(L-1).                Biases needn't be 0: that they are symmetric is enough.

Dead for *all* scalar inputs is less: x > 0 and x < 0 must both die. Without biases they are two signals, orthogonal
after the first layer, and to Gaussian weights only the angle a between them matters: both die in one layer with
probability (1/2 - a / 2 pi)^N. A Markov chain of that angle gives P(both alive), and with it

    P(dead for all) = 1 - 2 (1 - 2^-N)^(L-1) + P(both alive).

Source: PRINCIPLES D5; Lu et al. 2019.

    python scripts/experiments/dead_relu.py

Ten seconds on 2 cores. Expect P(dead) .925, .699, .072 for (N, L) = (2, 10), (3, 10), (8, 20); for all inputs .880,
.579, .037.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from claims import BLUE, GREEN, ORANGE, PREDICTED, main, panels
from scipy import stats

import jaxnn

SIZES = [(2, 10, BLUE, "o"), (3, 10, ORANGE, "s"), (8, 20, GREEN, "^")]  # width N, layers L
DEPTHS = np.arange(2, 21)


def experiment(claims, quick, seed):
    n_born = 8_000 if quick else 20_000
    keys, rng = jax.random.split(jax.random.key(seed), n_born), np.random.default_rng(seed)
    figure, (one_input, all_inputs) = panels(2, width=5.4)
    for width, n_layers, colour, marker in SIZES[::2] if quick else SIZES:
        net = network(width, n_layers, jaxnn.ReLU())
        off, derivative = map(np.asarray, at_birth(net, born(net, keys)))
        dead = np.logical_or.accumulate(off, axis=1)  # the column l: of a network with l + 2 layers
        theory, theory_for_all = law(width, DEPTHS), dead_for_all(width, seed)
        last = n_layers - 2
        size, hits, hits_for_all = f"N = {width}, L = {n_layers}", dead[:, last, 1], dead[:, last].all(axis=1)
        claims.fraction(f"{size}: dead at one input", hits.sum(), n_born, theory[last])
        claims.fraction(f"{size}: dead at all inputs", hits_for_all.sum(), n_born, theory_for_all[last])
        odd = np.sum((derivative == 0) != dead[:, last])
        claims.equal(f"{size}: networks whose dy/dx isn't 0 just where a layer is off", odd, 0)
        for axes, line, counted in (one_input, theory, dead[..., 1]), (all_inputs, theory_for_all, dead.all(axis=2)):
            axes.plot(DEPTHS, line, **PREDICTED)
            shares = counted.mean(axis=0)
            axes.plot(DEPTHS[: len(shares) : 2], shares[::2], marker, color=colour, label=f"N = {width}, counted")
    claim_that_symmetric_biases_are_enough(claims, keys, rng)
    one_input.plot([], [], **PREDICTED, label=r"$1 - (1 - 2^{-N})^{L-1}$")
    all_inputs.plot([], [], **PREDICTED, label="chain of the angle")
    for axes, title in (one_input, "Dead at one input"), (all_inputs, "Dead at all inputs"):
        axes.set(xlabel="layers L", ylabel="share of networks", ylim=(0, 1.02), title=title, xticks=range(2, 21, 2))
        axes.legend(fontsize=8, loc="center right")
    return figure


def network(width, n_layers, activation):
    hidden = jaxnn.Serial(jaxnn.Dense(width, jaxnn.He("normal")), activation)
    return jaxnn.Serial(hidden, jaxnn.Repeat(hidden, n_layers - 2), jaxnn.Dense(1))


def born(net, keys):
    """The params of M networks for scalar inputs, as a run draws them from its key."""
    return jax.vmap(lambda key: net.init(jaxnn.Keys.of(key).init, (1,)).params)(keys)


def with_biases(params, draw):
    """The same params with other biases: draw(shape)."""
    return jax.tree.map(lambda p, is_weight: p if is_weight else draw(p.shape), params, jaxnn.weight_mask(params))


def all_units_off(node):
    """An observer: whether a layer's units are all off, for each example."""
    return jnp.all(node.cache.negative, axis=-1) if isinstance(node.layer, jaxnn.ReLU | jaxnn.LeakyReLU) else None


@partial(jax.jit, static_argnames="net")
def at_birth(net, params):
    """Of M networks, for x = -1 and x = 1: which layers are all off, (M, L - 1, 2), and dy/dx, (M, 2)."""
    state = net.init(jax.random.key(0), (1,)).state

    def one(params):
        y, _, cache = net.forward(params, state, jnp.array([[-1.0], [1.0]]))
        _, dx, notes = jaxnn.fold(net, params, cache, jnp.ones_like(y), all_units_off)
        return jnp.vstack([notes["[0][1]"], notes["[1].inner[1]"]]), dx[:, 0]

    return jax.vmap(one)(params)


def law(width, n_layers):
    return 1 - (1 - 2.0**-width) ** (n_layers - 1)


def gaussian_points(n_columns, seed):
    """Points spread evenly over a normal distribution, for integrals: within some 2e-4, by other seeds."""
    return stats.norm.ppf(stats.qmc.Sobol(n_columns, rng=seed).random_base2(12))


def dead_for_all(width, seed):
    """By the chain of the angle between the signals of x > 0 and x < 0; for L = 2, 3, ... 20."""
    u, independent = np.split(gaussian_points(2 * width, seed), 2, axis=1)
    angles = np.linspace(0, np.pi / 2, 65)
    plus, next_angle, weights = np.maximum(u, 0), [], []
    for angle in angles:
        minus = np.maximum(np.cos(angle) * u + np.sin(angle) * independent, 0)
        lengths = np.linalg.norm(plus, axis=1) * np.linalg.norm(minus, axis=1)
        cosine = np.sum(plus * minus, axis=1) / np.where(lengths > 0, lengths, 1)
        next_angle.append(np.arccos(np.minimum(cosine, 1)))
        weights.append((lengths > 0) / np.sum(lengths > 0))
    survive = 1 - 2 * 2.0**-width + (1 / 2 - angles / (2 * np.pi)) ** width
    alive, both_alive = np.ones_like(angles), []
    for _ in DEPTHS:
        both_alive.append(alive[-1])
        alive = survive * np.sum(weights * np.interp(next_angle, angles, alive), axis=1)
    # In the first layer each unit is on for one sign of x and off for the other: both live unless all take one sign.
    return 1 - 2 * (1 - law(width, DEPTHS)) + (1 - 2 * 2.0**-width) * np.array(both_alive)


def claim_that_symmetric_biases_are_enough(claims, keys, rng):
    net = network(2, 10, jaxnn.ReLU())
    params = with_biases(born(net, keys), lambda shape: rng.normal(0, 0.5, shape).astype(np.float32))
    hits = at_birth(net, params)[1][:, 1] == 0
    claims.fraction("biases ~ N(0, 1/4): dead at one input", hits.sum(), len(keys), law(2, 10))


if __name__ == "__main__":
    raise SystemExit(main(__doc__, experiment))
