"""For the same number of examples SGD is far ahead at first; constant eta and noise together keep it off the minimum.

    BGD   w <- w - eta (mean of all gradients)        MBGD   the mean of B of them        SGD   one gradient

Where the notes are loose. SGD doesn't converge badly: for the same number of examples it is far ahead at first. It ends
near the minimum only if eta is constant and there is noise; under eta ~ 1 / t it converges, and without noise (a model
that fits every example) it converges linearly at constant eta. Nor are more updates more speed: a machine goes through
the whole set at once faster than through its examples one by one (batches of 16 don't gain yet).

For new examples x ~ N(0, H), t = w* . x + N(0, sigma^2), and e = w - w* in H's eigenbasis, all of this is exact:

    E e_i^2 <- E e_i^2 (1 - 2 eta h_i + eta^2 h_i^2 (1 + 1/B)) + eta^2 h_i (sum_j h_j E e_j^2 + sigma^2) / B

The excess risk is 1/2 e^T H e. BGD on n examples ends with sigma^2 d / (2 (n - d - 1)) in the mean: least squares.

    python scripts/experiments/three_loops.py               (9 s on 2 cores; --quick 8 s)

The seconds in the figure are those of the machine and of what else runs there: they are shown, and nothing is claimed.
Source: PRINCIPLES B7 to B9, 4.6, 4.7; Robbins and Monro 1951 for the schedule.
Expect SGD to end at 5.6e-4, under the schedule at 5.1e-5, without noise at 1.1e-19, and BGD's 60 passes at 1.2e-5.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from claims import BLUE, GREEN, ORANGE, PREDICTED, PURPLE, SKY, main, panels
from zigzag import path

import jaxnn

jax.config.update("jax_enable_x64", True)

LOSS = jaxnn.HalfSquaredError()
CURVATURES = np.geomspace(1, 0.1, 10)  # h_i
NOISE = 0.1  # sigma


class Descent(NamedTuple):
    loop: Callable
    learning_rate: Any
    batch: int
    noise: float
    colour: str


SGD = partial(jaxnn.sgd, shuffle=False)
DESCENTS = {
    "SGD": Descent(SGD, 0.05, 1, NOISE, PURPLE),
    "SGD, 1/t schedule": Descent(SGD, jaxnn.schedules.inverse_time(0.05, every=400), 1, NOISE, ORANGE),
    "SGD without noise": Descent(SGD, 0.05, 1, 0, SKY),
    "MBGD, B = 16": Descent(partial(jaxnn.mbgd, batch_size=16, shuffle=False), 0.4, 16, NOISE, GREEN),
}
BGD = Descent(jaxnn.bgd, 1.5, -1, NOISE, BLUE)


def experiment(claims, quick, seed):
    n, results = (2048 if quick else 4096), {}  # of each descent, examples seen and each run's excess by then
    key, clean_key = jax.random.split(jax.random.key(seed))
    noisy, clean = examples(key, 256, n, NOISE), examples(clean_key, 256, n, 0)
    for name, descent in DESCENTS.items():
        risks = excess(descent, noisy if descent.noise else clean, 16)
        claims.mean(f"{name}, one pass: excess risk", risks[:, -1], expected(descent, n)[1][-1])
        results[name] = 16 * np.arange(1, n // 16 + 1), risks
    bgd = excess(BGD, noisy, n, passes=60)
    claims.mean("BGD, 60 passes: excess risk", bgd[:, -1], floor(n))
    results["BGD"] = n * np.arange(1, 61), bgd

    end = {name: np.log10(risks[:, -1]) for name, (_, risks) in results.items()}
    claims.mean_at_least("log10 of excess, BGD's first pass over SGD's", np.log10(bgd[:, 0]) - end["SGD"], 0)
    claims.mean_at_least("log10 of excess, SGD over BGD's last pass", end["SGD"] - end["BGD"], 0)
    claims.mean_at_least("log10 of excess, SGD over SGD with 1/t", end["SGD"] - end["SGD, 1/t schedule"], 0)
    return drawn(n, results, {name: seconds(DESCENTS.get(name, BGD), n, seed) for name in results})


def examples(key, runs, n, noise):
    """x (runs, n, d) and t (runs, n, 1), for w* = (1, ..., 1)."""
    x_key, t_key = jax.random.split(key)
    x = jnp.sqrt(CURVATURES) * jax.random.normal(x_key, (runs, n, len(CURVATURES)))
    return x, jnp.sum(x, axis=2, keepdims=True) + noise * jax.random.normal(t_key, (runs, n, 1))


def excess(descent, data, size, passes=1):
    """1/2 e^T H e after each `size` examples: (runs, chunks)."""
    net = jaxnn.Dense(1, weight_init=jaxnn.Zeros(), bias=False)

    def run(x, t):
        chunks = x.reshape(-1, size, x.shape[1]), t.reshape(-1, size, 1)
        error = path(net, LOSS, descent.loop, descent.learning_rate, chunks, passes).weight[..., 0] - 1
        return jnp.square(error) @ CURVATURES / 2

    return np.asarray(jax.jit(jax.vmap(run))(*data))


def expected(descent, n):
    """The mean of the excess after each step over n new examples, by the recursion above."""
    rate, batch = descent.learning_rate, descent.batch
    steps = np.arange(n // batch)
    second, risks = np.ones_like(CURVATURES), []
    for eta in np.broadcast_to(rate(steps) if callable(rate) else rate, len(steps)):
        kept = 1 - 2 * eta * CURVATURES + (eta * CURVATURES) ** 2 * (1 + 1 / batch)
        second = kept * second + eta**2 * CURVATURES * (CURVATURES @ second + descent.noise**2) / batch
        risks.append(CURVATURES @ second / 2)
    return batch * (steps + 1), np.array(risks)


def floor(n):
    """Least squares' mean excess risk: E tr H (X^T X)^-1 is d / (n - d - 1) for normal examples."""
    return NOISE**2 * len(CURVATURES) / 2 / (n - len(CURVATURES) - 1)


def seconds(descent, n, seed):
    """For an example, in one run that is compiled; the best of five."""
    net, update = jaxnn.Dense(1, bias=False), jaxnn.gradient_descent(descent.learning_rate)
    data = jax.tree.map(lambda part: part[0], examples(jax.random.key(seed), 1, n, NOISE))
    run, _ = descent.loop(net, LOSS, data, key=jax.random.key(seed), epochs=1, update=update, metric=None)
    took, epochs = [], 200 if descent is BGD else 10
    for _ in range(5):
        began = time.perf_counter()
        jax.block_until_ready(descent.loop(net, LOSS, data, run=run, epochs=epochs, update=update, metric=None))
        took.append(time.perf_counter() - began)
    return min(took) / epochs / n


def drawn(n, results, cost):
    """The mean excess of each descent, against examples and against seconds."""
    figure, (seen, clock, clean) = panels(3, width=5.2, height=4.2)
    noisy = [name for name in results if name != "SGD without noise"]
    for axes, names in ((seen, noisy), (clock, noisy), (clean, [name for name in results if "SGD" in name])):
        for name in names:
            samples, risks = results[name]
            across = samples * cost[name] if axes is clock else samples
            axes.plot(across, risks.mean(axis=0), color=DESCENTS.get(name, BGD).colour, label=name)
            if axes is not clock and name in DESCENTS:
                axes.plot(*expected(DESCENTS[name], n), **PREDICTED)
        axes.set(xlabel="examples seen", ylabel="excess risk, mean of 256 runs", yscale="log")
    seen.plot(results["BGD"][0][[0, -1]], [floor(n)] * 2, **PREDICTED, label="theory; level: least squares")
    clean.plot([], [], **PREDICTED, label="theory")
    seen.set(xscale="log", title=f"{n} examples, and again for BGD")
    clock.set(xscale="log", title="The same, by the clock", xlabel="seconds of one run on this machine")
    clean.set(title="Only noise keeps SGD away")
    return figure


if __name__ == "__main__":
    raise SystemExit(main(__doc__, experiment))
