"""SGD's noise leaves a shallow well at a rate that eta / B sets; in passes over few examples it never does.

    E(theta) = U(theta) + mean of x_b theta        theta <- theta - eta (U'(theta) + mean of the batch's x_b)

Where the notes are loose. They say that noise helps to leave a bad minimum, not how often. On the loss of
double_well.py, a narrow hole in the side of a wide valley, an example tilts U by an x of its own, of mean 0 and
deviation sigma. For small eta the steps are a diffusion in the time eta k, of temperature T = eta sigma^2 / 2 B: eta
and B matter by their quotient alone, and by Kramers' law, for T well below the height h of the hole's wall,

    escapes in a unit of that time = sqrt(U''(hole) |U''(wall)|) / 2 pi  exp(-h / T),

so that their logarithm falls with B / eta by 2 h / sigma^2. At finite eta no law is needed: theta is a Markov chain of
normal steps, whose share of runs beyond the wall a grid gives exactly. All of it needs new examples for each batch. The
x of a small set gone through in passes sum to 0 in each, the noise takes back what it gave, and no run escapes.

    python scripts/experiments/escape.py               (15 s on 2 cores; --quick 7 s)

Expect 5 or 6 % of the runs out at eta / B = 0.0017 and 76 or 77 % at 0.0048, whether B is 1, 4 or 16; a slope of
-0.0088 where Kramers has -0.0095; and no run out in passes over 16 examples.
Source: PRINCIPLES B11; Kramers 1940; Jastrzebski et al. 2017 for eta / B.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from claims import BLUE, CONFIDENCE, GREEN, PREDICTED, PURPLE, main, panels
from double_well import HOLE, LOSS, NET, SIGMA, WALL, height, slope
from scipy import stats

import jaxnn

TIME = 40.0  # eta k at the end of a run
CHUNK = 10  # steps whose examples are drawn together
BATCHES = (1, 4, 16)
NORMAL = stats.norm.ppf((1 + CONFIDENCE) / 2)

with jax.enable_x64(True):
    RISE = float(height(WALL) - height(HOLE))
    FREQUENCY = np.sqrt(-jax.grad(slope)(HOLE) * jax.grad(slope)(WALL)) / 2 / np.pi


def experiment(claims, quick, seed):
    runs, quotients = (500, np.array([0.0017, 0.0048])) if quick else (4000, np.geomspace(0.0017, 0.0048, 5))
    shares, chances = escapes(claims, jax.random.key(seed), quotients, runs)
    claim_that_the_quotient_counts(claims, quotients, shares, chances, runs)
    claim_kramers_slope(claims, quotients, shares, chances, runs)
    passes(claims, seed, quotients[-1], runs)
    return drawn(quotients, shares, chances)


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
    return shares, chances


def claim_that_the_quotient_counts(claims, quotients, shares, chances, runs):
    for quotient, (one, four, _), exact in zip(quotients, shares, chances, strict=True):
        # The chain says what is left between eta and 4 eta of the way to the diffusion limit.
        within = NORMAL * np.sqrt((one * (1 - one) + four * (1 - four)) / runs) + abs(exact[0] - exact[1])
        claims.near(f"eta / B = {quotient:.4f}: share at B = 1 less share at B = 4", one - four, 0, within)
    claims.at_least("share out: its smallest rise with eta / B", np.diff(shares, axis=0).min(), 0)


def log_rate(shares):
    """ln of the escapes in a unit of time, of runs of which a share is out at TIME."""
    return np.log(-np.log1p(-shares) / TIME)


def claim_kramers_slope(claims, quotients, shares, chances, runs):
    # The slope of ln rate is a sum of weights times ln rate, and d ln rate = d share / ((1 - share) |ln(1 - share)|).
    inverse = np.repeat(1 / quotients, len(BATCHES))
    weights = (inverse - inverse.mean()) / np.square(inverse - inverse.mean()).sum()
    measured, exact = (weights @ log_rate(probabilities.ravel()) for probabilities in (shares, chances))
    errors = np.sqrt(chances / (1 - chances) / runs) / -np.log1p(-chances)
    kramers = -2 * RISE / SIGMA**2
    # Kramers' law is the limit of T far below h. Here h / T is 6 to 2, and the chain says how far the slope is from it.
    within = NORMAL * np.linalg.norm(weights * errors.ravel()) + abs(exact - kramers)
    claims.near("slope of ln rate over B / eta", measured, kramers, within)


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
    figure, (share, rate) = panels(2, width=5.2)
    for j, (batch, colour, marker) in enumerate(zip(BATCHES, (BLUE, GREEN, PURPLE), "os^", strict=True)):
        share.plot(1000 * quotients, shares[:, j], marker, color=colour, label=f"B = {batch}")
        share.plot(1000 * quotients, chances[:, j], **PREDICTED, label="exact" if batch == BATCHES[-1] else None)
        rate.plot(1 / quotients, log_rate(shares[:, j]), marker, color=colour, label=f"B = {batch}")
    rate.plot(1 / quotients, log_rate(chances[:, 0]), **PREDICTED, label="exact, B = 1")
    rate.plot(1 / quotients, np.log(FREQUENCY) - 2 * RISE / SIGMA**2 / quotients, ":", color="grey", label="Kramers")
    time = f"$\\eta k$ = {TIME:.0f}"
    share.set(xlabel="1000 $\\eta$ / B", ylabel=f"share of runs out at {time}", ylim=(0, 1))
    share.set_title("$\\eta$ and B count by $\\eta$ / B")
    rate.set(xlabel="B / $\\eta$", ylabel="ln (escapes in a unit of $\\eta k$)", title="The wall's height as a slope")
    return figure


if __name__ == "__main__":
    raise SystemExit(main(__doc__, experiment))
