"""jaxnn by hand, and its automatic opponents: the forms of `jaxnn.aot`, here to be run.

A turn is a step of gradient descent with momentum on one batch, or `spec["steps"]` of them in one `lax.scan`.
"""

import time

import jax
import jax.numpy as jnp
from peers.networks import NETWORKS, SHAPE, data

import jaxnn
from jaxnn import aot

LOSS = jaxnn.SoftmaxCrossEntropy()
RULE = jaxnn.momentum(0.01, 0.9)


def compiled(form, x, t, n_steps):
    """(what a step changes, the program, facts about it); of no `n_steps`, one step without a loop."""
    params, state = form.net.init(jax.random.key(0), SHAPE)
    one = aot.training_step(form.gradient, RULE)

    def step(carry, x, t):
        *carry, loss = one(*carry, jax.random.key(0), x, t)
        return tuple(carry), loss

    def steps(carry, x, t):
        return jax.lax.scan(lambda carry, _: step(carry, x, t), carry, length=n_steps)

    carry = params, state, RULE.init(params)
    began = time.perf_counter()
    program = jax.jit(steps if n_steps else step, donate_argnums=0).lower(carry, x, t).compile()
    facts = {
        "compile_seconds": time.perf_counter() - began,
        "form": form.name,
        "n_params": jaxnn.arrays.size(params),
        "temporary_bytes": program.memory_analysis().temp_size_in_bytes,
        "flops": (program.cost_analysis() or {}).get("flops"),
        "version": f"jax {jax.__version__}",
    }
    return carry, program, facts


def candidate(name, spec):
    """Of a kind of `aot.KINDS` the form with the least temporary memory."""
    x, t = map(jnp.asarray, data(spec["batch"]))
    forms = [form for form in aot.forms(NETWORKS[spec["network"]](), LOSS) if form.kind == name]
    found = [compiled(form, x, t, spec.get("steps")) for form in forms]
    carry, program, facts = min(found, key=lambda each: each[2]["temporary_bytes"])
    carried = [carry]

    def turn():
        carried[0], loss = program(carried[0], x, t)
        jax.block_until_ready(loss)

    return turn, facts
