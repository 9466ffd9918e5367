"""Gradients vanish or explode by one factor a layer, and the factor is known before a network is made.

    delta^l = f'(z^l) * W^(l+1) delta^(l+1),    |delta^l| / |delta^(l+1)| -> sqrt(chi),    chi = sigma_w^2 E[f'(z)^2]

for weights N(0, sigma_w^2 / n) and z ~ N(0, q), where layer by layer q <- sigma_w^2 E[f(z)^2]. At width n the mean
logarithm of the factor is below log sqrt(chi) by (3 E[f'^4] / E[f'^2]^2 - 1) / 4n, because it is that of a sum of n
squares which scatters: for ReLU 5 / 4n, exactly. A hundred seeds see it: 30 layers of ReLU at He's sigma_w^2 = 2 and
width 256 keep 86 % as a rule (the notes' 97 % is one draw), though E |delta|^2 is kept in full.

Where the notes are loose. sigma' <= 1/4 isn't the cause, w sigma' is: ReLU vanishes too at Xavier's sigma_w^2 = 1. tanh
isn't like sigmoid: it keeps 15 % over 30 layers of which sigmoid keeps 1e-19. Weights in (0, 1), all positive, saturate
sigmoid and tanh, for a gradient of exactly 0, and with ReLU explode, by n / 2 a layer. Depth alone does neither, at
chi = 1. Nielsen's speeds of learning start from N(0, 1 / n_in), by his program, and so chi foretells them.

    python scripts/experiments/vanishing.py                                     (30 s on 2 cores; --quick 13 s)

Expect factors .234 and .93 (sigmoid, tanh; Xavier), .704 and .995 (ReLU; Xavier, He); layers of 30 sigmoid neurons five
times slower than the next ones; a loss of ln 10 for Xavier at 30 layers of ReLU, where He learns.
Source: PRINCIPLES D1 to D4, D8, E1, 3.3, 3.5; Poole et al. 2016, Schoenholz et al. 2017; Hanin and Nica 2018.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from claims import BLUE, GREEN, ORANGE, PREDICTED, PURPLE, main, panels

import jaxnn
from jaxnn.data import load
from jaxnn.observe import norms

jax.config.update("jax_enable_x64", True)  # for weights in (0, 1): 128^30 is beyond float32
WIDTH, DEPTH = 256, 30
ACTIVATIONS = {"sigmoid": (jaxnn.Sigmoid(), BLUE), "tanh": (jaxnn.Tanh(), GREEN), "ReLU": (jaxnn.ReLU(), ORANGE)}
VARIANCES = {"Xavier": (1, "o"), "He": (2, "s"), "large": (3, "^")}  # sigma_w^2, and its marker
# Nielsen's speeds of learning, |dC/db^l| of the hidden layers, one network each, MNIST.
NIELSEN = [(0.0657, 0.3092), (0.01184, 0.05997, 0.28314), (0.002975, 0.01708, 0.06954, 0.28514)]

NODES, MASS = np.polynomial.hermite_e.hermegauss(100)  # an even number: none of them lies on ReLU's kink


def expected(values):
    """E[g(Z)], Z ~ N(0, 1), of g's values at the nodes."""
    return float(values @ MASS / np.sqrt(2 * np.pi))


def moments(activation, q):
    """E[f(z)^2], E[f'(z)^2], E[f'(z)^4] for z ~ N(0, q)."""
    y, _, cache = activation.forward((), (), jnp.sqrt(q) * NODES)
    slope = activation.backward((), cache, jnp.ones_like(y)).dx
    return tuple(expected(np.asarray(g)) for g in (y**2, slope**2, slope**4))


def scatter(second, fourth, width):
    """How far the mean logarithm of a layer's factor lies below that of sqrt(chi)."""
    return (3 * fourth / second**2 - 1) / (4 * width)


def foretold(activation, variance):
    """Mean log factor of each layer, the first layer first: the length map iterated from inputs of variance 1."""
    logs, q = [], variance
    for _ in range(DEPTH):
        length, second, fourth = moments(activation, q)
        logs.append(np.log(variance * second) / 2 - scatter(second, fourth, WIDTH))
        q = variance * length
    return np.array(logs)


@partial(jax.jit, static_argnames=("activation", "init", "dtype"))
def error_terms(keys, scale, *, activation, init, dtype="float32"):
    """|dE/da| before and after each layer, (n_seeds, DEPTH + 1), for a random error term at the top; scale W."""
    net = jaxnn.Repeat(jaxnn.Serial(jaxnn.Dense(WIDTH, init), activation), DEPTH)

    def of_one(key):
        at_weights, at_x, at_top = jax.random.split(key, 3)
        params, state = net.init(at_weights, (WIDTH,), dtype)
        params = jax.tree.map(lambda w: w * scale.astype(dtype), params)
        x, top = (jax.random.normal(key, (1, WIDTH), dtype) for key in (at_x, at_top))
        folded = jaxnn.fold(net, params, net.forward(params, state, x).cache, top, norms)
        return jnp.append(jnp.linalg.norm(folded.dx), folded.notes[".inner"].error_term)

    return jax.lax.map(of_one, keys)


def factors(claims, keys):
    """log |delta| from bottom to top, by activation and init: measured (n_seeds, DEPTH + 1) and foretold."""
    cases = [(name, init) for name in ACTIVATIONS for init in ("Xavier", "He")] + [("ReLU", "large")]
    found = {}
    for name, init in cases:
        activation, variance = ACTIVATIONS[name][0], VARIANCES[init][0]
        scale = jnp.sqrt(variance / WIDTH)
        measured = np.log(error_terms(keys, scale, activation=activation, init=jaxnn.Normal(1)))
        logs = foretold(activation, variance)
        a_layer = np.exp((measured[:, 0] - measured[:, -1]) / DEPTH)
        # ReLU's law is exact. Else 1 / n covers what mean-field theory leaves out: that W made z, too.
        room = 0 if name == "ReLU" else 1 / WIDTH
        statement = f"{name}, sigma_w^2 = {variance}: factor a layer ({np.exp(logs.sum()):.2g} over {DEPTH})"
        claims.mean(statement, a_layer, np.exp(logs.mean()), room)
        found[name, init] = measured, logs
    return found


def all_positive(claims, keys, names):
    """Weights in (0, 1): z is about n / 2 times the mean of a. Beyond 37 sigma' is 0, in float64 too."""
    for name in names:
        init = {"init": jaxnn.Uniform(0, 1), "dtype": "float64"}
        measured = np.asarray(error_terms(keys, jnp.ones(()), activation=ACTIVATIONS[name][0], **init))
        if name == "ReLU":
            # One input in twenty turns the whole first layer off; for the others all units above it are on. W's rows
            # sum to n / 2 +- sqrt(n / 12): below the top layers delta is nearly constant.
            alive = measured[measured[:, 0] > 0]
            a_layer = (alive[:, 2] / alive[:, DEPTH - 2]) ** (1 / (DEPTH - 4))
            claims.mean("ReLU, weights in (0, 1): factor a layer", a_layer, WIDTH / 2, room=1)
        else:
            claims.equal(f"{name}, weights in (0, 1): largest gradient left after {DEPTH}", measured[:, 0].max(), 0.0)


# Nielsen's speeds: |dC/db^l|, the norm of the error terms' mean over 1000 images; biases are N(0, 1).


def two_images(q, c):
    """E[f_a f_b] and E[f'_a f'_b] of sigmoid at two net inputs of variance q and covariance c."""
    a, b = NODES[:, None], c / q * NODES[:, None] + np.sqrt(1 - (c / q) ** 2) * NODES
    y_a, y_b = (1 / (1 + np.exp(-np.sqrt(q) * z)) for z in (a, b))
    return tuple(float(MASS @ g @ MASS / (2 * np.pi)) for g in (y_a * y_b, y_a * (1 - y_a) * y_b * (1 - y_b)))


def foretold_speeds(x, n_hidden, width=30):
    """By layer the mean log of its speed over the next one's, its variance, and what images' differences may add."""
    q, c = 1 + np.mean(x**2), 1 + np.mean(x.mean(axis=0) ** 2)
    rows = []
    for _ in range(n_hidden - 1):
        length, second, fourth = moments(jaxnn.Sigmoid(), q)
        together, slopes = two_images(q, c)
        below = scatter(second, fourth, width)  # which is the logarithm's variance, too
        rows.append((np.log(slopes) / 2 - below, below, np.log(second / slopes) / 2))
        q, c = 1 + length, 1 + together
    return np.transpose(rows)


@partial(jax.jit, static_argnames="n_hidden")
def speeds(keys, x, t, *, n_hidden):
    """(n_seeds, n_hidden): weights N(0, 1 / n_in) and cross-entropy, as in his program."""

    def dense(n_in, n_out):
        return jaxnn.Dense(n_out, jaxnn.Normal(n_in**-0.5), jaxnn.Normal(1))

    hidden = [layer for n_in in [784] + [30] * (n_hidden - 1) for layer in (dense(n_in, 30), jaxnn.Sigmoid())]
    net = jaxnn.Serial(*hidden, dense(30, 10))

    def of_one(key):
        params, state = net.init(key, (784,), "float32")
        grads = jaxnn.backprop(net, jaxnn.SigmoidCrossEntropy())(params, state, x, t).grads
        return jnp.stack([jnp.linalg.norm(grads[2 * i].bias) for i in range(n_hidden)])

    return jax.lax.map(of_one, keys)


def speeds_of_learning(claims, keys, networks):
    images, labels = (each[:1000] for each in load("fashion-mnist").train)
    x = np.float32(1 / 255) * images.reshape(-1, 784)
    found = {}
    for published in networks:
        n = len(published)
        measured = np.asarray(speeds(keys, x, labels, n_hidden=n))
        logs, variances, differences = foretold_speeds(x, n)
        ratios = np.log(measured[:, :-1] / measured[:, 1:])
        claims.equal(
            f"{n} hidden layers: networks in which an earlier layer is faster", np.sum(ratios.max(axis=1) > 0), 0
        )
        # To second order in 1 / 30, and for images that are told apart by the first layers.
        room = 2 / 30**2 + differences.mean()
        statement = f"{n} hidden layers: log of a layer's speed over the next one's"
        claims.mean(statement, ratios.mean(axis=1), logs.mean(), room)
        spread = 3.29 * np.sqrt(variances.mean() / (n - 1))
        his = np.mean(np.diff(np.log(published)))
        claims.near(f"{n} hidden layers: the same, of Nielsen's one network (MNIST)", -his, logs.mean(), spread)
        found[n] = measured, logs, published
    return found


def deep(claims, keys, epochs):
    """Losses of 30 layers of ReLU on digits, (n_seeds, epochs): He's weights, and Xavier's, the same over sqrt(2)."""
    x, labels = load("digits", validation=0).train
    data = x.reshape(-1, 64).astype(np.float32) / 16, labels
    hidden = jaxnn.Serial(jaxnn.Dense(64, jaxnn.He("normal")), jaxnn.ReLU())
    net = jaxnn.Serial(jaxnn.Repeat(hidden, DEPTH - 1), jaxnn.Dense(10, jaxnn.He("normal")))
    rule = jaxnn.gradient_descent(0.02)

    def trained(key, gain):
        run = jaxnn.start(net, (64,), key=key, update=rule, dtype="float32")
        run = run._replace(params=jax.tree.map(lambda w: w * gain.astype(w.dtype), run.params))
        loss = jaxnn.SoftmaxCrossEntropy()
        return jaxnn.mbgd(net, loss, data, run=run, epochs=epochs, batch_size=32, update=rule)[1].loss

    gains = jnp.sqrt(jnp.array([1 / 2, 1]))
    every = jax.jit(jax.vmap(jax.vmap(trained, (0, None)), (None, 0)))(keys, gains)
    found = dict(zip(("Xavier", "He"), np.asarray(every), strict=True))
    # The gradient is 2^-15 of He's: 1000 steps of it leave the outputs equal but for 1 %, and so are the classes.
    claims.mean(
        f"Xavier, {DEPTH} layers, digits: loss of the last epoch", found["Xavier"][:, -1], np.log(10), 0.01 * np.log(10)
    )
    claims.mean_at_least("the same seeds: Xavier's loss less He's", found["Xavier"][:, -1] - found["He"][:, -1], 0)
    return found


def drawn(found, learned, losses):
    figure, (depth, speed, loss) = panels(3, width=5)
    for (name, init), (measured, logs) in found.items():
        colour, (variance, marker) = ACTIVATIONS[name][1], VARIANCES[init]
        mean = np.mean(measured - measured[:, -1:], axis=0)
        depth.semilogy(
            np.arange(DEPTH + 1), np.exp(mean), marker, color=colour, markersize=4, label=f"{name}, {init} ({variance})"
        )
        down = np.append(np.cumsum(logs[::-1])[::-1], 0)
        depth.semilogy(np.arange(DEPTH + 1), np.exp(down), **PREDICTED)
    depth.plot([], [], **PREDICTED, label="mean field")
    depth.set(
        xlabel="layers below",
        ylabel="$|\\partial E / \\partial a|$, over that at the top",
        title=f"Width {WIDTH}, at the start",
    )
    depth.legend(fontsize=8)
    for (n, (measured, logs, published)), colour, size in zip(
        learned.items(), (BLUE, ORANGE, GREEN), (13, 9, 5), strict=False
    ):
        layers, mean = np.arange(1, n + 1) - n, np.log(measured / measured[:, -1:]).mean(axis=0)
        look = {"color": colour, "markersize": size, "markerfacecolor": "none", "markeredgewidth": 2}
        speed.semilogy(layers, np.exp(mean), "o", **look, label=f"{n} hidden layers")
        speed.semilogy(layers, np.array(published) / published[-1], "x", color=colour)
        speed.semilogy(layers, np.exp(np.append(np.cumsum(logs[::-1])[::-1], 0)), **PREDICTED)
    speed.plot([], [], "x", color="gray", label="Nielsen's networks, MNIST")
    speed.plot([], [], **PREDICTED, label="mean field")
    speed.set(
        xlabel="hidden layer, counted from the last",
        ylabel="speed of learning, over the last layer's",
        title="30 sigmoid neurons a layer",
        xticks=range(-3, 1),
    )
    speed.legend(fontsize=8)
    for init, colour in (("Xavier", PURPLE), ("He", ORANGE)):
        epochs = np.arange(1, losses[init].shape[1] + 1)
        loss.plot(epochs, losses[init].T, color=colour, alpha=0.3, linewidth=1)
        loss.plot(epochs, losses[init].mean(axis=0), color=colour, label=init, linewidth=2)
    loss.axhline(np.log(10), **PREDICTED, label="ln 10", zorder=3)
    loss.set(xlabel="epoch", ylabel="training loss", ylim=(0, 2.6), title=f"{DEPTH} layers of ReLU, digits")
    loss.legend(fontsize=8)
    return figure


def experiment(claims, quick, seed):
    key = jax.random.key(seed)
    inits, starts, runs = (jax.random.split(jax.random.fold_in(key, i), 128) for i in range(3))
    inits = inits[: 24 if quick else None]
    found = factors(claims, inits)
    all_positive(claims, inits, ["sigmoid"] if quick else list(ACTIVATIONS))
    learned = speeds_of_learning(claims, starts[: 16 if quick else None], NIELSEN[-1:] if quick else NIELSEN)
    losses = deep(claims, runs[: 8 if quick else 12], epochs=12 if quick else 25)
    return drawn(found, learned, losses)


if __name__ == "__main__":
    raise SystemExit(main(__doc__, experiment))
