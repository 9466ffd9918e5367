"""A difference's error is V-shaped in its step, and 1e-4 is too long a step in float64 and too short in float32.

A central difference of a function f is off by

    h^2 |f'''| / 6, by truncation, and eps |f| / h, by rounding: least at h* = (3 eps |f| / |f'''|)^(1/3).

Here f is the error E of backpropagation_by_hand.py's network along a line through its weights, for many networks and
examples drawn at random; its derivatives, up to the fifth, come from Taylor arithmetic. In units of h* and of the error
there, truncation and rounding make one V of both precisions: (r^2 + 2 / r) / 3 at r = h / h*.

Where the notes are loose. "Four digits agree at epsilon = 1e-4" is no criterion: in float64 1e-4 is twenty times too
long a step, and in float32 forty times too short. The linked programs have 10e-4 for 1e-4, which costs a factor of 100.

    python scripts/experiments/finite_differences.py                            (4 s on 2 cores, most of it compiling)

Expect slopes -1 and +2 in both precisions, a best step of 0.8 h* in float64 and of 1.0 h* in float32, and a factor of
100. The figure has h* itself, 5e-6 and 4e-3.
Source: PRINCIPLES C6, 2.6; hanbingtao, part 3, fc.py.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from backpropagation_by_hand import EPS, LOSS, NET, NO_STATE, example
from claims import BLUE, ORANGE, PREDICTED, RED, YELLOW, main, panels
from jax.experimental.jet import jet

jax.config.update("jax_enable_x64", True)


def experiment(claims, quick, seed):
    key, n_groups = jax.random.fold_in(jax.random.key(seed), 1), 6 if quick else 32
    lines = jax.jit(jax.vmap(line))(jax.random.split(key, 64 * n_groups))
    exact = np.asarray(jax.jit(jax.vmap(derivatives))(lines))
    results = {dtype: claim_the_v(claims, dtype, eps, lines, exact, n_groups) for dtype, eps in EPS.items()}
    # Of 1e-4's error (1e-9) rounding is 0.3 % at most, even at 6 eps |f|; the networks' mean of 10e-4's has none.
    meant, printed = rms(differences(np.array([1e-4, 1e-3]), lines) - exact[:, 1], axis=1)
    claims.relative("10e-4 for 1e-4: error times", printed / meant, 100, within=0.01)
    return drawn(results)


# Weights and examples are multiples of 2^-10, steps powers of 2, so that w + h s is exact in float32 too, and
# E(w + h s) - E(w - h s) as well: only E rounds.


def line(key):
    """A direction of signs, and a network and an example: f(h) is the error E at the params w + h s."""
    on_a_grid = jax.tree.map(lambda number: jnp.round(number * 1024) / 1024, example(key))
    signs = jax.tree.map(jnp.sign, example(jax.random.fold_in(key, 1))[0])
    return signs, *on_a_grid


def error_along(one_line, h):
    signs, params, x, t = jax.tree.map(lambda number: number.astype(h.dtype), one_line)
    y = NET.forward(jax.tree.map(lambda w, s: w + h * s, params, signs), NO_STATE, x).y
    return LOSS.forward(y, t).values[0]


def derivatives(one_line):
    """f, f', ... f^(5) at 0, by Taylor arithmetic."""
    value, series = jet(partial(error_along, one_line), (jnp.zeros(()),), ((1.0, 0.0, 0.0, 0.0, 0.0),))
    return jnp.stack([value, *series])


def central(h, one_line):
    return (error_along(one_line, h) - error_along(one_line, -h)) / (2 * h)


def differences(h, lines):
    """Of each step, in its precision, along each line."""
    return np.asarray(jax.jit(jax.vmap(jax.vmap(central, (None, 0)), (0, None)))(jnp.asarray(h), lines), np.float64)


def rms(errors, axis):
    return np.sqrt(np.mean(np.square(errors), axis))


def slope(h, errors, where):
    """Of log error against log h, for each column."""
    return np.polyfit(np.log(h[where]), np.log(errors[where]), 1)[0]


def claim_the_v(claims, dtype, eps, lines, exact, n_groups):
    """Steps, the differences' error (RMS over networks), truncation's and rounding's share of it, and h*."""
    f, _, _, third, _, fifth = rms(exact, axis=0)
    h = 2.0 ** np.arange(np.log2(eps) + 8, 0)  # from there on E at w + h s and at w - h s round independently
    apart = differences(h.astype(dtype), lines) - exact[:, 1]
    errors = rms(apart.reshape(len(h), n_groups, 64), axis=2)
    best = (3 * eps * f / third) ** (1 / 3)

    # Up to h* / 4 truncation is 1 % of rounding at most, and its square, which counts here, 1e-4 of the other's.
    claims.mean(f"{dtype}: slope where rounding rules", slope(h, errors, h < best / 4), -1, room=1e-3)
    # The next term, f^(5) h^4 / 120, bends the slope by at most twice its share at the longest step.
    steps = (h > 8 * best) & (h <= max(1 / 64, 32 * best))
    bend = 2 * (fifth / 120) / (third / 6) * h[steps].max() ** 2
    claims.mean(f"{dtype}: slope where truncation rules", slope(h, errors, steps), 2, room=bend + 2e-3)
    # The factor of eps |f| isn't 1: E's last rounding alone makes it 0.1, forty that walk at random 6. The minimum
    # moves with its cube root, 0.46 to 1.8, and is read off at powers of 2, where the curve is flat.
    every = rms(errors, axis=1)
    claims.between(f"{dtype}: best step, over (3 eps |f| / |f'''|)^(1/3)", h[every.argmin()] / best, 1 / 3, 3)
    return h, every, h**2 * third / 6, eps * f / h, best


def drawn(results):
    figure, (v, scaled) = panels(2, width=5.6, height=4.2)
    for (dtype, (h, error, truncation, rounding, best)), colour in zip(results.items(), (BLUE, ORANGE), strict=True):
        v.loglog(h, error, "o", color=colour, markersize=4, label=dtype)
        v.loglog(h, truncation + rounding, **PREDICTED)
        v.axvline(best, color=colour, linestyle=":")
        least = 1.5 * (rounding * h)[0] / best
        scaled.loglog(h / best, error / least, "o", color=colour, markersize=4, label=dtype)
    v.plot([], [], **PREDICTED, label="$h^2 |f'''| / 6 + \\epsilon |f| / h$")
    v.plot([], [], color="gray", linestyle=":", label="$h^* = (3 \\epsilon |f| / |f'''|)^{1/3}$")
    for step, whose, style in ((1e-4, "article's", "-"), (1e-3, "programs'", "-.")):
        v.axvline(step, color=RED, linewidth=1, linestyle=style, label=f"the {whose} step")
    v.set(xlabel="step h", ylabel="error of the central difference", title="Differences: too long, too short")
    r = np.logspace(-2.5, 2.2, 100)
    scaled.loglog(r, (r**2 + 2 / r) / 3, **PREDICTED, label="$(r^2 + 2 / r) / 3$")
    scaled.axvspan(1 / 3, 3, color=YELLOW, alpha=0.3, linewidth=0, label="where the best step is foretold")
    scaled.set(xlabel="$r = h / h^*$", ylabel="error / the least that is foretold", title="One V of both precisions")
    scaled.set(xlim=(r[0], r[-1]), ylim=(0.1, 1e4))
    return figure


if __name__ == "__main__":
    raise SystemExit(main(__doc__, experiment))
