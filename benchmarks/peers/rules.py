"""Derivative rules that others wrote, and points to audit them at: ordinary ones, kinks, ties, edges and huge numbers.

Each row: the package, a name, the rule as `jaxnn.audit.check` takes it, and its arguments by the name of the place.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import equinox
import jax
import jax.numpy as jnp
import jax.scipy.linalg
import jax.scipy.special as special
import numpy as np
import optax
from flax import linen, nnx
from optax import losses, projections

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 4))
SEQUENCE = RNG.normal(size=(2, 5, 4))
SHARES = RNG.dirichlet(np.ones(4), 3)
CTC_LABELS = np.array([[1, 2], [1, 1]])
LABELS, ONE_HOT = np.array([0, 3, 1]), np.eye(4)[[0, 3, 1]]
POSITIVE = RNG.uniform(0.5, 2, size=(3, 4))
OTHER = np.random.default_rng(1).normal(size=(3, 4))
SQUARE = RNG.normal(size=(3, 3))
SYMMETRIC, DEFINITE = SQUARE + SQUARE.T, SQUARE @ SQUARE.T + np.eye(3)
REAL_LINE = {"ordinary": (X,), "zeros": (0 * X,), "integers": (np.round(2 * X),), "huge": (1e3 * X,)}
ROWS = {"rows": (0, 1)}


class Foreign(NamedTuple):
    package: str
    name: str
    rule: Any
    places: Mapping[str, tuple]
    options: Mapping[str, Any] = {}


def entrywise(package: str, name: str, f: Callable, **more: Any) -> Foreign:
    return Foreign(package, name, f, REAL_LINE | {place: (np.asarray(x, float),) for place, x in more.items()})


def loss(name: str, f: Callable, y: Any = X, target: Any = SHARES, **more: tuple) -> Foreign:
    usual = {"ordinary": (y, target), "zeros": (0 * y, target), "ties": (np.ones_like(y), target)}
    return Foreign("optax", name, f, usual | {"huge": (1e4 * y, target)} | more, ROWS)


def of_matrix(name: str, f: Callable, a: Any = SQUARE, **more: Any) -> Foreign:
    return Foreign("jax", name, f, {"ordinary": (a,)} | {place: (np.asarray(x, float),) for place, x in more.items()})


JAX = [
    *(entrywise("jax", f"nn.{name}", getattr(jax.nn, name)) for name in (
        "relu", "silu", "gelu", "softmax", "log_softmax", "logsumexp", "sigmoid", "log_sigmoid", "softplus", "celu",
        "elu", "selu", "leaky_relu", "mish", "soft_sign", "hard_sigmoid", "hard_silu", "hard_tanh", "squareplus",
        "standardize", "sparse_plus", "sparse_sigmoid")),
    entrywise("jax", "nn.relu6", jax.nn.relu6, edges=[0, 6, 3, 7]),
    entrywise("jax", "nn.gelu exact", lambda x: jax.nn.gelu(x, approximate=False)),
    Foreign("jax", "nn.log1mexp", jax.nn.log1mexp, {"ordinary": (POSITIVE,), "small": (1e-5 * POSITIVE,)}),
    Foreign("jax", "nn.logmeanexp", jax.nn.logmeanexp, REAL_LINE),
    Foreign("jax", "nn.dot_product_attention", jax.nn.dot_product_attention,
            {"ordinary": (SEQUENCE[:, :3, None], SEQUENCE[:, :2, None], SEQUENCE[:, 2:4, None])}),
    entrywise("jax", "numpy.sinc", jnp.sinc, near_zero=1e-4 * X[0]),
    entrywise("jax", "numpy.i0", jnp.i0),
    Foreign("jax", "numpy.logaddexp", jnp.logaddexp,
            {"ordinary": (X, OTHER), "ties": (X, X), "huge": (1e4 * X, X), "minus infinity": (X, X - np.inf)}),
    Foreign("jax", "numpy.hypot", jnp.hypot, {"ordinary": (X, OTHER), "zeros": (0 * X, 0 * X)}),
    Foreign("jax", "numpy.power", jnp.power, {"ordinary": (POSITIVE, X), "zeros": (0 * X, POSITIVE)}),
    *(entrywise("jax", f"scipy.special.{name}", getattr(special, name)) for name in (
        "log_ndtr", "ndtr", "erf", "erfcx", "dawsn", "i0e", "i1e")),
    *(Foreign("jax", f"scipy.special.{name}", getattr(special, name), {"ordinary": (POSITIVE,), **more})
      for name, more in (("gammaln", {"integers": (np.arange(1.0, 6),)}), ("digamma", {}),
                         ("expi", {"huge": (50 * POSITIVE,)}), ("fresnel", {}), ("sici", {}), ("spence", {}))),
    Foreign("jax", "scipy.special.logit", special.logit,
            {"ordinary": (SHARES,), "edges": (np.array([1e-9, 1 - 1e-9]),)}),
    *(Foreign("jax", f"scipy.special.{name}", getattr(special, name),
              {"ordinary": (X, POSITIVE), "zeros": (0 * X, POSITIVE), "zero y": (POSITIVE, 0 * X + 1e-20)})
      for name in ("xlogy", "xlog1py")),
    *(Foreign("jax", f"scipy.special.{name}", getattr(special, name),
              {"ordinary": (SHARES,), "zeros and ones": (ONE_HOT,)}) for name in ("entr",)),
    Foreign("jax", "scipy.special.rel_entr", special.rel_entr, {"ordinary": (SHARES, SHARES[[1, 2, 0]])}),
    Foreign("jax", "scipy.special.kl_div", special.kl_div,
            {"ordinary": (SHARES, SHARES[[1, 2, 0]]), "ties": (SHARES, SHARES)}),
    *(Foreign("jax", f"scipy.special.{name}", getattr(special, name),
              {"ordinary": (POSITIVE[0], POSITIVE[1]), "tail": (POSITIVE[0], 30 * POSITIVE[1])})
      for name in ("gammainc", "gammaincc")),
    Foreign("jax", "scipy.special.betainc", lambda x: special.betainc(1.5, 0.7, x), {"ordinary": (SHARES,)}),
    Foreign("jax", "scipy.special.zeta", special.zeta, {"ordinary": (1 + POSITIVE[0], POSITIVE[1])}),
    Foreign("jax", "scipy.special.poch", special.poch, {"ordinary": (POSITIVE[0], POSITIVE[1])}),
    Foreign("jax", "scipy.special.hyp1f1", special.hyp1f1, {"ordinary": (POSITIVE[0], POSITIVE[1], X[0])}),
    of_matrix("numpy.linalg.norm", jnp.linalg.norm, zeros=0 * SQUARE),
    of_matrix("numpy.linalg.norm, spectral", lambda a: jnp.linalg.norm(a, 2), zeros=0 * SQUARE, identity=np.eye(3)),
    of_matrix("numpy.linalg.det", jnp.linalg.det, rank_1=np.ones((3, 3)), zeros=0 * SQUARE, rank_2=np.diag([1, 2, 0])),
    of_matrix("numpy.linalg.det, 5 x 5", jnp.linalg.det, RNG.normal(size=(5, 5)), rank_3=np.diag([1, 2, 3, 0, 0])),
    of_matrix("numpy.linalg.slogdet", jnp.linalg.slogdet, DEFINITE),
    of_matrix("numpy.linalg.inv", jnp.linalg.inv),
    of_matrix("numpy.linalg.pinv", jnp.linalg.pinv, X),
    of_matrix("numpy.linalg.cholesky", jnp.linalg.cholesky, DEFINITE),
    of_matrix("numpy.linalg.eigvalsh", jnp.linalg.eigvalsh, SYMMETRIC, ties=np.eye(3)),
    of_matrix("numpy.linalg.eigh", jnp.linalg.eigh, SYMMETRIC, ties=np.eye(3)),
    of_matrix("numpy.linalg.qr", jnp.linalg.qr),
    of_matrix("numpy.linalg.svd", lambda a: jnp.linalg.svd(a, full_matrices=False), X),
    of_matrix("numpy.linalg.svd, values", lambda a: jnp.linalg.svd(a, compute_uv=False), X, ties=np.eye(3)),
    of_matrix("scipy.linalg.expm", jax.scipy.linalg.expm, zeros=0 * SQUARE),
    Foreign("jax", "numpy.linalg.solve", jnp.linalg.solve, {"ordinary": (SQUARE, X)}),
    Foreign("jax", "numpy.linalg.lstsq", lambda a, b: jnp.linalg.lstsq(a, b)[0], {"ordinary": (X.T, SEQUENCE[0, :4])}),
    Foreign("jax", "scipy.linalg.solve_triangular", jax.scipy.linalg.solve_triangular, {"ordinary": (DEFINITE, X)}),
    Foreign("jax", "scipy.sparse.linalg.cg", lambda a, b: jax.scipy.sparse.linalg.cg(lambda x: a @ a.T @ x + x, b)[0],
            {"ordinary": (SQUARE, X[:, 0])}),
]  # fmt: skip

OPTAX = [
    loss("softmax_cross_entropy", losses.softmax_cross_entropy, huge_and_far=(1e4 * X, ONE_HOT)),
    loss("softmax_cross_entropy_with_integer_labels", losses.softmax_cross_entropy_with_integer_labels, target=LABELS),
    loss("safe_softmax_cross_entropy", losses.safe_softmax_cross_entropy,
         masked=(np.where(ONE_HOT > 0, X, -np.inf), ONE_HOT)),
    loss("sigmoid_binary_cross_entropy", losses.sigmoid_binary_cross_entropy),
    loss("sigmoid_focal_loss", losses.sigmoid_focal_loss, target=ONE_HOT),
    loss("hinge_loss", losses.hinge_loss, target=2 * ONE_HOT - 1),
    loss("perceptron_loss", losses.perceptron_loss, target=2 * ONE_HOT - 1),
    loss("sparsemax_loss", losses.sparsemax_loss, target=ONE_HOT),
    loss("multiclass_hinge_loss", losses.multiclass_hinge_loss, target=LABELS),
    loss("multiclass_perceptron_loss", losses.multiclass_perceptron_loss, target=LABELS),
    loss("multiclass_sparsemax_loss", losses.multiclass_sparsemax_loss, target=LABELS),
    loss("poly_loss_cross_entropy", losses.poly_loss_cross_entropy),
    loss("kl_divergence", losses.kl_divergence, one_hot=(X, ONE_HOT)),
    loss("kl_divergence_with_log_targets", losses.kl_divergence_with_log_targets, target=np.log(SHARES)),
    loss("generalized_kl_divergence", losses.generalized_kl_divergence, target=SHARES),
    loss("convex_kl_divergence", losses.convex_kl_divergence, one_hot=(X, ONE_HOT)),
    loss("squared_error", losses.squared_error, target=OTHER),
    loss("huber_loss", losses.huber_loss, target=0 * X, edges=(np.sign(X), 0 * X)),
    loss("log_cosh", losses.log_cosh, target=0 * X),
    loss("cosine_similarity", losses.cosine_similarity, target=OTHER),
    loss("cosine_distance, epsilon 1e-8", lambda y, t: losses.cosine_distance(y, t, epsilon=1e-8), target=OTHER),
    loss("ranking_softmax_loss", partial(losses.ranking_softmax_loss, reduce_fn=None)),
    loss("dice_loss", losses.dice_loss, target=ONE_HOT),
    Foreign("optax", "ctc_loss", lambda y: losses.ctc_loss(y, np.zeros((2, 5)), CTC_LABELS, np.zeros((2, 2))),
            {"ordinary": (SEQUENCE,), "zeros": (0 * SEQUENCE,), "huge": (1e3 * SEQUENCE,)}),
    Foreign("optax", "triplet_margin_loss", losses.triplet_margin_loss,
            {"ordinary": (X, OTHER, 2 * X), "ties": (X, X, X)}),
    Foreign("optax", "ntxent", lambda x: losses.ntxent(x, np.array([0, 1, 0])),
            {"ordinary": (X,), "ties": (X[[0, 0, 0]],)}),
    Foreign("optax", "smooth_labels", lambda x: losses.smooth_labels(x, 0.1), {"ordinary": (SHARES,)}),
    *(Foreign("optax", f"projections.{name}", getattr(projections, name),
              {"ordinary": (2 * X,), "inside": (0.01 * X,), "zeros": (0 * X,), "ties": (np.ones_like(X),)})
      for name in ("projection_non_negative", "projection_hypercube", "projection_simplex", "projection_l1_sphere",
                   "projection_l1_ball", "projection_l2_sphere", "projection_l2_ball", "projection_linf_ball")),
    Foreign("optax", "projections.projection_halfspace", lambda x: projections.projection_halfspace(x, 1 + X * 0, 1.0),
            {"ordinary": (X,), "outside": (4 + X,), "edge": (np.full((3, 4), 1 / 12),)}),
    Foreign("optax", "global_norm", optax.global_norm, {"ordinary": (X,), "zeros": (0 * X,)}),
    Foreign("optax", "safe_norm", lambda x: optax.safe_norm(x, 1e-3), {"ordinary": (X,), "zeros": (0 * X,)}),
]  # fmt: skip


def at_inputs(package: str, name: str, layer: Any, x: Any, **options: Any) -> Foreign:
    x = np.asarray(x, np.float32)
    return Foreign(package, name, layer, {"ordinary": (x,), "zeros": (0 * x,), "ties": (np.ones_like(x),)}, options)


def of_linen(name: str, layer: linen.Module, *inputs: Any) -> Foreign:
    with jax.numpy_dtype_promotion("standard"):
        inputs = tuple(np.asarray(x, np.float32) for x in inputs)
        variables = layer.init(jax.random.key(0), *inputs)
    places = {"ordinary": inputs, "zeros": [0 * x for x in inputs], "ties": [np.ones_like(x) for x in inputs]}
    return Foreign("flax", f"linen.{name}", layer, {place: (variables, *xs) for place, xs in places.items()})


def flax() -> list[Foreign]:
    lstm, rngs = linen.LSTMCell(3), nnx.Rngs(0)
    cell = lambda variables, x: lstm.apply(variables, (0.5 * x[:, :3], x[:, 1:]), x)[1]  # noqa: E731
    carry = jnp.ones((3, 3)), jnp.zeros((3, 3))
    variables = lstm.init(jax.random.key(0), carry, jnp.asarray(X, jnp.float32))
    return [
        of_linen("Dense", linen.Dense(3), X),
        of_linen("Conv", linen.Conv(3, (2,)), SEQUENCE),
        of_linen("LayerNorm", linen.LayerNorm(), X),
        of_linen("RMSNorm", linen.RMSNorm(), X),
        of_linen("GroupNorm", linen.GroupNorm(2), X),
        of_linen("BatchNorm, eval", linen.BatchNorm(use_running_average=True), X),
        of_linen("MultiHeadDotProductAttention", linen.MultiHeadDotProductAttention(2), SEQUENCE, SEQUENCE[:, :3]),
        Foreign("flax", "linen.LSTMCell", cell, {"ordinary": (variables, X), "zeros": (variables, 0 * X)}),
        at_inputs("flax", "nnx.Linear", nnx.Linear(4, 3, rngs=rngs), X, rows=(0,)),
        at_inputs("flax", "nnx.Conv", nnx.Conv(4, 3, (2,), rngs=rngs), SEQUENCE, rows=(0,)),
        at_inputs("flax", "nnx.LayerNorm", nnx.LayerNorm(4, rngs=rngs), X, rows=(0,)),
        at_inputs("flax", "nnx.BatchNorm, train", nnx.BatchNorm(4, rngs=rngs), X, rows=(0,), couples=True),
        at_inputs("flax", "nnx.GroupNorm", nnx.GroupNorm(4, 2, rngs=rngs), X, rows=(0,)),
    ]


def of_equinox() -> list[Foreign]:
    nn, key = equinox.nn, jax.random.key(0)
    gru, lstm = nn.GRUCell(4, 3, key=key), nn.LSTMCell(4, 3, key=key)
    return [
        at_inputs("equinox", "nn.Linear", nn.Linear(4, 3, key=key), X[0]),
        at_inputs("equinox", "nn.MLP", nn.MLP(4, 2, 3, 2, key=key), X[0]),
        at_inputs("equinox", "nn.Conv1d", nn.Conv1d(4, 3, 2, key=key), X.T),
        at_inputs("equinox", "nn.LayerNorm", nn.LayerNorm(4), X[0]),
        at_inputs("equinox", "nn.RMSNorm", nn.RMSNorm(4), X[0]),
        at_inputs("equinox", "nn.GroupNorm", nn.GroupNorm(2, 4), X.T),
        at_inputs("equinox", "nn.MaxPool1d", nn.MaxPool1d(2), X),
        at_inputs("equinox", "nn.AvgPool1d", nn.AvgPool1d(2), X),
        at_inputs("equinox", "nn.PReLU", nn.PReLU(), X[0]),
        Foreign("equinox", "nn.GRUCell", gru, {"ordinary": (X[0], X[1, :3]), "zeros": (0 * X[0], 0 * X[1, :3])}),
        Foreign("equinox", "nn.LSTMCell", lstm, {"ordinary": (X[0], (X[1, :3], X[2, :3]))}),
        Foreign("equinox", "nn.MultiheadAttention", nn.MultiheadAttention(2, 4, key=key), {"ordinary": (X, X, X)}),
    ]


def every() -> list[Foreign]:
    return [*JAX, *OPTAX, *flax(), *of_equinox()]
