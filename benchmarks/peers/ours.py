"""jaxnn by hand, and the three automatic opponents: what `jax.grad` makes of an idiomatic forward, of our own forward,
and of the latter with `jax.checkpoint`.

A turn is a step of gradient descent with momentum on one batch, or `spec["steps"]` of them in one `lax.scan`.
"""

import time

import jax
import jax.numpy as jnp
from peers.networks import NETWORKS, SHAPE, data

import jaxnn
from jaxnn.audit import idiomatic, idiomatic_loss

LOSS = jaxnn.SoftmaxCrossEntropy()
RULE = jaxnn.momentum(0.01, 0.9)


def gradients(net):
    """By name: a function that has a gradient's arguments and gives what a gradient gives."""
    plain = without_remat(net)
    return {
        "hand": jaxnn.backprop(net, LOSS),
        "idiomatic": jaxnn.autodiff(idiomatic(plain), idiomatic_loss(LOSS)),
        "own": jaxnn.autodiff(plain, LOSS),
        "checkpoint": jaxnn.autodiff(checkpointed(net), LOSS),
    }


def without_remat(net):
    """The network that somebody who never heard of rematerialisation writes."""
    return jaxnn.combinators.mapped(net, lambda layer: _Unwrapped(layer) if isinstance(layer, jaxnn.Remat) else layer)


class _Unwrapped:
    """A Remat that keeps everything: the same params, no checkpoint. For `autodiff` alone."""

    def __init__(self, remat):
        self.remat = remat

    def forward(self, params, state, x, *, key=None, train=False):
        y, new_state, _ = self.remat.inner.forward(params.inner, state.inner, x, key=key, train=train)
        return jaxnn.Forward(y, type(state)(new_state), ())

    def init(self, *arguments):
        return self.remat.init(*arguments)

    def output_shape(self, shape):
        return self.remat.output_shape(shape)

    def backward(self, params, cache, dy):
        raise NotImplementedError


def checkpointed(net):
    """Remat where the network has it; else one checkpoint around all of it, that keeps products and convolutions."""
    if any(isinstance(layer, jaxnn.Remat) for _, layer in jaxnn.walk(net)):
        return net
    return _Checkpointed(net)


class _Checkpointed:
    """A network under `jax.checkpoint`. For `autodiff` alone."""

    def __init__(self, net):
        self.net = net

    def forward(self, params, state, x, *, key=None, train=False):
        def outputs(params, state, x):
            return self.net.forward(params, state, x, key=key, train=train)[:2]

        y, new_state = jax.checkpoint(outputs, policy=_products)(params, state, x)
        return jaxnn.Forward(y, new_state, ())


def _products(primitive, *_, **__):
    return primitive.name in ("conv_general_dilated", "dot_general")


def candidate(name, spec):
    net = NETWORKS[spec["network"]]()
    params, state = net.init(jax.random.key(0), SHAPE)
    gradient, (x, t) = gradients(net)[name], map(jnp.asarray, data(spec["batch"]))

    def step(carry, x, t):
        params, state, rule_state = carry
        result = gradient(params, state, x, t)
        updates, rule_state = RULE.update(result.grads, rule_state, params)
        return (jaxnn.apply_updates(params, updates), result.state, rule_state), result.loss

    def steps(carry, x, t):
        return jax.lax.scan(lambda carry, _: step(carry, x, t), carry, length=spec["steps"])

    carry = params, state, RULE.init(params)
    began = time.perf_counter()
    program = jax.jit(steps if spec.get("steps") else step, donate_argnums=0).lower(carry, x, t).compile()
    facts = {
        "compile_seconds": time.perf_counter() - began,
        "n_params": sum(leaf.size for leaf in jax.tree.leaves(params)),
        "temporary_bytes": program.memory_analysis().temp_size_in_bytes,
        "flops": (program.cost_analysis() or {}).get("flops"),
        "version": f"jax {jax.__version__}",
    }
    carried = [carry]

    def turn():
        carried[0], loss = program(carried[0], x, t)
        jax.block_until_ready(loss)

    return turn, facts
