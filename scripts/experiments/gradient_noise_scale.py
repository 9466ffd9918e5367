"""The gradient noise scale: how large a batch is useful.

The notes: a mini-batch costs less than the whole set, and is less random than one example. How large should it be? A
batch of B examples has the gradient G + noise of covariance Sigma / B, and one step of rate eta changes a quadratic
loss of Hessian H, in the mean, by

    -eta |G|^2 + eta^2 / 2 (G.HG + tr(H Sigma) / B).

The best rate gains |G|^4 / (2 G.HG) / (1 + B_noise / B), with B_noise = tr(H Sigma) / G.HG: a batch of B_noise has half
of the gain that all examples would have. Summed over a run, with the best rate for each B,

    steps(B) = S_min (1 + B_noise / B),      examples(B) = B steps(B) = E_min (1 + B / B_noise):

small batches waste steps, large ones examples. Batches drawn from n examples without putting back have noise
Sigma (1/B - 1/n) n / (n - 1) in place of Sigma / B. With H like the identity, B_noise is B_simple = tr(Sigma) / |G|^2,
which needs no Hessian, and was found to tell B_noise to within an order of magnitude. It grows as the loss falls.

Source: PRINCIPLES B8, B12, section 4 (7); McCandlish et al. 2018, sections 2.2 and 2.3.

    python scripts/experiments/gradient_noise_scale.py

Half a minute on 2 cores. Expect B_noise near 200 for the network, and B_simple of 30 to 400 on its way.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from claims import BLUE, GREEN, ORANGE, PREDICTED, half_width, main, panels
from jax.flatten_util import ravel_pytree
from scipy.optimize import least_squares

import jaxnn
from jaxnn.data import load

LOSS = jaxnn.SoftmaxCrossEntropy()
TARGET = 1.0  # training loss
RATES = np.sqrt(2) ** np.arange(-12, 4)  # 1/64 to 2.8


def experiment(claims, quick, seed):
    x, labels = (part[:2000] for part in load("mnist1d", validation=0).train)
    keys = jax.random.split(jax.random.key(seed), 8)
    linear = jaxnn.Serial(jaxnn.Flatten(), jaxnn.Dense(10))
    one_hot = np.eye(10, dtype=np.float32)[labels]
    gains = claim_the_gain_of_a_step(claims, linear, (x, one_hot), keys[0], np.random.default_rng(seed))

    net = jaxnn.Serial(jaxnn.Flatten(), jaxnn.Dense(32), jaxnn.ReLU(), jaxnn.Dense(10))
    sizes = np.array((64, 2000) if quick else (4, 16, 64, 256, 2000))
    steps, best = steps_to_target(net, (x, labels), sizes, keys[: 3 if quick else 5])
    losses, scales = noise_scale_while_learning(net, (x, labels), best[sizes == 64][0], keys)
    fit = claim_the_hyperbola(claims, sizes, steps, len(x), scales[losses > TARGET].mean())
    # The iterate swings, and |G|^2 with it, by a factor of 2 and more: what grows is the trend over all epochs.
    slopes = [-np.polyfit(np.log(loss), np.log(scale), 1)[0] for loss, scale in zip(losses, scales, strict=True)]
    claims.mean_at_least("network: B_simple ~ 1 / loss^a, a", slopes, 0)
    return drawn(gains, sizes, steps, fit, losses, scales)


def gradient_of(net, loss, params, state, x, target):
    """The mean gradient of some examples, as one vector."""
    return ravel_pytree(jaxnn.backprop(net, loss)(params, state, x, target).grads)[0]


def gradients_of_each(net, loss, params, state, data):
    """The gradient of every example for itself, (n, params)."""
    one = partial(gradient_of, net, loss, params, state)
    return jax.vmap(lambda x, t: one(x[None], t[None]))(*map(jnp.asarray, data))


def claim_the_gain_of_a_step(claims, net, data, key, rng, n_draws=1000):
    """On least squares, where all is exact: what one step at the best rate gains, in the mean over batches."""
    loss, n = jaxnn.HalfSquaredError(), len(data[0])
    params, state = net.init(key, data[0].shape[1:])
    flat, unravel = ravel_pytree(params)
    each = gradients_of_each(net, loss, params, state, data)
    gradient = each.mean(axis=0)

    def curvature(v):  # v.Hv, with H v the derivative of the gradient along v
        return v @ jax.jvp(lambda w: gradient_of(net, loss, unravel(w), state, *data), (flat,), (v,))[1]

    bent = float(jax.jit(curvature)(gradient))
    noise = float(jax.lax.map(curvature, each).mean()) - bent
    full = float(gradient @ gradient) ** 2 / (2 * bent)
    before = jaxnn.evaluate(net, loss, params, state, data, metric=None).loss
    after = jax.vmap(lambda w: jaxnn.evaluate(net, loss, unravel(w), state, data, metric=None).loss)
    measured = {}
    for size in (1, 4, 16, 64, 256):
        rate = float(gradient @ gradient) / (bent + noise / size)
        shares = rng.multinomial(size, np.full(n, 1 / n), n_draws) / size  # of the examples in each batch
        measured[size] = np.asarray(before - after(flat - rate * shares.astype(np.float32) @ each)) / full
        predicted = 1 / (1 + noise / bent / size)
        claims.mean(
            f"least squares, B = {size}: gain of the best step / that of all examples", measured[size], predicted
        )
    return noise / bent, measured


def steps_to_target(net, data, sizes, keys):
    """Steps until the loss of all examples is at the target, (sizes, keys), at the best of the rates for each size."""
    rule = jaxnn.gradient_descent(jnp.tile(jnp.array(RATES), len(keys)))
    least, best = [], []
    for size in sizes.tolist():
        options = {"keys": jnp.repeat(keys, len(RATES)), "update": rule, "batch_size": size, "validation": data}
        epochs = 25 + 160 * size // len(data[0])  # twice what the best rate needs, or so
        _, histories = jaxnn.ensemble(jaxnn.mbgd, net, LOSS, data, epochs=epochs, metric=None, **options)
        curves = np.asarray(histories.validation_loss).reshape(len(keys), len(RATES), epochs)
        steps = np.apply_along_axis(first_epoch_at_target, 2, curves) * len(data[0]) / size
        chosen = steps.mean(axis=0).argmin()
        least.append(steps[:, chosen])
        best.append(RATES[chosen])
    return np.stack(least), np.array(best)


def first_epoch_at_target(curve):
    """When a loss known at the end of each epoch gets to the target: in between, log loss is taken as linear."""
    above = np.log(curve / TARGET)
    i = int(np.argmax(above <= 0))
    return i + above[i - 1] / (above[i - 1] - above[i]) if i else np.inf


def noise_scale_while_learning(net, data, rate, keys):
    """Loss and B_simple at the start and after each epoch, (keys, 1 + epochs), until all have been at the target."""

    @jax.jit
    @jax.vmap
    def measured(params, state):
        each = gradients_of_each(net, LOSS, params, state, data)
        gradient = each.mean(axis=0)
        noise = jnp.sum(jnp.square(each - gradient)) / len(each)
        return jaxnn.evaluate(net, LOSS, params, state, data).loss, noise / jnp.sum(jnp.square(gradient))

    options = {"update": jaxnn.gradient_descent(float(rate)), "epochs": 1, "batch_size": 64, "metric": None}
    run = jax.vmap(lambda key: jaxnn.start(net, data[0].shape[1:], key=key, update=options["update"]))(keys)
    run = run._replace(epoch=run.epoch[0], step=run.step[0])  # which the members of an ensemble have in common
    found = [measured(run.params, run.state)]
    while np.min([loss for loss, _ in found], axis=0).max() > TARGET:
        run, _ = jaxnn.ensemble(jaxnn.mbgd, net, LOSS, data, run=run, **options)
        found.append(measured(run.params, run.state))
    losses, scales = (np.stack(part, axis=1) for part in zip(*found, strict=True))
    return losses, scales


def claim_the_hyperbola(claims, sizes, steps, n, scale):
    """S_min and B_noise, from the logarithms of the steps."""

    def hyperbola(size, log_least, log_scale):
        return log_least + np.log1p(np.exp(log_scale) * (1 / size - 1 / n) * n / (n - 1))

    log_steps = np.log(steps).mean(axis=1)
    log_least, log_scale = least_squares(lambda logs: hyperbola(sizes, *logs) - log_steps, (4.0, 4.0)).x
    exponents = np.diff(log_steps) / np.diff(np.log(sizes))
    # Twice the batch never needs more steps, nor fewer than half. The grid of rates adds up to 4 % (a rate r times the
    # best needs 1 / (2r - r^2) times the steps, r being within 2^(1/4)), and the seeds as much: 0.1 on a factor of 4.
    claims.at_least("network: d log steps / d log B, least", exponents.min(), -1.1)
    claims.at_most("network: d log steps / d log B, largest", exponents.max(), 0.1)
    claims.between("network: fitted B_noise / mean B_simple on the way", np.exp(log_scale) / scale, 0.1, 10)
    return lambda size: np.exp(hyperbola(size, log_least, log_scale)), np.exp(log_least), np.exp(log_scale)


def drawn(gains, sizes, steps, fit, losses, scales):
    figure, (gain, step, growth) = panels(columns=3)
    ratio, measured = gains
    every = np.geomspace(1, 2000, 200)
    gain.plot(every, 1 / (1 + ratio / every), **PREDICTED, label=f"1 / (1 + {ratio:.1f} / B)")
    spread = [half_width(each) for each in measured.values()]
    gain.errorbar(list(measured), [each.mean() for each in measured.values()], spread, fmt="o", color=BLUE, capsize=3)
    gain.set(xscale="log", xlabel="batch size B", ylabel="gain / gain with all examples")
    gain.set(title="least squares: one step at the best rate")
    gain.legend()
    hyperbola, least, scale = fit
    step.plot(sizes, steps, "o", color=ORANGE, markersize=4)
    every = np.geomspace(sizes[0], sizes[-1], 200)
    step.plot(every, hyperbola(every), **PREDICTED, label=f"{least:.0f} (1 + {scale:.0f} / B)")
    step.set(xscale="log", yscale="log", xlabel="batch size B", ylabel=f"steps to a training loss of {TARGET:g}")
    step.set(title="network: at the best rate for each B")
    step.legend()
    growth.plot(losses.T, scales.T, ".", color=GREEN)
    growth.axhline(scale, **PREDICTED, label="$B_{noise}$ of the fit")
    growth.set(yscale="log", xlabel="training loss, falling to the right", ylabel="$B_{simple}$ in examples")
    growth.set(title="the noise scale grows as the loss falls")
    growth.invert_xaxis()
    growth.legend()
    return figure


if __name__ == "__main__":
    raise SystemExit(main(__doc__, experiment))
