"""Stochastic gradient descent with the first layer's updates delayed: the same iterates, by matrix products.

At batch 1 every step reads the first layer's weight W for z = x W + b, and writes it for W <- W + x^T u, where the row
u is the update rule's result for z's error term: u = -eta dL/dz. W is most of the network, so the step is bound by
memory. But the next K examples are known, and so is all that their steps will do to W, except for the rows u:

    step k sees        W_k = W_1 + sum_{j<k} x_j^T u_j        b_k = b_1 + sum_{j<k} u_j
    and has therefore  z_k = x_k W_k + b_k
                           = (x_k W_1 + b_1) + sum_{j<k} (x_k x_j^T + 1) u_j
                           = A_k + sum_{j<k} G_kj u_j.

A = X W_1 + b_1 and G = X X^T + 1 (without a bias, X X^T) take one matrix product each per block. A step then works with
K rows of n_out numbers in place of n_in, and W is touched twice per block:

    W_{K+1} = W_1 + X^T U        b_{K+1} = b_1 + sum_j u_j.

The sums are those of plain SGD in another order, so the iterates are the same up to rounding. This needs a step
that is linear in the gradient and the same for every number of W: gradient descent, at a rate that may depend on the
step, without a penalty. A whole block is augmented first: augmentation depends on a step's number, not on W.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxnn.arrays import PyTree, Shape, norm, weighted_mean, widened
from jaxnn.layer import Layer, forward_of
from jaxnn.layers.activations import Identity
from jaxnn.layers.dense import Dense
from jaxnn.layers.rescale import Rescale
from jaxnn.layers.reshape import Reshape
from jaxnn.mesh_axes import varying_like
from jaxnn.networks.combinators import Serial
from jaxnn.networks.rebuild import replaced
from jaxnn.training.examples import Examples
from jaxnn.training.rounding import moved_params
from jaxnn.training.run import Run
from jaxnn.training.step import Measured, Task, moved
from jaxnn.training.updates import gradient_descent


class Cut(NamedTuple):
    """A network cut in three: what comes before its first Dense layer, that layer, and all that comes after.

    `after` is the whole network with Identity in the place of the others, so that every layer keeps its place and key.
    """

    before: Serial
    dense: Dense
    after: Layer
    place: int


def cut(net: Layer) -> Cut | None:
    """A Serial whose Dense comes first, or after Reshape, Rescale and Identity alone, cut there; None for others."""
    layers, after = net.layers if isinstance(net, Serial) else (), net
    for i, layer in enumerate(layers):
        after = replaced(after, (i,), Identity())
        if type(layer) is Dense:
            return Cut(Serial(*layers[:i]), layer, after, i)
        if type(layer) not in (Reshape, Rescale, Identity):
            break
    return None


def require_delayable(task: Task, shape: Shape) -> None:
    """Raises: ValueError, with the reason, if the first layer's updates can't be delayed; shape is one example's."""
    parts, reason = cut(task.net), ""
    if not isinstance(task.rule, gradient_descent):
        reason = f"it needs plain gradient_descent, got {type(task.rule).__name__}"
    elif task.penalty is not None:
        reason = "a penalty's gradient changes with the weight at every step"
    elif parts is None:
        reason = "the network should be Serial and begin with Dense, after Flatten, Reshape or Rescale at most"
    elif len(parts.before.output_shape(shape)) != 1:
        reason = (
            f"the first Dense layer should see vectors, not {parts.before.output_shape(shape)}: put Flatten before it"
        )
    if reason:
        raise ValueError(f"sgd: block= delays the first layer's updates, but {reason}; or leave out block")


def descend_block(task: Task, run: Run, block: Examples) -> tuple[Run, Measured]:
    """A step for each example of a block, one after another."""
    block = _augmented(task, run, block)
    parts = cut(task.net)
    assert parts is not None
    place, precision = parts.place, parts.dense.precision
    bias = run.params[place].bias
    x = forward_of(parts.before, run.params[:place], run.state[:place], block.x, train=True).y
    a = forward_of(parts.dense, run.params[place], (), x).y  # A = X W_1 + b_1
    gram = jnp.matmul(x, x.T, precision=precision) + (0 if bias is None else 1)  # G = X X^T + 1
    gradient = task.gradient(parts.after, task.loss)

    def step(carry: tuple[Run, jax.Array], scanned: tuple) -> tuple[tuple[Run, jax.Array], tuple]:
        run, u = carry
        k, a_k, gram_k, target, weights = scanned
        z = a_k + jnp.matmul(gram_k, u, precision=precision)  # the rows of u from k on are still 0
        key = jax.random.fold_in(run.keys.noise, run.step)
        z, target, weights = jax.tree.map(lambda leaf: leaf[None], (z, target, weights))
        weighted = {} if weights is None else {"weights": weights, "total": 1}
        result = gradient(run.params, run.state, z, target, key=key, **weighted)
        with jax.named_scope("update"):
            (updates, u_k), update_state = task.rule.update((result.grads, result.dx), run.update_state)
            run = moved(run, updates, update_state, result.state)
        u = jax.lax.dynamic_update_slice_in_dim(u, u_k, k, axis=0)
        metric = None if task.metric is None else weighted_mean(task.metric(result.outputs, target), weights, 1)
        norms = (norm(result.dx), norm(result.grads)) if task.record == "step" else None
        return (run, u), (result.loss, metric, norms)

    rest = run._replace(params=_with(run.params, place, ()), rounding=_with(run.rounding, place, ()))
    start = rest, varying_like(jnp.zeros_like(a), (a, rest))
    scanned = jnp.arange(block.n), a, gram, block.target, block.weights
    (rest, u), (losses, metrics, norms) = jax.lax.scan(step, start, scanned)
    dweight = jnp.matmul(x.T, u, precision=precision)  # W_1 + X^T U
    dbias = None if bias is None else jnp.sum(u, axis=0)
    updates = run.params[place]._replace(weight=dweight, bias=dbias)
    rounding = None if run.rounding is None else run.rounding[place]
    dense, rounding = moved_params(run.params[place], rounding, updates)
    run = rest._replace(params=_with(rest.params, place, dense), rounding=_with(rest.rounding, place, rounding))
    return run, Measured(losses, jnp.zeros_like(losses), metrics, jnp.ones_like(losses), _gradient_norms(gram, norms))


def _with(tree: tuple | None, place: int, part: PyTree) -> tuple | None:
    """The tuple with another part at a place; None as it is."""
    return None if tree is None else (*tree[:place], part, *tree[place + 1 :])


def _gradient_norms(gram: jax.Array, norms: tuple[jax.Array, jax.Array] | None) -> jax.Array | None:
    """The norm of each step's whole gradient: W's and b's together are |x_k^T d|^2 + |d|^2 = G_kk |d|^2."""
    if norms is None:
        return None
    error_term, rest = norms
    return jnp.hypot(jnp.sqrt(widened(jnp.diag(gram))) * error_term, rest)


def _augmented(task: Task, run: Run, block: Examples) -> Examples:
    """Each example of a block as its step sees it: a batch of one, with the step's own key."""
    if task.augment is None:
        return block
    steps = run.step + jnp.arange(block.n, dtype=run.step.dtype)
    keys = jax.vmap(lambda step: jax.random.fold_in(run.keys.noise, step))(steps)
    batches = jax.tree.map(lambda leaf: leaf[:, None], block)
    return jax.tree.map(lambda leaf: leaf[:, 0], jax.vmap(task.augmented)(batches, keys))
