"""Dead ReLU, remedies: LeakyReLU is never born dead, positive biases help some, training wakes no dead net.

A positive first bias b helps, z_i ~ N(b, 2 |h|^2 / N), but less the deeper the layer, for |h| grows by it: a Markov
chain of |h| says how much,

    P(alive | |h|) = E [P(alive | |h'|); |h'| > 0],    h'_i = max(0, z_i),    with one layer less on the right.

LeakyReLU is never dead. Trained on |x|, which two units could represent, a network that was born dead moves its output
bias alone, to the mean of the targets; the remedies save some, which are counted. All for width N = 2, L = 10 layers.

Source: PRINCIPLES D5; Lu et al. 2019.

    python scripts/experiments/dead_relu_remedies.py

Twenty seconds on 2 cores. Expect .868 born dead for all inputs, and at x = 1 with first biases 1 still .627; of 500
networks trained, LeakyReLU saves .67 from collapse, first biases 1 save .14.
"""

import jax
import jax.numpy as jnp
import numpy as np
from claims import BLUE, GREEN, ORANGE, PREDICTED, main, panels
from dead_relu import at_birth, dead_for_all, gaussian_points, network, with_biases

import jaxnn

WIDTH, LAYERS = 2, 10
RELU, LEAKY = (network(WIDTH, LAYERS, activation) for activation in (jaxnn.ReLU(), jaxnn.LeakyReLU(0.01)))


def experiment(claims, quick, seed):
    n_born, n_trained, epochs = (8_000, 200, 300) if quick else (20_000, 500, 2000)
    keys = jax.random.split(jax.random.key(seed), n_born)
    rule = jaxnn.adam(jaxnn.schedules.cosine(0.02, epochs))
    figure, (by_bias, after_training) = panels(2, width=5.4)
    born = jax.vmap(lambda key: jaxnn.start(RELU, (1,), key=key, update=rule))(keys)
    claims.equal("LeakyReLU: dead", int(np.sum(at_birth(LEAKY, born.params)[1] == 0)), 0)
    first_biases(claims, born.params, np.linspace(-0.75, 2.25, 9 if quick else 31), seed, by_bias)

    epoch, step = born.epoch[0], born.step[0]  # an ensemble's members share them
    starts = jax.tree.map(lambda leaf: leaf[:n_trained], born)._replace(epoch=epoch, step=step)
    share = dead_for_all(WIDTH, seed)[LAYERS - 2]
    # Biases save few: it takes 500 networks to see.
    remedies = ("LeakyReLU(0.01)",) if quick else ("LeakyReLU(0.01)", "first biases 1")
    training(claims, starts, remedies, share, after_training, epochs=epochs, update=rule)
    return figure


def constant(value):
    return lambda shape: jnp.full(shape, value, jnp.float32)


def dead_with_bias(width, n_layers, bias, seed):
    """By the chain of the signal's length: z = bias + sqrt(2 / N) |h| u. A first layer's one input has weights of
    variance 2, so that x = 1 is to it as a signal of length sqrt(N)."""
    u, lengths = gaussian_points(width, seed), np.sqrt(width) * np.geomspace(1e-3, 1e3, 129)
    next_length = np.linalg.norm(np.maximum(bias + np.sqrt(2 / width) * lengths[:, None, None] * u, 0), axis=2)
    alive = np.ones_like(lengths)
    for _ in range(n_layers - 1):
        alive = np.mean((next_length > 0) * np.interp(next_length, lengths, alive), axis=1)
    return 1 - np.interp(np.sqrt(width), lengths, alive)


def first_biases(claims, params, line_biases, seed, axes):
    for bias in (-0.5, 0.5, 1.0, 2.0):
        hits = at_birth(RELU, with_biases(params, constant(bias)))[1][:, 1] == 0
        predicted = dead_with_bias(WIDTH, LAYERS, bias, seed)
        claims.fraction(f"biases {bias}: dead at x = 1", hits.sum(), len(hits), predicted)
        axes.plot(bias, hits.mean(), "o", color=BLUE)
    axes.plot(line_biases, [dead_with_bias(WIDTH, LAYERS, bias, seed) for bias in line_biases], **PREDICTED)
    axes.plot([], [], "o", color=BLUE, label="counted")
    axes.plot([], [], **PREDICTED, label="chain of the length")
    axes.set(xlabel="first bias of all units", ylabel="share of networks", title="N = 2, L = 10: dead at x = 1")


def trained_on_absolute_value(net, starts, **options):
    """The targets (64,), for x evenly from -sqrt(3) to sqrt(3), and the outputs (M, 64) before and after training."""
    x = np.linspace(-np.sqrt(3), np.sqrt(3), 64, dtype=np.float32)[:, None]
    data, loss = (x, np.abs(x)), jaxnn.HalfSquaredError()
    ends, _ = jaxnn.ensemble(jaxnn.bgd, net, loss, data, run=starts, metric=None, **options)
    outputs = jax.jit(jax.vmap(lambda params, state: net.forward(params, state, x).y[:, 0]))
    return np.abs(x[:, 0]), *(np.asarray(outputs(run.params, run.state)) for run in (starts, ends))


def explained(outputs, target):
    """The share of the target's variance that each network explains: 0 for the constant mean, 1 for |x| itself."""
    return 1 - np.mean((outputs - target) ** 2, axis=1) / np.var(target)


def training(claims, starts, remedies, share, axes, **options):
    target, before, after = trained_on_absolute_value(RELU, starts, **options)
    born_dead, n_trained = np.ptp(before, axis=1) == 0, len(before)
    claims.fraction("to be trained on |x|: born dead", born_dead.sum(), n_trained, share)
    claims.equal("born dead, after training: max y - min y over x", np.ptp(after[born_dead], axis=1).max(), 0.0)
    # It is on its way there from 0: within 1 % we call it there.
    far = np.abs(after[born_dead] - target.mean()).max()
    claims.at_most("born dead, after training: |y - mean target|", far, 0.01 * target.mean())

    collapsed, order = explained(after, target) < 0.1, (np.arange(n_trained) + 0.5) / n_trained
    axes.plot(order, np.sort(explained(after, target)), color=BLUE, label="ReLU, biases 0")
    raised = starts._replace(params=with_biases(starts.params, constant(1.0)))
    how = {"LeakyReLU(0.01)": (LEAKY, starts, ORANGE, "-."), "first biases 1": (RELU, raised, GREEN, ":")}
    for name in remedies:
        net, begin, colour, style = how[name]
        _, _, outputs = trained_on_absolute_value(net, begin, **options)
        fewer = collapsed.astype(float) - (explained(outputs, target) < 0.1)
        claims.mean_at_least(f"{name}: share of networks that it saves from collapse", fewer, 0)
        axes.plot(order, np.sort(explained(outputs, target)), style, color=colour, label=name)
    axes.axvline(share, **PREDICTED, label="born dead, by theory")
    axes.set(xlabel="share of networks, sorted", ylabel="explained share of the variance of |x|")
    axes.set(ylim=(-0.05, 1.05), title="N = 2, L = 10: after training")


if __name__ == "__main__":
    raise SystemExit(main(__doc__, experiment))
