"""Backpropagation is the chain rule and nothing else: by hand, by machine and by differences it is one gradient.

    output neuron    delta_j = y_j (1 - y_j) (t_j - y_j)             (3)
    hidden neuron    delta_i = a_i (1 - a_i) sum_j w_ij delta_j      (4)
    weights          dE/dw_ij = -delta_j a_i                         (5), with delta = -dE/dnet

The article's example, 3-4-2 sigmoid neurons and E = 1/2 sum (t - y)^2, with every error term beside its formula.

Where the notes are loose. "Four digits agree at epsilon = 1e-4" is no criterion. A central difference is off by

    h^2 |f'''| / 6, by truncation, and eps |f| / h, by rounding: least at h* = (3 eps |f| / |f'''|)^(1/3),

so that in float64 1e-4 is twenty times too long a step, and in float32 forty times too short. The linked programs have
10e-4 for 1e-4, which costs a factor of 100. And a check passes on wrong code wherever it is right by accident. So the
defects that were found in those programs are planted here twice: where they hide, and where an audit has to catch them.

    python scripts/experiments/backpropagation_by_hand.py                      (10 s on 2 cores, most of it compiling)

Expect slopes -1 and +2 in both precisions, h* within a factor of 3, and each defect caught where it isn't hidden.
Source: PRINCIPLES C1 to C6, 2.6; hanbingtao, part 3 (the numbers are its equations'), fc.py, bp.py, rnn.py, cnn.py.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from claims import BLUE, GREEN, ORANGE, PREDICTED, RED, main, panels
from jax.experimental.jet import jet

import jaxnn
from jaxnn.audit import check

jax.config.update("jax_enable_x64", True)
EPS = {"float64": 2.0**-52, "float32": 2.0**-23}
UNIFORM = jaxnn.Uniform(-1, 1)
NET = jaxnn.Serial(jaxnn.Dense(4, UNIFORM, UNIFORM), jaxnn.Sigmoid(), jaxnn.Dense(2, UNIFORM, UNIFORM), jaxnn.Sigmoid())
LOSS = jaxnn.HalfSquaredError()


def example(key):
    """A network and an example: params, x (1, 3), t (1, 2)."""
    at_weights, at_x, at_t = jax.random.split(key, 3)
    return NET.init(at_weights, (3,)).params, jax.random.uniform(at_x, (1, 3)), jax.random.uniform(at_t, (1, 2))


def textbook(params, x, t):
    """Equations 3 to 5 for one example: delta of the hidden neurons, of the outputs, and the gradient, like params."""
    (w1, b1), _, (w2, b2), _ = params
    a = 1 / (1 + np.exp(-(x @ w1 + b1)))
    y = 1 / (1 + np.exp(-(a @ w2 + b2)))
    delta_y = y * (1 - y) * (t - y)  # (3)
    delta_a = a * (1 - a) * (w2 @ delta_y)  # (4)
    gradients = [-np.outer(x, delta_a), -delta_a, -np.outer(a, delta_y), -delta_y]  # (5)
    return delta_a, delta_y, jax.tree.unflatten(jax.tree.structure(params), gradients)


def error_term(node):
    """An observer: dE/dy of each layer, in the one backward pass. What a Dense layer gives is the net input."""
    return node.dy


def article(claims, key):
    params, x, t = example(key)
    by_hand = jaxnn.backprop(NET, LOSS, observe=error_term)(params, ((),) * 4, x, t)
    by_machine = jaxnn.autodiff(NET, LOSS)(params, ((),) * 4, x, t)
    delta_a, delta_y, gradients = textbook(*jax.tree.map(np.asarray, (params, x[0], t[0])))

    formulas = [f"a{i} (1 - a{i}) (w8{i} d8 + w9{i} d9)" for i in (4, 5, 6, 7)]
    formulas += [f"y{j} (1 - y{j}) (t{j} - y{j})" for j in (8, 9)]
    by_formula = np.concatenate([delta_a, delta_y])
    observed = -np.concatenate([by_hand.notes["[0]"][0], by_hand.notes["[2]"][0]])
    print(f"{'error term':37} {'by its formula':>19} {'observed':>19}")
    for i, formula in enumerate(formulas):
        print(f"d{i + 4} = {formula:32} {by_formula[i]:19.16f} {observed[i]:19.16f}")

    # Weights below 1 and slopes below 1/4: with four inputs at most, no error grows on its way. Forty operations on
    # numbers below 4 lead to any gradient, each off by eps / 2 of that; two programs may differ by twice the sum.
    rounding = 2 * 40 * 4 * EPS["float64"] / 2
    claims.at_most("six error terms: observed against (3) and (4)", np.abs(by_formula - observed).max(), rounding)
    for name, other in (("(5) in NumPy", gradients), ("jax.grad", by_machine.grads)):
        apart = jax.tree.map(lambda g, o: np.abs(g - o).max(), by_hand.grads, other)
        claims.at_most(f"26 gradients: by hand against {name}", max(jax.tree.leaves(apart)), rounding)


# The V of the differences: f(h) = E(w + h s) for a direction of signs s. Weights and examples are multiples of 2^-10,
# steps powers of 2, so that w + h s is exact in float32 too, and E(w + h s) - E(w - h s) as well: only E rounds.


def line(key):
    on_a_grid = jax.tree.map(lambda number: jnp.round(number * 1024) / 1024, example(key))
    signs = jax.tree.map(jnp.sign, example(jax.random.fold_in(key, 1))[0])
    return signs, *on_a_grid


def error_along(drawn, h):
    signs, params, x, t = jax.tree.map(lambda number: number.astype(h.dtype), drawn)
    y = NET.forward(jax.tree.map(lambda w, s: w + h * s, params, signs), ((),) * 4, x).y
    return LOSS.forward(y, t).values[0]


def derivatives(drawn):
    """f, f', ... f^(5) at 0, by Taylor arithmetic."""
    value, series = jet(partial(error_along, drawn), (jnp.zeros(()),), ((1.0, 0.0, 0.0, 0.0, 0.0),))
    return jnp.stack([value, *series])


def central(h, drawn):
    return (error_along(drawn, h) - error_along(drawn, -h)) / (2 * h)


def rms(errors, axis):
    return np.sqrt(np.mean(np.square(errors), axis))


def slope(h, errors, where):
    """Of log error against log h, for each column."""
    return np.polyfit(np.log(h[where]), np.log(errors[where]), 1)[0]


def differences(claims, key, n_groups):
    """By dtype: steps, the differences' error (RMS over networks), truncation's and rounding's line, and h*."""
    lines = jax.jit(jax.vmap(line))(jax.random.split(key, 64 * n_groups))
    exact = np.asarray(jax.jit(jax.vmap(derivatives))(lines))
    f, _, _, third, _, fifth = rms(exact, axis=0)
    found = {}
    for dtype, eps in EPS.items():
        h = 2.0 ** np.arange(np.log2(eps) + 8, 0)  # from there on E at w + h s and at w - h s round independently
        slopes = jax.jit(jax.vmap(jax.vmap(central, (None, 0)), (0, None)))(jnp.asarray(h, dtype), lines)
        errors = rms((np.asarray(slopes, np.float64) - exact[:, 1]).reshape(len(h), n_groups, 64), axis=2)
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
        found[dtype] = h, every, h**2 * third / 6, eps * f / h, best
    # Of 1e-4's error (1e-9) rounding is 0.3 % at most, even at 6 eps |f|; the networks' mean of 10e-4's has none.
    at = np.array([1e-4, 1e-3])
    slopes = jax.jit(jax.vmap(jax.vmap(central, (None, 0)), (0, None)))(jnp.asarray(at), lines)
    printed, meant = rms(np.asarray(slopes) - exact[:, 1], axis=1)[::-1]
    claims.relative("10e-4 for 1e-4: error times", printed / meant, 100, within=0.01)
    return found


# The museum: each defect as the pair (f, backward) that an audit takes.


def two_layers(hidden, w1, w2, x):
    return jax.nn.sigmoid(hidden(x @ w1) @ w2)


def own_derivative(hidden, w1, w2, x, dy):
    a, y = hidden(x @ w1), two_layers(hidden, w1, w2, x)
    delta2 = y * (1 - y) * dy
    delta1 = a * (1 - a) * (delta2 @ w2.T)  # the upper layer's derivative, whatever the hidden layer's activation
    return x.T @ delta1, a.T @ delta2, delta1 @ w1.T


def last_state(x, w):
    """s_t = tanh(x_t + s_(t-1) W), from s_0 = 0."""
    s = jnp.zeros(x.shape[1:])
    for x_t in x:
        s = jnp.tanh(x_t + s @ w)
    return s


def state_for_derivative(x, w, dy):
    s, dw = [last_state(x[:t], w) for t in range(len(x) + 1)], jnp.zeros_like(w)
    delta = (1 - s[-1] ** 2) * dy
    for t in reversed(range(len(x))):
        dw = dw + s[t].T @ delta
        delta = s[t] * (delta @ w.T)  # it should be f'(s_t) = 1 - s_t^2
    return (dw,)


def max_pool(stride, x):
    return jnp.stack([x[i : i + 2].max() for i in range(0, len(x) - 1, stride)])


def assigned(stride, x, dy):
    dx = jnp.zeros_like(x)
    for k, i in enumerate(range(0, len(x) - 1, stride)):
        dx = dx.at[i + jnp.argmax(x[i : i + 2])].set(dy[k])  # it should be .add
    return (dx,)


def labelled(label, sample, w):
    return jnp.sum(jnp.square(label - jax.nn.sigmoid(sample @ w))) / 2


def swapped(label, sample, w, dy):
    return (dy * jax.grad(labelled, argnums=2)(sample, label, w),)


class Descending(jaxnn.Dense):
    """fc.py: its W_grad is -dE/dW, and was compared with dE/dW."""

    def backward(self, params, cache, dy):
        dparams, dx = super().backward(params, cache, dy)
        return jaxnn.Backward(dparams._replace(weight=-dparams.weight), dx)


def museum(claims, seed):
    """By defect: where it hides and where it shows, with the audit's largest error over its tolerance."""
    rng = np.random.default_rng(seed)
    w1, w2, w = (rng.normal(size=shape) for shape in ((3, 4), (4, 2), (3, 3)))
    x, sequence = rng.normal(size=(5, 3)), rng.normal(size=(3, 2, 3))
    peak = np.array([0.2, 0.9, 0.1, 0.5, 0.7, 0.3])  # 0.9 is the largest of two windows where they overlap
    defects = (
        # the defect                    f, backward                         hides                          shows
        ("fc.py: the upper layer's f'", two_layers, own_derivative, (w1, w2, x),
         {"both sigmoid": (jax.nn.sigmoid,), "tanh below": (jnp.tanh,)}),
        ("rnn.py: the state for f'", last_state, state_for_derivative, (w,),
         {"T = 2": (sequence[:2],), "T = 3": (sequence,)}),
        ("cnn.py: pooling assigns", max_pool, assigned, (peak,), {"stride 2": (2,), "stride 1": (1,)}),
        ("bp.py: arguments swapped", labelled, swapped, (w,), {"t = x": (x, x), "another t": (x[:, ::-1], x)}),
    )  # fmt: skip
    found = {}
    for name, f, backward, arguments, settings in defects:
        for shows, (where, setting) in zip((False, True), settings.items(), strict=True):
            rule = partial(f, *setting), partial(backward, *setting)
            report = check(rule, *arguments, gates=("autodiff", "differences"))
            claims.equal(f"{name}, {where}: caught", not report.ok, shows)
            found[f"{name}\n{where}"] = shows, max(each.error / each.tolerance for each in report.findings)

    layer = jaxnn.DenseParams(w1, rng.normal(size=4))
    failure, *_ = check(Descending(4), layer, (), x, gates=("autodiff",)).failures
    claims.equal("fc.py: -dE/dW compared with dE/dW: the audit says", failure.pattern, "the sign: times -1")
    return found


def drawn_as(found, defects):
    figure, (v, audit) = panels(2, width=5.6, height=4.2)
    for (dtype, (h, error, truncation, rounding, best)), colour in zip(found.items(), (BLUE, ORANGE), strict=True):
        v.loglog(h, error, "o", color=colour, markersize=4, label=dtype)
        v.loglog(h, truncation + rounding, **PREDICTED)
        v.axvline(best, color=colour, linestyle=":")
    v.plot([], [], **PREDICTED, label="$h^2 |f'''| / 6 + \\epsilon |f| / h$")
    v.plot([], [], color="gray", linestyle=":", label="$(3 \\epsilon |f| / |f'''|)^{1/3}$")
    v.axvline(1e-4, color=RED, linewidth=1, label="the article's step")
    v.set(xlabel="step h", ylabel="error of the central difference", title="Differences: too long, too short")
    v.legend(fontsize=8)
    for row, (shows, margin) in enumerate(defects.values()):
        audit.plot(max(margin, 1e-4), row, "s" if shows else "o", color=RED if shows else GREEN)
    audit.axvline(1, **PREDICTED, label="the audit's tolerance")
    for label, marker, colour in (("where the code is right by accident", "o", GREEN), ("elsewhere", "s", RED)):
        audit.plot([], [], marker, color=colour, label=label)
    audit.legend(fontsize=8, loc="lower center")
    audit.set(xscale="log", yticks=range(len(defects)), yticklabels=list(defects), title="Defects, hidden and caught")
    audit.set(xlabel="largest error / its tolerance")
    audit.tick_params("y", labelsize=8)
    audit.invert_yaxis()
    return figure


def experiment(claims, quick, seed):
    key = jax.random.key(seed)
    article(claims, key)
    found = differences(claims, jax.random.fold_in(key, 1), n_groups=6 if quick else 32)
    return drawn_as(found, museum(claims, seed))


if __name__ == "__main__":
    raise SystemExit(main(__doc__, experiment))
