"""The gradient noise scale says how large a batch is useful: one of B_noise gains half of what all would.

The notes: a mini-batch costs less than the whole set, and is less random than one example. How large should it be? A
batch of B examples has the gradient G + noise of covariance Sigma / B, and one step of rate eta changes a quadratic
loss of Hessian H, in the mean, by

    -eta |G|^2 + eta^2 / 2 (G.HG + tr(H Sigma) / B).

The best rate gains |G|^4 / (2 G.HG) / (1 + B_noise / B), with B_noise = tr(H Sigma) / G.HG: a batch of B_noise has half
of the gain that all examples would have. Beyond it, more examples hardly gain more; below it, the gain is in proportion
to B, and the best rate with it. Least squares is such a loss, so that here all of it is exact: G, Sigma and H are those
of ten outputs fitted to the classes of MNIST-1D, and examples are drawn with replacement.

What this makes of a whole run, and of a network, is in steps_and_batch_size.py.

Source: PRINCIPLES B8, B12, section 4 (7); McCandlish et al. 2018, sections 2.2 and 2.3.

    python scripts/experiments/gradient_noise_scale.py

Five seconds on 2 cores. Expect gains of 0.07, 0.24, 0.56, 0.84 and 0.95 of that of all examples for B = 1 to 256,
B_noise being 12.5.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from claims import BLUE, ORANGE, PREDICTED, half_width, main, panels
from jax.flatten_util import ravel_pytree

import jaxnn
from jaxnn.data import load

SIZES = (1, 4, 16, 64, 256)


def experiment(claims, quick, seed):
    x, labels = (part[:2000] for part in load("mnist1d", validation=0).train)
    key = jax.random.key(seed)
    data = x, np.eye(10, dtype=np.float32)[labels]
    net = jaxnn.Serial(jaxnn.Flatten(), jaxnn.Dense(10))
    return drawn(*claim_the_gain_of_a_step(claims, net, data, key, np.random.default_rng(seed)))


def gradient_of(net, loss, params, state, x, target):
    """The mean gradient of some examples, as one vector."""
    return ravel_pytree(jaxnn.backprop(net, loss)(params, state, x, target).grads)[0]


def gradients_of_each(net, loss, params, state, data):
    """The gradient of every example for itself, (n, params)."""
    one = partial(gradient_of, net, loss, params, state)
    return jax.vmap(lambda x, t: one(x[None], t[None]))(*map(jnp.asarray, data))


def claim_the_gain_of_a_step(claims, net, data, key, rng, n_draws=1000):
    """What one step at the best rate gains, in the mean over batches."""
    loss, n = jaxnn.HalfSquaredError(), len(data[0])
    params, state = net.init(key, data[0].shape[1:])
    flat, unravel = ravel_pytree(params)
    gradients = gradients_of_each(net, loss, params, state, data)
    gradient = gradients.mean(axis=0)

    def curvature(v):  # v.Hv, with H v the derivative of the gradient along v
        return v @ jax.jvp(lambda w: gradient_of(net, loss, unravel(w), state, *data), (flat,), (v,))[1]

    bent = float(jax.jit(curvature)(gradient))
    noise = float(jax.lax.map(curvature, gradients).mean()) - bent  # tr(H Sigma)
    full = float(gradient @ gradient) ** 2 / (2 * bent)
    before = jaxnn.evaluate(net, loss, params, state, data, metric=None).loss
    after = jax.vmap(lambda w: jaxnn.evaluate(net, loss, unravel(w), state, data, metric=None).loss)
    measured = {}
    for size in SIZES:
        rate = float(gradient @ gradient) / (bent + noise / size)
        shares = rng.multinomial(size, np.full(n, 1 / n), n_draws) / size  # of the examples in each batch
        measured[size] = np.asarray(before - after(flat - rate * shares.astype(np.float32) @ gradients)) / full
        predicted = 1 / (1 + noise / bent / size)
        claims.mean(
            f"least squares, B = {size}: gain of the best step / that of all examples", measured[size], predicted
        )
    return noise / bent, measured


def drawn(noise_scale, measured):
    figure, (gain,) = panels(1, width=6, height=4.2)
    every = np.geomspace(1, 2000, 200)
    gain.plot(every, 1 / (1 + noise_scale / every), **PREDICTED, label=f"1 / (1 + {noise_scale:.1f} / B)")
    spread = [half_width(gains) for gains in measured.values()]
    means = [gains.mean() for gains in measured.values()]
    gain.errorbar(list(measured), means, spread, fmt="o", color=BLUE, capsize=3, label="mean of 1000 batches")
    gain.axvline(noise_scale, color=ORANGE, label="$B_{noise}$: half the gain")
    gain.set(xscale="log", xlabel="batch size B", ylabel="gain / gain with all examples")
    gain.set_title("least squares: one step at the best rate")
    return figure


if __name__ == "__main__":
    raise SystemExit(main(__doc__, experiment))
