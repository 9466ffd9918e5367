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
from seeded_bugs.drawing import Arguments, points
from table import BLOCK, LayerCase, LossCase, labels, masked, probabilities, real_targets, soft

from jaxnn import (
    ELU,
    GELU,
    AbsoluteError,
    AvgPool,
    BatchNorm,
    Branches,
    Conv1D,
    Conv2D,
    Dense,
    Dropout,
    GlobalAvgPool,
    GroupNorm,
    GRUCell,
    HalfSquaredError,
    Huber,
    Identity,
    LayerNorm,
    LeakyReLU,
    LocallyConnected1D,
    LocallyConnected2D,
    LSTMCell,
    MaxPool,
    PReLU,
    Recurrent,
    ReLU,
    Remat,
    Repeat,
    Rescale,
    Reshape,
    Residual,
    RMSNorm,
    Serial,
    Sigmoid,
    SigmoidCrossEntropy,
    SiLU,
    Softmax,
    SoftmaxCrossEntropy,
    Softplus,
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


def at_kinks(case: Case) -> Case:
    """A case whose first row of x is 0: where an activation has its kink."""

    def arguments(seed: int) -> tuple:
        params, state, x = case.arguments(seed)
        return params, state, np.concatenate([np.zeros_like(x[:1]), x[1:]])

    return case._replace(arguments=arguments)


def in_loss(loss: Any, targets: Callable[..., Any], shape: tuple[int, ...], batch: int) -> Case:
    return Case(loss, itself, points(LossCase("mutant", loss, shape, targets, batch), 2), {})


def met(case: Case) -> Case:
    """A case whose first output is its target: where a loss has its kink."""

    def arguments(seed: int) -> tuple:
        y, target = case.arguments(seed)
        return np.concatenate([target[:1], y[1:]]), target

    return case._replace(arguments=arguments)


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
    Target(
        "backward",
        (
            in_layer(PReLU(), (3,)),
            in_layer(PReLU(), (2, 3), 4),
            in_layer(PReLU(shared=True), (3,)),
            at_kinks(in_layer(PReLU(), (3,))),
        ),
    ),
    Target("backward", (in_layer(ELU(0.3), (3,)), at_kinks(in_layer(ELU(0.3), (3,))))),
    Target("backward", (in_layer(Softplus(), (3,)),)),
    Target("backward", (in_layer(SiLU(), (3,)),)),
    Target("backward", (in_layer(GELU(), (3,)), in_layer(GELU(approximate=False), (3,)))),
    Target("backward", (in_layer(Softmax(), (3,)), in_layer(Softmax(), (2, 3), 2))),
    Target("backward", (in_layer(Dense(3), (3,)), in_layer(Dense(3), (2, 3)), in_layer(Dense(3, bias=False), (3,)))),
    Target(
        "backward",
        (in_layer(BatchNorm(), (3,)), in_layer(BatchNorm(), (2, 3), 4), in_layer(BatchNorm(), (3,), train=False)),
    ),
    Target(
        "backward",
        (
            in_layer(LayerNorm(), (4,)),
            in_layer(LayerNorm(2, bias=False), (2, 3), 2),
            in_layer(LayerNorm(scale=False), (2, 3)),
        ),
    ),
    Target(
        "backward",
        (
            in_layer(GroupNorm(2), (3, 4)),
            in_layer(GroupNorm(1, bias=False), (2, 3), 2),
            in_layer(GroupNorm(2, scale=False), (2, 4)),
        ),
    ),
    Target(
        "backward",
        (in_layer(RMSNorm(), (4,)), in_layer(RMSNorm(), (2, 3)), in_layer(RMSNorm(scale=False), (2, 3))),
    ),
    Target(
        "backward",
        (
            in_layer(Dropout(0.3), (4,), 4),
            in_layer(Dropout(0.3), (4,), 4, train=False),
            in_layer(Dropout(0.3, keep="bools"), (4,), 4),
            in_layer(Dropout(0.3, keep="key"), (4,), 4),
        ),
    ),
    Target(
        "backward",
        (in_layer(Rescale(0.3, -2.0), (3,)), in_layer(Rescale(0.3, -2.0), (3,), around=before_dense, integer=True)),
    ),
    Target(
        "backward",
        (in_layer(Reshape((2, 3)), (6,), 6), in_layer(Reshape((3,)), (3, 1), around=before_rescale, integer=True)),
    ),
)

# In the first case windows overlap, in the second every field has a value of its own, and axes differ. Pooling takes
# another way where windows are tiles: with what remains in the third case, and in the others with one thing that makes
# them none: overlap, gaps, dilation, padding.
WINDOWED = (
    Target(
        "backward",
        (
            in_layer(Conv1D(3), (3, 3)),
            in_layer(Conv1D(5, 2, stride=3, padding=((1, 2),), dilation=2, bias=False), (3, 4), 2),
            in_layer(Conv1D(4, 2, groups=2), (3, 4), 2),
        ),
    ),
    Target(
        "backward",
        (
            in_layer(Conv2D(3), (3, 3, 3)),
            in_layer(Conv2D(2, (2, 3), (2, 1), ((1, 0), (0, 2)), (1, 2), bias=False), (4, 5, 3), 2),
            in_layer(Conv2D(4, 2, groups=2), (2, 3, 4), 2),
        ),
    ),
    Target(
        "backward",
        (
            in_layer(LocallyConnected1D(3), (3, 3)),
            in_layer(LocallyConnected1D(5, 2, stride=3, padding=((1, 2),), dilation=2, bias=False), (3, 4), 2),
        ),
    ),
    Target(
        "backward",
        (
            in_layer(LocallyConnected2D(2, 2), (2, 2, 2), 2),
            in_layer(LocallyConnected2D(2, (2, 3), (2, 1), ((1, 0), (0, 2)), (1, 2), bias=False), (4, 5, 1), 2),
        ),
    ),
    Target(
        "backward",
        (
            in_layer(MaxPool(2, stride=1, padding="SAME"), (3, 3, 3)),
            in_layer(MaxPool((2, 3), (2, 1), ((1, 0), (0, 2)), (1, 2)), (4, 5, 1), 2),
            in_layer(MaxPool((2, 3)), (5, 4, 4)),
            in_layer(MaxPool(2, stride=1), (3, 2)),
            in_layer(MaxPool(1, stride=2), (3, 2)),
            in_layer(MaxPool(2, dilation=2), (5, 2)),
            in_layer(MaxPool(2, padding=((1, 0),)), (5, 2)),
        ),
    ),
    Target(
        "backward",
        (
            in_layer(AvgPool(2, stride=1, padding="SAME"), (3, 3, 3)),
            in_layer(AvgPool((2, 3), (2, 1), ((1, 0), (0, 2)), False, (1, 2)), (4, 5, 1), 2),
            in_layer(AvgPool((2, 3)), (5, 4, 4)),
            in_layer(AvgPool(2, stride=1), (3, 2)),
            in_layer(AvgPool(1, stride=2), (3, 2)),
            in_layer(AvgPool(2, dilation=2), (5, 2)),
            in_layer(AvgPool(2, padding=((1, 0),)), (5, 2)),
            in_layer(AvgPool(3, stride=2, padding=1, count_include_pad=False), (3, 2)),
        ),
    ),
    Target("backward", (in_layer(GlobalAvgPool(), (3, 3)), in_layer(GlobalAvgPool(), (2, 3, 2), 4))),
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
    Target(
        "fold",
        (
            in_layer(Branches(Dense(3), Serial(Dense(3), Tanh()), Identity()), (3,)),
            in_layer(Branches(Dense(3), Tanh(), Identity(), merge="concatenate"), (3,)),
            in_layer(Branches(Dense(2), Serial(Dense(3), Tanh()), merge="concatenate"), (2, 3), 2),
            in_layer(Branches(Rescale(1 / 255), Serial(Rescale(0.01), Dense(3))), (3,), integer=True),
        ),
    ),
    Target("fold", (in_layer(Repeat(Serial(Dense(3), Tanh()), 3), (3,)), in_layer(Repeat(Tanh(), 2), (3,)))),
    Target("fold", (in_layer(Remat(BLOCK), (3,), 4), in_layer(Remat(BLOCK), (3,), train=False))),
    Target(
        "fold",
        (
            in_layer(Recurrent(TanhCell(3)), (3, 3)),
            in_layer(Recurrent(TanhCell(2), sequence=False), (4, 3), 5),
            in_layer(Recurrent(TanhCell(2), reverse=True), (4, 3), 3),
        ),
    ),
)

CELLS = (
    Target("backward", (in_layer(TanhCell(3), (3, 3), around=in_sequence),)),
    Target(
        "backward",
        (in_layer(LSTMCell(3), (3, 3), around=in_sequence), in_layer(LSTMCell(1), (3, 4), 4, around=in_sequence)),
    ),
    Target(
        "backward",
        (in_layer(GRUCell(3), (3, 3), around=in_sequence), in_layer(GRUCell(1), (3, 4), 4, around=in_sequence)),
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
            in_loss(AbsoluteError(), real_targets, (3,), 3),
            in_loss(AbsoluteError(), real_targets, (2, 3), 2),
            met(in_loss(AbsoluteError(), real_targets, (3,), 3)),
        ),
    ),
    Target("backward", (in_loss(Huber(), real_targets, (3,), 3), in_loss(Huber(0.5), real_targets, (2, 3), 2))),
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

TARGETS = LAYERS + WINDOWED + COMBINATORS + CELLS + LOSSES + PENALTIES
