"""Gradients vanish or explode by one factor a layer, and the factor is known before a network is made.

    delta^l = f'(z^l) * W^(l+1) delta^(l+1),    |delta^l| / |delta^(l+1)| -> sqrt(chi),    chi = sigma_w^2 E[f'(z)^2]

for weights N(0, sigma_w^2 / n) and z ~ N(0, q), where layer by layer q <- sigma_w^2 E[f(z)^2]. At width n the mean
logarithm of the factor is below log sqrt(chi) by (3 E[f'^4] / E[f'^2]^2 - 1) / 4n, because it is that of a sum of n
squares which scatters: for ReLU 5 / 4n. A hundred seeds see it: 30 layers of ReLU at He's sigma_w^2 = 2 and
width 256 keep 86 % as a rule (PRINCIPLES' 97 % is one draw), though E |delta|^2 is kept in full.

Where the notes are loose. sigma' <= 1/4 isn't the cause, w sigma' is: ReLU vanishes too at Xavier's sigma_w^2 = 1. tanh
isn't like sigmoid: over 30 layers it keeps 15 %, and sigmoid 1e-19. Weights in (0, 1), all positive, saturate
sigmoid and tanh, for a gradient of exactly 0, and with ReLU explode, by n / 2 a layer. Depth alone does neither, at
chi = 1.

    python scripts/experiments/vanishing.py                                     (15 s on 2 cores; --quick 9 s)

Expect factors .234 and .937 (sigmoid, tanh; Xavier), .703 and .995 (ReLU; Xavier, He); 128 for ReLU in (0, 1).
Source: PRINCIPLES D1 to D4, D8, E1; Poole et al. 2016, Schoenholz et al. 2017; Hanin and Nica 2018.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from claims import BLUE, GREEN, ORANGE, PREDICTED, main, panels

import jaxnn
from jaxnn.backward.observers import norms

WIDTH, DEPTH = 256, 30
ACTIVATIONS = {"sigmoid": (jaxnn.Sigmoid(), BLUE), "tanh": (jaxnn.Tanh(), GREEN), "ReLU": (jaxnn.ReLU(), ORANGE)}
VARIANCES = {"Xavier": (1, "o"), "He": (2, "s"), "large": (3, "^")}  # sigma_w^2, and its marker

NODES, MASS = np.polynomial.hermite_e.hermegauss(100)  # an even number: none of them lies on ReLU's kink


def moments(activation, q):
    """E[f(z)^2], E[f'(z)^2], E[f'(z)^4] for z ~ N(0, q)."""
    with jax.enable_x64(True):
        y, _, cache = activation.forward((), (), jnp.sqrt(q) * NODES)
        slope = activation.backward((), cache, jnp.ones_like(y)).dx
    return tuple(float(np.asarray(g) @ MASS / np.sqrt(2 * np.pi)) for g in (y**2, slope**2, slope**4))


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


def upwards(logs):
    """From the log factors of the layers to log |delta| before each, and 0 at the top."""
    return np.append(np.cumsum(logs[::-1])[::-1], 0)


@partial(jax.jit, static_argnames=("block", "rows", "width", "dtype"))
def error_terms(keys, *, block, rows=1, width=WIDTH, dtype="float32"):
    """|dE/dx| before and after each block, (n_seeds, DEPTH + 1), for a random error term at the top.

    Also both ends, (n_seeds, rows, width) each: x, dE/dx, y, dE/dy.
    """
    net = jaxnn.Repeat(block, DEPTH)

    def of_one(key):
        at_weights, at_x, at_top = jax.random.split(key, 3)
        params, state = net.init(at_weights, (width,), dtype)
        x, top = (jax.random.normal(key, (rows, width), dtype) for key in (at_x, at_top))
        y, _, cache = net.forward(params, state, x, train=True)
        folded = jaxnn.fold(net, params, cache, top, norms)
        return jnp.append(jnp.linalg.norm(folded.dx), folded.notes[".inner"].error_term), (x, folded.dx, y, top)

    return jax.lax.map(of_one, keys)


def relative(lengths):
    """log |dE/dx| over that at the top, (n_seeds, DEPTH + 1)."""
    return np.log(lengths) - np.log(lengths[:, -1:])


def factors(claims, keys):
    """log |delta| from bottom to top, by activation and init: measured (n_seeds, DEPTH + 1) and foretold."""
    cases = [(name, init) for name in ACTIVATIONS for init in ("Xavier", "He")] + [("ReLU", "large")]
    results = {}
    for name, init in cases:
        activation, variance = ACTIVATIONS[name][0], VARIANCES[init][0]
        block = jaxnn.Serial(jaxnn.Dense(WIDTH, jaxnn.Normal((variance / WIDTH) ** 0.5)), activation)
        measured, logs = relative(error_terms(keys, block=block)[0]), foretold(activation, variance)
        # ReLU's law lacks 2 / n^2, 3e-5. Else 1 / n covers what mean-field theory leaves out: that W made z, too.
        room = 0 if name == "ReLU" else 1 / WIDTH
        statement = f"{name}, sigma_w^2 = {variance}: factor a layer ({np.exp(logs.sum()):.2g} over {DEPTH})"
        claims.mean(statement, np.exp(measured[:, 0] / DEPTH), np.exp(logs.mean()), room)
        results[name, init] = measured, logs
    return results


def all_positive(claims, keys, names):
    """Weights in (0, 1): z is about n / 2 times the mean of a. Beyond 37 sigma' is 0, in float64 too."""
    for name in names:
        block = jaxnn.Serial(jaxnn.Dense(WIDTH, jaxnn.Uniform(0, 1)), ACTIVATIONS[name][0])
        with jax.enable_x64(True):  # 128^30 is beyond float32
            measured = np.asarray(error_terms(keys, block=block, dtype="float64")[0])
        if name == "ReLU":
            # One input in twenty turns the whole first layer off; for the others all units above it are on. W's rows
            # sum to n / 2 +- sqrt(n / 12): below the top layers delta is nearly constant.
            alive = measured[measured[:, 0] > 0]
            a_layer = (alive[:, 2] / alive[:, DEPTH - 2]) ** (1 / (DEPTH - 4))
            claims.mean("ReLU, weights in (0, 1): factor a layer", a_layer, WIDTH / 2, room=1)
        else:
            claims.equal(f"{name}, weights in (0, 1): largest gradient left after {DEPTH}", measured[:, 0].max(), 0.0)


def drawn(results):
    figure, (depth, a_layer) = panels(2, width=5.4, height=4.2)
    for (name, init), (measured, logs) in results.items():
        (_, colour), (variance, marker) = ACTIVATIONS[name], VARIANCES[init]
        look = {"marker": marker, "linestyle": "", "color": colour}
        depth.semilogy(np.exp(measured.mean(axis=0)), **look, markersize=4, label=f"{name}, {init} ({variance})")
        depth.semilogy(np.exp(upwards(logs)), **PREDICTED)
        a_layer.plot(variance, np.exp(measured[:, 0].mean() / DEPTH), **look, label=name if variance == 1 else None)
    variances = np.linspace(0.5, 3.5, 25)
    for activation, _ in ACTIVATIONS.values():
        a_layer.plot(variances, [np.exp(foretold(activation, variance).mean()) for variance in variances], **PREDICTED)
    depth.set(xlabel="layers below", ylabel="$|\\partial E / \\partial a|$, over that at the top", title="At the start")
    a_layer.set(xlabel="$\\sigma_w^2 = n$ Var(w)", ylabel=f"factor a layer, mean of {DEPTH}", ylim=(0, 1.6))
    a_layer.set(title="Below 1 gradients vanish, above 1 they explode")
    for panel in (depth, a_layer):
        panel.plot([], [], **PREDICTED, label="mean field")
    return figure


def experiment(claims, quick, seed):
    keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), 0), 24 if quick else 128)
    results = factors(claims, keys)
    all_positive(claims, keys, ["sigmoid"] if quick else list(ACTIVATIONS))
    return drawn(results)


if __name__ == "__main__":
    raise SystemExit(main(__doc__, experiment))
