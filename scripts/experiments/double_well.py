"""BGD ends in the well it starts in; SGD's noise climbs out of a shallow one, as often as eta / B makes it.

    E(theta) = U(theta) + mean of x_b theta        theta <- theta - eta (U'(theta) + mean of the batch's x_b)

Where the notes are loose. BGD finds *the* minimum only if the loss is convex. This one has two, a narrow hole in the
side of a wide valley, and BGD ends in the one that its start lies over. An example tilts the loss by an x of its own,
of mean 0 and deviation sigma. For small eta the steps are a diffusion in the time eta k, of temperature
T = eta sigma^2 / 2 B: eta and B matter by their quotient alone, and by Kramers' law, for T well below the height h of
the hole's wall,
    escapes in a unit of that time = sqrt(U''(hole) |U''(wall)|) / 2 pi  exp(-h / T),
so that their logarithm falls with B / eta by 2 h / sigma^2. At finite eta no law is needed: theta is a Markov chain of
normal steps, whose share of runs beyond the wall a grid gives exactly. All of it needs new examples for each batch. The
x of a small set gone through in passes sum to 0 in each, the noise takes back what it gave, and no run escapes.

    python scripts/experiments/double_well.py               (25 s on 2 cores; --quick 12 s)

The layer and the loss are the script's own, by jaxnn's protocol: a backward by hand under each forward.
Source: PRINCIPLES B7, B11, 4.4; Kramers 1940; Jastrzebski et al. 2017 for eta / B.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from claims import BLUE, CONFIDENCE, GREEN, ORANGE, PREDICTED, PURPLE, main, panels
from scipy import stats
from scipy.optimize import brentq

import jaxnn
from jaxnn.layer import Backward, Forward, Init, recipe
from jaxnn.losses import LossForward

SIGMA, TIME = 5.0, 40.0  # deviation of x; eta k at the end of a run
CHUNK = 10  # steps whose examples are drawn together
BATCHES = (1, 4, 16)
NORMAL = stats.norm.ppf((1 + CONFIDENCE) / 2)


def height(theta):
    """U: a valley about 1, with a hole of depth 0.4 and width 0.3 at -1."""
    return 0.25 * (theta - 1) ** 2 / 2 - 0.4 * jnp.exp(-(((theta + 1) / 0.3) ** 2) / 2)


def slope(theta):
    return 0.25 * (theta - 1) + 0.4 * (theta + 1) / 0.3**2 * jnp.exp(-(((theta + 1) / 0.3) ** 2) / 2)


with jax.enable_x64(True):
    HOLE, WALL, VALLEY = (brentq(slope, *between) for between in ((-1, -0.7), (-0.7, 0), (0, 2)))
    RISE = float(height(WALL) - height(HOLE))
    FREQUENCY = np.sqrt(-jax.grad(slope)(HOLE) * jax.grad(slope)(WALL)) / 2 / np.pi


@recipe
class TwoWells:
    """y = U(theta) + x theta, for one number theta.  Shapes: x (B,) -> y (B,).

    Backward: dtheta = sum_b dy_b (U'(theta) + x_b)        dx = dy theta
    """

    def init(self, key, shape, dtype=None):
        return Init(jnp.asarray(HOLE, dtype), ())

    def output_shape(self, shape):
        return shape

    def forward(self, theta, state, x, *, key=None, train=False):
        return Forward(height(theta) + x * theta, state, x)

    def backward(self, theta, x, dy):
        return Backward(jnp.sum(dy * (slope(theta) + x)), dy * theta)


@recipe
class Itself:
    """l = y: the output is the loss, whatever the target.  Backward: dy = w."""

    def check(self, target, output_shape):
        return None

    def forward(self, y, target):
        return LossForward(y, ())

    def backward(self, cache, weights):
        return weights


NET, LOSS = TwoWells(), Itself()


def two_minima(claims):
    """BGD from both sides of the wall, on two examples whose x have mean 0: its gradient is U'."""
    with jax.enable_x64(True):
        data, update = (jnp.array([-SIGMA, SIGMA]), jnp.zeros(2)), jaxnn.gradient_descent(0.3)
        run = jaxnn.start(NET, (), key=jax.random.key(0), update=update, dtype=jnp.float64)
        for side, start, end in (("left", WALL - 0.01, HOLE), ("right", WALL + 0.01, VALLEY)):
            run = run._replace(params=jnp.asarray(start))
            after, _ = jaxnn.bgd(NET, LOSS, data, run=run, epochs=400, update=update, metric=None)
            # In the valley 400 steps leave (1 - 0.3 x 0.25)^400 = 3e-14 of the way; brentq is right to 4e-12.
            claims.near(f"BGD from the wall's {side}: where it ends", float(after.params), end, 1e-11)
    report = jaxnn.compare(NET, LOSS, jnp.float32(WALL), (), jnp.array([-SIGMA, SIGMA]), jnp.zeros(2))
    claims.equal("the layer's own backward is right, says jaxnn.compare", report.ok, True)


@partial(jax.jit, static_argnames=("runs", "batch"))
def ends(key, eta, n_chunks, runs, batch):
    """theta of each run after n_chunks CHUNK steps from the bottom of the hole, each step on new examples."""
    update = jaxnn.gradient_descent(eta)
    loop = partial(jaxnn.mbgd, NET, LOSS, update=update, epochs=1, batch_size=batch, shuffle=False, metric=None)

    def one(key):
        def learn(i, run):
            x = SIGMA * jax.random.normal(jax.random.fold_in(key, i), (CHUNK * batch,))
            return loop((x, x), run=run)[0]

        return jax.lax.fori_loop(0, n_chunks, learn, jaxnn.start(NET, (), key=key, update=update)).params

    return jax.vmap(one)(jax.random.split(key, runs))


def chance(eta, batch, steps):
    """P(theta > WALL) in the chain itself, theta <- N(theta - eta U'(theta), eta^2 sigma^2 / B), on a grid."""
    deviation = eta * SIGMA / np.sqrt(batch)
    grid = np.arange(-2.4, 3.8, min(0.8 * deviation, 0.02))
    means = grid - eta * np.asarray(slope(grid))
    step, first = (stats.norm.pdf(grid, mean, deviation) * (grid[1] - grid[0]) for mean in (means[:, None], HOLE))
    return first @ np.linalg.matrix_power(step, steps - 2) @ stats.norm.sf(WALL, means, deviation)


def log_rate(shares):
    """ln of the escapes in a unit of time, of runs of which a share is out at TIME."""
    return np.log(-np.log1p(-shares) / TIME)


def escapes(claims, key, quotients, runs):
    """Shares of the runs that are out, and the chain's chances: a row for each eta / B, a column for each B."""
    shares, chances = np.zeros((2, len(quotients), len(BATCHES)))
    for (i, j), _ in np.ndenumerate(shares):
        quotient, batch = quotients[i], BATCHES[j]
        n_chunks = round(TIME / (quotient * batch) / CHUNK)
        theta = ends(jax.random.fold_in(key, shares.size * i + j), quotient * batch, n_chunks, runs, batch)
        out = int((np.asarray(theta) > WALL).sum())
        shares[i, j], chances[i, j] = out / runs, chance(quotient * batch, batch, CHUNK * n_chunks)
        claims.fraction(f"eta / B = {quotient:.4f}, B = {batch}: share out", out, runs, chances[i, j])
    for quotient, (one, four, _), exact in zip(quotients, shares, chances, strict=True):
        # The chain says what is left between eta and 4 eta of the way to the diffusion limit.
        within = NORMAL * np.sqrt((one * (1 - one) + four * (1 - four)) / runs) + abs(exact[0] - exact[1])
        claims.near(f"eta / B = {quotient:.4f}: share at B = 1 less share at B = 4", one - four, 0, within)
    claims.at_least("share out: its smallest rise with eta / B", np.diff(shares, axis=0).min(), 0)
    # The slope of ln rate is a sum of weights times ln rate, and d ln rate = d share / ((1 - share) |ln(1 - share)|).
    inverse = np.repeat(1 / quotients, len(BATCHES))
    weights = (inverse - inverse.mean()) / np.square(inverse - inverse.mean()).sum()
    measured, exact = (weights @ log_rate(each.ravel()) for each in (shares, chances))
    errors = np.sqrt(chances / (1 - chances) / runs) / -np.log1p(-chances)
    kramers = -2 * RISE / SIGMA**2
    # Kramers' law is the limit of T far below h. Here h / T is 6 to 2, and the chain says how far the slope is from it.
    within = NORMAL * np.linalg.norm(weights * errors.ravel()) + abs(exact - kramers)
    claims.near("slope of ln rate over B / eta", measured, kramers, within)
    return shares, chances


def passes(claims, seed, eta, runs):
    """Sixteen examples gone through in passes, each in an order of its own."""
    x = np.random.default_rng(seed).standard_normal(16)
    x = jnp.asarray(SIGMA * (x - x.mean()) / x.std(), jnp.float32)
    keys, options = jax.random.split(jax.random.key(seed), runs), {"share_order": False, "metric": None}
    update, epochs = jaxnn.gradient_descent(eta), round(TIME / eta / len(x))
    run, _ = jaxnn.ensemble(jaxnn.sgd, NET, LOSS, (x, x), keys=keys, update=update, epochs=epochs, **options)
    # In a pass they carry theta by eta times the sum of the positive x at most, eta sigma 16 / 2 = 0.19; the wall is
    # 0.49 away. From pass to pass there remains a noise of order eta^2, of a temperature 100 times below the wall.
    out = int((np.asarray(run.params) > WALL).sum())
    claims.equal(f"eta / B = {eta}, passes over 16 examples: runs out", out, 0)


def drawn(quotients, shares, chances):
    figure, (wells, share, rate) = panels(3)
    theta = np.linspace(-1.9, 2.9, 400)
    wells.plot(theta, height(theta), color="black", label="U")
    for start, end, colour in ((WALL - 0.01, HOLE, ORANGE), (WALL + 0.01, VALLEY, BLUE)):
        wells.plot(start, height(start), "o", color=colour, fillstyle="none", label=f"BGD from {start:.2f}")
        wells.plot(end, height(end), "o", color=colour, markersize=9, label=f"ends at {end:.2f}")
    wells.set(xlabel="$\\theta$", ylabel="loss U", title="Two minima: the start decides")

    for j, (batch, colour, marker) in enumerate(zip(BATCHES, (BLUE, GREEN, PURPLE), "os^", strict=True)):
        share.plot(1000 * quotients, shares[:, j], marker, color=colour, label=f"B = {batch}")
        share.plot(1000 * quotients, chances[:, j], **PREDICTED, label="exact" if j == 0 else None)
        rate.plot(1 / quotients, log_rate(shares[:, j]), marker, color=colour, label=f"B = {batch}")
    rate.plot(1 / quotients, log_rate(chances[:, 0]), **PREDICTED, label="exact, B = 1")
    rate.plot(1 / quotients, np.log(FREQUENCY) - 2 * RISE / SIGMA**2 / quotients, ":", color="grey", label="Kramers")
    share.set(
        xlabel="1000 $\\eta$ / B",
        ylabel=f"share of runs out at $\\eta k$ = {TIME:.0f}",
        title="$\\eta$ and B count by $\\eta$ / B",
    )
    share.set_ylim(0, 1)
    rate.set(xlabel="B / $\\eta$", ylabel="ln (escapes in a unit of $\\eta k$)", title="The wall's height as a slope")
    for axes in (wells, share, rate):
        axes.legend(fontsize=8)
    return figure


def experiment(claims, quick, seed):
    runs, quotients = (500, np.array([0.0017, 0.0048])) if quick else (4000, np.geomspace(0.0017, 0.0048, 5))
    two_minima(claims)
    found = escapes(claims, jax.random.key(seed), quotients, runs)
    passes(claims, seed, quotients[-1], runs)
    return drawn(quotients, *found)


if __name__ == "__main__":
    raise SystemExit(main(__doc__, experiment))
