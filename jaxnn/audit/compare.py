"""Manual and automatic gradients side by side.

Each gradient is computed four times: by `backprop` and by `autodiff`, in the params' own precision and in float64. The
automatic one in float64 is called the truth. The error of a tensor a against b is

    error(a, b) = max |a - b| / max(max |b|, s)

where s is the size of the terms that were summed into b, the size that rounding acts on: for a bias before batch
normalisation b is 0 and says nothing. s is the root mean square of the layer's own backward over random signs of its
error term, sqrt(sum_i (J_ij v_i)^2) for the j that has the largest: what the sum would be if nothing cancelled.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr

from jaxnn.arrays import PyTree, is_floating, params_dtype
from jaxnn.layer import Composite, Layer, Node
from jaxnn.losses import Loss
from jaxnn.objective import Gradient, autodiff, backprop

N_PROBES = 16
FLOAT64_TOLERANCE = 1e-12
ROUNDING_FACTOR = 8.0


class Row(NamedTuple):
    """One tensor of the comparison: a gradient by its path, or "x" for the input's.

    float64_error: manual against automatic, both in float64. manual_error, automatic_error: each in the working
    precision against the truth. closer: which of the two is nearer to it, or "equal". worst: the index where the
    manual one is farthest from the truth, and the three values there.
    """

    path: str
    shape: tuple[int, ...]
    float64_error: float
    manual_error: float
    automatic_error: float
    closer: str
    worst: tuple[int, ...]
    manual: float
    automatic: float
    truth: float
    ok: bool


@dataclass(frozen=True)
class Comparison:
    """What `compare` found. `print` it for the table; `ok` says whether all rows are."""

    rows: tuple[Row, ...]
    dtype: str

    @property
    def ok(self) -> bool:
        return all(row.ok for row in self.rows)

    @property
    def worst(self) -> Row:
        """The row with the largest error in float64; NaN is the largest of all."""
        return max(self.rows, key=lambda row: math.inf if math.isnan(row.float64_error) else row.float64_error)

    def __str__(self) -> str:
        head = ["tensor", "shape", "float64", f"{self.dtype}: manual", "automatic", "closer", "worst element", ""]
        lines = [head] + [_words(row) for row in self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        text = [
            "  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip() for line in lines
        ]
        verdict = (
            "all gradients agree" if self.ok else "WRONG: " + ", ".join(row.path for row in self.rows if not row.ok)
        )
        return "\n".join([text[0], "-" * len(text[0]), *text[1:], verdict])


def compare(
    net: Layer,
    loss: Loss,
    params: PyTree,
    state: PyTree,
    x: Any,
    target: Any,
    *,
    key: jax.Array | None = None,
    weights: Any = None,
    penalty: PyTree = None,
    train: bool = True,
) -> Comparison:
    """Hold the hand-written gradient of every parameter and of the input against the automatic one.

    A row is ok if the two agree in float64 to 1e-12, and if in the working precision, unit roundoff u, the manual error
    is at most twice the automatic one plus 8 sqrt(B) u: sums of B terms err by sqrt(B) u (Higham and Mary 2019,
    theorem 2.4), and neither order of summation is the better one.

    Shapes: x (B, ...), target as the loss takes it, weights (B,).
    Returns: a `Comparison`; `print(it)` for the table.
    Raises: what `backprop` raises.

    >>> import jaxnn
    >>> net, loss = jaxnn.Serial(jaxnn.Dense(3), jaxnn.Tanh(), jaxnn.Dense(2)), jaxnn.SoftmaxCrossEntropy()
    >>> params, state = net.init(jax.random.key(0), (4,))
    >>> x, labels = jax.random.normal(jax.random.key(1), (8, 4)), jnp.array([0, 1] * 4)
    >>> compare(net, loss, params, state, x, labels).ok
    True
    """
    arrays = tuple(map(_on_host, (params, state, x, target, weights, penalty)))
    evaluated = partial(_evaluated, net, loss, key=key, train=train)
    dtype = params_dtype(params)
    with jax.default_matmul_precision("highest"):
        with jax.enable_x64(dtype == np.float64):
            manual, automatic = evaluated(backprop, arrays), evaluated(autodiff, arrays)
        with jax.enable_x64(True):
            doubled = jax.tree.map(_doubled, arrays)
            manual64, truth = evaluated(backprop, doubled, observe=_term_sizes), evaluated(autodiff, doubled)
    sizes = _by_tensor(manual64.notes)
    n_rows = len(np.asarray(x))
    slack = ROUNDING_FACTOR * math.sqrt(n_rows) * float(jnp.finfo(dtype).eps) / 2
    tensors = [_tensors(gradient) for gradient in (manual, automatic, manual64, truth)]
    rows = (_row(path, sizes.get(path, 0.0), slack, *(each[path] for each in tensors)) for path in tensors[0])
    return Comparison(tuple(rows), str(dtype))


def _evaluated(
    net: Layer, loss: Loss, gradient: Any, arrays: tuple, *, key: Any, train: bool, **options: Any
) -> Gradient:
    """A gradient as a program of its own, on the host afterwards."""

    @jax.jit
    def program(params: PyTree, state: PyTree, x: Any, target: Any, weights: Any, penalty: PyTree) -> Gradient:
        function = gradient(net, loss, penalty=penalty, **options)
        return function(params, state, x, target, key=key, weights=weights, train=train)._replace(outputs=None)

    return _on_host(program(*arrays)._replace(state=None))


def _term_sizes(node: Node) -> PyTree:
    """An observer: for each tensor of a layer's backward, the size of the terms that were summed into it."""
    if isinstance(node.layer, Composite) or node.dy is None:
        return None

    def add_probe(sums: PyTree, key: jax.Array) -> tuple[PyTree, None]:
        signs = jax.random.rademacher(key, node.dy.shape, node.dy.dtype)
        probed = node.layer.backward(node.params, node.cache, signs * node.dy)
        return jax.tree.map(lambda total, g: total + jnp.square(g), sums, tuple(probed)), None

    zeros = jax.tree.map(jnp.zeros_like, (node.dparams, node.dx))
    sums, _ = jax.lax.scan(add_probe, zeros, jax.random.split(jax.random.key(0), N_PROBES))
    return jax.tree.map(lambda total: jnp.sqrt(jnp.max(total, initial=0) / N_PROBES), sums)


def _by_tensor(notes: Any) -> dict[str, float]:
    """The sizes by the tensors' paths; "x" is the first layer's input. Inside Repeat, the largest of all depths."""
    sizes: dict[str, float] = {}
    for path, (dparams, dx) in notes.items():
        for below, size in jax.tree_util.tree_leaves_with_path(dparams):
            sizes[path + keystr(below)] = float(np.max(size))
        if dx is not None:
            sizes.setdefault("x", float(np.max(dx)))
    return sizes


def _tensors(gradient: Gradient) -> dict[str, Any]:
    tensors = {keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(gradient.grads)}
    return tensors if gradient.dx is None else {**tensors, "x": gradient.dx}


def _row(path: str, size: float, slack: float, manual: Any, automatic: Any, manual64: Any, truth: Any) -> Row:
    error = partial(_error, truth=truth, size=size)
    float64_error, manual_error, automatic_error = error(manual64), error(manual), error(automatic)
    difference = np.abs(manual.astype(np.float64) - truth)
    worst = np.unravel_index(int(np.argmax(difference)), truth.shape) if truth.size else ()
    ok = float64_error <= FLOAT64_TOLERANCE and manual_error <= 2 * automatic_error + slack
    closer = "equal"
    if manual_error != automatic_error:
        closer = "manual" if manual_error < automatic_error else "automatic"
    at_worst = [float(tensor[worst]) if truth.size else math.nan for tensor in (manual, automatic, truth)]
    return Row(
        path=path,
        shape=truth.shape,
        float64_error=float64_error,
        manual_error=manual_error,
        automatic_error=automatic_error,
        closer=closer,
        worst=tuple(map(int, worst)),
        manual=at_worst[0],
        automatic=at_worst[1],
        truth=at_worst[2],
        ok=ok,
    )


def _error(tensor: np.ndarray, truth: np.ndarray, size: float) -> float:
    """max |tensor - truth| / max(max |truth|, size); 0 / 0 is 0, and a NaN anywhere is a NaN."""
    if not truth.size:
        return 0.0
    difference = float(np.max(np.abs(tensor.astype(np.float64) - truth)))
    return difference if difference == 0 else difference / max(float(np.max(np.abs(truth))), size, 5e-324)


def _words(row: Row) -> list[str]:
    values = f"{list(row.worst)}: {row.manual:.6g} | {row.automatic:.6g} | {row.truth:.6g}"
    numbers = [f"{error:.1e}" for error in (row.float64_error, row.manual_error, row.automatic_error)]
    return [row.path, str(row.shape), *numbers, row.closer, values, "" if row.ok else "WRONG"]


def _on_host(tree: PyTree) -> PyTree:
    """As NumPy arrays: they have no device and no precision to lose when x64 is switched."""
    return jax.tree.map(np.asarray, tree)


def _doubled(leaf: Any) -> Any:
    return leaf.astype(np.float64) if is_floating(leaf) else leaf
