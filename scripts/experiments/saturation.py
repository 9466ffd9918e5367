"""Raw pixels saturate the article's hidden layer before the first step, and the images' norms alone predict it.

    784-300-10 sigmoid neurons, W ~ U(-0.1, 0.1), b = 0

For one image x the net input z = w . x of a hidden unit has mean 0 and variance |x|^2 / 300, for Var(w) = 0.01 / 3, and
is a sum of hundreds of independent terms: normal. So the images' norms alone say how many units are flat:

    P(sigma'(z) < 0.001) = 2 Phi(-6.906 sqrt(300) / |x|),    which for pixels of 0 to 255 is nearly all (MNIST: 95.8 %).

Dividing by 255 cures it. Batch normalisation cures it too, without dividing: it doesn't see the unit in which pixels
are measured, for BN(255 x W) = BN(x W), and their gradients by W are equal too. article_recipe.py shows what this does
to training.

    python scripts/experiments/saturation.py                                    (7 s on 2 cores; --quick 5 s)

Fashion-MNIST stands in for MNIST. Expect 96.5 % of flat units, and none once pixels are divided by 255.
Source: PRINCIPLES section 0, fact 2; D6; hanbingtao, part 3.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from claims import BLUE, GREEN, ORANGE, PREDICTED, main, panels
from scipy import stats

import jaxnn
from jaxnn.data import load

FLAT = 1e-3
LOSS = jaxnn.HalfSquaredError()


def network(*before_sigmoid):
    hidden = jaxnn.Dense(300, jaxnn.Uniform()), *before_sigmoid, jaxnn.Sigmoid()
    return jaxnn.Serial(*hidden, jaxnn.Dense(10, jaxnn.Uniform()), jaxnn.Sigmoid())


PLAIN, NORMALISED = network(), network(jaxnn.BatchNorm())
# What a pixel is multiplied by, and the network: raw and scaled pixels share one compiled program.
CASES = {"raw pixels": (1, PLAIN), "divided by 255": (1 / 255, PLAIN), "raw, batch normalisation": (1, NORMALISED)}
COLOURS = dict(zip(CASES, (ORANGE, BLUE, GREEN), strict=True))


def experiment(claims, quick, seed):
    images, labels = load("fashion-mnist").train
    key = jax.random.key(seed)
    some = images[: 200 if quick else 1_000]
    before = {name: slopes_before_training(name, some, key, n_seeds=8 if quick else 16) for name in CASES}
    norms = claim_what_norms_foretell(claims, some, before)
    claim_that_the_unit_does_not_count(claims, images[:64], labels[:64], key)
    return drawn(before, norms)


def examples(images, labels, scale=1.0):
    """x (n, 784), t (n, 10) of 0.9 and 0.1."""
    return np.float32(scale) * images.reshape(-1, 784), (0.1 + 0.8 * np.eye(10)[labels]).astype(np.float32)


def edge(slope):
    """|z| at which sigma'(z) = y (1 - y) has come down to a slope."""
    y = (1 + np.sqrt(1 - 4 * slope)) / 2
    return np.log(y / (1 - y))


def predicted_share(slope, norms):
    """Of the hidden units with sigma' below a slope, for images of those norms."""
    return 2 * stats.norm.cdf(-edge(slope) / (norms / np.sqrt(300)))


@partial(jax.jit, static_argnames="net")
def slopes(params, state, x, *, net):
    """sigma' of each hidden unit at each image, (n_seeds, n, 300), of networks with a leading axis of seeds."""

    def of_one(network):
        cache = net.forward(*network, x, train=True).cache
        y = next(kept.y for kept, layer in zip(cache, net.layers, strict=True) if layer == jaxnn.Sigmoid())
        return y * (1 - y)

    return jax.lax.map(of_one, (params, state))


def slopes_before_training(name, images, key, n_seeds):
    """sigma' of each hidden unit, in one of the CASES."""
    scale, net = CASES[name]
    params, state = jax.vmap(lambda key: net.init(key, (784,)))(jax.random.split(key, n_seeds))
    return slopes(params, state, scale * images.reshape(-1, 784).astype(np.float32), net=net)


def claim_what_norms_foretell(claims, images, before):
    """The images' norms."""
    x = images.reshape(-1, 784).astype(np.float32)
    norms = np.linalg.norm(x, axis=1)
    flat = {name: np.asarray(derivatives < FLAT) for name, derivatives in before.items()}
    z = edge(FLAT) / (norms / np.sqrt(300))
    # Edgeworth's next term: w_i x_i is uniform, which gives the sum an excess kurtosis of -1.2 sum x_i^4 / |x|^4.
    kurtosis = -1.2 * np.sum(x**4, axis=1) / norms**4
    room = np.abs(2 * kurtosis / 24 * (z**3 - 3 * z) * stats.norm.pdf(z)).mean()
    shares, predicted = flat["raw pixels"].mean(axis=(1, 2)), predicted_share(FLAT, norms).mean()
    claims.mean("raw pixels: share of hidden units with sigma' < 0.001", shares, predicted, room)
    # At z / 255 the same formula foretells less than one such unit in 10^9.
    claims.equal("divided by 255: number of hidden units with sigma' < 0.001", flat["divided by 255"].sum(), 0)
    # Mean 0 and variance 1: Chebyshev's inequality, whatever the distribution.
    normalised = flat["raw, batch normalisation"].mean(axis=(1, 2))
    claims.at_most("raw, batch normalisation: share of such units", normalised.max(), 1 / edge(FLAT) ** 2)
    return norms


def claim_that_the_unit_does_not_count(claims, images, labels, key):
    """With batch normalisation raw pixels and scaled ones give one gradient, once epsilon is in the unit too."""
    with jax.enable_x64(True):
        x, t = examples(images, labels)
        params, state = NORMALISED.init(key, (784,))
        gradients = []
        for scale in (1, 1 / 255):
            net = network(jaxnn.BatchNorm(epsilon=(255 * scale) ** 2 * 1e-5))
            gradient = jax.jit(jaxnn.backprop(net, LOSS))
            gradients.append(gradient(params, state, scale * x.astype(float), t.astype(float)).grads[0].weight)
        # Sums of 784 products and of 64 rows, ten operations in a row, on two sides: each term rounds by 2^-53.
        raw, scaled = gradients
        apart = jnp.linalg.norm(raw - scaled) / jnp.linalg.norm(scaled)
        claims.at_most("BN: dE/dW, raw against divided by 255, relative", float(apart), 20 * (784 + 64) * 2.0**-53)


def drawn(before, norms):
    figure, (flat, image_by_image) = panels(2, width=5.6, height=4.2)
    below = np.logspace(-6, np.log10(0.2499), 200)  # in float32 1 - y isn't less than 6e-8
    for name, measured in before.items():
        sample = np.sort(np.ravel(measured))
        flat.semilogx(below, np.searchsorted(sample, below) / sample.size, color=COLOURS[name], label=name, linewidth=2)
    for scale in (1, 1 / 255):
        share = [predicted_share(slope, scale * norms).mean() for slope in below]
        flat.semilogx(below, share, **PREDICTED, label="predicted from $|x|$" if scale == 1 else None)
    flat.axvline(FLAT, color="gray", linewidth=1, label="$s = 0.001$")
    flat.set(xlabel="slope $s$", ylabel="share of hidden units with $\\sigma'(z) < s$", title="Before the first step")
    for name in ("raw pixels", "divided by 255"):
        share = np.mean(before[name] < FLAT, axis=(0, 2))
        image_by_image.semilogx(CASES[name][0] * norms, share, ".", color=COLOURS[name], label=name, alpha=0.5)
    along = np.logspace(0, 4, 200)
    image_by_image.semilogx(along, predicted_share(FLAT, along), **PREDICTED, label="predicted")
    image_by_image.set(xlabel="norm of an image $|x|$", ylabel="share of hidden units with $\\sigma'(z) < 0.001$")
    image_by_image.set(title="Image by image")
    return figure


if __name__ == "__main__":
    raise SystemExit(main(__doc__, experiment))
