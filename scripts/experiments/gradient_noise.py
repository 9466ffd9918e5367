"""The variance of a batch's gradient falls as 1 / B, and at constant eta this noise makes a ball of a known size.

    Var g_B = tr(Sigma) / B  (N - B) / (N - 1)      B examples of N, none twice; Sigma the covariance of the N gradients
    H S + S H - eta H S H = eta C / B               S the covariance of w - w* in the end, C that of one gradient

Where the notes are loose. They say that a batch reduces randomness: by 1 / B as long as it is a small part of the set,
and altogether where it is the whole. They say that SGD ends near the minimum: for small eta the excess loss 1/2 tr(H S)
is eta tr(C) / (4 B), so that "near" is a choice. The second equation is exact where a quadratic loss has noise that
doesn't depend on w. Here it is so: every example measures the same three places of a line, t_k = 2 x_k + 1 + noise, so
that all have one Hessian, H = sum [x_k, 1] [x_k, 1]^T. With normal noise the ends are normal too.

    python scripts/experiments/gradient_noise.py            (10 s on 2 cores; --quick 9 s)

Expect an excess loss of 0.057 at eta = 0.01 and of 12 at 0.32, and 95 % of the ends in the ellipse of S.
Source: PRINCIPLES B8, B9; Cochran 1977, section 2.5, for the finite population.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from claims import BLUE, ORANGE, PREDICTED, PURPLE, main, panels

import jaxnn
from jaxnn.data import load

jax.config.update("jax_enable_x64", True)

PLACES = jnp.array([[-1.0], [0], [2]])
DEVIATIONS = jnp.array([[1.0], [0.5], [2]])  # of the noise at each place
DESIGN = np.column_stack([PLACES, np.ones(3)])
HESSIAN = DESIGN.T @ DESIGN  # ((5, 1), (1, 3)); 2 / L = 0.369
ONE_GRADIENT = DESIGN.T @ np.diag(np.square(DEVIATIONS[:, 0])) @ DESIGN  # C, of one example's gradient
RATES = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32)
LOSS = jaxnn.HalfSquaredError()


def experiment(claims, quick, seed):
    return drawn(*batches(claims, quick, seed), balls(claims, quick, jax.random.key(seed)))


def batches(claims, quick, seed):
    """tr Sigma, and {B: |g_B - g|^2 of many batches}. A small network on digits, as it starts."""
    n, draws = 512, 1000 if quick else 4000
    dataset = load("digits")
    x, labels = (jnp.asarray(part[:n]) for part in dataset.train)
    net = jaxnn.Serial(jaxnn.Rescale(dataset.scale), jaxnn.Flatten(), jaxnn.Dense(8), jaxnn.Tanh(), jaxnn.Dense(10))
    params, state = net.init(jax.random.key(seed), x.shape[1:])
    gradient = jax.jit(jaxnn.backprop(net, jaxnn.SoftmaxCrossEntropy()))
    mean = gradient(params, state, x, labels).grads

    def off(rows):
        grads = gradient(params, state, x[rows], labels[rows]).grads
        return sum(jax.tree.leaves(jax.tree.map(lambda one, whole: jnp.sum(jnp.square(one - whole)), grads, mean)))

    distances = jax.jit(lambda batches: jax.lax.map(off, batches))
    spread = float(jnp.mean(distances(np.arange(n)[:, None])))  # tr Sigma
    rng, samples = np.random.default_rng(seed), {}
    for size in (1, 16, 256, n) if quick else (1, 4, 16, 64, 256, 448, n):
        rows = rng.permuted(np.tile(np.arange(n), (draws, 1)), axis=1)[:, :size]
        samples[size] = np.asarray(distances(rows))
        if size < n:
            predicted = spread / size * (n - size) / (n - 1)
            claims.mean(f"B = {size} of {n}: variance / predicted", samples[size] / predicted, 1)
    # The whole set in another order: each gradient is a sum of 512 terms, and rounds by 512 x 2^-53 of them at most.
    claims.at_most(f"B = {n} of {n}: largest variance / tr Sigma", samples[n].max() / spread, (n * 2**-53) ** 2)
    return spread, samples


def stationary(eta, batch=1):
    """S, from the equation above, which is linear in it."""
    system = np.kron(HESSIAN, np.eye(2)) + np.kron(np.eye(2), HESSIAN) - eta * np.kron(HESSIAN, HESSIAN)
    return np.linalg.solve(system, (eta * ONE_GRADIENT / batch).ravel()).reshape(2, 2)


@partial(jax.jit, static_argnames=("runs", "steps", "batch"))
def ends(key, eta, runs, steps, batch):
    """(w - 2, b - 1) after so many steps from the minimum itself, each on new examples: (runs, 2)."""
    net, update = jaxnn.Dense(1), jaxnn.gradient_descent(eta)
    start = jaxnn.start(net, (3, 1), key=key, update=update)
    start = start._replace(params=jaxnn.DenseParams(jnp.array([[2.0]]), jnp.array([1.0])))

    def run(key):
        t = 2 * PLACES + 1 + DEVIATIONS * jax.random.normal(key, (steps * batch, 3, 1))
        data = jnp.broadcast_to(PLACES, t.shape), t
        options = {"update": update, "epochs": 1, "batch_size": batch, "shuffle": False, "metric": None}
        params = jaxnn.mbgd(net, LOSS, data, run=start, **options)[0].params
        return jnp.stack([params.weight[0, 0] - 2, params.bias[0] - 1])

    return jax.vmap(run)(jax.random.split(key, runs))


def excess(errors):
    return np.einsum("ri,ij,rj->r", errors, HESSIAN, errors) / 2


def balls(claims, quick, key):
    """{(eta, B): ends of the runs}, after steps enough for S: e^-20 is left of the start's at the smallest rate."""
    runs, ended = 1000 if quick else 4000, {}
    steps = int(10 / RATES[0] / np.linalg.eigvalsh(HESSIAN)[0])
    for eta, batch in [(eta, 1) for eta in RATES] + [(0.08, 8)]:
        errors = np.asarray(ends(jax.random.fold_in(key, len(ended)), eta, runs, steps // batch, batch))
        predicted = np.trace(HESSIAN @ stationary(eta, batch)) / 2
        claims.mean(f"eta {eta}, B = {batch}: excess loss", excess(errors), predicted)
        ended[eta, batch] = errors
    smallest = excess(ended[RATES[0], 1]) / RATES[0]
    limit = np.trace(ONE_GRADIENT) / 4
    room = abs(np.trace(HESSIAN @ stationary(RATES[0])) / 2 / RATES[0] - limit)
    claims.mean(f"eta {RATES[0]}: excess loss / eta, against tr(C) / 4", smallest, limit, room)
    errors, covariance = ended[0.08, 1], stationary(0.08)
    for name, i, j in (("ww", 0, 0), ("wb", 0, 1), ("bb", 1, 1)):
        claims.mean(f"eta 0.08: S_{name}", errors[:, i] * errors[:, j], covariance[i, j])
    inside = np.einsum("ri,ij,rj->r", errors, np.linalg.inv(covariance), errors) < 2 * np.log(20)  # chi^2 of 2, 95 %
    claims.fraction("eta 0.08: ends inside the 95 % ellipse of S", inside.sum(), runs, 0.95)
    return ended


def drawn(spread, samples, ended):
    figure, (variance, ball, cloud) = panels(3)
    *sizes, n = samples
    variance.loglog(sizes, [samples[size].mean() for size in sizes], "o", color=BLUE, label="mean over draws")
    grid = np.append(np.geomspace(1, n - 1, 200), np.linspace(n - 1, n - 0.2, 50))
    variance.loglog(grid, spread / grid * (n - grid) / (n - 1), **PREDICTED, label="tr $\\Sigma$ / B (N - B) / (N - 1)")
    variance.loglog(grid, spread / grid, ":", color="grey", label="tr $\\Sigma$ / B")
    variance.set(xlabel=f"batch size B, of N = {n}", ylabel="variance of the gradient", title="Digits, 64-8-10")
    variance.set_ylim(spread / n / 50, 2 * spread)

    ball.loglog(RATES, [excess(ended[eta, 1]).mean() for eta in RATES], "o", color=BLUE, label="SGD, mean over runs")
    ball.loglog(0.08, excess(ended[0.08, 8]).mean(), "s", color=ORANGE, label="MBGD, B = 8")
    grid = np.geomspace(0.008, 0.34, 100)
    for batch, exact, linear in ((1, "exact", "$\\eta$ tr(C) / 4B"), (8, None, None)):
        theory = [np.trace(HESSIAN @ stationary(eta, batch)) / 2 for eta in grid]
        ball.loglog(grid, theory, **PREDICTED, label=exact)
        ball.loglog(grid, grid * np.trace(ONE_GRADIENT) / 4 / batch, ":", color="grey", label=linear)
    ball.set(xlabel="learning rate $\\eta$", ylabel="excess loss in the end", title="The ball's size is a choice")

    turn = np.linspace(0, 2 * np.pi, 200)
    circle = np.sqrt(2 * np.log(20)) * np.stack([np.cos(turn), np.sin(turn)])
    for eta, colour in ((0.08, BLUE), (0.01, PURPLE)):
        points = ended[eta, 1][:1000].T
        cloud.plot(*points, ".", color=colour, markersize=3, alpha=0.5, label=f"SGD, $\\eta$ = {eta}")
        cloud.plot(*np.linalg.cholesky(stationary(eta)) @ circle, **PREDICTED)
    cloud.plot([], [], **PREDICTED, label="95 % of S")
    cloud.set(xlabel="w - w*", ylabel="b - b*", title="Where 1000 runs end")
    return figure


if __name__ == "__main__":
    raise SystemExit(main(__doc__, experiment))
