"""Overfitting: the training loss goes on falling while the test loss rises; and what each remedy is worth.

A 784-30-10 network on 1000 images of Fashion-MNIST, as Nielsen's on 1000 of MNIST (training accuracy 100 %, test loss
down to 1.20 and up again to 1.77). Validation images say where the minimum is. The test images are read once, by the
runs that the validation images have chosen.

Remedies, each alone: early stopping, L1, L2, dropout, shifted images. The strengths of L1 and L2 are chosen on
validation images; dropout of 1/2 and shifts by a pixel are the published ones.

Where the notes' list is loose: weight decay adds nothing to L2, for with plain gradient descent the two are the same
steps, W <- W - eta (g + lambda W); and batch normalisation is no remedy by itself: with it the loss rises after its
minimum too. What early stopping does to a quadratic is in early_stopping.

Source: PRINCIPLES F1 to F3, H1 to H4, 3.3, section 4 (23 to 26); Nielsen 2015, chapter 3; Srivastava et al. 2014.

    python scripts/experiments/overfitting.py

Three quarters of a minute on 2 cores. Expect a minimum after about 10 epochs, and gains of 0.14 to 0.25 in test loss.
"""

import jax
import jax.numpy as jnp
import numpy as np
from claims import BLUE, GREEN, ORANGE, PREDICTED, SKY, half_width, main, panels
from jax.flatten_util import ravel_pytree

import jaxnn
from jaxnn.data import load
from jaxnn.networks.models import mlp
from jaxnn.training.augment import Shift

LOSS = jaxnn.SoftmaxCrossEntropy()


def experiment(claims, quick, seed):
    images = load("fashion-mnist")
    train, validation, test = (
        (x[:n], y[:n]) for (x, y), n in ((images.train, 1000), (images.validation, 1000), (images.test, 10_000))
    )
    keys = jax.random.split(jax.random.key(seed), 8)
    all_epochs = 40 if quick else 100

    def network(**options):
        return mlp([30], 10, "sigmoid", weight_init="lecun", scale=images.scale, **options)

    def trained(net, epochs=all_epochs, l1=0.0, l2=0.0, decay=0.0, augment=None):
        """Eight networks, and their histories; the networks of a seed begin alike and meet images in the same order."""
        options = {"epochs": epochs, "batch_size": 10, "validation": validation, "augment": augment}
        penalty = jaxnn.l1(l1), jaxnn.l2(l2)
        rate = jaxnn.schedules.cosine(0.5, steps=100 * all_epochs)  # falls to 0: the last epoch isn't left to chance
        update = jaxnn.chain(jaxnn.weight_decay(decay), jaxnn.gradient_descent(rate))
        return jaxnn.ensemble(jaxnn.mbgd, net, LOSS, train, keys=keys, update=update, penalty=penalty, **options)

    def test_losses(net, run):
        test_loss = jax.vmap(lambda params, state: jaxnn.evaluate(net, LOSS, params, state, test).loss)
        return np.asarray(test_loss(run.params, run.state), np.float64)

    def at_best_strength(name, strengths):
        """The run of the strength that is best on validation images."""
        runs = [trained(plain, **{name: strength}) for strength in strengths]
        return min(runs, key=lambda run: run[1].validation_loss[:, -1].mean())[0]

    plain, dropped, normalised = network(), network(dropout=0.5), network(batch_norm=True)
    run, history = trained(plain)
    stopped, _ = trained(plain, epochs=best_epoch(history))
    remedies = {
        "early stopping": (plain, stopped),
        "L2": (plain, at_best_strength("l2", (1e-3,) if quick else (1e-4, 1e-3, 3e-3))),  # Nielsen's is 1e-4
    }
    if not quick:
        remedies["L1"] = plain, at_best_strength("l1", (1e-4, 3e-4, 1e-3))
        remedies["dropout"] = dropped, trained(dropped)[0]
        remedies["shifts by a pixel"] = plain, trained(plain, augment=Shift(1))[0]
    with_nothing = test_losses(plain, run)
    gains = {name: with_nothing - test_losses(*remedy) for name, remedy in remedies.items()}

    falls = history.loss[:, best_epoch(history)] - history.loss[:, -1]
    claims.mean_at_least(f"training loss where validation is best, less that after {all_epochs} epochs", falls, 0)
    for name, gain in gains.items():
        claims.mean_at_least(f"test loss with nothing, less that with {name}", gain, 0)
    claim_that_decay_is_l2(claims, *(trained(plain, epochs=5, **{name: 1e-3})[0] for name in ("l2", "decay")))
    curves = {"training": history.loss, "validation": history.validation_loss}
    if not quick:
        run, history = trained(normalised)
        stopped, _ = trained(normalised, epochs=best_epoch(history))
        rise = test_losses(normalised, run) - test_losses(normalised, stopped)
        claims.mean_at_least("batch normalisation: test loss at the end, less that when stopped early", rise, 0)
        curves["validation, batch normalisation"] = history.validation_loss
    return drawn(curves, gains)


def best_epoch(history):
    """The number of epochs with the least validation loss, in the mean over the seeds."""
    return 1 + int(history.validation_loss.mean(axis=0).argmin())


def claim_that_decay_is_l2(claims, penalised, decayed):
    """W <- W - eta (g + lambda W), whoever adds the last term."""
    weights, others = (ravel_pytree(run.params)[0] for run in (penalised, decayed))
    apart = float(jnp.abs(weights - others).max() / jnp.abs(weights).max())
    # 500 steps, in each of which lambda W is rounded by itself or as part of the sum.
    claims.at_most("L2 against weight decay: weights apart, relative", apart, 500 * 2**-24)


def drawn(curves, gains):
    figure, (learning, bars) = panels(columns=2, width=5.2)
    for (name, curve), color in zip(curves.items(), (BLUE, ORANGE, GREEN), strict=False):
        mean = np.asarray(curve).mean(axis=0)
        epochs = 1 + np.arange(len(mean))
        learning.plot(epochs, np.asarray(curve).T, color=color, linewidth=0.4, alpha=0.5)
        learning.plot(epochs, mean, color=color, label=name)
        if name != "training":
            learning.plot(1 + mean.argmin(), mean.min(), "o", color=color)
    learning.set(xlabel="epoch", ylabel="loss", ylim=(0, 2), title="784-30-10 on 1000 images, eight seeds")
    places = np.arange(len(gains))
    spread = [half_width(gain) for gain in gains.values()]
    bars.barh(places, [gain.mean() for gain in gains.values()], xerr=spread, color=SKY, capsize=3)
    bars.axvline(0, **PREDICTED)
    bars.set_yticks(places, gains)
    bars.invert_yaxis()
    bars.set(xlabel="test loss lower by (99.9 % intervals)", title="what each remedy is worth")
    return figure


if __name__ == "__main__":
    raise SystemExit(main(__doc__, experiment))
