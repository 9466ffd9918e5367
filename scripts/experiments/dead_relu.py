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
was born dead moves its output bias alone, to the mean of the targets.

Source: PRINCIPLES D5; Lu et al. 2019.    Command: python scripts/experiments/dead_relu.py    (40 s on 2 cores)
Expect: P(dead) .925, .699, .072 for (N, L) = (2, 10), (3, 10), (8, 20); for all inputs .880, .579, .036.
"""

import jax
import jax.numpy as jnp
import numpy as np
from claims import BLUE, GREEN, ORANGE, PREDICTED, main, panels
from scipy import stats

import jaxnn

SIZES = [(2, 10, BLUE, "o"), (3, 10, ORANGE, "s"), (8, 20, GREEN, "^")]  # width N, layers L
DEPTHS = np.arange(2, 32)


def network(width, n_layers, bias_init=None, activation=None):
    dense = jaxnn.Dense(width, jaxnn.He("normal"), bias_init or jaxnn.Zeros())
    hidden = jaxnn.Serial(dense, activation or jaxnn.ReLU())
    return jaxnn.Serial(hidden, jaxnn.Repeat(hidden, n_layers - 2), jaxnn.Dense(1))


def constant(value):
    return jaxnn.Uniform(value, value)


def born_dead(net, key, n_networks):
    """Whether dy/dx is exactly 0, (n_networks, 2): at x = -1 and at x = 1."""

    def derivative(key):
        params, state = net.init(key, (1,))
        y, _, cache = net.forward(params, state, jnp.array([[-1.0], [1.0]]))
        return net.backward(params, cache, jnp.ones_like(y)).dx[:, 0]

    return np.asarray(jax.jit(jax.vmap(derivative))(jax.random.split(key, n_networks))) == 0


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


def trained_on_absolute_value(net, keys, epochs):
    """Targets (64,), evenly from x = -sqrt(3) to sqrt(3), and the networks' outputs (M, 64) before and after."""
    x = np.linspace(-np.sqrt(3), np.sqrt(3), 64, dtype=np.float32)[:, None]
    rule = jaxnn.adam(jaxnn.schedules.cosine(0.02, epochs))
    options = {"keys": keys, "update": rule, "epochs": epochs, "metric": None}
    ends, _ = jaxnn.ensemble(jaxnn.bgd, net, jaxnn.HalfSquaredError(), (x, np.abs(x)), **options)
    starts = jax.vmap(lambda key: jaxnn.start(net, (1,), key=key, update=rule))(keys)
    outputs = jax.jit(jax.vmap(lambda params, state: net.forward(params, state, x).y[:, 0]))
    return np.abs(x[:, 0]), *(np.asarray(outputs(run.params, run.state)) for run in (starts, ends))


def explained(outputs, target):
    """The share of the target's variance that each network explains: 0 for the constant mean."""
    return 1 - np.mean((outputs - target) ** 2, axis=1) / np.var(target)


def experiment(claims, quick, seed):
    key = jax.random.key(seed)
    n_born, n_trained, epochs = (10_000, 100, 400) if quick else (40_000, 500, 2000)
    figure, (one_input, all_inputs, by_bias, after_training) = panels(2, 2, width=5.4)

    for width, n_layers, colour, marker in SIZES:
        for_all = dead_for_all(width, seed)
        one_input.plot(DEPTHS, law(width, DEPTHS), **PREDICTED)
        all_inputs.plot(DEPTHS, for_all, **PREDICTED)
        for depth in [n_layers] if quick else [3, 5, 10, 20, 30]:
            dead = born_dead(network(width, depth), jax.random.fold_in(key, 100 * width + depth), n_born)
            one_input.plot(depth, dead[:, 1].mean(), marker, color=colour)
            all_inputs.plot(depth, dead.all(axis=1).mean(), marker, color=colour)
            if depth == n_layers:
                size = f"N = {width}, L = {depth}"
                claims.fraction(f"{size}: dead at one input", dead[:, 1].sum(), n_born, law(width, depth))
                claims.fraction(f"{size}: dead at all inputs", dead.all(axis=1).sum(), n_born, for_all[depth - 2])

    narrow, deep = 2, 10
    symmetric = born_dead(network(narrow, deep, jaxnn.Normal(0.5)), jax.random.fold_in(key, 1), n_born)[:, 1]
    claims.fraction("N = 2, L = 10, biases ~ N(0, 1/4): dead at one input", symmetric.sum(), n_born, law(narrow, deep))
    for i, bias in enumerate([0.5, 1.0] if quick else [-0.5, 0.0, 0.5, 1.0, 2.0]):
        dead = born_dead(network(narrow, deep, constant(bias)), jax.random.fold_in(key, 2 + i), n_born)[:, 1]
        by_bias.plot(bias, dead.mean(), "o", color=BLUE)
        predicted = dead_with_bias(narrow, deep, bias, seed)
        claims.fraction(f"N = 2, L = 10, biases {bias}: dead at one input", dead.sum(), n_born, predicted)
    biases = np.linspace(-0.75, 2.25, 13)
    by_bias.plot(biases, [dead_with_bias(narrow, deep, bias, seed) for bias in biases], **PREDICTED)
    leaky = network(narrow, deep, activation=jaxnn.LeakyReLU(0.01))
    claims.equal("N = 2, L = 10, leaky: how many are dead", np.sum(born_dead(leaky, key, n_born)), 0)

    keys = jax.random.split(jax.random.fold_in(key, 7), n_trained)
    target, before, after = trained_on_absolute_value(network(narrow, deep), keys, epochs)
    born = np.ptp(before, axis=1) == 0
    share = dead_for_all(narrow, seed)[deep - 2]
    claims.fraction("to be trained on |x|: born dead", born.sum(), n_trained, share)
    claims.equal("born dead, trained: spread of the output over x", np.ptp(after[born], axis=1).max(), 0.0)
    off = np.abs(after[born] - target.mean()).max()
    claims.at_most("born dead, trained: how far from the mean target 0.866", off, 0.01)  # 1 % of it: when we stop
    collapsed = explained(after, target) < 0.1
    remedies = {
        "LeakyReLU(0.01)": (leaky, ORANGE, "--"),
        "biases 1": (network(narrow, deep, constant(1.0)), GREEN, "-."),
    }
    quantile = (np.arange(n_trained) + 0.5) / n_trained
    after_training.plot(quantile, np.sort(explained(after, target)), color=BLUE, label="ReLU, biases 0")
    for name, (net, colour, style) in remedies.items():
        _, _, outputs = trained_on_absolute_value(net, keys, epochs)
        fewer = collapsed.astype(float) - (explained(outputs, target) < 0.1)
        claims.mean_at_least(f"fewer networks collapse with {name}: by", fewer, 0)
        after_training.plot(quantile, np.sort(explained(outputs, target)), style, color=colour, label=name)

    after_training.axvline(share, **PREDICTED, label="born dead, by the chain")
    for axes, title in (one_input, "Dead at one input"), (all_inputs, "Dead at all inputs"):
        axes.set(xlabel="layers L", ylabel="share of networks", ylim=(0, 1), title=title)
        for width, _, colour, marker in SIZES:
            axes.plot([], [], marker, color=colour, label=f"N = {width}, counted")
    one_input.plot([], [], **PREDICTED, label=r"$1 - (1 - 2^{-N})^{L-1}$")
    all_inputs.plot([], [], **PREDICTED, label="chain of the angle")
    by_bias.plot([], [], "o", color=BLUE, label="counted")
    by_bias.plot([], [], **PREDICTED, label="chain of the length")
    by_bias.set(
        xlabel="first bias of the hidden units", ylabel="share of networks", title="N = 2, L = 10: dead at x = 1"
    )
    after_training.set(
        xlabel="share of networks, in order", ylabel="explained variance of |x|", title="N = 2, L = 10: trained on |x|"
    )
    after_training.set_ylim(-0.05, 1.05)
    for axes in (one_input, all_inputs, by_bias, after_training):
        axes.legend()
    return figure


if __name__ == "__main__":
    raise SystemExit(main(__doc__, experiment))
