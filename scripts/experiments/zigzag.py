"""BGD doesn't always head for the minimum: -grad E is up to 81 degrees off on the salary data.

    BGD   w <- w - eta (sum of all gradients)         MBGD   the sum of B of them         SGD   one gradient

The notes' picture: contours of E are ellipses, BGD goes straight to their centre, and SGD jitters on its way there.

Where the notes are loose. BGD doesn't always head for the minimum: off the axes of the ellipse -grad E points across
the ravine. With e = w - w*, l <= L the eigenvalues of the Hessian H, kappa = L / l (166.9 here), and phi the angle
between e and the long axis, where H e points along (l cos phi, L sin phi):

    angle of -grad E to the minimum = arctan(kappa tan phi) - phi <= arccos(2 sqrt(kappa) / (kappa + 1))

The largest, 81.15 degrees on the salary data, is where tan phi = 1 / sqrt(kappa). BGD's best rate, 2 / (l + L), takes e
to q e along the ravine and to -q e across it, q = (kappa - 1) / (kappa + 1). So phi only changes its sign, and from
there BGD keeps that angle at every step, from one side of the ravine to the other.

    python scripts/experiments/zigzag.py                    (3 s on 2 cores; --quick the same)

Source: PRINCIPLES B7 to B10, 4.5. Expect 81.15 degrees, predicted and measured, and 100 crossings in 100 steps.
"""

import jax
import jax.numpy as jnp
import numpy as np
from claims import BLUE, GREEN, ORANGE, PREDICTED, PURPLE, main, panels

import jaxnn
from jaxnn.data import toys
from jaxnn.training.perceptron import hessian, least_squares

jax.config.update("jax_enable_x64", True)


def experiment(claims, quick, seed):
    years, salary = toys.salary()
    minimum, curved = np.append(*least_squares(years, salary)), np.asarray(hessian(years))
    curvatures, axes = np.linalg.eigh(curved)  # l and L; the ravine is along the first axis
    axes = axes * np.sign(axes[1])  # both towards larger b
    kappa = curvatures[1] / curvatures[0]
    worst = np.degrees(np.arccos(2 * np.sqrt(kappa) / (kappa + 1)))
    everything = np.arange(5)[None]

    turn = np.linspace(0, np.pi, 20_000)
    around = minimum + 500 * np.column_stack([np.cos(turn), np.sin(turn)])
    first_steps = jax.vmap(lambda start: salary_path(jaxnn.bgd, 0.001, start, everything))(around)
    off = angles(first_steps, minimum)[:, 0]
    # Directions lie 0.009 degrees apart; the maximum, flat over sqrt(l / L) = 4 degrees, is off by 1e-5 or less.
    claims.near("largest angle of -grad E to the minimum", off.max(), worst, 1e-3, "degrees")

    start = jnp.asarray(minimum + 2000 * axes @ [1, np.sqrt(1 / kappa)])
    zigzag = np.asarray(salary_path(jaxnn.bgd, 2 / curvatures.sum(), start, everything, 100))
    change = np.abs(angles(zigzag, minimum) - worst).max()
    claims.at_most("BGD, best eta, 100 steps from there: angle's largest change", change, 1e-6, "degrees")
    sides = np.sign((zigzag - minimum) @ axes[:, 1])
    claims.equal("BGD, best eta: steps across the ravine, of 100", (sides[1:] != sides[:-1]).sum(), 100)

    order = np.random.default_rng(seed).permuted(np.tile(np.arange(5), (300, 1)), axis=1)
    paths = {
        "SGD, $\\eta$ = 0.005": salary_path(jaxnn.sgd, 0.005, start, order.reshape(-1, 1)),
        "MBGD, B = 2, $\\eta$ = 0.005": salary_path(jaxnn.bgd, 0.005, 2 * minimum - start, order.reshape(-1, 2)),
        "BGD, $\\eta$ = 0.0094": salary_path(jaxnn.bgd, 0.0094, start, everything, 300),
    }
    figure, (contour, by_direction, crossings) = panels(3, width=5.2, height=4.2)
    draw_paths(contour, curved, {name: points - minimum for name, points in paths.items()})
    draw_angles(by_direction, (around - minimum) @ axes, off, kappa)
    draw_crossings(crossings, (zigzag - minimum) @ axes, kappa)
    return figure


def path(net, loss, loop, learning_rate, chunks, passes=1, start=None):
    """The params after each chunk (x, t) of a stream of examples, gone through `passes` times."""
    update, (x, _) = jaxnn.gradient_descent(learning_rate), chunks
    run = jaxnn.start(net, x.shape[2:], key=jax.random.key(0), update=update, dtype=x.dtype)
    run = run if start is None else run._replace(params=start)

    def learn(run, i):
        chunk = jax.tree.map(lambda part: part[i], chunks)
        run, _ = loop(net, loss, chunk, run=run, epochs=1, update=update, metric=None)
        return run, run.params

    return jax.lax.scan(learn, run, jnp.arange(passes * len(x)) % len(x))[1]


def salary_path(loop, eta, start, examples, passes=1):
    """(w, b) at the start and after each step; a row of `examples` names those that make a step together.

    The loops take the mean over these; eta is for their sum.
    """
    x, t = (jnp.asarray(part.reshape(5, 1)[examples]) for part in toys.salary())
    first = jaxnn.DenseParams(start[:1, None], start[1:])
    rate = eta * examples.shape[1]
    params = path(jaxnn.Dense(1), jaxnn.HalfSquaredError(), loop, rate, (x, t), passes, first)
    return jnp.concatenate([start[None], jnp.concatenate([params.weight[..., 0], params.bias], axis=1)])


def angles(points, minimum):
    """Between each step of a path and the way to the minimum, in degrees."""
    step, way = np.diff(points, axis=-2), minimum - points[..., :-1, :]
    cosine = np.sum(step * way, axis=-1) / np.linalg.norm(step, axis=-1) / np.linalg.norm(way, axis=-1)
    return np.degrees(np.arccos(cosine))


def draw_paths(contour, curved, paths):
    w, b = np.meshgrid(np.linspace(-420, 420, 200), np.linspace(-2400, 2400, 200))
    height = (curved[0, 0] * w**2 + 2 * curved[0, 1] * w * b + curved[1, 1] * b**2) / 2
    contour.contour(w, b, height, levels=np.geomspace(1e4, 2e7, 9), colors="grey", linewidths=0.5)
    for (name, points), colour, width in zip(paths.items(), (PURPLE, GREEN, BLUE), (0.5, 0.7, 1), strict=True):
        contour.plot(*np.transpose(points), color=colour, linewidth=width, label=name)
    contour.plot(0, 0, "*", color="black", markersize=12, label="minimum")
    contour.set(xlabel="w - w* (salary per year)", ylabel="b - b* (salary)", title="Salary data: 300 passes of each")


def draw_angles(axes, along_and_across, off, kappa):
    phi = np.arctan(along_and_across[:, 1] / along_and_across[:, 0])
    shown = np.flatnonzero(np.abs(np.degrees(phi)) < 40)[::80]
    axes.plot(np.degrees(phi[shown]), off[shown], ".", color=ORANGE, label="BGD, first step")
    phi = np.radians(np.linspace(-40, 40, 1001))
    theory = np.abs(np.degrees(np.arctan(kappa * np.tan(phi)) - phi))
    axes.plot(np.degrees(phi), theory, **PREDICTED, label=r"$|\arctan(\kappa\,\tan\varphi) - \varphi|$")
    axes.set(xlabel=r"$\varphi$, from the ravine to the start (degrees)", ylabel="-grad E to the minimum (degrees)")
    axes.set(title=f"Across the ravine: $\\kappa$ = {kappa:.1f}", ylim=(0, 90))


def draw_crossings(axes, along_and_across, kappa):
    along, across = along_and_across.T
    axes.plot(along, across, color=BLUE, linewidth=0.7, label=r"BGD, $\eta = 2\,/\,(l + L)$")
    ends = np.array([0, along.max()])
    axes.plot(ends, ends / np.sqrt(kappa), **PREDICTED, label=r"$\tan\varphi = \pm 1\,/\,\sqrt{\kappa}$")
    axes.plot(ends, -ends / np.sqrt(kappa), **PREDICTED)
    axes.plot(0, 0, "*", color="black", markersize=12, label="minimum")
    axes.set(xlabel="e along the ravine (w, b as in the data)", ylabel="e across the ravine (the same)")
    axes.set(title="100 steps at the worst angle")


if __name__ == "__main__":
    raise SystemExit(main(__doc__, experiment))
