"""8-3-8 autoencoder: no weights give back more than 93 of 256 codes; the loss decides how near training comes.

All 256 codes of 8 bits go through three hidden units. In their space the outputs are 8 planes, which make
1 + 8 + 28 + 56 = 93 regions at most, and within a region all outputs keep their sides of the threshold: no weights give
back more than 93 codes, 36.33 %. By hand one can have 48: the hidden units count the ones of 3, 3 and 2 bits, and of
each group all "first j bits" come back, 4 x 4 x 3.

Squared error is satisfied with some bits of every code. The loss

    1 - prod_k p_k,  where p_k = sigmoid(z_k) for a bit that is on and sigmoid(-z_k) for one that is off

asks for all bits of some codes.

Source: PRINCIPLES section 0 fact 5; hanbingtao, part 3 (of his fc.py 4.7 to 6.3 % came back); Cover 1965 (regions).

    python scripts/experiments/autoencoder.py

Twenty seconds on 2 cores. Expect 48 codes by hand, some 58 by the loss for all bits, 15 by the article's recipe.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from claims import BLUE, GREEN, ORANGE, PREDICTED, PURPLE, main, panels

import jaxnn
from jaxnn.data.toys import bit_codes


def experiment(claims, quick, seed):
    keys, codes = jax.random.split(jax.random.key(seed), 512), bit_codes(8).astype(np.float32)
    logits, outputs = networks()
    claims.equal("8-3-8 by hand: codes of 256 that come back", int(n_right(logits, counting(codes), codes, 0)), 48)
    claim_that_the_backward_is_right(claims, logits, keys[0], codes)

    # The article's: 10 rounds of 20 epochs, code after code, and the rate halved after each round.
    halved = jaxnn.gradient_descent(jaxnn.schedules.step_decay(0.5, every=20 * 256, factor=0.5))
    article = {"keys": keys[:32], "update": halved, "epochs": 200, "shuffle": False}
    epochs = 1000 if quick else 2000
    slowing = jaxnn.adam(jaxnn.schedules.cosine(0.3, epochs))
    adam = {"keys": keys[:64] if quick else keys, "update": slowing, "epochs": epochs}
    # Loop, network, loss, the output at which a bit is on, options.
    squared = jaxnn.HalfSquaredError()
    recipes = {
        "the article's recipe": (jaxnn.sgd, outputs, squared, 0.5, article),
        "all bits at once": (jaxnn.bgd, logits, AllBits(), 0.0, adam),
    }
    if not quick:
        recipes["squared error, Adam"] = jaxnn.bgd, outputs, squared, 0.5, adam
    counts = {name: codes_that_come_back(codes, *recipe) for name, recipe in recipes.items()}
    claim_what_training_finds(claims, counts)
    return drawn(counts)


def networks():
    """8-3-8, of logits and of outputs between 0 and 1."""
    wide, small = jaxnn.Normal(1.0), jaxnn.Uniform(-0.1, 0.1)
    logits = jaxnn.Serial(jaxnn.Dense(3, wide), jaxnn.Sigmoid(), jaxnn.Dense(8, wide))
    return logits, jaxnn.Serial(jaxnn.Dense(3, small), jaxnn.Sigmoid(), jaxnn.Dense(8, small), jaxnn.Sigmoid())


@dataclass(frozen=True)
class AllBits:
    """l = 1 - prod_k p_k, p_k = sigmoid(z_k) where a bit is on and sigmoid(-z_k) where it is off: a loss of one's own.

    Backward: dz_k = -w (prod_j p_j) (1 - p_k) s_k, s_k = 1 where the bit is on, else -1.
    """

    def check(self, target, output_shape):
        return None

    def forward(self, y, target):
        sign = jnp.where(target > 0.5, 1, -1).astype(y.dtype)
        p = jax.nn.sigmoid(sign * y)
        return 1 - jnp.prod(p, axis=1), (sign, p)

    def backward(self, cache, weights):
        sign, p = cache
        return -(weights * jnp.prod(p, axis=1))[:, None] * (1 - p) * sign


def claim_that_the_backward_is_right(claims, net, key, codes):
    with jax.enable_x64(True):
        params, state = net.init(key, (8,), jnp.float64)
        at = params, state, codes.astype(np.float64), codes.astype(np.float64)
        by_hand, by_machine = (g(net, AllBits())(*at).grads for g in (jaxnn.backprop, jaxnn.autodiff))
        off = jax.tree.map(lambda a, b: float(jnp.max(jnp.abs(a - b))), by_hand, by_machine)
    # A gradient is a mean over 256 codes of numbers below 1.
    claims.at_most("the loss for all bits: its backward, against jax.grad", max(jax.tree.leaves(off)), 256 * 2.0**-52)


def counting(codes):
    """8-3-8 by hand: hidden unit g counts the ones of its group, and its j-th bit is on from j ones on."""
    groups = [(0, 1, 2), (3, 4, 5), (6, 7)]
    # sigmoid(ones - 1.5) of a group; with on = 0.9 and off = 0.1, sum = 0.1 n + 0.8 ones.
    encoder, shift = np.zeros((8, 3)), np.zeros(3)
    decoder, offset = np.zeros((3, 8)), np.zeros(8)
    for g, bits in enumerate(groups):
        encoder[list(bits), g], shift[g] = 1 / 0.8, -0.1 * len(bits) / 0.8 - 1.5
        for j, bit in enumerate(bits):
            decoder[g, bit], offset[bit] = 1.0, -1 / (1 + np.exp(1.5 - (j + 0.5)))
    params = jaxnn.DenseParams(encoder, shift), (), jaxnn.DenseParams(decoder, offset)
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, codes.dtype), params)


def n_right(net, params, codes, threshold):
    """How many codes come back with all bits on their own side of the threshold."""
    y = net.forward(params, tuple(() for _ in net.layers), codes).y
    return jnp.sum(jnp.all((y > threshold) == (codes > 0.5), axis=1))


def codes_that_come_back(codes, loop, net, loss, threshold, options):
    """Of each network after training, one a key."""
    run, _ = jaxnn.ensemble(loop, net, loss, (codes, codes), metric=None, **options)
    return np.asarray(jax.vmap(lambda params: n_right(net, params, codes, threshold))(run.params))


def claim_what_training_finds(claims, counts):
    for name, count in counts.items():
        claims.at_most(f"8-3-8, {name}: codes that come back, best of {len(count)}", int(count.max()), 93)
    share = counts["the article's recipe"].mean() / 256
    claims.between("8-3-8, the article's recipe: mean share, in the range of its own runs", share, 0.0468, 0.0625)
    more = counts["all bits at once"] - 48.0
    claims.mean_at_least("8-3-8, all bits at once: codes beyond the 48 by hand", more, 0)


def drawn(counts):
    figure, (axes,) = panels(1, width=7, height=4.2)
    for (name, count), colour in zip(counts.items(), (ORANGE, GREEN, BLUE), strict=False):
        shares = np.full(len(count), 1 / len(count))
        axes.hist(count, np.arange(96) - 0.5, weights=shares, color=colour, alpha=0.8, label=name)
    axes.axvline(48, color=PURPLE, label="48, by hand")
    axes.axvline(93, **PREDICTED, label="93, the ceiling")
    axes.set(xlabel="codes of 256 that come back", ylabel="share of networks", title="8-3-8 autoencoder")
    axes.legend(loc="upper center", bbox_to_anchor=(0.75, 1), fontsize=8)
    return figure


if __name__ == "__main__":
    raise SystemExit(main(__doc__, experiment))
