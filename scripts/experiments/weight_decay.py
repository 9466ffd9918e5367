"""L2 is weight decay for SGD and not for Adam: not behind gradient noise, nor in what it converges to.

The notes list L2 and weight decay as two things. With plain gradient descent they are one, to rounding:

    w - eta (g + lambda w) = (1 - eta lambda) w - eta g

Not so with Adam, which divides by sqrt(s), s the mean square of g + lambda w: behind gradient noise of size sigma an L2
term shrinks w by eta lambda / sigma a step, where adamw's decay does by eta lambda; without a gradient, by a step that
doesn't know lambda. On a full batch the limits differ too. Over f(w) = mean (x . w - t)^2 / 2:

    gradient descent or Adam with L2    ridge, (H + lambda) w = c         H = mean x x^T, c = mean x t
    adamw                               min f(w) in the box |w_i| <= 1/lambda: it doesn't shrink what lies inside

Source: PRINCIPLES H3, section 4 (23); Loshchilov and Hutter 2019; Xie and Li 2024 (adamw's box).

    python scripts/experiments/weight_decay.py

Ten seconds on 2 cores. Expect 0 (or some 1e-16) between the forms with gradient descent, 0.17 with Adam; behind noise
of size 8 L2 shrinks a weight by 1.25e-5 a step, adamw by 1e-4.
"""

import jax
import jax.numpy as jnp
import numpy as np
from claims import BLUE, GREEN, ORANGE, PREDICTED, main, panels
from lasso import LOSS, N_EXAMPLES, N_FEATURES, NET, converged, regression, show_weights, weights
from scipy.optimize import lsq_linear

import jaxnn

jax.config.update("jax_enable_x64", True)


def experiment(claims, quick, seed):
    rng, key = np.random.default_rng(seed), jax.random.key(seed)
    data, hessian, c = regression(rng)
    figure, (apart, rates, limits) = panels(3, width=5, height=4.2)
    one_step_apart(claims, data, key, apart, 20 if quick else 50)
    shrinking(claims, key, rates, quick)
    what_they_converge_to(claims, data, hessian, c, key, limits)
    return figure


def paths(data, key, epochs):
    """L2 and weight decay, by SGD and by Adam: the weights after each of so many epochs of mini-batches."""
    eta, strength = 0.05, 0.1
    descent, l2 = jaxnn.gradient_descent(eta), jaxnn.l2(strength)
    rules = {
        "penalty": (descent, l2),
        "before the rule": (jaxnn.chain(jaxnn.weight_decay(strength), descent), None),
        # What comes after the rule is added to its update, -eta g: w <- (1 - eta lambda) w - eta g.
        "after the rule": (jaxnn.chain(descent, jaxnn.weight_decay(-eta * strength)), None),
        "adam, penalty": (jaxnn.adam(eta), l2),
        "adamw": (jaxnn.adamw(eta, weight_decay=strength), None),
    }
    options, by_rule = {"epochs": 1, "batch_size": 20, "metric": None}, {}
    for name, (rule, penalty) in rules.items():
        run, path = jaxnn.start(NET, (N_FEATURES,), key=key, update=rule, dtype=jnp.float64), []
        for _ in range(epochs):
            run, _ = jaxnn.mbgd(NET, LOSS, data, run=run, update=rule, penalty=penalty, **options)
            path.append(weights(run))
        by_rule[name] = np.array(path)
    return by_rule


def one_step_apart(claims, data, key, axes, epochs):
    """In gradient descent the forms are one. Roundings don't add up, since on a convex loss its steps contract."""
    path, epoch = paths(data, key, epochs), 1 + np.arange(epochs)
    largest, rounding = np.abs(path["penalty"]).max(), epochs * (N_EXAMPLES // 20) * 2.0**-52
    for name, colour in ("before the rule", BLUE), ("after the rule", GREEN):
        distance = np.max(np.abs(path[name] - path["penalty"]), axis=1)
        claims.at_most(f"SGD: L2 and decay {name}: max |w - w'| / max |w|", distance.max() / largest, rounding)
        axes.semilogy(epoch, np.maximum(distance, 1e-17), "o", markersize=3, color=colour, label=f"SGD, decay {name}")
    distance = np.max(np.abs(path["adam, penalty"] - path["adamw"]), axis=1)
    # L2 takes lambda / (1 + lambda) of a weight where H = 1, 0.27 of the largest one; adamw next to nothing.
    claims.at_least("Adam: L2 and adamw: max |w - w'| at the end", distance[-1], 0.01)
    axes.semilogy(epoch, distance, color=ORANGE, label="Adam, adamw")
    axes.axhline(rounding * largest, **PREDICTED, label="one rounding a step")
    axes.set(xlabel="epochs", ylabel="largest distance from the L2 penalty's w", title="L2 and weight decay")


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


def shrinking(claims, key, axes, quick):
    eta, strength, n_steps, n_weights = 1e-3, 0.1, 2000 if quick else 4000, 1000 if quick else 2500
    sigma = jnp.array([[1.0], [2.0], [4.0], [8.0]], jnp.float32)
    rules = {
        "adam, L2": (jaxnn.adam(eta), jaxnn.l2(strength), eta * strength / sigma[:, 0], BLUE, "o"),
        "adamw": (jaxnn.adamw(eta, weight_decay=strength), jaxnn.l2(0.0), np.full(4, eta * strength), ORANGE, "s"),
    }
    foretold = r"$\eta\lambda / \sigma$ and $\eta\lambda$"
    for name, (rule, penalty, predicted, colour, marker) in rules.items():
        remains = behind_noise(rule, penalty, sigma, key, (4, n_weights), n_steps)
        rate = -np.log(np.asarray(remains).reshape(4, 20, -1).mean(axis=2)) / n_steps
        for noise, expected, measured in zip(sigma[:, 0], map(float, predicted), rate, strict=True):
            # The first ten steps hardly know sigma, and lambda w adds (lambda / sigma)^2 / 2 to it: 1 % at most.
            claims.mean(f"{name}, sigma = {noise:g}: shrinks a step by", measured, expected, 0.01 * expected)
        axes.loglog(sigma[:, 0], rate.mean(axis=1), marker, color=colour, label=name)
        axes.loglog(sigma[:, 0], predicted, **PREDICTED, label=foretold if name == "adamw" else None)
    quiet = jnp.zeros((1, 1), jnp.float32)
    penalties = jaxnn.l2(1e-3), jaxnn.l2(1e-1)
    silent = [behind_noise(jaxnn.adam(eta), l2, quiet, key, (1, 1), 100).item() for l2 in penalties]
    # Adam's epsilon, 1e-8, is added to the size of the smaller penalty's gradient.
    claims.relative("adam, L2, no gradient: w for lambda 0.001, against 0.1", *silent, within=2e-5)
    axes.set(xlabel=r"size of the gradient noise, $\sigma$", ylabel="shrinks a step by", title="Behind gradient noise")
    axes.set_xticks([1, 2, 4, 8], ["1", "2", "4", "8"])
    axes.set_yticks([1e-4, 5e-5, 2.5e-5, 1.25e-5], ["1e-4", "5e-5", "2.5e-5", "1.25e-5"])
    axes.minorticks_off()


def what_they_converge_to(claims, data, hessian, c, key, axes):
    eta, strength, epochs = 1 / np.linalg.norm(hessian, 2), 0.15, 20_000
    least_squares, ridge = (np.linalg.solve(hessian + added * np.eye(N_FEATURES), c) for added in (0, strength))
    slowing = jaxnn.schedules.cosine(0.01, epochs)
    boxed = lsq_linear(data[0], data[1][:, 0], bounds=(-1.25, 1.25), tol=1e-14).x
    l2 = weights(converged(data, key, jaxnn.gradient_descent(eta), 400, jaxnn.l2(strength)))
    by_adam = weights(converged(data, key, jaxnn.adam(slowing), epochs, jaxnn.l2(strength)))
    # A weight inside the box stands still where f_i' = -lambda w_i sqrt(s_i), and s_i, of which f_i'^2 is then a share,
    # falls by (1 - b2) (1 - (lambda w_i)^2) a step: near the box's side with b2 = 0.999 that would take very long.
    strong = weights(converged(data, key, jaxnn.adamw(slowing, b2=0.99, weight_decay=0.8), epochs))
    weak = weights(converged(data, key, jaxnn.adamw(slowing, b2=0.99, weight_decay=0.1), epochs))

    # A condition of H of 4 or so loses no more than a digit of the 16.
    claims.at_most("gradient descent, L2: max |w - ridge|", np.abs(l2 - ridge).max(), 1e-13)
    # Adam's last steps are as small as its learning rate's end: 0.001 is where we call it there.
    claims.at_most("Adam, L2: max |w - ridge|", np.abs(by_adam - ridge).max(), 1e-3)
    claims.at_most("adamw, lambda = 0.8: max |w - least squares in the box|", np.abs(strong - boxed).max(), 1e-3)
    claims.at_most("adamw, lambda = 0.1: max |w - least squares|", np.abs(weak - least_squares).max(), 1e-3)

    show_weights(axes, {"L2: ridge": (l2, "o", BLUE), r"adamw, $\lambda$ = 0.8": (strong, "^", ORANGE)})
    axes.hlines([-1.25, 1.25], 0, N_FEATURES, **PREDICTED, label="adamw's box")


if __name__ == "__main__":
    raise SystemExit(main(__doc__, experiment))
