"""What is mutated: the backward of every class of the tables, each in cases that don't hide what its rule does.

The first case of a class is square (batch, steps and features of one size), so that a swapped axis runs instead of
raising; an LSTM has four gates for columns, so that its second one is. The others take the branches that the first one
doesn't. A truncated `Recurrent` isn't among them: its rule isn't the derivative of its forward, so that whatever is
held against differences fails there, right or wrong.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from bugs.drawing import Arguments, points
from table import BLOCK, LayerCase, LossCase, labels, masked, probabilities, real_targets, soft

from jaxnn import (
    BatchNorm,
    Dense,
    Dropout,
    HalfSquaredError,
    Identity,
    LeakyReLU,
    LSTMCell,
    Recurrent,
    ReLU,
    Remat,
    Repeat,
    Rescale,
    Reshape,
    Residual,
    Serial,
    Sigmoid,
    SigmoidCrossEntropy,
    Softmax,
    SoftmaxCrossEntropy,
    Tanh,
    TanhCell,
    l1,
    l2,
)


class Case(NamedTuple):
    """A recipe, what is audited when it is put into it, and where."""

    recipe: Any
    around: Callable[[Any], Any]
    arguments: Arguments
    options: dict[str, Any]


class Target(NamedTuple):
    """A class, by its cases, and the method that is its rule."""

    method: str
    cases: tuple[Case, ...]

    @property
    def name(self) -> str:
        return type(self.cases[0].recipe).__name__


def itself(recipe: Any) -> Any:
    return recipe


def in_layer(recipe: Any, shape: tuple[int, ...], batch: int = 3, *, around: Any = itself, **how: Any) -> Case:
    case = LayerCase(around(recipe), shape, batch, **how)
    return Case(
        recipe, around, points(case, 3), {"key": jax.random.key(0) if case.draws else None, "train": case.train}
    )


def in_loss(loss: Any, targets: Callable[..., Any], shape: tuple[int, ...], batch: int) -> Case:
    return Case(loss, itself, points(LossCase("mutant", loss, shape, targets, batch), 2), {})


def as_pair(penalty: Any) -> tuple:
    """value(params), and its backward."""

    def backward(params: Any, dy: Any) -> tuple:
        return (jax.tree.map(lambda leaf: dy * leaf, penalty.gradient(params)),)

    return penalty.value, backward


NESTED = points(LayerCase(Serial(Dense(3), Residual(Serial(Dense(3), Tanh()))), (3,)), 1)


def nested_with_zeros(seed: int) -> tuple:
    """Every second number is 0: where l1 has its kinks."""
    return jax.tree.map(lambda leaf: np.where(np.arange(leaf.size).reshape(leaf.shape) % 2, leaf, 0), NESTED(seed))


def in_sequence(cell: Any) -> Recurrent:
    return Recurrent(cell)


def before_rescale(layer: Any) -> Serial:
    return Serial(layer, Rescale(1 / 255), Dense(3))


def before_dense(layer: Any) -> Serial:
    return Serial(layer, Dense(3))


LAYERS = (
    Target("backward", (in_layer(Identity(), (3,)),)),
    Target("backward", (in_layer(Sigmoid(), (3,)),)),
    Target("backward", (in_layer(Tanh(), (3,)),)),
    Target("backward", (in_layer(ReLU(), (3,)),)),
    Target("backward", (in_layer(LeakyReLU(0.3), (3,)),)),
    Target("backward", (in_layer(Softmax(), (3,)), in_layer(Softmax(), (2, 3), 2))),
    Target("backward", (in_layer(Dense(3), (3,)), in_layer(Dense(3), (2, 3)), in_layer(Dense(3, bias=False), (3,)))),
    Target(
        "backward",
        (in_layer(BatchNorm(), (3,)), in_layer(BatchNorm(), (2, 3), 4), in_layer(BatchNorm(), (3,), train=False)),
    ),
    Target("backward", (in_layer(Dropout(0.3), (4,), 4), in_layer(Dropout(0.3), (4,), 4, train=False))),
    Target(
        "backward",
        (in_layer(Rescale(0.3, -2.0), (3,)), in_layer(Rescale(0.3, -2.0), (3,), around=before_dense, integer=True)),
    ),
    Target(
        "backward",
        (in_layer(Reshape((2, 3)), (6,), 6), in_layer(Reshape((3,)), (3, 1), around=before_rescale, integer=True)),
    ),
)

COMBINATORS = (
    Target(
        "fold",
        (
            in_layer(Serial(Dense(3), Dense(3), Dense(3)), (3,)),
            in_layer(Serial(Dense(3), BatchNorm(), ReLU(), Dropout(0.3), Dense(3)), (3,)),
        ),
    ),
    Target(
        "fold",
        (
            in_layer(Residual(Serial(Dense(3), Tanh()), 0.3), (3,)),
            in_layer(Residual(Serial(Rescale(1 / 255), Dense(3)), 0.3), (3,), integer=True),
        ),
    ),
    Target("fold", (in_layer(Repeat(Serial(Dense(3), Tanh()), 3), (3,)), in_layer(Repeat(Tanh(), 2), (3,)))),
    Target("fold", (in_layer(Remat(BLOCK), (3,), 4), in_layer(Remat(BLOCK), (3,), train=False))),
    Target(
        "fold",
        (in_layer(Recurrent(TanhCell(3)), (3, 3)), in_layer(Recurrent(TanhCell(2), sequence=False), (4, 3), 5)),
    ),
)

CELLS = (
    Target("backward", (in_layer(TanhCell(3), (3, 3), around=in_sequence),)),
    Target(
        "backward",
        (in_layer(LSTMCell(3), (3, 3), around=in_sequence), in_layer(LSTMCell(1), (3, 4), 4, around=in_sequence)),
    ),
)

LOSSES = (
    Target(
        "backward",
        (in_loss(HalfSquaredError(), real_targets, (3,), 3), in_loss(HalfSquaredError(), real_targets, (2, 3), 2)),
    ),
    Target(
        "backward",
        (
            in_loss(SoftmaxCrossEntropy(0.1), masked, (4,), 4),
            in_loss(SoftmaxCrossEntropy(), masked, (4,), 4),
            in_loss(SoftmaxCrossEntropy(0.1), soft, (3,), 4),
            in_loss(SoftmaxCrossEntropy(0.1), labels, (3,), 4),
        ),
    ),
    Target(
        "backward",
        (
            in_loss(SigmoidCrossEntropy(0.1), probabilities, (3,), 3),
            in_loss(SigmoidCrossEntropy(0.1), probabilities, (2, 3), 4),
            in_loss(SigmoidCrossEntropy(0.1), labels, (3,), 4),
        ),
    ),
)

PENALTIES = (
    Target("gradient", (Case(l2(0.3), as_pair, NESTED, {}),)),
    Target("gradient", (Case(l1(0.3), as_pair, NESTED, {}), Case(l1(0.3), as_pair, nested_with_zeros, {}))),
)

TARGETS = LAYERS + COMBINATORS + CELLS + LOSSES + PENALTIES
