"""A fixed shuffle of the pixels changes nothing for a dense network, and much for a convolutional one.

The notes: a fully connected network treats all pixels alike. More exactly, it does not know where a pixel lies. Let all
examples have their pixels in another order, the same for all. A dense layer whose rows are in that order too gives the
same outputs, gets the same gradients, and so goes through the same training, step by step. Rows that are drawn
independently and alike are as likely in one order as in another; hence its accuracy has the same distribution. (It need
not weigh pixels equally: after training it doesn't.) A convolution's weights say which pixels are neighbours, and lose
what they are good for.

Published for MNIST-1D, in order and shuffled: MLP 68 and 68 % (in the authors' log 65.1 and 66.0), CNN 94 and 56 %
(92.3 and 58.7). Fashion-MNIST stands in for MNIST.

Source: PRINCIPLES G4, 3.1, section 4 (22); Greydanus and Kobak, "Scaling down deep learning with MNIST-1D".

    python scripts/experiments/pixel_shuffle.py

A minute and a half on 2 cores. Expect 67 and 66 % of the MLP on MNIST-1D, 92 and 59 % of the CNN.
"""

import jax
import numpy as np
from claims import BLUE, ORANGE, half_width, main, panels
from scipy import stats

import jaxnn
from jaxnn.data import load

LOSS = jaxnn.SoftmaxCrossEntropy()
# In percent, in order and shuffled: what the README and the notebook's log say.
PUBLISHED = {"MLP": ((68, 65.1), (68, 66.0)), "CNN": ((94, 92.3), (56, 58.7))}


def experiment(claims, quick, seed):
    keys = jax.random.split(jax.random.key(seed), 10)
    rng = np.random.default_rng(seed)
    signals = load("mnist1d", validation=0)
    claim_that_a_dense_layer_cannot_tell(claims, signals.train, keys[0], rng)

    mlp, cnn = networks_for_signals()
    options = {"update": jaxnn.adam(0.01), "batch_size": 100, "epochs": 25 if quick else 150}  # 40 steps an epoch
    of_signals = {
        name: accuracies(net, signals.train, signals.test, keys[:5], rng, **options)
        for name, net in (("MLP", mlp), ("CNN", cnn))
    }
    claim_what_shuffling_does(claims, "MNIST-1D", of_signals)
    if quick:
        return drawn({"MNIST-1D, five seeds": of_signals})
    claim_what_was_published(claims, of_signals)

    images = load("fashion-mnist")  # whose objects lie in the middle, all alike: there is less to gain than in signals
    train, test = (images.train[0][:5000], images.train[1][:5000]), images.test
    mlp, cnn = networks_for_images(images.scale)
    options = {"update": jaxnn.adam(0.003), "batch_size": 100, "epochs": 8}
    of_images = {name: accuracies(net, train, test, keys, rng, **options) for name, net in (("MLP", mlp), ("CNN", cnn))}
    claim_what_shuffling_does(claims, "Fashion-MNIST", of_images)
    return drawn({"MNIST-1D, five seeds": of_signals, "Fashion-MNIST, 5000 images, ten seeds": of_images})


def networks_for_signals():
    """The published ones: 15,210 and 5,210 params."""
    residual = jaxnn.Residual(jaxnn.Serial(jaxnn.Dense(100), jaxnn.ReLU()))
    mlp = jaxnn.Serial(jaxnn.Flatten(), jaxnn.Dense(100), jaxnn.ReLU(), residual, jaxnn.Dense(10))
    convolutions = [
        layer for window in (5, 3, 3) for layer in (jaxnn.Conv1D(25, window, stride=2, padding=((1, 1),)), jaxnn.ReLU())
    ]
    return mlp, jaxnn.Serial(*convolutions, jaxnn.Flatten(), jaxnn.Dense(10))


def networks_for_images(scale):
    mlp = jaxnn.Serial(jaxnn.Flatten(), jaxnn.Rescale(scale), jaxnn.Dense(100), jaxnn.ReLU(), jaxnn.Dense(10))
    convolutions = [layer for n in (8, 16, 16) for layer in (jaxnn.Conv2D(n, 3, stride=2), jaxnn.ReLU())]
    return mlp, jaxnn.Serial(jaxnn.Rescale(scale), *convolutions, jaxnn.Flatten(), jaxnn.Dense(10))


def shuffled(x, order):
    """Every example with its pixels in that order."""
    return x.reshape(len(x), -1)[:, order].reshape(x.shape)


def accuracies(net, train, test, keys, rng, **options):
    """Test accuracy in percent after training, of each key: in order and shuffled."""
    whole = np.prod(train[0].shape[1:])
    percents = []
    for order in (np.arange(whole), rng.permutation(whole)):
        data, held_out = ((shuffled(x, order), y) for x, y in (train, test))
        runs, _ = jaxnn.ensemble(jaxnn.mbgd, net, LOSS, data, keys=keys, **options)
        on_test = jax.vmap(lambda params, state, on: jaxnn.evaluate(net, LOSS, params, state, on).metric, (0, 0, None))
        percents.append(100 * np.asarray(on_test(runs.params, runs.state, held_out), np.float64))
    return percents


def claim_that_a_dense_layer_cannot_tell(claims, data, key, rng):
    """In float64: one network on signals in order; one with its first rows shuffled as its signals are."""
    net = jaxnn.Serial(jaxnn.Flatten(), jaxnn.Dense(20), jaxnn.Tanh(), jaxnn.Dense(10))
    x, labels = data[0].astype(np.float64), data[1]
    order = rng.permutation(40)
    rule = jaxnn.gradient_descent(0.1)
    with jax.enable_x64(True):
        start = jaxnn.start(net, x.shape[1:], key=key, update=rule)
        flatten, first, *rest = start.params
        other = start._replace(params=(flatten, first._replace(weight=first.weight[order]), *rest))
        losses = [
            jaxnn.mbgd(net, LOSS, (x, labels), run=run, epochs=5, batch_size=100, update=rule)[1].loss
            for run, x in ((start, x), (other, shuffled(x, order)))
        ]
        apart = float(np.abs(losses[0] - losses[1]).max())
    # 200 steps; in each, sums of 40 products are rounded in another order: 200 * 40 * 2^-53 = 9e-13 of numbers near 1.
    claims.at_most("MLP: losses of 200 steps apart, rows shuffled as the pixels are", apart, 200 * 40 * 2.0**-53)


def claim_what_shuffling_does(claims, name, results):
    claims.mean(f"{name}, MLP: accuracy shuffled - in order", results["MLP"][1] - results["MLP"][0], 0, unit="points")
    claims.mean_at_least(
        f"{name}, CNN: accuracy in order - shuffled", results["CNN"][0] - results["CNN"][1], 0, "points"
    )


def claim_what_was_published(claims, results):
    """A published number is of one run on 1,000 test signals: good for a binomial interval."""
    z = stats.norm.ppf(0.9995)
    for name, both in results.items():
        for how, accuracy, published in zip(("in order", "shuffled"), both, PUBLISHED[name], strict=True):
            low, high = (np.array(published) + side * z * np.sqrt(binomial_variance(published)) for side in (-1, 1))
            claims.between(f"MNIST-1D, {name} {how}: accuracy", accuracy.mean(), min(low), max(high), "%")


def binomial_variance(percent, tries=1000):
    return np.array(percent) * (100 - np.array(percent)) / tries


def drawn(by_data):
    figure, axes = panels(columns=len(by_data), width=5.2)
    for (name, networks), panel in zip(by_data.items(), axes, strict=True):
        for how, color, i in (("in order", BLUE, 0), ("shuffled", ORANGE, 1)):
            places = np.arange(len(networks)) + 0.36 * (i - 0.5)
            means = [both[i].mean() for both in networks.values()]
            spread = [half_width(both[i]) for both in networks.values()]
            panel.bar(places, means, 0.34, yerr=spread, capsize=4, color=color, label=f"pixels {how}")
            if name.startswith("MNIST-1D"):
                readme = [PUBLISHED[network][i][0] for network in networks]
                panel.plot(places, readme, "k_", markersize=26, label=None if i else "published")
        panel.set_xticks(np.arange(len(networks)), networks)
        panel.set(ylabel="test accuracy in %", ylim=(0, 115), yticks=range(0, 101, 20), title=name)
        panel.legend(loc="upper center", ncols=3, fontsize=8)
    return figure


if __name__ == "__main__":
    raise SystemExit(main(__doc__, experiment))
