"""The article's recipe as printed does not learn; pixels divided by 255, or batch normalisation, make it learn.

    784-300-10 sigmoid neurons, E = 1/2 sum (t - y)^2, t = 0.9 or 0.1, W ~ U(-0.1, 0.1), b = 0, eta = 0.3, batch 1

Raw pixels, 0 to 255, saturate nearly all hidden units before the first step (saturation.py). A unit that isn't flat
sees a step eta delta |x|^2 of its z, thousands, and is flat from then on, for all images alike. The loss stays above
that of outputs that don't depend on the image: 10 / 2 times the variance of a target, if they are the best ones, 0.288.

Dividing by 255 cures it. Batch normalisation cures it too, without dividing; it has mini-batches, for it couples their
rows.

Where the notes are loose: early stopping there reads the test set. Here validation images are held out for what is to
be chosen, and the test is read once.

    python scripts/experiments/article_recipe.py                                (25 s on 2 cores; --quick 10 s)

Fashion-MNIST stands in for MNIST: 5,120 training images for the curves, all 55,000 once for the test.
All seeds meet the examples in one order: the intervals are those over initial weights.
Expect with raw pixels an accuracy of 0.1 to 0.3 (chance is 0.1), and a loss of 0.44, which no constant output need
have; with pixels divided by 255 a loss of 0.08 and 64 points more of accuracy, with batch normalisation 0.10 and 63; on
the test images 83.5 %, where validation predicts 84.3 %.
Source: PRINCIPLES section 0, facts 1 and 2; D6; 2.3 (hanbingtao, part 3); 4, correction 26.
"""

import jax
import numpy as np
from claims import CONFIDENCE, PREDICTED, main, panels
from saturation import CASES, COLOURS, FLAT, LOSS, PLAIN, examples, slopes, slopes_before_training
from scipy import stats

import jaxnn
from jaxnn.data import load

LEARNING_RATE = 0.3
RULE = jaxnn.gradient_descent(LEARNING_RATE)
# Outputs that don't depend on the image: 0.18 each is best, and its loss 10 / 2 times the variance of a target.
CONSTANT_LOSS = 10 / 2 * 0.8**2 * 0.1 * 0.9


def experiment(claims, quick, seed):
    data = load("fashion-mnist")
    n, epochs = (1_024, 2) if quick else (5_120, 4)
    images, labels = data.train
    train, validation = (images[:n], labels[:n]), tuple(split[: 1_024 if quick else None] for split in data.validation)
    keys = jax.random.split(jax.random.key(seed), 6)
    some, n_networks = (200, 8) if quick else (1_000, 16)
    before = slopes_before_training("raw pixels", images[:some], keys[0], n_networks)
    losses, accuracies = claim_who_learns(claims, train, validation, keys, epochs, np.mean(before < FLAT))
    if not quick:
        claim_the_test(claims, data, keys[:3])
    return drawn(losses, accuracies, n)


def claim_who_learns(claims, train, validation, keys, epochs, flat_before):
    """Loss and validation accuracy of each epoch, by case: (n_seeds, epochs)."""
    losses, accuracies = {}, {}
    for name, (scale, net) in CASES.items():
        coupled = jaxnn.couples_batch(net)
        loop, options = (jaxnn.mbgd, {"batch_size": 16}) if coupled else (jaxnn.sgd, {"block": 64})
        data, held_out = examples(*train, scale), examples(*validation, scale)
        options |= {"update": RULE, "epochs": epochs, "validation": held_out, "metric": jaxnn.accuracy}
        runs, history = jaxnn.ensemble(loop, net, LOSS, data, keys=keys, **options)
        losses[name], accuracies[name] = np.asarray(history.loss), np.asarray(history.validation_metric)
        last = losses[name][:, -1]
        if name == "raw pixels":
            claims.mean_at_least(f"{name}: loss of the last epoch, and a constant output's", last, CONSTANT_LOSS)
            flat = np.mean(slopes(runs.params, runs.state, held_out[0][:500], net=net) < FLAT, axis=(1, 2))
            claims.mean_at_least(f"{name}: share of flat units after training, and before", flat, flat_before)
        else:
            claims.mean_at_least(f"{name}: minus that loss, and a constant output's", -last, -CONSTANT_LOSS)
            gained = accuracies[name][:, -1] - accuracies["raw pixels"][:, -1]
            claims.mean_at_least(f"{name}: accuracy above raw pixels', same seeds", gained, 0)
    return losses, accuracies


def claim_the_test(claims, data, keys):
    """One epoch over all training images: what the validation set foretells, and the test set, read here only."""
    train = examples(*data.train, 1 / 255)
    runs, _ = jaxnn.ensemble(jaxnn.sgd, PLAIN, LOSS, train, keys=keys, update=RULE, epochs=1, block=64)

    def accuracy(split):
        held_out, members = examples(*split, 1 / 255), [jaxnn.member(runs, i) for i in range(len(keys))]
        right = {"data": held_out, "metric": jaxnn.accuracy}
        return np.mean([jaxnn.evaluate(PLAIN, LOSS, run.params, run.state, **right).metric for run in members])

    expected, measured = accuracy(data.validation), accuracy(data.test)
    n = 1 / (1 / len(data.validation[0]) + 1 / len(data.test[0]))
    within = stats.norm.ppf((1 + CONFIDENCE) / 2) * np.sqrt(expected * (1 - expected) / n)
    claims.near(f"test accuracy, foretold by validation ({len(keys)} seeds)", measured, expected, within)


def drawn(losses, accuracies, n_examples):
    figure, (loss, accuracy) = panels(2, width=5.6, height=4.2)
    for axes, curves_by_name in ((loss, losses), (accuracy, accuracies)):
        for name, curves in curves_by_name.items():
            seen = n_examples * np.arange(1, 1 + curves.shape[1])
            axes.plot(seen, curves.T, color=COLOURS[name], alpha=0.3, linewidth=1)
            axes.plot(seen, curves.mean(axis=0), "o-", color=COLOURS[name], label=name)
        axes.set_xlabel("examples seen")
    loss.axhline(CONSTANT_LOSS, **PREDICTED, label="the best constant output")
    loss.set(ylabel="training loss of the epoch", ylim=(0, 0.65), title="Loss, seed by seed")
    loss.legend(fontsize=8, loc="upper right")
    accuracy.axhline(0.1, **PREDICTED, label="chance")
    accuracy.set(ylabel="validation accuracy", ylim=(0, 1), title="Learning, seed by seed")
    return figure


if __name__ == "__main__":
    raise SystemExit(main(__doc__, experiment))
