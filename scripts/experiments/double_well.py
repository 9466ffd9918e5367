"""BGD ends in the well it starts in: its end is the global minimum for sure only if the loss is convex.

    E(theta) = U(theta) + mean of x_b theta        theta <- theta - eta U'(theta), where the x of all examples sum to 0

Where the notes are loose. BGD finds *the* minimum only if the loss is convex. This one has two, a narrow hole in the
side of a wide valley, and BGD ends in the one that its start lies over: the valley's is the global one, and from the
left of the wall between them it isn't found. An example tilts the loss by an x of its own. Over all examples the tilts
cancel, so that nothing shakes BGD; escape.py shows what the noise of SGD does on the same loss.

The layer and the loss are the script's own, by jaxnn's protocol: a backward by hand under each forward.

    python scripts/experiments/double_well.py               (3 s on 2 cores; --quick is the same)

Expect ends at -0.886 and 1, the two zeros of U' that are minima, to 1e-11.
Source: PRINCIPLES B7, 4.4.
"""

import jax
import jax.numpy as jnp
import numpy as np
from claims import BLUE, ORANGE, PREDICTED, PURPLE, main, panels
from scipy.optimize import brentq

import jaxnn
from jaxnn.layer import Backward, Forward, Init, recipe
from jaxnn.objective.losses import LossForward

SIGMA = 5.0  # deviation of x


def height(theta):
    """U: a valley about 1, with a hole of depth 0.4 and width 0.3 at -1."""
    return 0.25 * (theta - 1) ** 2 / 2 - 0.4 * jnp.exp(-(((theta + 1) / 0.3) ** 2) / 2)


def slope(theta):
    """U'."""
    return 0.25 * (theta - 1) + 0.4 * (theta + 1) / 0.3**2 * jnp.exp(-(((theta + 1) / 0.3) ** 2) / 2)


with jax.enable_x64(True):
    HOLE, WALL, VALLEY = (brentq(slope, *between) for between in ((-1, -0.7), (-0.7, 0), (0, 2)))


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
DATA = np.array([-SIGMA, SIGMA]), np.zeros(2)  # two examples whose x have mean 0: the gradient of BGD is U'


def experiment(claims, quick, seed):
    ends = ends_of_bgd([WALL - 0.01, WALL + 0.01])
    for side, reached, end in zip(("left", "right"), ends.tolist(), (HOLE, VALLEY), strict=True):
        # In the valley 400 steps leave (1 - 0.3 x 0.25)^400 = 3e-14 of the way; brentq is right to 4e-12.
        claims.near(f"BGD from the wall's {side}: where it ends", reached, end, 1e-11)
    report = jaxnn.compare(NET, LOSS, jnp.float32(WALL), (), *map(jnp.array, DATA))
    claims.equal("the layer's own backward is right, says jaxnn.compare", report.ok, True)
    return drawn()


def ends_of_bgd(starts):
    """theta after 400 steps from each of the starts."""
    update = jaxnn.gradient_descent(0.3)
    with jax.enable_x64(True):
        run = jaxnn.start(NET, (), key=jax.random.key(0), update=update, dtype=jnp.float64)

        def end(start):
            begun = run._replace(params=start)
            return jaxnn.bgd(NET, LOSS, DATA, run=begun, epochs=400, update=update, metric=None)[0].params

        return np.asarray(jax.vmap(end)(jnp.asarray(starts)))


def drawn():
    figure, (wells, ends) = panels(2, width=5.2)
    theta = np.linspace(-1.9, 2.9, 400)
    wells.plot(theta, height(theta), color="black", label="U")
    for start, end, colour in ((WALL - 0.01, HOLE, ORANGE), (WALL + 0.01, VALLEY, BLUE)):
        wells.plot(start, height(start), "o", color=colour, fillstyle="none", label=f"BGD from {start:.2f}")
        wells.plot(end, height(end), "o", color=colour, markersize=9, label=f"ends at {end:.2f}")
    wells.set(xlabel="$\\theta$", ylabel="loss U", title="Two minima: the start decides")

    starts = np.linspace(-1.9, 2.9, 49)
    ends.plot(starts, ends_of_bgd(starts), "o", markersize=4, color=PURPLE, label="BGD, 400 steps")
    ends.plot(theta, np.where(theta < WALL, HOLE, VALLEY), **PREDICTED, label="minimum on the start's side of the wall")
    ends.set(xlabel="$\\theta$ at the start", ylabel="$\\theta$ at the end", ylim=(-1.3, 1.8))
    ends.set_title("Every start ends in its own well")
    return figure


if __name__ == "__main__":
    raise SystemExit(main(__doc__, experiment))
