"""Universal approximation: that a network exists says nothing of whether training finds it.

The notes: one hidden layer with enough units approximates any continuous function. On a compact set, and that is all.

1. sin on [0, 2 pi] by N ReLU units, their weights set by hand: y = s_0 x + sum_k (s_k - s_(k-1)) relu(x - k h), with
   h = 2 pi / N and s_k the slope of sin's chord from k h to (k + 1) h, joins the points (k h, sin(k h)) by lines. Its
   error is the largest height of an arc over its chord, at most h^2 / 8 max|sin''|: halving h quarters it. Beyond
   2 pi it is a straight line. No weights get below a quarter of that or so: N units make N + 1 pieces, and on an arc
   the best line errs by half the height. Trained networks of this size are far from it, and how far their first
   weights decide: with biases 0 all kinks begin at x = 0.
2. 8-3-8 autoencoder of all 256 codes of 8 bits: in the space of three hidden units the outputs are 8 planes, which make
   1 + 8 + 28 + 56 = 93 regions at most, so no weights give back more than 93 codes, 36.33 %. By hand one can have 48:
   the hidden units count the ones of 3, 3 and 2 bits, and of each group all "first j bits" come back, 4 x 4 x 3.
   Squared error rests content with some bits of every code; 1 - prod_k p_k, where p_k = sigmoid(z_k) for a bit that is
   on and sigmoid(-z_k) for one that is off, asks for all bits of some codes.

Source: PRINCIPLES G2, section 0 fact 5; hanbingtao, part 3 (8-3-8: 3.1 to 7.8 % come back); Cover 1965 (regions).
Command: python scripts/experiments/universal_approximation.py    (35 s on 2 cores)
Expect: errors .0704, .0188, .00479, .00120 for N = 8, 16, 32, 64; trained at N = 64 some 0.03; 48 codes by hand, some
57 by the loss for all bits.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from claims import BLUE, GREEN, ORANGE, PREDICTED, PURPLE, main, panels
from scipy.optimize import brentq

import jaxnn
from jaxnn.data.toys import bit_codes

END = 2 * np.pi
SIZES = 8, 16, 32, 64


def height(a, b):
    """Of sin over its chord from a to b, both in [0, pi]: at the point where the slopes are the same."""
    slope = (np.sin(b) - np.sin(a)) / (b - a)
    at = np.arccos(slope)
    return np.sin(at) - np.sin(a) - slope * (at - a)


def least_error(n_units):
    """What no network of so many units gets below. N + 1 pieces, cut at pi, are N + 2 at most, so that half a period
    has no more than (N + 2) / 2 of them; there sin is concave, and a line errs by half the height at least."""

    def covers(error):
        a = 0.0
        for _ in range((n_units + 2) // 2):
            if height(a, np.pi) / 2 <= error:
                return True
            a = brentq(lambda b, a=a: height(a, b) / 2 - error, a + 1e-6, np.pi)
        return False

    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if covers(middle) else (middle, high)
    return low


def polygon(n_units):
    """The params of Serial(Dense(N), ReLU(), Dense(1)) whose graph joins (k h, sin(k h)), k = 0 ... N, by lines."""
    knots = np.linspace(0, END, n_units + 1)
    slopes = np.diff(np.sin(knots)) / np.diff(knots)
    hidden = jaxnn.DenseParams(jnp.ones((1, n_units)), jnp.asarray(-knots[:-1]))
    output = jaxnn.DenseParams(jnp.asarray(np.diff(slopes, prepend=0))[:, None], jnp.zeros(1))
    return (hidden, (), output), slopes[-1]


def one_hidden_layer(n_units):
    return jaxnn.Serial(jaxnn.Dense(n_units), jaxnn.ReLU(), jaxnn.Dense(1))


def graph(params, x):
    """y at each x; params for any number of hidden units."""
    return one_hidden_layer(1).forward(params, ((), (), ()), x[:, None]).y[:, 0]


def trained_on_sine(n_units, keys, rng, epochs):
    """Params of 2 M networks: M that began with all kinks at 0, as biases of 0 have them, and M with kinks spread."""
    x = np.linspace(0, END, 257, dtype=np.float32)[:, None]
    net, rule = one_hidden_layer(n_units), jaxnn.adam(jaxnn.schedules.cosine(0.03, epochs))
    starts = jax.vmap(lambda key: jaxnn.start(net, (1,), key=key, update=rule))(jnp.append(keys, keys))
    (weight, bias), *above = starts.params
    weight, bias = np.array(weight), np.array(bias)
    weight[len(keys) :] = rng.uniform(-1, 1, (len(keys), 1, n_units))
    bias[len(keys) :] = rng.uniform(-END, END, (len(keys), n_units))
    params = jaxnn.DenseParams(weight, bias), *above
    starts = starts._replace(params=params, epoch=starts.epoch[0], step=starts.step[0])
    data, loss = (x, np.sin(x)), jaxnn.HalfSquaredError()
    run, _ = jaxnn.ensemble(jaxnn.bgd, net, loss, data, run=starts, update=rule, epochs=epochs, metric=None)
    return run.params


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


def n_right(net, params, codes, threshold):
    """How many codes come back with all bits on their own side of the threshold."""
    y = net.forward(params, tuple(() for _ in net.layers), codes).y
    return jnp.sum(jnp.all((y > threshold) == (codes > 0.5), axis=1))


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


def sine(claims, keys, rng, axes, sizes, epochs):
    functions, errors = axes
    x = np.linspace(0, END, 20_001)
    with jax.enable_x64(True):
        for n_units in SIZES:
            knots, h = np.linspace(0, np.pi, n_units // 2 + 1), END / n_units  # of half a period
            params, last_slope = polygon(n_units)
            error, highest = np.abs(graph(params, x) - np.sin(x)).max(), height(knots[:-1], knots[1:]).max()
            # Between the points that we look at sin bends away by no more than (END / 20,000)^2 / 8.
            claims.near(f"N = {n_units}, by hand: largest error", error, highest, (END / 20_000) ** 2 / 8)
            claims.at_most(f"N = {n_units}, by hand: the same, against h^2 / 8", error, h**2 / 8)
            errors.loglog(n_units, error, "s", color=GREEN)
        far = graph(params, np.array([2 * END])).item()
        claims.near("N = 64, by hand: y at 4 pi, where sin is 0", far, last_slope * END, 1e-12)
        drawn = np.linspace(0, 1.2 * END, 300)
        functions.plot(drawn, graph(polygon(8)[0], drawn), color=GREEN, label="by hand")

    kinds = ("trained, kinks first at 0", ORANGE, "x"), ("trained, kinks first spread", BLUE, "o")
    for n_units in sizes:
        params = trained_on_sine(n_units, keys, rng, epochs)
        y = jax.vmap(graph, (0, None))(params, x.astype(np.float32))
        found = np.abs(y - np.sin(x)).max(axis=1).reshape(2, -1)
        claims.at_least(f"N = {n_units}, trained: the best one's largest error", found.min(), least_error(n_units))
        for (name, colour, marker), each, first in zip(kinds, found, (0, len(keys)), strict=True):
            beside = n_units * (0.96 if first else 1.04)
            errors.loglog(np.full(len(each), beside), each, marker, color=colour, alpha=0.5, markersize=4)
            if n_units == 8:
                at = first + np.argsort(each)[len(each) // 2]
                median = jax.tree.map(lambda leaf, at=at: leaf[at], params)
                functions.plot(drawn, graph(median, drawn.astype(np.float32)), "-.", color=colour, label=name)
    # The last size is 64. Better or worse isn't in the theorem: that training doesn't find what exists is our claim.
    at_zero, spread = np.log(found)
    claims.mean_at_least("N = 64, trained, kinks spread: ln(error / by hand)", spread - np.log(highest), 0)
    claims.mean_at_least("N = 64, trained: ln(error), kinks first at 0, over kinks spread", at_zero - spread, 0)

    for name, colour, marker in (*kinds, ("by hand", GREEN, "s")):
        errors.plot([], [], marker, color=colour, label=name)
    many = np.arange(8, 65, 2)
    errors.loglog(many, (END / many) ** 2 / 8, **PREDICTED, label=r"$h^2 / 8$")
    errors.loglog(many, [least_error(n_units) for n_units in many], ":", color="black", label="no network gets below")
    errors.set(xlabel="hidden units N", ylabel="largest error", title="How near they come", ylim=(1e-4, 3))
    errors.set_xticks(SIZES, list(map(str, SIZES)))
    errors.minorticks_off()
    functions.plot(drawn, np.sin(drawn), **PREDICTED, label="sin")
    functions.axvspan(0, END, color="grey", alpha=0.1)
    functions.set(xlabel="x", ylabel="y", title="N = 8, the median of the trained", ylim=(-1.6, 2.6))


def autoencoder(claims, keys, axes, epochs, recipes):
    codes = bit_codes(8).astype(np.float32)
    wide, small = jaxnn.Normal(1.0), jaxnn.Uniform(-0.1, 0.1)
    logits = jaxnn.Serial(jaxnn.Dense(3, wide), jaxnn.Sigmoid(), jaxnn.Dense(8, wide))
    outputs = jaxnn.Serial(jaxnn.Dense(3, small), jaxnn.Sigmoid(), jaxnn.Dense(8, small), jaxnn.Sigmoid())
    claims.equal("8-3-8 by hand: codes of 256 that come back", int(n_right(logits, counting(codes), codes, 0)), 48)
    with jax.enable_x64(True):
        params, state = logits.init(keys[0], (8,), jnp.float64)
        at = params, state, codes.astype(np.float64), codes.astype(np.float64)
        by_hand, by_machine = (g(logits, AllBits())(*at).grads for g in (jaxnn.backprop, jaxnn.autodiff))
        off = jax.tree.map(lambda a, b: float(jnp.max(jnp.abs(a - b))), by_hand, by_machine)
    # A gradient is a mean over 256 codes of numbers below 1.
    claims.at_most("the loss for all bits: its backward, against jax.grad", max(jax.tree.leaves(off)), 256 * 2.0**-52)

    # The article's: 10 rounds of 20 epochs, code after code, and the rate halved after each round.
    halved = jaxnn.gradient_descent(jaxnn.schedules.step_decay(0.5, every=20 * 256, factor=0.5))
    article = {"keys": keys[:32], "update": halved, "epochs": 200, "shuffle": False}
    adam = {"keys": keys, "update": jaxnn.adam(jaxnn.schedules.cosine(0.3, epochs)), "epochs": epochs}
    # Loop, network, loss, the output at which a bit is on, options, colour.
    squared, all_bits = jaxnn.HalfSquaredError(), AllBits()
    every_recipe = {
        "the article's recipe": (jaxnn.sgd, outputs, squared, 0.5, article, ORANGE),
        "all bits at once": (jaxnn.bgd, logits, all_bits, 0.0, adam, GREEN),
        "squared error, Adam": (jaxnn.bgd, outputs, squared, 0.5, adam, BLUE),
    }
    counts = {}
    for name in recipes:
        loop, net, loss, threshold, options, colour = every_recipe[name]
        run, _ = jaxnn.ensemble(loop, net, loss, (codes, codes), metric=None, **options)
        right = jax.vmap(lambda params, net=net, at=threshold: n_right(net, params, codes, at))(run.params)
        counts[name] = count = np.asarray(right)
        claims.at_most(f"8-3-8, {name}: codes that come back, best of {len(count)}", int(count.max()), 93)
        shares = np.full(len(count), 1 / len(count))
        axes.hist(count, np.arange(96) - 0.5, weights=shares, color=colour, alpha=0.8, label=name)
    share = counts["the article's recipe"].mean() / 256
    claims.between("8-3-8, the article's recipe: mean share, in the range of its own runs", share, 0.0312, 0.0781)
    more = counts["all bits at once"] - 48.0
    claims.mean_at_least("8-3-8, all bits at once: codes beyond the 48 by hand", more, 0)
    axes.axvline(48, color=PURPLE, label="48, by hand")
    axes.axvline(93, **PREDICTED, label="93, the ceiling")
    axes.set(xlabel="codes of 256 that come back", ylabel="share of networks", title="8-3-8 autoencoder")
    axes.set_ylim(0, 1.15)


def experiment(claims, quick, seed):
    keys, rng = jax.random.split(jax.random.key(seed), 512), np.random.default_rng(seed)
    figure, (functions, errors, codes) = panels(3, 1, width=4.9, height=4.2)
    recipes = ["the article's recipe", "all bits at once", "squared error, Adam"]
    if quick:
        sine(claims, keys[:8], rng, (functions, errors), SIZES[-1:], 2000)
        autoencoder(claims, keys[:64], codes, 1000, recipes[:2])
    else:
        sine(claims, keys[:20], rng, (functions, errors), SIZES, 10_000)
        autoencoder(claims, keys, codes, 2000, recipes)
    for axes, where in (functions, "upper right"), (errors, "lower left"), (codes, "upper left"):
        axes.legend(fontsize=8, loc=where)
    return figure


if __name__ == "__main__":
    raise SystemExit(main(__doc__, experiment))
