"""Mixed precision: the network in a short type, everything that is summed over a run in the params' own.

A gradient in bfloat16 needs half the memory and bandwidth, and on accelerators' matrix units a fraction of the time.
But a bfloat16 number has 8 bits: a weight of 1 that is moved by 0.001 stays where it was, and a mean over a thousand
numbers stops growing. So what accumulates stays in the type that the params have: params, gradients, running
statistics, the loss and the penalty. (Micikevicius et al. 2018. bfloat16 has float32's range, so the loss is not scaled
up; float16 hasn't, and its small gradients underflow.)
"""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.arrays import PyTree, added, is_floating_array, params_dtype
from jaxnn.layer import Layer, recipe
from jaxnn.layers.rescale import Rescale
from jaxnn.networks.rebuild import mapped
from jaxnn.objective.gradient import Gradient, GradientFunction, backprop
from jaxnn.objective.losses import Loss, LossForward
from jaxnn.objective.penalties import penalty_gradient, penalty_value


@recipe
class mixed:
    """A gradient whose forward and backward pass run in another type: `mixed(backprop)` stands where `backprop` does.

    Params and floating x become `compute`; integers become it in Rescale. The loss starts from outputs in the params'
    type, and dy becomes `compute` again. grads, value, outputs and dx have the params' type; state is passed as it is.
    Raises: TypeError if `compute` isn't floating.
    Source: Micikevicius et al. 2018.

    >>> import jaxnn
    >>> net, loss = jaxnn.Dense(2), jaxnn.SoftmaxCrossEntropy()
    >>> params, state = net.init(jax.random.key(0), (3,))
    >>> result = mixed(backprop)(net, loss)(params, state, jnp.ones((4, 3)), jnp.zeros(4, int))
    >>> result.value.dtype, result.grads.weight.dtype
    (dtype('float32'), dtype('float32'))
    """

    gradient: Any = backprop
    compute: str = "bfloat16"

    def __post_init__(self) -> None:
        dtype = jnp.dtype(self.compute)
        if not jnp.issubdtype(dtype, jnp.floating):
            raise TypeError(f"mixed: compute should be a floating type such as bfloat16, got {dtype}")
        object.__setattr__(self, "compute", dtype.name)

    def __call__(self, net: Layer, loss: Loss, penalty: PyTree = None, **options: Any) -> GradientFunction:
        compute = jnp.dtype(self.compute)
        short = mapped(net, lambda layer: replace(layer, dtype=self.compute) if isinstance(layer, Rescale) else layer)

        def gradient(
            params: PyTree,
            state: PyTree,
            x: jax.Array,
            target: jax.Array,
            **call: Any,
        ) -> Gradient:
            whole = params_dtype(params)
            of = self.gradient(short, _From(loss, self.compute, whole.name), **options)
            found = of(_cast(params, compute), state, _cast(x, compute), target, **call)
            extra = penalty_value(penalty, params)
            grads = _cast(found.grads, whole)
            if penalty is not None:
                grads = added(grads, penalty_gradient(penalty, params))
            return found._replace(
                value=found.loss + extra,
                penalty=extra,
                grads=grads,
                outputs=_cast(found.outputs, whole),
                dx=_cast(found.dx, x.dtype),
            )

        return gradient


@dataclass(frozen=True)
class _From:
    """A loss reckoned in one type, of outputs in another."""

    of: Any
    outputs: str
    reckoned: str

    def forward(self, y: jax.Array, target: jax.Array) -> LossForward:
        return self.of.forward(y.astype(self.reckoned), target)

    def backward(self, cache: PyTree, weights: jax.Array) -> jax.Array:
        return self.of.backward(cache, weights).astype(self.outputs)

    def check(self, target: Any, output_shape: Any) -> int | None:
        return self.of.check(target, output_shape)


def _cast(tree: PyTree, dtype: Any) -> PyTree:
    """The tree with its floating arrays in a dtype."""
    return jax.tree.map(lambda leaf: leaf.astype(dtype) if is_floating_array(leaf) else leaf, tree)
