"""Edge of stability: batch gradient descent drives the curvature up to 2/eta, and lives there.

The notes: a rate eta that is too large jumps over the minimum. On a quadratic that is exact: descent is stable if and
only if eta < 2/L, L being the largest eigenvalue of the Hessian. A network is no quadratic, and its Hessian changes
with the weights. What comes out (Cohen et al. 2021): the sharpness S, the Hessian's largest eigenvalue, rises as it
learns. With steps so small that 2/eta is out of reach it goes as high as the problem asks. Where 2/eta lies in its way,
it rises to 2/eta and hovers there, while the loss goes up and down from step to step and falls in the long run. So
"choose eta below 2/L" is only half of it: eta also chooses L.

Why it hovers: the error u along the top eigenvector obeys u <- (1 - eta S) u. With S > 2/eta it grows, and a large u
pushes S down; with S < 2/eta it shrinks, and training pushes S up again. As u neither vanishes nor explodes, the mean
of log|1 - eta S| over a long time is 0, which to first order says that the mean of eta S / 2 is 1.

S comes from power iteration on Hessian-vector products H v = d/ds g(w + s v): `jax.jvp` of the hand-written gradient g.

    python scripts/experiments/edge_of_stability.py         (50 s on 2 cores)

Source: PRINCIPLES B5, 3.5; Cohen et al. 2021 (squared error, tanh); Damian, Nichani and Lee 2023 (why it hovers).
Expect the mean of eta S / 2 in the second half within 1 % of 1 at each of the three rates.
"""

import jax
import jax.numpy as jnp
import numpy as np
from claims import BLUE, GREEN, ORANGE, PREDICTED, PURPLE, main, panels
from jax.flatten_util import ravel_pytree

import jaxnn
from jaxnn.data import load

RATES = (0.2, 0.16, 0.13)  # 2/eta = 10, 12.5, 15.4: above the sharpness at first, not above that of small steps
SMALL_RATE = 0.08  # 2/eta = 25, which is out of reach
EVERY = 20  # steps from one measurement of the sharpness to the next
LOSS = jaxnn.HalfSquaredError()


def experiment(claims, quick, seed):
    n, rates = (400, (RATES[0], SMALL_RATE)) if quick else (1000, (*RATES, SMALL_RATE))
    digits = load("digits")
    x, labels = (part[:n] for part in digits.train)
    data = 2 * digits.scale * (x - x.mean(axis=0)), np.eye(10)[labels]
    claim_the_law_of_the_quadratic(claims, data, seed)

    hidden = jaxnn.Dense(100, jaxnn.LeCun()), jaxnn.Tanh()
    net = jaxnn.Serial(jaxnn.Flatten(), *hidden, *hidden, jaxnn.Dense(10, jaxnn.LeCun()))
    losses, sharpnesses = trained(net, data, rates, 1500 if quick else 4000, seed)
    for rate, loss, sharp in zip(rates[:-1], losses, sharpnesses, strict=False):
        claim_the_edge(claims, rate, loss, sharp)
    claim_what_small_steps_do(claims, losses[-1], sharpnesses[-1])
    return drawn(rates, losses, sharpnesses)


def sharpness(net, data, iterations):
    """(params, direction) -> the Hessian's largest eigenvalue v.Hv, and its eigenvector, by v <- Hv / |Hv|."""
    x, target = map(jnp.asarray, data)
    state = net.init(jax.random.key(0), x.shape[1:]).state

    def largest(params, direction):
        w, as_params = ravel_pytree(params)

        def gradient(w):
            return ravel_pytree(jaxnn.backprop(net, LOSS)(as_params(w), state, x, target).grads)[0]

        def again(_, carry):
            _, hv = carry
            v = hv / jnp.linalg.norm(hv)
            _, hv = jax.jvp(gradient, (w,), (v,))
            return v @ hv, hv

        eigenvalue, hv = jax.lax.fori_loop(0, iterations, again, (jnp.zeros(()), ravel_pytree(direction)[0]))
        return eigenvalue, as_params(hv)

    return largest


def claim_the_law_of_the_quadratic(claims, data, seed):
    """For y = x W + b the Hessian is X^T X / n, x having a 1 for the bias; one such block for each output."""
    net = jaxnn.Serial(jaxnn.Flatten(), jaxnn.Dense(10))
    x = np.column_stack([data[0].reshape(len(data[0]), -1), np.ones(len(data[0]))])
    largest = np.linalg.eigvalsh(x.T @ x / len(x))[-1]
    params, _ = net.init(jax.random.key(seed), data[0].shape[1:])
    measured, _ = jax.jit(sharpness(net, data, 200))(params, params)
    # Sums of n = 1000 terms in float32 are off by n 2^-24 = 6e-5 at most.
    claims.relative("linear net: sharpness by H v against X^T X / n", float(measured), largest, 1e-4)
    for side, share in ((0.98, 0.0), (1.02, 1.0)):
        rule = jaxnn.gradient_descent(side * 2 / largest)
        _, history = jaxnn.bgd(net, LOSS, data, key=jax.random.key(seed), epochs=500, update=rule)
        rising = np.diff(history.loss)[-100:] > 0
        claims.equal(f"linear net, eta = {side} * 2/L: share of steps 400 to 500 that rise", rising.mean(), share)


def trained(net, data, rates, n_steps, seed):
    """Of one network for each rate: its loss at every step (rates, steps), and its sharpness at every EVERY steps."""
    options = {"update": jaxnn.gradient_descent(jnp.array(rates)), "epochs": EVERY, "metric": None}
    same_start = jnp.repeat(jax.random.split(jax.random.key(seed), 1), len(rates))
    measure = jax.jit(jax.vmap(sharpness(net, data, iterations=20)))
    run, history = jaxnn.ensemble(jaxnn.bgd, net, LOSS, data, keys=same_start, **options)
    eigenvector, losses, sharpnesses = run.params, [history.loss], []
    while run.step < n_steps:
        sharp, eigenvector = measure(run.params, eigenvector)  # begins at the last measurement's eigenvector
        sharpnesses.append(sharp)
        run, history = jaxnn.ensemble(jaxnn.bgd, net, LOSS, data, run=run, **options)
        losses.append(history.loss)
    return np.concatenate(losses, axis=1), np.stack(sharpnesses, axis=1)


def claim_the_edge(claims, rate, loss, sharp):
    """sharp[i] was measured before step EVERY (i + 1), the step whose loss is loss[EVERY (i + 1)]."""
    at_edge = sharp * rate / 2
    reached, late = int(np.argmax(at_edge >= 1)), len(sharp) // 2
    rises = np.diff(loss) > 0
    label = f"eta = {rate:g}:"
    claims.at_most(f"{label} sharpness in units of 2/eta at the start", at_edge[0], 1)
    claims.at_least(f"{label} and the largest", at_edge.max(), 1)
    # The descent lemma: no step rises while the curvature along it is below 2/eta.
    claims.equal(f"{label} steps that rise before it gets there", int(rises[: EVERY * reached].sum()), 0)
    # First order says 1. At a finite u the curvature averaged over the swing is what has to be 2/eta, and that at its
    # ends, where we measure, is a little more: published curves hover "at, or just above" 2/eta.
    claims.between(f"{label} mean in the second half", at_edge[late:].mean(), 0.9, 1.15)
    claims.at_least(f"{label} steps that rise in the second half", int(rises[EVERY * late :].sum()), 1)
    eighths = np.array([part.mean() for part in np.array_split(loss[EVERY * late :], 4)])
    claims.at_most(f"{label} its loss, from one eighth of the run to the next", (eighths[1:] / eighths[:-1]).max(), 1)


def claim_what_small_steps_do(claims, loss, sharp):
    claims.at_least(f"eta = {SMALL_RATE}: sharpness at the end, above the first 2/eta", sharp[-1], 2 / RATES[0])
    claims.at_most(f"eta = {SMALL_RATE}: and the largest in units of its own 2/eta", sharp.max() * SMALL_RATE / 2, 1)
    claims.equal(f"eta = {SMALL_RATE}: steps that rise", int((np.diff(loss) > 0).sum()), 0)


def drawn(rates, losses, sharpnesses):
    figure, (edge, curve, zoom) = panels(columns=3)
    steps = EVERY * np.arange(1, sharpnesses.shape[1] + 1)
    for rate, color, loss, sharp in zip(rates, (BLUE, ORANGE, GREEN, PURPLE), losses, sharpnesses, strict=False):
        edge.plot(steps, sharp, color=color)
        curve.semilogy(loss, color=color, linewidth=0.8, label=f"$\\eta$ = {rate:g}")
        if rate != SMALL_RATE:
            edge.axhline(2 / rate, **PREDICTED, label="$2/\\eta$" if rate == rates[0] else None)
            crossing = EVERY * (1 + int(np.argmax(sharp * rate > 2)))
            window = np.arange(-50, 450)
            zoom.plot(window, loss[crossing + window] / loss[crossing], color=color)
    edge.set(xlabel="step", ylabel="sharpness", title="the sharpness rises to $2/\\eta$ and stays")
    curve.set(xlabel="step", ylabel="training loss", title="the loss falls in the long run")
    zoom.set(xlabel="steps since the sharpness first passed $2/\\eta$", ylabel="loss / its value then")
    zoom.set(title="and not from step to step")
    return figure


if __name__ == "__main__":
    raise SystemExit(main(__doc__, experiment))
