"""Weight decay, L2 and L1: one step apart, and what each one converges to.

The notes list L2 and weight decay as two things. With plain gradient descent they are one, to rounding:
    w - eta (g + lambda w) = (1 - eta lambda) w - eta g.
Not so with Adam, which divides by sqrt(s), s the mean square of g + lambda w: behind gradient noise of size sigma an L2
term shrinks w by eta lambda / sigma a step, where adamw's decay does by eta lambda; without a gradient, by a step that
doesn't know lambda. On a full batch the limits differ too. Over f(w) = mean (x . w - t)^2 / 2:

    gradient descent or Adam with L2    ridge, (H + lambda) w = c         H = mean x x^T, c = mean x t
    adamw                               min f(w) in the box |w_i| <= 1/lambda: it doesn't shrink what lies inside
    gradient descent, proximal L1       the lasso: f_i' = -lambda sign(w_i) where w_i != 0, else w_i is exactly 0
    gradient descent, gradient of L1    never: where |f_i'| < lambda it jumps to and fro across 0, of mean step
                                        eta lambda (1 - (f_i' / lambda)^2)

Source: PRINCIPLES H1, H3; Loshchilov and Hutter 2019; Xie and Li 2024 (adamw's box); Beck and Teboulle 2009.
Command: python scripts/experiments/weight_decay.py    (15 s on 2 cores)
Expect: 0 (or some 1e-16) between the forms with gradient descent; 35 of 40 weights exactly 0 by the proximal step.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from claims import BLUE, GREEN, ORANGE, PREDICTED, PURPLE, main, panels
from scipy.optimize import lsq_linear

import jaxnn

jax.config.update("jax_enable_x64", True)

N_EXAMPLES, N_FEATURES = 400, 40
NET, LOSS = jaxnn.Dense(1, bias=False), jaxnn.HalfSquaredError()
PLANTED = np.zeros(N_FEATURES)
PLANTED[:5] = 3.0, -2.0, 0.6, -0.6, 0.6


def regression(rng):
    """Data whose targets depend on 5 of 40 features, with H and c."""
    x = rng.standard_normal((N_EXAMPLES, N_FEATURES))
    t = x @ PLANTED + 0.5 * rng.standard_normal(N_EXAMPLES)
    return (x, t[:, None]), x.T @ x / N_EXAMPLES, x.T @ t / N_EXAMPLES


def weights(run):
    return np.asarray(run.params.weight)[..., 0]


def forms(data, key, epochs):
    """L2 and weight decay, by SGD and by Adam: the weights after each of so many epochs of mini-batches."""
    eta, strength = 0.05, 0.1
    penalised = {"penalty": jaxnn.l2(strength)}
    rules = {
        "penalty": (jaxnn.gradient_descent(eta), penalised),
        "before the rule": (jaxnn.chain(jaxnn.weight_decay(strength), jaxnn.gradient_descent(eta)), {}),
        # What comes after the rule is added to its update, -eta g: w <- (1 - eta lambda) w - eta g.
        "after the rule": (jaxnn.chain(jaxnn.gradient_descent(eta), jaxnn.weight_decay(-eta * strength)), {}),
        "adam, penalty": (jaxnn.adam(eta), penalised),
        "adamw": (jaxnn.adamw(eta, weight_decay=strength), {}),
    }
    found = {}
    for name, (rule, options) in rules.items():
        run, path = jaxnn.start(NET, (N_FEATURES,), key=key, update=rule, dtype=jnp.float64), []
        for _ in range(epochs):
            run, _ = jaxnn.mbgd(NET, LOSS, data, run=run, epochs=1, batch_size=20, update=rule, metric=None, **options)
            path.append(weights(run))
        found[name] = np.array(path)
    return found


@partial(jax.jit, static_argnames=("shape", "n_steps"))
def behind_noise(rule, penalty, sigma, key, shape, n_steps):
    """What remains of weights that start at 1, whose loss gradient is noise of size sigma; (len(sigma), *shape)."""

    def step(carry, step_key):
        params, state = carry
        noise = sigma * jax.random.normal(step_key, params.weight.shape, jnp.float32)
        grads = jaxnn.DenseParams(noise + penalty.gradient(params).weight, None)
        updates, state = rule.update(grads, state, params)
        return (jaxnn.apply_updates(params, updates), state), None

    params = jaxnn.DenseParams(jnp.ones(shape, jnp.float32), None)
    (params, _), _ = jax.lax.scan(step, (params, rule.init(params)), jax.random.split(key, n_steps))
    return params.weight


def one_step_apart(claims, data, key, axes, epochs):
    """In gradient descent the forms are one. Roundings don't add up, since on a convex loss its steps contract."""
    paths, step = forms(data, key, epochs), 1 + np.arange(epochs)
    largest, rounding = np.abs(paths["penalty"]).max(), epochs * (N_EXAMPLES // 20) * 2.0**-52
    for name, colour in ("before the rule", BLUE), ("after the rule", GREEN):
        distance = np.max(np.abs(paths[name] - paths["penalty"]), axis=1)
        claims.at_most(f"SGD: L2 and decay {name}: max |w - w'| / max |w|", distance.max() / largest, rounding)
        axes.semilogy(step, np.maximum(distance, 1e-17), "o", markersize=3, color=colour, label=f"SGD, decay {name}")
    distance = np.max(np.abs(paths["adam, penalty"] - paths["adamw"]), axis=1)
    # L2 takes lambda / (1 + lambda) of a weight where H = 1, 0.27 of the largest one; adamw next to nothing.
    claims.at_least("Adam: L2 and adamw: max |w - w'| at the end", distance[-1], 0.01)
    axes.semilogy(step, distance, color=ORANGE, label="Adam, adamw")
    axes.axhline(rounding * largest, **PREDICTED, label="one rounding a step")
    axes.set(xlabel="epochs", ylabel="largest distance from the L2 penalty's w", title="L2 and weight decay")


def shrinking(claims, key, axes, quick):
    eta, strength, n_steps, n_weights = 1e-3, 0.1, 2000 if quick else 4000, 1000 if quick else 2500
    sigma = jnp.array([[1.0], [2.0], [4.0], [8.0]], jnp.float32)
    rules = {
        "adam, L2": (jaxnn.adam(eta), jaxnn.l2(strength), eta * strength / sigma[:, 0], BLUE, "o"),
        "adamw": (jaxnn.adamw(eta, weight_decay=strength), jaxnn.l2(0.0), np.full(4, eta * strength), ORANGE, "s"),
    }
    for name, (rule, penalty, predicted, colour, marker) in rules.items():
        remains = behind_noise(rule, penalty, sigma, key, (4, n_weights), n_steps)
        rate = -np.log(np.asarray(remains).reshape(4, 20, -1).mean(axis=2)) / n_steps
        for each, expected, measured in zip(sigma[:, 0], predicted, rate, strict=True):
            # The first ten steps hardly know sigma, and lambda w adds (lambda / sigma)^2 / 2 to it: 1 % at most.
            claims.mean(
                f"{name}, sigma = {each:g}: shrinks a step by", measured, float(expected), 0.01 * float(expected)
            )
        axes.loglog(sigma[:, 0], rate.mean(axis=1), marker, color=colour, label=name)
        axes.loglog(sigma[:, 0], predicted, **PREDICTED)
    silent = [
        behind_noise(jaxnn.adam(eta), jaxnn.l2(each), jnp.zeros((1, 1), jnp.float32), key, (1, 1), 100).item()
        for each in (1e-3, 1e-1)
    ]
    # Adam's epsilon, 1e-8, is added to the size of the smaller penalty's gradient.
    claims.relative("adam, L2, no gradient: w for lambda 0.001, against 0.1", *silent, within=2e-5)
    axes.plot([], [], **PREDICTED, label=r"$\eta\lambda / \sigma$ and $\eta\lambda$")
    axes.set(xlabel=r"size of the gradient's noise, $\sigma$", ylabel="shrinks a step by")
    axes.set_title("Behind a noisy gradient")
    axes.set_xticks([1, 2, 4, 8], ["1", "2", "4", "8"])
    axes.set_yticks([1e-4, 5e-5, 2.5e-5, 1.25e-5], ["1e-4", "5e-5", "2.5e-5", "1.25e-5"])
    axes.minorticks_off()


def converged(data, key, rule, epochs, penalty=None):
    run, _ = jaxnn.bgd(NET, LOSS, data, key=key, epochs=epochs, update=rule, penalty=penalty, metric=None)
    return run


def what_they_converge_to(claims, data, hessian, c, key, axes):
    eta, strength, epochs = 1 / np.linalg.norm(hessian, 2), 0.15, 20_000
    slowing = jaxnn.schedules.cosine(0.01, epochs)
    ridge = np.linalg.solve(hessian + strength * np.eye(N_FEATURES), c)
    boxed = lsq_linear(data[0], data[1][:, 0], bounds=(-1.25, 1.25), tol=1e-14).x
    l2 = weights(converged(data, key, jaxnn.gradient_descent(eta), 400, jaxnn.l2(strength)))
    by_adam = weights(converged(data, key, jaxnn.adam(slowing), epochs, jaxnn.l2(strength)))
    # A weight inside the box stands still where f_i' = -lambda w_i sqrt(s_i), and s_i, of which f_i'^2 is then a share,
    # falls by (1 - b2) (1 - (lambda w_i)^2) a step: near the box's side with b2 = 0.999 that would take very long.
    strong = weights(converged(data, key, jaxnn.adamw(slowing, b2=0.99, weight_decay=0.8), epochs))
    weak = weights(converged(data, key, jaxnn.adamw(slowing, b2=0.99, weight_decay=0.1), epochs))
    proximal = jaxnn.chain(jaxnn.gradient_descent(eta), jaxnn.proximal_l1(eta, strength))
    lasso = weights(converged(data, key, proximal, 400))

    # A condition of H of 4 or so loses no more than a digit of the 16.
    claims.at_most("gradient descent, L2: max |w - ridge|", np.abs(l2 - ridge).max(), 1e-13)
    claims.equal("gradient descent, L2: weights that are 0", int(np.sum(l2 == 0)), 0)
    # Adam's last steps are as small as its learning rate's end: 0.001 is where we call it there.
    claims.at_most("Adam, L2: max |w - ridge|", np.abs(by_adam - ridge).max(), 1e-3)
    claims.at_most("adamw, lambda = 0.8: max |w - least squares in the box|", np.abs(strong - boxed).max(), 1e-3)
    least_squares = np.linalg.solve(hessian, c)
    claims.at_most("adamw, lambda = 0.1: max |w - least squares|", np.abs(weak - least_squares).max(), 1e-3)
    # The noise's share in a gradient has deviation 0.5 / sqrt(400), a sixth of lambda: it makes no weight nonzero.
    claims.equal("proximal L1: weights that are exactly 0", int(np.sum(lasso == 0)), N_FEATURES - 5)
    gradient, on = hessian @ lasso - c, lasso != 0
    claims.at_most(
        "lasso: |f' + lambda sign w| where w isn't 0", np.abs(gradient + strength * np.sign(lasso))[on].max(), 1e-13
    )
    claims.at_most("lasso: |f'| where w is 0", np.abs(gradient[~on]).max(), strength)

    feature = np.arange(N_FEATURES)
    axes.vlines(feature, 0, PLANTED, color="lightgrey", linewidth=5, label="planted")
    found = ("ridge", l2, BLUE, "o"), ("lasso", lasso, GREEN, "s"), ("adamw, $\\lambda$ = 0.8", strong, ORANGE, "^")
    for name, w, colour, marker in found:
        axes.plot(feature, w, marker, markersize=4, color=colour, label=name)
    axes.axhline(1.25, **PREDICTED, label="adamw's box")
    axes.axhline(-1.25, **PREDICTED)
    axes.set(xlabel="feature", ylabel="weight", title="What they converge to")
    return lasso, gradient, strength


def subgradient(claims, data, key, axes, lasso, gradient, strength, lipschitz):
    """The gradient of L1 at a small rate, from near its end on: one epoch after another."""
    eta, n_steps = 0.01, 400
    rule, penalty = jaxnn.gradient_descent(eta), jaxnn.l1(strength)
    run, path = converged(data, key, rule, 4000, penalty), []
    for _ in range(n_steps):
        run, _ = jaxnn.bgd(NET, LOSS, data, run=run, epochs=1, update=rule, penalty=penalty, metric=None)
        path.append(weights(run))
    path, off = np.array(path), lasso == 0
    claims.equal("gradient of L1: weights that are 0 at one of 400 steps", int(np.sum(path == 0)), 0)
    claims.at_most("the same: max |w| where the lasso is 0", np.abs(path[:, off]).max(), 2 * eta * strength)
    jump, expected = (
        np.abs(np.diff(path[:, off], axis=0)).mean(),
        eta * strength * (1 - (gradient[off] / strength) ** 2),
    )
    # A jump changes f' itself, by eta L of lambda; and the average is over whole jumps.
    claims.relative("the same: mean jump", jump, expected.mean(), 2 * eta * lipschitz + 4 / n_steps)
    some = np.flatnonzero(off)[np.argmin(np.abs(gradient[off]))]
    axes.plot(path[:60, some] / (eta * strength), ".-", color=PURPLE, linewidth=0.8, label="gradient of L1")
    axes.plot(np.zeros(60), color=GREEN, label="proximal step: exactly 0")
    axes.axhline(1, **PREDICTED, label=r"$\pm\eta\lambda$")
    axes.axhline(-1, **PREDICTED)
    axes.set(xlabel="step", ylabel=r"weight, in units of $\eta\lambda$", title="A weight that the lasso sets to 0")
    axes.set_ylim(-1.15, 1.75)


def experiment(claims, quick, seed):
    rng, key = np.random.default_rng(seed), jax.random.key(seed)
    data, hessian, c = regression(rng)
    figure, (apart, rates, limits, jumps) = panels(2, 2, width=5.4)
    one_step_apart(claims, data, key, apart, 20 if quick else 50)
    shrinking(claims, key, rates, quick)
    lasso, gradient, strength = what_they_converge_to(claims, data, hessian, c, key, limits)
    subgradient(claims, data, key, jumps, lasso, gradient, strength, np.linalg.norm(hessian, 2))
    for axes in (apart, rates, limits, jumps):
        axes.legend(fontsize=8)
    return figure


if __name__ == "__main__":
    raise SystemExit(main(__doc__, experiment))
