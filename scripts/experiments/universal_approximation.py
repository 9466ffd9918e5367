"""Universal approximation: that a network exists says nothing about whether training finds it.

The notes: one hidden layer with enough units approximates any continuous function. On a compact set, and that is all.
Take sin on [0, 2 pi] and N ReLU units, their weights set by hand:

    y = s_0 x + sum_k (s_k - s_(k-1)) relu(x - k h),  h = 2 pi / N,  s_k the slope of sin's chord from k h to (k + 1) h

joins the points (k h, sin(k h)) by lines. Its error is the largest height of an arc over its chord, at most
h^2 / 8 max|sin''|: halving h quarters it. Beyond 2 pi it is a straight line. No weights get below a quarter of that or
so: N units make N + 1 pieces, and on an arc the best line errs by half the height. Trained networks of this size are
far from it, and their first weights decide how far: with biases 0 all kinks begin at x = 0.

Source: PRINCIPLES G2, section 4 (18).

    python scripts/experiments/universal_approximation.py

15 s on 2 cores. Expect errors .0704, .0188, .00479, .00120 for N = 8, 16, 32, 64; trained at N = 64 some 0.03 with
kinks first spread, 0.3 with all at 0.
"""

import jax
import jax.numpy as jnp
import numpy as np
from claims import BLUE, GREEN, ORANGE, PREDICTED, main, panels
from scipy.optimize import bisect, brentq

import jaxnn

END = 2 * np.pi
LOOKED_AT = np.linspace(0, END, 20_001)
SIZES = 8, 16, 32, 64
KINDS = ("trained, kinks first at 0", ORANGE, "x", 1.04), ("trained, kinks first spread", BLUE, "o", 0.96)


def experiment(claims, quick, seed):
    n_keys, sizes, epochs = (8, SIZES[-1:], 2000) if quick else (20, SIZES, 10_000)
    keys, rng = jax.random.split(jax.random.key(seed), n_keys), np.random.default_rng(seed)
    by_hand = errors_by_hand(claims)
    graphs = [trained(n_units, keys, rng, epochs) for n_units in sizes]
    errors = np.array([np.abs(y - np.sin(LOOKED_AT)).max(axis=2) for y in graphs])
    claim_that_training_is_far_from_it(claims, sizes, by_hand, errors)
    return drawn(sizes, by_hand, graphs, errors)


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

    return bisect(lambda error: covers(error) - 0.5, 1e-9, 1.0, xtol=1e-15)


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


def trained(n_units, keys, rng, epochs):
    """Graphs of 2 M networks: M that began with all kinks at 0, as biases of 0 have them, and M with kinks spread."""
    x = np.linspace(0, END, 257, dtype=np.float32)[:, None]
    net, rule = one_hidden_layer(n_units), jaxnn.adam(jaxnn.schedules.cosine(0.03, epochs))
    runs = jax.vmap(lambda key: jaxnn.start(net, (1,), key=key, update=rule))(jnp.append(keys, keys))
    hidden, *above = runs.params
    weight = hidden.weight.at[len(keys) :].set(rng.uniform(-1, 1, (len(keys), 1, n_units)))
    bias = hidden.bias.at[len(keys) :].set(rng.uniform(-END, END, (len(keys), n_units)))
    runs = runs._replace(params=(jaxnn.DenseParams(weight, bias), *above), epoch=runs.epoch[0], step=runs.step[0])
    data, loss = (x, np.sin(x)), jaxnn.HalfSquaredError()
    runs, _ = jaxnn.ensemble(jaxnn.bgd, net, loss, data, run=runs, update=rule, epochs=epochs, metric=None)
    return jax.vmap(graph, (0, None))(runs.params, LOOKED_AT.astype(np.float32)).reshape(2, len(keys), -1)


def errors_by_hand(claims):
    """The largest error at each size, and what we claim of it."""
    errors = []
    with jax.enable_x64(True):
        for n_units in SIZES:
            knots, h = np.linspace(0, np.pi, n_units // 2 + 1), END / n_units  # of half a period
            params, last_slope = polygon(n_units)
            highest = height(knots[:-1], knots[1:]).max()
            error = np.abs(graph(params, LOOKED_AT) - np.sin(LOOKED_AT)).max()
            # Between the points that we look at sin bends away by no more than (END / 20,000)^2 / 8.
            claims.near(f"N = {n_units}, by hand: largest error", error, highest, (END / 20_000) ** 2 / 8)
            claims.at_most(f"N = {n_units}, by hand: the same, against h^2 / 8", error, h**2 / 8)
            errors.append(error)
        far = graph(params, np.array([2 * END])).item()
        claims.near("N = 64, by hand: y at 4 pi, where sin is 0", far, last_slope * END, 1e-12)
    return errors


def claim_that_training_is_far_from_it(claims, sizes, by_hand, errors):
    for n_units, largest in zip(sizes, errors, strict=True):
        claims.at_least(f"N = {n_units}, trained: the best one's largest error", largest.min(), least_error(n_units))
    # The last size is 64. Better or worse isn't in the theorem: that training doesn't find what exists is our claim.
    at_zero, spread = np.log(errors[-1])
    claims.mean_at_least("N = 64, trained, kinks spread: ln(error / by hand)", spread - np.log(by_hand[-1]), 0)
    claims.mean_at_least("N = 64, trained: ln(error), kinks first at 0, over kinks spread", at_zero - spread, 0)


def drawn(sizes, by_hand, graphs, errors):
    figure, (of_x, of_n) = panels(2, width=5.6, height=4.4)
    x, many, n_networks = np.linspace(0, 1.2 * END, 300), np.arange(8, 65, 2), errors.shape[2]
    of_x.plot(x, graph(polygon(8)[0], x), color=GREEN, label="by hand")
    for kind, (name, colour, marker, beside) in enumerate(KINDS):
        places, largest = np.repeat(sizes, n_networks) * beside, errors[:, kind].ravel()
        of_n.loglog(places, largest, marker, color=colour, alpha=0.5, markersize=4, label=name)
        if sizes[0] == 8:
            median = np.argsort(errors[0, kind])[n_networks // 2]
            of_x.plot(LOOKED_AT, graphs[0][kind, median], "-.", color=colour, label=name)
    of_x.plot(x, np.sin(x), **PREDICTED, label="sin")
    of_x.axvspan(0, END, color="grey", alpha=0.1)
    of_x.set(xlabel="x", ylabel="y", title="N = 8, the median of the trained", ylim=(-1.6, 2.6))

    of_n.loglog(SIZES, by_hand, "s", color=GREEN, label="by hand")
    of_n.loglog(many, (END / many) ** 2 / 8, **PREDICTED, label=r"$h^2 / 8$")
    of_n.loglog(many, [least_error(n_units) for n_units in many], ":", color="black", label="no network gets below")
    of_n.set(xlabel="hidden units N", ylabel="largest error", title="How near they come", ylim=(1e-4, 3))
    of_n.set_xticks(SIZES, list(map(str, SIZES)))
    of_n.minorticks_off()
    return figure


if __name__ == "__main__":
    raise SystemExit(main(__doc__, experiment))
