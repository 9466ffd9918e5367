"""The hand-written rule for code that calls `jax.grad`: the only place that knows `jax.custom_vjp`.

`custom_vjp` blocks forward-mode differentiation, so the layers themselves don't use it: `jax.jvp` of `backprop` stays a
Hessian-vector product. Here a network or a loss is exported as a plain function for Flax, Equinox, optax or plain JAX.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax

from jaxnn.arrays import PyTree
from jaxnn.backward.visits import fold
from jaxnn.layer import Layer, forward_of, is_layer, require_hashable
from jaxnn.mesh_axes import varying_like
from jaxnn.objective.losses import Loss


def as_custom_vjp(recipe: Any) -> Callable[..., Any]:
    """A layer, a network or a loss as a function whose derivative under `jax.grad` is the hand-written one.

    A layer becomes `f(params, state, x, *, key=None, train=False) -> (y, new_state)`, with
        (dparams, dx) = net.backward(params, cache, dy);
    state isn't differentiated, so its cotangent is 0 and new_state's is ignored; integer x and keys have none.
    A loss becomes `f(y, target) -> values (B,)`, with dy = loss.backward(cache, dvalues); the target isn't
    differentiated, so its cotangent is 0, even where it is floating.

    Works under `jit`, `vmap`, `scan`, `checkpoint` and `shard_map(check_vma=True)`, where the gradient of replicated
    arguments is summed over the devices, as `jax.grad` sums it. JAX refuses `jax.jvp` of it, but not `jax.jvp` of its
    gradient, a Hessian-vector product.
    Equal recipes give the same function, so nothing compiles twice.
    Raises: TypeError if it is neither a layer nor a loss.

    >>> import jax.numpy as jnp, jaxnn
    >>> net, loss = jaxnn.Dense(2), jaxnn.HalfSquaredError()
    >>> params, state = net.init(jax.random.key(0), (3,))
    >>> predict, error = as_custom_vjp(net), as_custom_vjp(loss)
    >>> objective = lambda params: error(predict(params, state, jnp.ones((4, 3)))[0], jnp.zeros((4, 2))).mean()
    >>> jax.grad(objective)(params).weight.shape
    (3, 2)
    """
    if isinstance(recipe, type):
        raise TypeError(f"as_custom_vjp takes a layer or a loss, got the class {recipe.__name__}: make one, with ()")
    if is_layer(recipe):
        require_hashable("as_custom_vjp", recipe)
        return _layer_function(recipe)
    if isinstance(recipe, Loss):
        require_hashable("as_custom_vjp", recipe)
        return _loss_function(recipe)
    raise TypeError(
        f"as_custom_vjp takes a layer or a loss, got a {type(recipe).__name__}: "
        "a layer has the methods init, output_shape, forward and backward; wrap several in Serial(...)"
    )


# Params are the same on every device, examples differ: each device's cotangent is its part of the sum over devices.
# Marking the arguments as varying before the rule leaves that sum to JAX, whose transpose of the mark is a psum over
# exactly the axes over which the cotangent varies and the argument doesn't.
@cache
def _layer_function(net: Layer) -> Callable[..., tuple[jax.Array, PyTree]]:
    def exported(
        params: PyTree, state: PyTree, x: jax.Array, *, key: jax.Array | None = None, train: bool = False
    ) -> tuple[jax.Array, PyTree]:
        params, x = varying_like((params, x), (params, state, x, key))
        return _apply(net, train, params, state, x, key)

    return exported


@cache
def _loss_function(loss: Loss) -> Callable[..., jax.Array]:
    def exported(y: jax.Array, target: jax.Array) -> jax.Array:
        return _values(loss, varying_like(y, (y, target)), target)

    return exported


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _apply(
    net: Layer, train: bool, params: PyTree, state: PyTree, x: jax.Array, key: jax.Array | None
) -> tuple[jax.Array, PyTree]:
    y, new_state, _ = forward_of(net, params, state, x, key=key, train=train)
    return y, new_state


def _apply_forward(
    net: Layer, train: bool, params: PyTree, state: PyTree, x: jax.Array, key: jax.Array | None
) -> tuple[tuple[jax.Array, PyTree], tuple[PyTree, PyTree]]:
    y, new_state, saved = forward_of(net, params, state, x, key=key, train=train)
    return (y, new_state), (params, saved)


def _apply_backward(net: Layer, train: bool, saved: tuple[PyTree, PyTree], cotangents: tuple[jax.Array, PyTree]) -> Any:
    params, cache = saved
    dy, _ = cotangents
    dparams, dx, _ = fold(net, params, cache, dy)
    dparams, dx = varying_like((dparams, dx), (params, dy))  # a rule's constant 0 varies over nothing
    return dparams, None, dx, None


_apply.defvjp(_apply_forward, _apply_backward)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _values(loss: Loss, y: jax.Array, target: jax.Array) -> jax.Array:
    return loss.forward(y, target).values


def _values_forward(loss: Loss, y: jax.Array, target: jax.Array) -> tuple[jax.Array, PyTree]:
    return loss.forward(y, target)


def _values_backward(loss: Loss, saved: PyTree, dvalues: jax.Array) -> tuple[jax.Array, None]:
    return varying_like(loss.backward(saved, dvalues), dvalues), None


_values.defvjp(_values_forward, _values_backward)
