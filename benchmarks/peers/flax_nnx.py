"""The same networks and the same step in Flax NNX with optax: see stepping.py for how it is taken.

In its best form: the model is split once into its structure and its arrays, so that no call has to walk its objects,
and the arrays are donated.
"""

import itertools

import flax
import jax
import jax.numpy as jnp
import optax
from flax import nnx
from peers.specs import batches
from peers.stepping import stepping

UPDATES = {"momentum": lambda: optax.sgd(0.01, 0.9), "adam": lambda: optax.adam(0.001)}
ACTIVATIONS = {"sigmoid": nnx.sigmoid, "tanh": nnx.tanh, "relu": nnx.relu}


def pool(x):
    return nnx.max_pool(x, (2, 2), (2, 2))


def flat(x):
    return x.reshape(len(x), -1)


def two_conv(spec, rngs, batch_norm=False):
    def norm(n):
        return [nnx.BatchNorm(n, rngs=rngs)] if batch_norm else []

    def conv(n_in, n_out):
        return nnx.Conv(n_in, n_out, (3, 3), use_bias=not batch_norm, rngs=rngs)

    return nnx.Sequential(
        *(conv(1, 32), *norm(32), pool, nnx.relu, conv(32, 64), *norm(64), pool, nnx.relu, flat),
        *(nnx.Linear(3136, 128, use_bias=not batch_norm, rngs=rngs), *norm(128), nnx.relu),
        nnx.Linear(128, 10, rngs=rngs),
    )


class Block(nnx.Module):
    def __init__(self, width, rngs):
        layers = []
        for _ in range(2):
            conv = nnx.Conv(width, width, (3, 3), use_bias=False, rngs=rngs)
            layers += [nnx.BatchNorm(width, rngs=rngs), nnx.relu, conv]
        self.f = nnx.Sequential(*layers)

    def __call__(self, x):
        return x + self.f(x)


def residual(spec, rngs, n_blocks=3, width=32):
    blocks = [Block(width, rngs) for _ in range(n_blocks)]
    head = (nnx.BatchNorm(width, rngs=rngs), nnx.relu, lambda x: jnp.mean(x, (1, 2)), nnx.Linear(width, 10, rngs=rngs))
    return nnx.Sequential(nnx.Conv(1, width, (3, 3), use_bias=False, rngs=rngs), *blocks, *head)


def lenet5(spec, rngs):
    def conv(n_in, n_out):
        return nnx.Conv(n_in, n_out, (5, 5), padding="VALID", rngs=rngs)

    return nnx.Sequential(
        *(conv(1, 6), pool, nnx.relu, conv(6, 16), pool, nnx.relu, flat, nnx.Linear(256, 120, rngs=rngs), nnx.relu),
        *(nnx.Linear(120, 84, rngs=rngs), nnx.relu, nnx.Linear(84, 10, rngs=rngs)),
    )


def mlp(spec, rngs):
    sizes, activation, layers = spec["sizes"], ACTIVATIONS[spec["activation"]], []
    for n_in, n_out in itertools.pairwise(sizes):
        layers += [nnx.Linear(n_in, n_out, rngs=rngs), activation]
    return nnx.Sequential(*layers[:-1])


NETWORKS = {
    "two-conv": two_conv,
    "batch-norm": lambda spec, rngs: two_conv(spec, rngs, batch_norm=True),
    "residual": residual,
    "lenet5": lenet5,
    "mlp": mlp,
}


def candidate(name, spec):
    x, t = map(jnp.asarray, batches(spec))
    model = NETWORKS[spec["network"]](spec, nnx.Rngs(0))
    model.train()
    optimizer = nnx.Optimizer(model, UPDATES[spec.get("update", "momentum")](), wrt=nnx.Param)
    graph, arrays = nnx.split((model, optimizer))

    def step(arrays, batch):
        model, optimizer = nnx.merge(graph, arrays)

        def loss(model):
            return optax.softmax_cross_entropy_with_integer_labels(model(batch[0]), batch[1]).mean()

        value, grads = nnx.value_and_grad(loss)(model)
        optimizer.update(model, grads)
        return nnx.state((model, optimizer)), value

    turn, facts = stepping(step, arrays, x, t, name)
    n_params = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))
    return turn, facts | {"n_params": n_params, "version": f"flax {flax.__version__}"}
