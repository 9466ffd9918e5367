"""BGD, MBGD and SGD: where a step goes, what it costs, and where it all ends.

    BGD   w <- w - eta (mean of all gradients)        MBGD   the mean of B of them        SGD   one gradient

Where the notes are loose. BGD doesn't always head for the minimum: off the axes of the ellipse -grad E points across
the ravine, by up to arccos(2 sqrt(kappa) / (kappa + 1)), 81.1 degrees on the salary data, and from there it keeps that
angle at every step of its best rate. SGD doesn't converge badly: for as many examples it is far ahead at first. It ends
near the minimum only if eta is constant and there is noise; under eta ~ 1 / t it converges, and without noise (a model
that fits every example) it converges linearly at constant eta. Nor are more updates more speed: a machine goes through
a large batch faster.

For new examples x ~ N(0, H), t = w* . x + N(0, sigma^2), and e = w - w* in H's eigenbasis, all of this is exact:
    E e_i^2 <- E e_i^2 (1 - 2 eta h_i + eta^2 h_i^2 (1 + 1/B)) + eta^2 h_i (sum_j h_j E e_j^2 + sigma^2) / B
The excess risk is 1/2 e^T H e. BGD on n examples ends with sigma^2 d / 2 (n - d - 1) of it in the mean: least squares.

    python scripts/experiments/three_loops.py               (12 s on 2 cores; --quick 10 s)

The seconds in the figure are those of the machine and of what else runs there: they are shown, and nothing is claimed.
Source: PRINCIPLES B7 to B10, 4.5 to 4.7; Robbins and Monro 1951 for the schedule.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from claims import BLUE, GREEN, ORANGE, PREDICTED, PURPLE, SKY, main, panels

import jaxnn
from jaxnn.data import toys
from jaxnn.perceptron import hessian, least_squares

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
MBGD = partial(jaxnn.mbgd, batch_size=16, shuffle=False)
DESCENTS = {
    "SGD": Descent(SGD, 0.05, 1, NOISE, PURPLE),
    "SGD, 1/t schedule": Descent(SGD, jaxnn.schedules.inverse_time(0.05, every=400), 1, NOISE, ORANGE),
    "SGD without noise": Descent(SGD, 0.05, 1, 0, SKY),
    "MBGD, B = 16": Descent(MBGD, 0.4, 16, NOISE, GREEN),
}
BGD = Descent(jaxnn.bgd, 1.5, -1, NOISE, BLUE)


def path(net, loop, learning_rate, chunks, passes=1, start=None):
    """The params after each chunk (x, t) of a stream of examples, gone through `passes` times."""
    update, (x, _) = jaxnn.gradient_descent(learning_rate), chunks
    run = jaxnn.start(net, x.shape[2:], key=jax.random.key(0), update=update, dtype=x.dtype)
    run = run if start is None else run._replace(params=start)

    def learn(run, i):
        chunk = jax.tree.map(lambda part: part[i], chunks)
        run, _ = loop(net, LOSS, chunk, run=run, epochs=1, update=update, metric=None)
        return run, run.params

    return jax.lax.scan(learn, run, jnp.arange(passes * len(x)) % len(x))[1]


# The notes' picture: (w, b) on the salary data's ellipse. Rates are for its sum of squares.


def salary_path(loop, eta, start, examples, passes=1):
    """(w, b) at the start and after each step; a row of `examples` names those that make a step together."""
    x, t = (jnp.asarray(part.reshape(5, 1)[examples]) for part in toys.salary())
    first = jaxnn.DenseParams(start[:1, None], start[1:])
    params = path(jaxnn.Dense(1), loop, eta * examples.shape[1], (x, t), passes, first)
    return jnp.concatenate([start[None], jnp.concatenate([params.weight[..., 0], params.bias], axis=1)])


def angles(points, minimum):
    """Between each step of a path and the way to the minimum, in degrees."""
    step, way = np.diff(points, axis=-2), minimum - points[..., :-1, :]
    cosine = np.sum(step * way, axis=-1) / np.linalg.norm(step, axis=-1) / np.linalg.norm(way, axis=-1)
    return np.degrees(np.arccos(cosine))


def on_the_ellipse(claims, seed):
    """The minimum, H, and the paths of the three loops from the point whose gradient misleads most."""
    years, salary = toys.salary()
    minimum, curved = np.append(*least_squares(years, salary)), np.asarray(hessian(years))
    (low, high), axes = np.linalg.eigh(curved)
    axes = axes * np.sign(axes[1])  # both towards larger b
    worst = np.degrees(np.arccos(2 * np.sqrt(high / low) / (high / low + 1)))
    turn = np.linspace(0, np.pi, 20_000)
    around = minimum + 500 * np.column_stack([np.cos(turn), np.sin(turn)])
    everything = np.arange(5)[None]
    first_steps = jax.vmap(lambda start: salary_path(jaxnn.bgd, 0.001, start, everything))(around)
    # Directions lie 0.009 degrees apart; the maximum, flat over sqrt(low / high) = 4 degrees, is off by 1e-5 or less.
    claims.near("largest angle of -grad E to the minimum", angles(first_steps, minimum).max(), worst, 1e-3, "degrees")
    start = jnp.asarray(minimum + 2000 * axes @ [1, np.sqrt(low / high)])
    zigzag = np.asarray(salary_path(jaxnn.bgd, 2 / (low + high), start, everything, 100))
    off = np.abs(angles(zigzag, minimum) - worst).max()
    claims.at_most("BGD, best eta, 100 steps from there: angle's largest change", off, 1e-6, "degrees")
    sides = np.sign((zigzag - minimum) @ axes[:, 1])
    claims.equal("BGD, best eta: steps across the ravine, of 100", (sides[1:] != sides[:-1]).sum(), 100)
    order = np.random.default_rng(seed).permuted(np.tile(np.arange(5), (300, 1)), axis=1)
    paths = {
        "SGD, $\\eta$ = 0.005": salary_path(jaxnn.sgd, 0.005, start, order.reshape(-1, 1)),
        "MBGD, B = 2, $\\eta$ = 0.005": salary_path(jaxnn.bgd, 0.005, 2 * minimum - start, order.reshape(-1, 2)),
        "BGD, $\\eta$ = 0.0094": salary_path(jaxnn.bgd, 0.0094, start, everything, 300),
    }
    return minimum, curved, paths


# A planted regression, many times over


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
        error = path(net, descent.loop, descent.learning_rate, chunks, passes).weight[..., 0] - 1
        return jnp.square(error) @ CURVATURES / 2

    return np.asarray(jax.jit(jax.vmap(run))(*data))


def expected(descent, n):
    """The mean of the excess after each step over n new examples, by the recursion above."""
    rate, batch = descent.learning_rate, descent.batch
    steps = np.arange(n // batch)
    second, found = np.ones_like(CURVATURES), []
    for eta in np.broadcast_to(rate(steps) if callable(rate) else rate, len(steps)):
        kept = 1 - 2 * eta * CURVATURES + (eta * CURVATURES) ** 2 * (1 + 1 / batch)
        second = kept * second + eta**2 * CURVATURES * (CURVATURES @ second + descent.noise**2) / batch
        found.append(CURVATURES @ second / 2)
    return batch * (steps + 1), np.array(found)


def planted(claims, quick, seed):
    """n, and for each descent (examples seen, excess risk of each run by then)."""
    n, passes, found = (2048 if quick else 4096), 60, {}
    key, clean_key = jax.random.split(jax.random.key(seed))
    noisy, clean = examples(key, 256, n, NOISE), examples(clean_key, 256, n, 0)
    for name, descent in DESCENTS.items():
        risks = excess(descent, noisy if descent.noise else clean, 16)
        claims.mean(f"{name}, one pass: excess risk", risks[:, -1], expected(descent, n)[1][-1])
        found[name] = 16 * np.arange(1, n // 16 + 1), risks
    bgd = excess(BGD, noisy, n, passes)
    claims.mean(f"BGD, {passes} passes: excess risk", bgd[:, -1], floor(n))
    found["BGD"] = n * np.arange(1, passes + 1), bgd
    end = {name: np.log10(risks[:, -1]) for name, (_, risks) in found.items()}
    claims.mean_at_least("log10 of excess, BGD's first pass over SGD's", np.log10(bgd[:, 0]) - end["SGD"], 0)
    claims.mean_at_least("log10 of excess, SGD over BGD's last pass", end["SGD"] - end["BGD"], 0)
    claims.mean_at_least("log10 of excess, SGD over SGD with 1/t", end["SGD"] - end["SGD, 1/t schedule"], 0)
    return n, found


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


def drawn(ellipse, n, found, cost):
    figure, (contour, seen, clock, clean) = panels(2, 2, width=6, height=4.6)
    minimum, curved, paths = ellipse
    w, b = np.meshgrid(np.linspace(-420, 420, 200), np.linspace(-2400, 2400, 200))
    height = (curved[0, 0] * w**2 + 2 * curved[0, 1] * w * b + curved[1, 1] * b**2) / 2
    contour.contour(w, b, height, levels=np.geomspace(1e4, 2e7, 9), colors="grey", linewidths=0.5)
    for (name, points), colour, width in zip(paths.items(), (PURPLE, GREEN, BLUE), (0.5, 0.7, 1), strict=True):
        contour.plot(*np.transpose(points - minimum), color=colour, linewidth=width, label=name)
    contour.plot(0, 0, "*", color="black", markersize=12, label="minimum")
    contour.set(xlabel="w - w* (salary per year)", ylabel="b - b* (salary)", title="Salary data: 300 passes of each")

    noisy = [name for name in found if name != "SGD without noise"]
    for axes, names in ((seen, noisy), (clock, noisy), (clean, [name for name in found if "SGD" in name])):
        for name in names:
            samples, risks = found[name]
            across = samples * cost[name] if axes is clock else samples
            axes.plot(across, risks.mean(axis=0), color=DESCENTS.get(name, BGD).colour, label=name)
            if axes is not clock and name in DESCENTS:
                axes.plot(*expected(DESCENTS[name], n), **PREDICTED)
        axes.set(xlabel="examples seen", ylabel="excess risk, mean of 256 runs", yscale="log")
    seen.axhline(floor(n), **PREDICTED, label="theory; level: least squares")
    clean.plot([], [], **PREDICTED, label="theory")
    seen.set(xscale="log", title=f"{n} examples, and again for BGD")
    clock.set(xscale="log", title="The same, by the clock", xlabel="seconds of one run on this machine")
    clean.set(title="Only noise keeps SGD away")
    for axes in (contour, seen, clock, clean):
        axes.legend(fontsize=8)
    return figure


def experiment(claims, quick, seed):
    ellipse = on_the_ellipse(claims, seed)
    n, found = planted(claims, quick, seed)
    cost = {name: seconds(DESCENTS.get(name, BGD), n, seed) for name in found}
    return drawn(ellipse, n, found, cost)


if __name__ == "__main__":
    raise SystemExit(main(__doc__, experiment))
