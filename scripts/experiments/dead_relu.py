"""Dead ReLU: a deep narrow network may be born dead, and how often follows from width and depth alone.

What kills a network is a layer whose N units are all off: behind it the output is constant, before it the gradient is
exactly 0. With weights and biases drawn evenly about 0 a unit is off at one input with probability 1/2, whatever came
before, so with L layers (L - 1 hidden ones and the output)

    P(dead) = 1 - (1 - 2^-N)^(L-1).                The notes ask for zero biases: that they are symmetric is enough.

Dead for *all* scalar inputs is less: x > 0 and x < 0 must both die. Without biases they are two signals, orthogonal
after the first layer, and to Gaussian weights only the angle a between them matters: both die in one layer with
probability (1/2 - a / 2 pi)^N. A Markov chain of that angle gives P(both alive), and with it

    P(dead for all) = 1 - 2 (1 - 2^-N)^(L-1) + P(both alive).

A positive first bias b helps, z_i ~ N(b, 2 |h|^2 / N), but less the deeper the layer, for |h| grows by it: a Markov
chain of |h| tells how much. LeakyReLU is never dead. Trained on |x|, which two units could represent, a network that
was born dead moves its output bias alone, to the mean of the targets; the remedies save some, which are counted.

Source: PRINCIPLES D5; Lu et al. 2019.    Command: python scripts/experiments/dead_relu.py    (25 s on 2 cores)
Expect: P(dead) .925, .699, .072 for (N, L) = (2, 10), (3, 10), (8, 20); for all inputs .880, .579, .036.
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


def network(width, n_layers, activation):
    hidden = jaxnn.Serial(jaxnn.Dense(width, jaxnn.He("normal")), activation)
    return jaxnn.Serial(hidden, jaxnn.Repeat(hidden, n_layers - 2), jaxnn.Dense(1))


def with_biases(params, draw):
    """The same params with other biases: draw(shape)."""
    return jax.tree.map(lambda p, is_weight: p if is_weight else draw(p.shape), params, jaxnn.weight_mask(params))


def constant(value):
    return lambda shape: jnp.full(shape, value, jnp.float32)


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
    """By the chain of the angle between the signals of x > 0 and x < 0; for L = 2, 3, ... 31."""
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


def dead_with_bias(width, n_layers, bias, seed):
    """By the chain of the signal's length: z = bias + sqrt(2 / N) |h| u. A first layer's one input has weights of
    variance 2, so that x = 1 is to it as a signal of length sqrt(N)."""
    u, lengths = gaussian_points(width, seed), np.sqrt(width) * np.geomspace(1e-3, 1e3, 129)
    next_length = np.linalg.norm(np.maximum(bias + np.sqrt(2 / width) * lengths[:, None, None] * u, 0), axis=2)
    alive = np.ones_like(lengths)
    for _ in range(n_layers - 1):
        alive = np.mean((next_length > 0) * np.interp(next_length, lengths, alive), axis=1)
    return 1 - np.interp(np.sqrt(width), lengths, alive)


def trained_on_absolute_value(net, starts, epochs, rule):
    """The targets (64,), for x evenly from -sqrt(3) to sqrt(3), and the outputs (M, 64) before and after training."""
    x = np.linspace(-np.sqrt(3), np.sqrt(3), 64, dtype=np.float32)[:, None]
    data, loss = (x, np.abs(x)), jaxnn.HalfSquaredError()
    ends, _ = jaxnn.ensemble(jaxnn.bgd, net, loss, data, run=starts, update=rule, epochs=epochs, metric=None)
    outputs = jax.jit(jax.vmap(lambda params, state: net.forward(params, state, x).y[:, 0]))
    return np.abs(x[:, 0]), *(np.asarray(outputs(run.params, run.state)) for run in (starts, ends))


def explained(outputs, target):
    """The share of the target's variance that each network explains: 0 for the constant mean, 1 for |x| itself."""
    return 1 - np.mean((outputs - target) ** 2, axis=1) / np.var(target)


def experiment(claims, quick, seed):
    n_born, n_trained, epochs = (8_000, 200, 300) if quick else (20_000, 500, 2000)
    keys, rng = jax.random.split(jax.random.key(seed), n_born), np.random.default_rng(seed)
    rule = jaxnn.adam(jaxnn.schedules.cosine(0.02, epochs))
    figure, (one_input, all_inputs, by_bias, after_training) = panels(2, 2, width=5.4)

    born = {}
    for width, n_layers, colour, marker in SIZES[::2] if quick else SIZES:
        net = network(width, n_layers, jaxnn.ReLU())
        born[width] = jax.vmap(lambda key, net=net: jaxnn.start(net, (1,), key=key, update=rule))(keys)
        off, derivative = map(np.asarray, at_birth(net, born[width].params))
        dead = np.logical_or.accumulate(off, axis=1)  # the column l: of a network with l + 2 layers
        theory, theory_for_all, last = law(width, DEPTHS), dead_for_all(width, seed), n_layers - 2
        size, hits, hits_for_all = f"N = {width}, L = {n_layers}", dead[:, last, 1], dead[:, last].all(axis=1)
        claims.fraction(f"{size}: dead at one input", hits.sum(), n_born, theory[last])
        claims.fraction(f"{size}: dead at all inputs", hits_for_all.sum(), n_born, theory_for_all[last])
        odd = np.sum((derivative == 0) != dead[:, last])
        claims.equal(f"{size}: networks whose dy/dx isn't 0 just where a layer is off", odd, 0)
        for axes, line, counted in (one_input, theory, dead[..., 1]), (all_inputs, theory_for_all, dead.all(axis=2)):
            axes.plot(DEPTHS, line, **PREDICTED)
            shares = counted.mean(axis=0)
            axes.plot(DEPTHS[: len(shares) : 2], shares[::2], marker, color=colour, label=f"N = {width}, counted")

    # From here on N = 2, L = 10.
    relu, leaky, params = network(2, 10, jaxnn.ReLU()), network(2, 10, jaxnn.LeakyReLU(0.01)), born[2].params
    symmetric = with_biases(params, lambda shape: rng.normal(0, 0.5, shape).astype(np.float32))
    hits = at_birth(relu, symmetric)[1][:, 1] == 0
    claims.fraction("biases ~ N(0, 1/4): dead at one input", hits.sum(), n_born, law(2, 10))
    claims.equal("LeakyReLU: dead", int(np.sum(at_birth(leaky, params)[1] == 0)), 0)
    for bias in (-0.5, 0.5, 1.0, 2.0):
        hits = at_birth(relu, with_biases(params, constant(bias)))[1][:, 1] == 0
        claims.fraction(f"biases {bias}: dead at x = 1", hits.sum(), n_born, dead_with_bias(2, 10, bias, seed))
        by_bias.plot(bias, hits.mean(), "o", color=BLUE)
    biases = np.linspace(-0.75, 2.25, 9 if quick else 31)
    by_bias.plot(biases, [dead_with_bias(2, 10, bias, seed) for bias in biases], **PREDICTED)

    epoch, step = born[2].epoch[0], born[2].step[0]  # an ensemble's members share them
    starts = jax.tree.map(lambda leaf: leaf[:n_trained], born[2])._replace(epoch=epoch, step=step)
    target, before, after = trained_on_absolute_value(relu, starts, epochs, rule)
    born_dead, share = np.ptp(before, axis=1) == 0, dead_for_all(2, seed)[10 - 2]
    claims.fraction("to be trained on |x|: born dead", born_dead.sum(), n_trained, share)
    claims.equal("born dead, after training: max y - min y over x", np.ptp(after[born_dead], axis=1).max(), 0.0)
    # It is on its way there from 0: within 1 % we call it there.
    far = np.abs(after[born_dead] - target.mean()).max()
    claims.at_most("born dead, after training: |y - mean target|", far, 0.01 * target.mean())

    raised = starts._replace(params=with_biases(starts.params, constant(1.0)))
    collapsed, order = explained(after, target) < 0.1, (np.arange(n_trained) + 0.5) / n_trained
    after_training.plot(order, np.sort(explained(after, target)), color=BLUE, label="ReLU, biases 0")
    remedies = ("LeakyReLU(0.01)", leaky, starts, ORANGE, "-."), ("first biases 1", relu, raised, GREEN, ":")
    for name, net, begin, colour, style in remedies[:1] if quick else remedies:  # biases save few: it takes 500 to see
        _, _, outputs = trained_on_absolute_value(net, begin, epochs, rule)
        fewer = collapsed.astype(float) - (explained(outputs, target) < 0.1)
        claims.mean_at_least(f"{name}: share of networks that it saves from collapse", fewer, 0)
        after_training.plot(order, np.sort(explained(outputs, target)), style, color=colour, label=name)
    after_training.axvline(share, **PREDICTED, label="born dead, by theory")

    one_input.plot([], [], **PREDICTED, label=r"$1 - (1 - 2^{-N})^{L-1}$")
    all_inputs.plot([], [], **PREDICTED, label="chain of the angle")
    by_bias.plot([], [], "o", color=BLUE, label="counted")
    by_bias.plot([], [], **PREDICTED, label="chain of the length")
    for axes, title in (one_input, "Dead at one input"), (all_inputs, "Dead at all inputs"):
        axes.set(xlabel="layers L", ylabel="share of networks", ylim=(0, 1.02), title=title, xticks=range(2, 21, 2))
    by_bias.set(xlabel="first bias of all units", ylabel="share of networks", title="N = 2, L = 10: dead at x = 1")
    after_training.set(xlabel="share of networks, sorted", ylabel="explained share of the variance of |x|")
    after_training.set(ylim=(-0.05, 1.05), title="N = 2, L = 10: after training")
    for axes in (one_input, all_inputs, by_bias, after_training):
        axes.legend()
    return figure


if __name__ == "__main__":
    raise SystemExit(main(__doc__, experiment))
