"""Steps to a target loss fall as 1 / B while the batch is small, and hardly at all beyond the noise scale.

The notes: more updates make learning more efficient. They do as long as a batch is small. Let every B have its best
rate. Then what a step gains (gradient_noise_scale.py) is summed over a run, and until a loss is reached it takes

    steps(B) = S_min (1 + B_noise / B),      examples(B) = B steps(B) = E_min (1 + B / B_noise):

small batches waste steps, large ones examples. Batches drawn from n examples without replacement have noise
Sigma (1/B - 1/n) n / (n - 1) in place of Sigma / B. With H like the identity, B_noise is B_simple = tr(Sigma) / |G|^2,
which needs no Hessian, and was found to give B_noise to within an order of magnitude. It grows as the loss falls.

The network has 32 hidden units, and n = 2000 examples of MNIST-1D. For each B one ensemble trains it at all rates, from
all keys.

Source: PRINCIPLES B8, B12, section 4 (7); McCandlish et al. 2018, sections 2.2 and 2.3.

    python scripts/experiments/steps_and_batch_size.py

Eighty seconds on 2 cores, with --quick twenty. Expect slopes of -1.01 to -0.14, a B_noise of 190, 1.9 times the mean
B_simple, and B_simple growing as 1 / loss^1.5, to almost 400 from 23 at the least (60 at the start). At B = 64 the
network needs about half more steps than the hyperbola has: the theory is that of one quadratic loss.
"""

import jax
import jax.numpy as jnp
import numpy as np
from claims import GREEN, ORANGE, PREDICTED, main, panels
from gradient_noise_scale import gradients_of_each
from scipy.optimize import least_squares

import jaxnn
from jaxnn.data import load

LOSS = jaxnn.SoftmaxCrossEntropy()
TARGET = 1.0  # training loss
RATES = np.sqrt(2) ** np.arange(-10, 5)  # 1/32 to 4; the best is near 0.08 for B = 4, and 2.8 for all examples


def experiment(claims, quick, seed):
    data = tuple(part[:2000] for part in load("mnist1d", validation=0).train)
    keys = jax.random.split(jax.random.key(seed), 16)
    net = jaxnn.Serial(jaxnn.Flatten(), jaxnn.Dense(32), jaxnn.ReLU(), jaxnn.Dense(10))
    sizes = np.array((64, 2000) if quick else (4, 16, 64, 256, 2000))
    steps, best = steps_to_target(net, data, sizes, keys[: 3 if quick else None])
    losses, scales = noise_scale_while_learning(net, data, best[sizes == 64][0], keys[:8])
    fit = claim_the_hyperbola(claims, sizes, steps, len(data[0]), scales[losses > TARGET].mean())
    # The iterate swings, and |G|^2 with it, by a factor of 2 and more: what grows is the trend over all epochs.
    slopes = [-np.polyfit(np.log(loss), np.log(scale), 1)[0] for loss, scale in zip(losses, scales, strict=True)]
    claims.mean_at_least("network: B_simple ~ 1 / loss^a, a", slopes, 0)
    return drawn(sizes, steps, fit, losses, scales)


def steps_to_target(net, data, sizes, keys):
    """Steps until the loss of all examples is at the target, (sizes, keys), at the best of the rates for each size."""
    rule = jaxnn.gradient_descent(jnp.tile(jnp.array(RATES), len(keys)))
    least, best = [], []
    for size in sizes.tolist():
        options = {"update": rule, "batch_size": size, "validation": data, "metric": None, "share_order": False}
        options["epochs"] = epochs = 25 + 160 * size // len(data[0])  # twice what the best rate needs, or so
        _, histories = jaxnn.ensemble(jaxnn.mbgd, net, LOSS, data, keys=jnp.repeat(keys, len(RATES)), **options)
        curves = np.asarray(histories.validation_loss).reshape(len(keys), len(RATES), epochs)
        steps = np.apply_along_axis(first_epoch_at_target, 2, curves) * len(data[0]) / size
        chosen = steps.mean(axis=0).argmin()
        least.append(steps[:, chosen])
        best.append(RATES[chosen])
    return np.stack(least), np.array(best)


def first_epoch_at_target(curve):
    """When a loss known at the end of each epoch gets to the target: in between, log loss is taken as linear.

    inf if never, or if within the first epoch already.
    """
    above = np.log(curve / TARGET)
    i = int(np.argmax(above <= 0))
    return i + above[i - 1] / (above[i - 1] - above[i]) if i else np.inf


def noise_scale_while_learning(net, data, rate, keys):
    """Loss and B_simple at the start and after each epoch, (keys, 1 + epochs), until all have been at the target."""

    @jax.jit
    @jax.vmap
    def measured(params, state):
        gradients = gradients_of_each(net, LOSS, params, state, data)
        gradient = gradients.mean(axis=0)
        noise = jnp.sum(jnp.square(gradients - gradient)) / len(gradients)
        return jaxnn.evaluate(net, LOSS, params, state, data).loss, noise / jnp.sum(jnp.square(gradient))

    options = {"update": jaxnn.gradient_descent(float(rate)), "epochs": 1, "batch_size": 64, "metric": None}
    run = jax.vmap(lambda key: jaxnn.start(net, data[0].shape[1:], key=key, update=options["update"]))(keys)
    run = run._replace(epoch=run.epoch[0], step=run.step[0])  # which the members of an ensemble have in common
    measurements = [measured(run.params, run.state)]
    while np.min([loss for loss, _ in measurements], axis=0).max() > TARGET:
        run, _ = jaxnn.ensemble(jaxnn.mbgd, net, LOSS, data, run=run, **options)
        measurements.append(measured(run.params, run.state))
    losses, scales = (np.stack(part, axis=1) for part in zip(*measurements, strict=True))
    return losses, scales


def claim_the_hyperbola(claims, sizes, steps, n, scale):
    """S_min and B_noise, from the logarithms of the steps."""

    def hyperbola(size, log_least, log_scale):
        return log_least + np.log1p(np.exp(log_scale) * (1 / size - 1 / n) * n / (n - 1))

    log_steps = np.log(steps).mean(axis=1)
    log_least, log_scale = least_squares(lambda logs: hyperbola(sizes, *logs) - log_steps, (4.0, 4.0)).x
    exponents = np.diff(log_steps) / np.diff(np.log(sizes))
    # Twice the batch never needs more steps, nor fewer than half. The grid of rates adds up to 4 % (a rate r times the
    # best needs 1 / (2r - r^2) times the steps, r being within 2^(1/4)), and the seeds more: the mean of sixteen that
    # meet the examples in orders of their own has a standard error of 5 % or so. 0.1 on a factor of 4 is 15 %.
    claims.at_least("network: d log steps / d log B, least", exponents.min(), -1.1)
    claims.at_most("network: d log steps / d log B, largest", exponents.max(), 0.1)
    claims.between("network: fitted B_noise / mean B_simple on the way", np.exp(log_scale) / scale, 0.1, 10)
    return lambda size: np.exp(hyperbola(size, log_least, log_scale)), np.exp(log_least), np.exp(log_scale)


def drawn(sizes, steps, fit, losses, scales):
    figure, (step, growth) = panels(2, width=5.2)
    hyperbola, least, scale = fit
    n_seeds = steps.shape[1]
    step.plot(np.repeat(sizes, n_seeds), steps.ravel(), "o", color=ORANGE, markersize=4, label=f"{n_seeds} seeds")
    every = np.geomspace(sizes[0], sizes[-1], 200)
    step.plot(every, hyperbola(every), **PREDICTED, label=f"{least:.0f} (1 + {scale:.0f} / B)")
    step.set(xscale="log", yscale="log", xlabel="batch size B", ylabel=f"steps to a training loss of {TARGET:g}")
    step.set_title("at the best rate for each B")
    growth.plot(losses.ravel(), scales.ravel(), ".", color=GREEN, label=f"B = 64, {len(losses)} seeds, epoch by epoch")
    growth.axhline(scale, **PREDICTED, label="$B_{noise}$ of the fit")
    growth.set(yscale="log", xlabel="training loss, falling to the right", ylabel="$B_{simple}$ in examples")
    growth.set_title("the noise scale grows as the loss falls")
    growth.invert_xaxis()
    return figure


if __name__ == "__main__":
    raise SystemExit(main(__doc__, experiment))
