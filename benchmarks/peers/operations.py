"""Single operations, forward and backward as one program: by hand, and by machine of the idiomatic form and of ours.

The gradients are those for a given dy, with respect to every input of the operation.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np

import jaxnn
from jaxnn.audit.network.idiomatic import idiomatic
from jaxnn.backward.visits import fold
from jaxnn.costs import aot

IMAGES = (28, 28, 32)
OPERATIONS = {
    "max-pool 2 x 2": (jaxnn.MaxPool(2), IMAGES),
    "max-pool 2 x 2, ReLU": (jaxnn.Serial(jaxnn.MaxPool(2), jaxnn.ReLU()), IMAGES),
    "convolution 3 x 3, 32 to 64": (jaxnn.Conv2D(64), (14, 14, 32)),
    "convolution 5 x 5, 6 to 16": (jaxnn.Conv2D(16, 5, padding="VALID"), (12, 12, 6)),
    "depthwise 3 x 3, 32": (jaxnn.Conv2D(32, groups=32), (14, 14, 32)),
    "batch normalisation": (jaxnn.BatchNorm(), IMAGES),
    "layer normalisation, 512": (jaxnn.LayerNorm(), (512,)),
    "dense 512 to 512": (jaxnn.Dense(512), (512,)),
}
WEIGHT_GRADIENTS = {"dW of convolution 3 x 3, 32 to 64": OPERATIONS["convolution 3 x 3, 32 to 64"]}


def candidate(name, spec):
    weight_only = spec["operation"] in WEIGHT_GRADIENTS
    net, shape = (WEIGHT_GRADIENTS if weight_only else OPERATIONS)[spec["operation"]]
    layer = idiomatic(net) if name == aot.IDIOMATIC else net
    params, state = layer.init(jax.random.key(0), shape)
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(spec["batch"], *shape)), jnp.float32)
    dy = jnp.asarray(rng.normal(size=(spec["batch"], *layer.output_shape(shape))), jnp.float32)

    def by_hand(params, x, dy):
        y, _, cache = layer.forward(params, state, x, train=True)
        dparams, dx = fold(layer, params, cache, dy)[:2]
        return (dparams,) if weight_only else (y, dparams, dx)

    def by_machine(params, x, dy):
        y, pull = jax.vjp(lambda params, x: layer.forward(params, state, x, train=True).y, params, x)
        dparams, dx = pull(dy)
        return (dparams,) if weight_only else (y, dparams, dx)

    function = by_hand if name == aot.BY_HAND else by_machine

    def steps(params, xs, dy):
        """In a loop, as in training: the sum of dparams over all xs."""

        def step(total, x):
            return jax.tree.map(jnp.add, total, function(params, x, dy)[0]), None

        return jax.lax.scan(step, jax.tree.map(jnp.zeros_like, params), xs)[0]

    n_steps = spec.get("steps")
    x = jnp.stack([x + i for i in range(n_steps)]) if n_steps else x
    began = time.perf_counter()
    program = jax.jit(steps if n_steps else function).lower(params, x, dy).compile()
    facts = {
        "compile_seconds": time.perf_counter() - began,
        "temporary_bytes": program.memory_analysis().temp_size_in_bytes,
        "n_params": jaxnn.arrays.size(params),
        "version": f"jax {jax.__version__}",
    }
    return lambda: jax.block_until_ready(program(params, x, dy)), facts
