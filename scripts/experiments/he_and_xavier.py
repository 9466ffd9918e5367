"""Thirty layers of ReLU learn from He's weights; from Xavier's their loss stays at ln 10.

    chi = sigma_w^2 E[relu'(z)^2] = sigma_w^2 / 2:    1 for He's sigma_w^2 = 2, and 1/2 for Xavier's sigma_w^2 = 1

is the factor a layer of |delta|^2, and of |a|^2 on the way up (`vanishing`). Over 30 layers of Xavier's weights outputs
and gradients shrink by 2^-15: ten classes remain equally likely, for which the loss is ln 10, and no step
moves the weights. He's are the same weights times sqrt(2), and the network learns.

Where the notes are loose. They give ReLU as the remedy of vanishing gradients: it needs its own initialisation too. And
the list of remedies lacks it. Nothing else differs here: data, seeds, learning rate and batches are the same.

He et al. saw it at 30 layers of convolutions on ImageNet: Xavier's stalled, theirs converged. Here they are dense
layers of 64 units on the 8 x 8 digits, by plain gradient descent. He's start is no guarantee at that depth: a rate of
0.02 makes single runs jump, of which the figure shows some.

    python scripts/experiments/he_and_xavier.py                                 (15 s on 2 cores; --quick 9 s)

Expect a loss of ln 10 = 2.303 for Xavier at 30 layers of ReLU, where He learns: 1.66 less after 25 epochs.
Source: PRINCIPLES D4, 3.5, section 4 (8, 10, 25); He et al. 2015.
"""

import jax
import jax.numpy as jnp
import numpy as np
from claims import ORANGE, PREDICTED, PURPLE, main, panels

import jaxnn
from jaxnn.data import load

WIDTH, DEPTH = 64, 30


def deep(claims, keys, epochs):
    """Losses of 30 layers of ReLU on digits, (n_seeds, epochs): He's weights, and Xavier's, the same over sqrt(2)."""
    x, labels = load("digits", validation=0).train
    data = x.reshape(-1, 64).astype(np.float32) / 16, labels
    hidden = jaxnn.Serial(jaxnn.Dense(WIDTH, jaxnn.He("normal")), jaxnn.ReLU())
    net = jaxnn.Serial(jaxnn.Repeat(hidden, DEPTH - 1), jaxnn.Dense(10, jaxnn.He("normal")))
    rule = jaxnn.gradient_descent(0.02)

    def trained(key, gain):
        run = jaxnn.start(net, (64,), key=key, update=rule, dtype="float32")
        run = run._replace(params=jax.tree.map(lambda w: w * gain.astype(w.dtype), run.params))
        loss = jaxnn.SoftmaxCrossEntropy()
        return jaxnn.mbgd(net, loss, data, run=run, epochs=epochs, batch_size=32, update=rule)[1].loss

    gains = jnp.sqrt(jnp.array([1 / 2, 1]))
    every = jax.jit(jax.vmap(jax.vmap(trained, (0, None)), (None, 0)))(keys, gains)
    curves = dict(zip(("Xavier", "He"), np.asarray(every), strict=True))
    # The weights' gradients are 2^-14.5 of He's. The output's bias learns how often each class comes, which is worth
    # 1e-4, and its noise as much: 1 % has room for both.
    claims.mean(
        f"Xavier, {DEPTH} layers, digits: loss of the last epoch",
        curves["Xavier"][:, -1],
        np.log(10),
        0.01 * np.log(10),
    )
    claims.mean_at_least("the same seeds: Xavier's loss less He's", curves["Xavier"][:, -1] - curves["He"][:, -1], 0)
    return curves


def drawn(curves):
    figure, (loss,) = panels(1, width=6, height=4.2)
    for init, colour in (("Xavier", PURPLE), ("He", ORANGE)):
        epochs = np.arange(1, curves[init].shape[1] + 1)
        loss.plot(epochs, curves[init].T, color=colour, alpha=0.3, linewidth=1)
        loss.plot(epochs, curves[init].mean(axis=0), color=colour, label=f"{init}, mean of all seeds", linewidth=2)
    loss.axhline(np.log(10), **PREDICTED, label="ln 10", zorder=3)
    loss.set(xlabel="epoch", ylabel="training loss", ylim=(0, 2.6), title=f"{DEPTH} layers of ReLU, digits")
    return figure


def experiment(claims, quick, seed):
    keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), 2), 8 if quick else 12)
    return drawn(deep(claims, keys, epochs=12 if quick else 25))


if __name__ == "__main__":
    raise SystemExit(main(__doc__, experiment))
