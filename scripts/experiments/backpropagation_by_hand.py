"""Backpropagation is the chain rule and nothing else: by hand, by machine and by differences it is one gradient.

    output neuron    delta_j = y_j (1 - y_j) (t_j - y_j)             (3)
    hidden neuron    delta_i = a_i (1 - a_i) sum_j w_ij delta_j      (4)
    weights          dE/dw_ij = -delta_j a_i                         (5), with delta = -dE/dnet

The article's example, 3-4-2 sigmoid neurons and E = 1/2 sum (t - y)^2, with every error term beside its formula.
jaxnn's error terms dE/dnet have the gradient's sign, the article's have the other.

By hand and by machine the gradient differs by the rounding of a few dozen operations at most. Differences give it too,
but are off by about eps |E| / h, for E rounds before it is divided by the step h; finite_differences.py says how short
a step may be.

    python scripts/experiments/backpropagation_by_hand.py                       (4 s on 2 cores, most of it compiling)

Expect error terms and gradients that agree to 1e-17, the largest of them 0.04; differences are off by 5e-13.
Source: PRINCIPLES C1 to C6; hanbingtao, part 3 (the numbers are its equations').
"""

import jax
import jax.numpy as jnp
import numpy as np
from claims import BLUE, GREEN, ORANGE, PREDICTED, main, panels
from jax.flatten_util import ravel_pytree

import jaxnn

jax.config.update("jax_enable_x64", True)
EPS = {"float64": 2.0**-52, "float32": 2.0**-23}
UNIFORM = jaxnn.Uniform(-1, 1)
NET = jaxnn.Serial(jaxnn.Dense(4, UNIFORM, UNIFORM), jaxnn.Sigmoid(), jaxnn.Dense(2, UNIFORM, UNIFORM), jaxnn.Sigmoid())
NO_STATE = ((),) * 4  # a pair of brackets for each of the four layers
LOSS = jaxnn.HalfSquaredError()
STEP = 2.0**-17  # of the differences: a power of 2 near eps^(1/3) = 6e-6


def experiment(claims, quick, seed):
    """The same in both forms."""
    params, x, t = example(jax.random.key(seed))
    by_hand = jaxnn.backprop(NET, LOSS, observe=error_term)(params, NO_STATE, x, t)
    by_machine = jaxnn.autodiff(NET, LOSS)(params, NO_STATE, x, t).grads
    delta_a, delta_y, by_equations = textbook(*jax.tree.map(np.asarray, (params, x[0], t[0])))
    by_difference = differences(params, x, t)

    observed = -np.concatenate([by_hand.notes["[0]"][0], by_hand.notes["[2]"][0]])
    by_formula = np.concatenate([delta_a, delta_y])
    print_error_terms(by_formula, observed, -np.concatenate([by_difference[0].bias, by_difference[2].bias]))

    # Weights below 1 and slopes below 1/4: with four inputs at most, no error grows on its way. Forty operations on
    # numbers below 5 lead to any gradient, each off by eps / 2 of that; two programs may differ by twice the sum.
    rounding = 2 * 40 * 5 * EPS["float64"] / 2
    claims.at_most("six error terms: observed against (3) and (4)", np.abs(by_formula - observed).max(), rounding)
    for name, other in (("(5) in NumPy", by_equations), ("jax.grad", by_machine)):
        claims.at_most(f"26 gradients: by hand against {name}", largest_distance(by_hand.grads, other), rounding)
    # Each E of a difference is off by half of that. Of E's third derivative the step leaves h^2 / 6, and it is below 1:
    # slopes, sigma'' and sigma''' are 1/4, 1/8 and 1/8 at most.
    within = rounding / (2 * STEP) + STEP**2 / 6
    claims.at_most("26 gradients: by hand against differences", largest_distance(by_hand.grads, by_difference), within)
    ways = {"(3) to (5) in NumPy": by_equations, "jax.grad": by_machine, "differences": by_difference}
    return drawn(by_hand, ways, rounding)


def largest_distance(some, others):
    return float(np.abs(ravel_pytree(some)[0] - ravel_pytree(others)[0]).max())


def example(key):
    """A network and an example: params, x (1, 3), t (1, 2)."""
    at_weights, at_x, at_t = jax.random.split(key, 3)
    return NET.init(at_weights, (3,)).params, jax.random.uniform(at_x, (1, 3)), jax.random.uniform(at_t, (1, 2))


def error_term(node):
    """An observer: dE/dy of each layer, in the one backward pass. What a Dense layer gives is the net input."""
    return node.dy


def textbook(params, x, t):
    """Equations 3 to 5 for one example: delta of the hidden neurons, of the outputs, and the gradient, like params."""
    (w1, b1), _, (w2, b2), _ = params
    a = 1 / (1 + np.exp(-(x @ w1 + b1)))
    y = 1 / (1 + np.exp(-(a @ w2 + b2)))
    delta_y = y * (1 - y) * (t - y)  # (3)
    delta_a = a * (1 - a) * (w2 @ delta_y)  # (4)
    gradients = [-np.outer(x, delta_a), -delta_a, -np.outer(a, delta_y), -delta_y]  # (5)
    return delta_a, delta_y, jax.tree.unflatten(jax.tree.structure(params), gradients)


def differences(params, x, t):
    """(E(w + h) - E(w - h)) / 2h for each of the weights and biases, like params."""
    weights, as_params = ravel_pytree(params)

    def error(weights):
        return LOSS.forward(NET.forward(as_params(weights), NO_STATE, x).y, t).values[0]

    steps = STEP * jnp.eye(len(weights))
    above, below = (jax.vmap(error)(weights + side * steps) for side in (1, -1))
    return as_params((above - below) / (2 * STEP))


def print_error_terms(*ways):
    """Neurons 4 to 7 are hidden, 8 and 9 the outputs. A bias has the derivative of its neuron's net input."""
    formulas = [f"a{i} (1 - a{i}) (w8{i} d8 + w9{i} d9)" for i in (4, 5, 6, 7)]
    formulas += [f"y{j} (1 - y{j}) (t{j} - y{j})" for j in (8, 9)]
    print(f"{'error term':37} {'by its formula':>19} {'observed':>19} {'by differences':>19}")
    for i, formula in enumerate(formulas):
        print(f"d{i + 4} = {formula:32}", *(f"{way[i]:19.16f}" for way in ways))


def drawn(by_hand, ways, rounding):
    figure, (gradients, distances) = panels(2, width=5.6, height=4.2)
    truth = ravel_pytree(by_hand.grads)[0]
    styles = (("s", BLUE, 9), ("x", GREEN, 6), (".", ORANGE, 6))
    for (name, way), (marker, colour, size) in zip(ways.items(), styles, strict=True):
        style = {"color": colour, "markersize": size, "markerfacecolor": "none", "label": name}
        gradient = ravel_pytree(way)[0]
        gradients.plot(truth, gradient, marker, **style)
        distances.plot(np.arange(1, len(truth) + 1), np.abs(gradient - truth), marker, **style)
    ends = np.array([truth.min(), truth.max()])
    gradients.plot(ends, ends, **PREDICTED, label="the same")
    gradients.set(xlabel="dE/dw by hand", ylabel="dE/dw in three other ways", title="26 weights and biases")
    distances.axhline(rounding, **PREDICTED, label="bound: rounding of 40 operations, twice")
    rounding_of_e = EPS["float64"] * by_hand.loss / STEP
    distances.axhline(rounding_of_e, color="gray", linestyle=":", label="of differences: $\\epsilon |E| / h$")
    distances.set_yscale("symlog", linthresh=1e-18)  # 0 is on it too
    distances.set(xlabel="number of the weight or bias", ylabel="distance to dE/dw by hand", ylim=(-5e-19, 1e-8))
    distances.set(title="How far they are from the one by hand")
    distances.legend(fontsize=8, loc="upper right")
    return figure


if __name__ == "__main__":
    raise SystemExit(main(__doc__, experiment))
