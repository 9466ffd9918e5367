"""Mixed precision: the network in a short type, everything that accumulates over a run in the params' own.

A gradient in bfloat16 needs half the memory and bandwidth, and on accelerators' matrix units a fraction of the time.
But a bfloat16 number has 8 bits: a weight of 1 to which 0.001 is added stays as it is, and a mean over a thousand
numbers stops growing. So what accumulates stays in the params' own type: params, gradients, running
statistics, the loss and the penalty. (Micikevicius et al. 2018. bfloat16 has float32's range, so the loss is not scaled
up; float16 hasn't, and its small gradients underflow.)
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.arrays import PyTree, is_floating_array, params_dtype
from jaxnn.layer import Layer, recipe
from jaxnn.networks.rebuild import mapped, own_copy
from jaxnn.objective.gradient import Gradient, GradientFunction, backprop, with_penalty
from jaxnn.objective.losses import Loss, LossForward
from jaxnn.objective.penalties import penalty_of


@recipe
class mixed:
    """A gradient whose forward and backward pass run in another type: use `mixed(backprop)` in place of `backprop`.

    Params and floating x are cast to `compute`; integers are, in a layer that has `in_dtype`, as Rescale has. The loss
    is computed from outputs in the params' type, and its dy is cast to `compute`. grads, value and outputs have the
    params' type, dx has that of x; state is passed as it is.
    Raises: TypeError if `compute` isn't floating, or a wrapper hides a layer that has `in_dtype`.
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
        compute, penalty = jnp.dtype(self.compute), penalty_of(penalty, net)
        short = mapped(net, lambda layer: own_copy(layer, "in_dtype", self.compute))

        def gradient(params: PyTree, state: PyTree, x: jax.Array, target: jax.Array, **call: Any) -> Gradient:
            whole = params_dtype(params)
            short_gradient = self.gradient(short, _InAnotherDtype(loss, self.compute, whole.name), **options)
            result = short_gradient(_cast(params, compute), state, _cast(x, compute), target, **call)
            result = result._replace(
                grads=_cast(result.grads, whole), outputs=_cast(result.outputs, whole), dx=_cast(result.dx, x.dtype)
            )
            return with_penalty(result, penalty, params)

        return gradient


@dataclass(frozen=True)
class _InAnotherDtype:
    """A loss computed in one dtype, of outputs in another."""

    loss: Any
    outputs: str
    computed: str

    def forward(self, y: jax.Array, target: jax.Array) -> LossForward:
        return self.loss.forward(y.astype(self.computed), target)

    def backward(self, cache: PyTree, weights: jax.Array) -> jax.Array:
        return self.loss.backward(cache, weights).astype(self.outputs)

    def check(self, target: Any, output_shape: Any) -> None:
        self.loss.check(target, output_shape)


def _cast(tree: PyTree, dtype: Any) -> PyTree:
    """The tree with its floating arrays in a dtype."""
    return jax.tree.map(lambda leaf: leaf.astype(dtype) if is_floating_array(leaf) else leaf, tree)
