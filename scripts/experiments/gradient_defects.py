"""A gradient check passes on wrong code wherever it is right by accident; elsewhere an audit finds each defect.

    fully connected    delta^l = f_l'(z^l) (W^T delta^(l+1)),      f_l the lower layer's own activation
    recurrent          delta_(t-1) = f'(z_(t-1)) (W^T delta_t),    f' = 1 - s^2 for tanh, and not the state s itself
    pooling            dE/dx_i = sum of dE/dy_k over the windows k of which x_i is the maximum

Where the notes are loose. That a gradient agrees with differences says little about the rule that made it. Programs
that the notes link to break each of these three, and are right by accident: where both layers have one activation; at
T = 2, for s_0 = 0; where windows don't overlap. A call with label and sample swapped is right where the label is the
sample. So these defects are planted here twice: where they hide, and where an audit has to catch them. In a fifth the
gradient has the other sign than the differences beside it; there the audit has to say so.

    python scripts/experiments/gradient_defects.py                              (6 s on 2 cores, most of it compiling)

Expect each defect caught where it isn't hidden, and there alone; in the figure it is off by more than 1e13 times the
audit's tolerance there, and by 3 % of it at most elsewhere.
Source: PRINCIPLES 2.6, section 0, fact 6; hanbingtao, fc.py, bp.py, rnn.py, cnn.py.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from claims import GREEN, PREDICTED, RED, main, panels

import jaxnn
from jaxnn.audit import check

jax.config.update("jax_enable_x64", True)
LOSS = jaxnn.HalfSquaredError()


def experiment(claims, quick, seed):
    """The same in both forms."""
    rng = np.random.default_rng(seed)
    w1, w2, w = (rng.normal(size=shape) for shape in ((3, 4), (4, 2), (3, 3)))
    x, sequence = rng.normal(size=(5, 3)), rng.normal(size=(3, 2, 3))
    peak = np.array([0.2, 0.9, 0.1, 0.5, 0.7, 0.3])  # at stride 1, 0.9 and 0.7 are the largest of two windows each
    defects = (
        # the defect                    f, backward                         hides                          shows
        ("fc.py: the upper layer's f'", two_layers, upper_derivative, (w1, w2, x),
         {"both sigmoid": (jax.nn.sigmoid,), "tanh below": (jnp.tanh,)}),
        ("rnn.py: the state for f'", last_state, state_for_derivative, (w,),
         {"T = 2": (sequence[:2],), "T = 3": (sequence,)}),
        ("cnn.py: pooling assigns", max_pool, assigned, (peak,), {"stride 2": (2,), "stride 1": (1,)}),
        ("bp.py: arguments swapped", labelled, swapped, (w,), {"t = x": (x, x), "another t": (x[:, ::-1], x)}),
    )  # fmt: skip
    margins = {}
    for name, f, backward, arguments, settings in defects:
        for shows, (where, setting) in zip((False, True), settings.items(), strict=True):
            rule = partial(f, *setting), partial(backward, *setting)
            report = check(rule, *arguments, gates=("autodiff", "differences"))
            claims.equal(f"{name}, {where}: caught", not report.ok, shows)
            margins[f"{name}\n{where}"] = shows, max(finding.error / finding.tolerance for finding in report.findings)

    layer = jaxnn.DenseParams(w1, rng.normal(size=4))
    failure, *_ = check(Descending(4), layer, (), x, gates=("autodiff",)).failures
    claims.equal("fc.py: -dE/dW compared with dE/dW: the audit says", failure.pattern, "the sign: times -1")
    target = rng.normal(size=(5, 4))
    methods = jaxnn.autodiff, jaxnn.backprop
    pair = [method(Descending(4), LOSS)(layer, (), x, target).grads.weight for method in methods]
    return drawn(margins, *pair)


# The museum: each defect as the pair (f, backward) that an audit takes.


def two_layers(hidden, w1, w2, x):
    return jax.nn.sigmoid(hidden(x @ w1) @ w2)


def upper_derivative(hidden, w1, w2, x, dy):
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


def drawn(margins, by_machine, by_rule):
    figure, (audit, signs) = panels(2, width=5.6, height=4.2)
    for row, (shows, margin) in enumerate(margins.values()):
        audit.plot(max(margin, 1e-4), row, "s" if shows else "o", color=RED if shows else GREEN)
    audit.axvline(1, **PREDICTED, label="the audit's tolerance")
    for label, marker, colour in (("where the code is right by accident", "o", GREEN), ("elsewhere", "s", RED)):
        audit.plot([], [], marker, color=colour, label=label)
    audit.legend(fontsize=8, loc="lower center")
    audit.set(xscale="log", yticks=range(len(margins)), yticklabels=list(margins), title="Defects, hidden and caught")
    audit.set(xlabel="largest error / its tolerance")
    audit.tick_params("y", labelsize=8)
    audit.invert_yaxis()
    ends = np.array([by_machine.min(), by_machine.max()])
    signs.plot(by_machine.ravel(), by_rule.ravel(), "s", color=RED, label="the layer's rule")
    signs.plot(ends, ends, color=GREEN, label="dE/dW")
    signs.plot(ends, -ends, **PREDICTED, label="what the audit says: times -1")
    signs.set(xlabel="dE/dW by machine", ylabel="dE/dW by the rule", title="fc.py: the other sign")
    return figure


if __name__ == "__main__":
    raise SystemExit(main(__doc__, experiment))
