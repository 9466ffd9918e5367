"""The tables that the laws run over: each layer, combinator, loss, penalty, rule, schedule and augmentation, in forms.

A class of jaxnn that is in no table fails `test_laws.py`: adding one means adding its row here.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

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
    Flatten,
    GlobalAvgPool,
    Glorot,
    GroupNorm,
    GRUCell,
    HalfSquaredError,
    He,
    Huber,
    Identity,
    LayerNorm,
    LeakyReLU,
    LeCun,
    LocallyConnected1D,
    LocallyConnected2D,
    LSTMCell,
    MaxPool,
    Normal,
    Orthogonal,
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
    Uniform,
    Zeros,
    adam,
    adamw,
    chain,
    clip_by_global_norm,
    clip_by_norm,
    clip_by_value,
    gradient_descent,
    l1,
    l2,
    momentum,
    nesterov,
    proximal_l1,
    walk,
    weight_decay,
    weight_mask,
)
from jaxnn.training import schedules
from jaxnn.training.augment import Compose, Crop, Cutout, Flip, Mixup, Noise, Rotate, Shift


class Point(NamedTuple):
    """Where a layer is looked at: its arguments, none of them a number that an init is fond of (0 or 1)."""

    params: Any
    state: Any
    x: jax.Array
    key: jax.Array


class LayerCase(NamedTuple):
    """A layer, the shape of one example, how many examples, the mode, and whether x is of integers."""

    layer: Any
    shape: tuple[int, ...]
    batch: int = 3
    train: bool = True
    integer: bool = False

    def __str__(self) -> str:
        mode = ("-train" if self.train else "-eval") + ("-uint8" if self.integer else "")
        return f"{self.layer}-{self.batch}x{'x'.join(map(str, self.shape))}{mode}"

    @property
    def draws(self) -> bool:
        """Whether the forward pass draws random numbers."""
        return self.train and any(isinstance(layer, Dropout) and layer.rate > 0 for _, layer in walk(self.layer))

    @property
    def couples(self) -> bool:
        """Whether the rows of a batch have a say in one another's outputs."""
        return self.train and any(isinstance(layer, BatchNorm) for _, layer in walk(self.layer))

    @property
    def truncates(self) -> bool:
        """Whether backward is told to leave something out, so that it isn't the derivative of forward."""
        recurrent = [layer for _, layer in walk(self.layer) if isinstance(layer, Recurrent)]
        return any(layer.truncation is not None and layer.truncation < self.shape[0] for layer in recurrent)

    def point(self, seed: int = 0, dtype: Any = None) -> Point:
        """Random params, state and x, drawn by NumPy, so that nothing compiles."""
        generator = np.random.default_rng(seed)
        dtype = jnp.result_type(float) if dtype is None else dtype

        def normal(leaf: Any) -> jax.Array:
            return jnp.asarray(generator.normal(size=leaf.shape), leaf.dtype)

        def positive(leaf: Any) -> jax.Array:
            return jnp.asarray(generator.uniform(0.5, 2.0, size=leaf.shape), leaf.dtype)

        made = jax.eval_shape(lambda key: self.layer.init(key, self.shape, dtype), jax.random.key(0))
        params, state = jax.tree.map(normal, made.params), jax.tree.map(positive, made.state)
        size = (self.batch, *self.shape)
        if self.integer:
            x = jnp.asarray(generator.integers(0, 256, size=size), jnp.uint8)
        else:
            x = jnp.asarray(generator.normal(size=size), dtype)
        return Point(params, state, x, jax.random.key(seed))

    def forward(self, point: Point) -> Any:
        return self.layer.forward(point.params, point.state, point.x, key=point.key, train=self.train)


ACTIVATIONS = [
    LayerCase(layer, shape, batch)
    for layer in (
        Identity(),
        Sigmoid(),
        Tanh(),
        ReLU(),
        LeakyReLU(),
        LeakyReLU(0.3),
        PReLU(),
        PReLU(-0.5, shared=True),
        ELU(),
        ELU(0.3),
        Softplus(),
        SiLU(),
        GELU(),
        GELU(approximate=False),
        Softmax(),
    )
    for shape, batch in (((2, 3), 2), ((1,), 1))
]

LAYERS = [
    *ACTIVATIONS,
    LayerCase(Identity(), (3,), integer=True),
    LayerCase(PReLU(shared=True), (), 5),
    LayerCase(Dense(3), (4,)),
    LayerCase(Dense(1), (1,), 1),
    LayerCase(Dense(5), (3,), 1),
    LayerCase(Dense(3, weight_init=Normal(0.1), bias_init=Uniform(0, 1)), (2, 5), 2),
    LayerCase(Dense(2), (3, 1, 2), 2),
    LayerCase(Dense(3, bias=False), (4,)),
    LayerCase(Dense(1, bias=False), (2, 3), 1, train=False),
    LayerCase(Dense(3, precision="highest"), (4,)),
    LayerCase(BatchNorm(), (3,), 4),
    LayerCase(BatchNorm(epsilon=0.5), (1,), 2),
    LayerCase(BatchNorm(momentum=0.0), (2, 3), 3),
    LayerCase(BatchNorm(0.5, 0.01), (4, 3), 1),
    LayerCase(BatchNorm(), (3,), 5, train=False),
    LayerCase(BatchNorm(), (2, 3), 1, train=False),
    LayerCase(BatchNorm(), (3, 2, 4), 2),
    LayerCase(BatchNorm(0.8, 1e-3), (2, 1, 2), 1),
    LayerCase(BatchNorm(), (2, 2, 3), 2, train=False),
    LayerCase(LayerNorm(), (5,)),
    LayerCase(LayerNorm(epsilon=0.1), (2, 3), 1),
    LayerCase(LayerNorm(2), (2, 2, 3), 2, train=False),
    LayerCase(LayerNorm(3, 0.01), (2, 1, 3), 2),
    LayerCase(LayerNorm(bias=False), (4,), 1),
    LayerCase(LayerNorm(scale=False), (2, 4), 2),
    LayerCase(LayerNorm(2, scale=False, bias=False), (3, 2), 2),
    LayerCase(GroupNorm(2), (2, 3, 4), 2),
    LayerCase(GroupNorm(1), (5,)),
    LayerCase(GroupNorm(1, 0.1), (4, 1), 1),
    LayerCase(GroupNorm(3), (2, 2, 3), 2, train=False),
    LayerCase(GroupNorm(2, bias=False), (6,), 1),
    LayerCase(GroupNorm(1, scale=False), (2, 2), 2),
    LayerCase(GroupNorm(3, scale=False, bias=False), (3, 3), 2),
    LayerCase(RMSNorm(), (5,)),
    LayerCase(RMSNorm(0.5), (1,), 1),
    LayerCase(RMSNorm(0.1), (2, 3), 2, train=False),
    LayerCase(RMSNorm(scale=False), (3, 1, 4), 2),
    LayerCase(Dropout(), (7,)),
    LayerCase(Dropout(0.3), (2, 3)),
    LayerCase(Dropout(0.3, keep="bools"), (2, 3)),
    LayerCase(Dropout(0.3, keep="key"), (2, 5), 2),
    LayerCase(Dropout(keep="bits"), (1,), 1),
    LayerCase(Dropout(0.0), (3,)),
    LayerCase(Dropout(), (3,), 1, train=False),
    LayerCase(Rescale(), (3,)),
    LayerCase(Rescale(0.5, -2.0), (2, 3)),
    LayerCase(Rescale(1 / 255), (2, 3), integer=True),
    LayerCase(Reshape((2, 3)), (6,)),
    LayerCase(Reshape((3, -1)), (2, 6), 1),
    LayerCase(Reshape((2, 1)), (2,), integer=True),
    LayerCase(Flatten(), (2, 3)),
    LayerCase(Flatten(), (1,), 1),
]

CONVOLUTIONAL = [
    LayerCase(Conv2D(2), (3, 4, 2), 2),
    LayerCase(Conv2D(1, (2, 3), padding="VALID"), (3, 3, 1), 1),
    LayerCase(Conv2D(2, 3, stride=2, padding=((1, 1), (1, 1)), bias=False), (5, 5, 2), 1),
    LayerCase(Conv2D(2, (2, 1), stride=(1, 3), padding=((0, 2), (1, 0)), dilation=(2, 1)), (3, 4, 1), 2),
    LayerCase(Conv2D(4, 2, groups=2, precision="highest"), (2, 3, 4), 2),
    LayerCase(Conv2D(3, 3, stride=2, groups=3), (3, 3, 3), 2),
    LayerCase(Conv2D(2, 1), (2, 2, 3), 1),
    LayerCase(Conv1D(2), (5, 2)),
    LayerCase(Conv1D(3, 5, stride=3, padding=2, bias_init=Uniform(0, 1)), (7, 1), 2),
    LayerCase(LocallyConnected2D(2), (3, 2, 2), 2),
    LayerCase(LocallyConnected2D(2, (2, 3), stride=2, padding=((1, 0), (1, 2)), dilation=(2, 1)), (4, 3, 1), 1),
    LayerCase(LocallyConnected1D(2, 2, padding="VALID", bias=False, precision="highest"), (4, 3)),
    LayerCase(MaxPool(), (4, 4, 2), 2),
    LayerCase(MaxPool(2), (5, 3, 1), 1),
    LayerCase(MaxPool(3, stride=2, padding="SAME"), (4, 5, 2), 2),
    LayerCase(MaxPool((2, 1), stride=1, padding=((1, 1), (0, 0)), dilation=(2, 1)), (3, 2, 1), 1),
    LayerCase(MaxPool(3, stride=1), (5, 2)),
    LayerCase(AvgPool(), (4, 2, 2), 2),
    LayerCase(AvgPool(2), (3, 5, 1), 1),
    LayerCase(AvgPool(3, stride=2, padding="SAME"), (4, 5, 2), 2),
    LayerCase(AvgPool((2, 3), padding=1, count_include_pad=False), (3, 4, 1), 1),
    LayerCase(AvgPool(3, stride=1, padding=2, count_include_pad=False, dilation=2), (5, 2)),
    LayerCase(GlobalAvgPool(), (2, 3, 2), 2),
    LayerCase(GlobalAvgPool(), (1, 1), 1),
]

LAYERS += CONVOLUTIONAL

BLOCK = Serial(Dense(3), BatchNorm(), Tanh(), Dropout(0.3))

CNN = Serial(Conv2D(2), MaxPool(2), ReLU(), Flatten(), Dense(2))

COMBINATORS = [
    LayerCase(CNN, (4, 4, 1), 2),
    LayerCase(Residual(Serial(BatchNorm(), ReLU(), Remat(Conv2D(2)))), (2, 3, 2), 2),
    LayerCase(Serial(), (3,)),
    LayerCase(Serial(Tanh()), (3,), 1),
    LayerCase(Serial(Dense(4), Sigmoid(), Dense(2)), (3,)),
    LayerCase(Serial(Dense(4), ReLU(), Serial(Dense(3, bias=False), Serial(), LeakyReLU()), Softmax()), (1,), 1),
    LayerCase(Serial(Dense(4), BatchNorm(), ReLU(), Dropout(0.3), Dense(2)), (3,), 4),
    LayerCase(Serial(Dense(4), BatchNorm(), ReLU(), Dropout(0.3), Dense(2)), (3,), 5, train=False),
    LayerCase(Serial(Rescale(1 / 255, -0.5), Flatten(), Dense(2)), (2, 3), integer=True),
    LayerCase(Serial(Flatten(), Identity(), Rescale(1 / 255, -0.5), Dense(2)), (2, 3), integer=True),
    LayerCase(Serial(Dense(6), Reshape((2, 3)), Softmax(), Dense(2), Flatten(), Tanh()), (3,)),
    LayerCase(Branches(Tanh()), (3,), 1),
    LayerCase(Branches(Dense(2), Serial(Dense(3, bias=False), Tanh(), Dense(2))), (3,)),
    LayerCase(Branches(Identity(), Tanh(), Identity()), (1,), 1),
    LayerCase(Branches(BLOCK, Serial(), Serial(Dropout(0.5), BatchNorm())), (3,), 4),
    LayerCase(Branches(BLOCK, Dense(3)), (3,), 2, train=False),
    LayerCase(Branches(Dense(1), Identity(), Serial(Dropout(0.3), Dense(3)), merge="concatenate"), (2,)),
    LayerCase(Branches(Sigmoid(), Serial(Dense(1), ReLU()), merge="concatenate"), (2, 3), 2),
    LayerCase(Branches(Branches(Dense(2), Tanh()), BatchNorm(), merge="concatenate"), (2,), 4),
    LayerCase(Branches(Rescale(1 / 255), Serial(Rescale(0.01, -1.0), Dense(3))), (3,), integer=True),
    LayerCase(Branches(Identity(), Identity(), merge="concatenate"), (2, 3), integer=True),
    LayerCase(Serial(Branches(Identity(), Flatten(), merge="concatenate"), Rescale(0.1)), (3,), 1, integer=True),
    LayerCase(Residual(Dense(3)), (3,)),
    LayerCase(Residual(Tanh(), -0.5), (2, 3), 1),
    LayerCase(Residual(BLOCK, 0.5), (3,), 4),
    LayerCase(Residual(Residual(Dense(2)), 2.0), (2,)),
    LayerCase(Repeat(Dense(3), 3), (3,)),
    LayerCase(Repeat(Dense(2, bias=False), 1), (2, 2), 1),
    LayerCase(Repeat(Tanh(), 2), (3,)),
    LayerCase(Repeat(Dropout(0.3), 2), (5,)),
    LayerCase(Repeat(Serial(Dropout(0.3, keep="key"), Remat(Dropout(0.2, keep="bools"))), 2), (5,)),
    LayerCase(Repeat(BLOCK, 2), (3,), 4),
    LayerCase(Repeat(BLOCK, 2), (3,), 2, train=False),
    LayerCase(Repeat(Repeat(Serial(Dense(2), Sigmoid()), 2), 3), (2,), 1),
    LayerCase(Remat(Dense(2)), (3,)),
    LayerCase(Remat(BLOCK), (3,), 4),
    LayerCase(Remat(BLOCK), (3,), 1, train=False),
    LayerCase(Remat(Serial(Rescale(1 / 255), Dense(2))), (3,), integer=True),
    LayerCase(Repeat(Serial(Branches(BLOCK, Identity(), merge="concatenate"), Dense(3)), 2), (3,), 4),
    LayerCase(Remat(Branches(Residual(Dense(3)), Remat(Serial(Dropout(0.3), Dense(3))))), (3,)),
    LayerCase(Repeat(Residual(Remat(Serial(Dense(4), Dropout(0.3), ReLU(), Dense(2)))), 2), (2,)),
]

RECURRENT = [
    LayerCase(Recurrent(TanhCell(3)), (3, 2)),
    LayerCase(Recurrent(TanhCell(2), sequence=False), (1, 3), 1),
    LayerCase(Recurrent(TanhCell(1, bias_init=Uniform(0, 1)), 2), (5, 2), 2),
    LayerCase(Recurrent(TanhCell(2, precision="highest"), 1, sequence=False), (3, 1)),
    LayerCase(Recurrent(LSTMCell(2)), (3, 1), 2),
    LayerCase(Recurrent(LSTMCell(2)), (1, 3), 1, train=False),
    LayerCase(Recurrent(LSTMCell(1), 2, sequence=False), (2, 2)),
    LayerCase(Recurrent(LSTMCell(1, forget_bias=0.0), 3), (5, 2), 2),
    LayerCase(Recurrent(GRUCell(2), reverse=True), (3, 1), 2),
    LayerCase(Recurrent(GRUCell(1, bias_init=Uniform(0, 1)), 2, sequence=False, reverse=True), (5, 2), 2),
    LayerCase(Branches(Recurrent(GRUCell(2)), Recurrent(TanhCell(1), reverse=True), merge="concatenate"), (3, 2), 2),
    LayerCase(Serial(Recurrent(LSTMCell(2)), Dropout(0.3), Recurrent(TanhCell(2), sequence=False), Dense(2)), (2, 3)),
    LayerCase(Residual(Recurrent(TanhCell(2)), 0.5), (3, 2)),
    LayerCase(Repeat(Recurrent(TanhCell(2), 2), 2), (3, 2), 2),
    LayerCase(Remat(Recurrent(LSTMCell(2))), (2, 1)),
]

# Cells take a Step and not an array, so they stand in the table inside of Recurrent; what is theirs alone is tested in
# layers/test_cells.py.
CELLS = list(dict.fromkeys(case.layer.inner for case in RECURRENT if isinstance(case.layer, Recurrent)))

CASES = LAYERS + COMBINATORS + RECURRENT

# Rescale is where integers become numbers that have gradients.
WITH_GRADIENT = [
    case for case in CASES if not case.integer or any(isinstance(layer, Rescale) for _, layer in walk(case.layer))
]

# One form of each class, for what is too slow to do with all of them.
FORMS = list({type(case.layer): case for case in reversed(CASES) if not case.integer}.values())


class LossCase(NamedTuple):
    """A loss, the shape of one output, and a maker of targets from a generator, a shape and a dtype."""

    name: str
    loss: Any
    shape: tuple[int, ...]
    targets: Callable[..., Any]
    batch: int = 4

    def __str__(self) -> str:
        return f"{self.loss}-{self.name}-{self.batch}x{'x'.join(map(str, self.shape))}"

    def point(self, seed: int = 0, dtype: Any = None) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Outputs, targets, and weights of which one is 0."""
        generator = np.random.default_rng(seed)
        dtype = jnp.result_type(float) if dtype is None else dtype
        y = jnp.asarray(2 * generator.normal(size=(self.batch, *self.shape)), dtype)
        target = jnp.asarray(self.targets(generator, y.shape))
        target = target.astype(dtype) if jnp.issubdtype(target.dtype, jnp.floating) else target
        weights = generator.uniform(0.1, 2.0, size=self.batch)
        weights[1:2] = 0
        return y, target, jnp.asarray(weights, dtype)


def real_targets(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return generator.normal(size=shape)


def labels(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return generator.integers(0, shape[-1], size=shape[:1])


def small_labels(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return labels(generator, shape).astype(np.uint8)


def one_hot(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return np.eye(shape[-1])[labels(generator, shape)]


def soft(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return generator.dirichlet(np.ones(shape[-1]), size=shape[:1])


def masked(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """One-hot, but for a row of zeros and a row that sums to 3."""
    targets = one_hot(generator, shape)
    targets[0], targets[-1] = 0, 3 * targets[-1]
    return targets


def yes_or_no(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return generator.integers(0, 2, size=shape)


def probabilities(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return generator.uniform(size=shape)


LOSSES = [
    LossCase("real", HalfSquaredError(), (3,), real_targets),
    LossCase("real", HalfSquaredError(), (1,), real_targets, 1),
    LossCase("real", HalfSquaredError(), (2, 3), real_targets),
    LossCase("real", AbsoluteError(), (3,), real_targets),
    LossCase("real", AbsoluteError(), (1,), real_targets, 1),
    LossCase("real", AbsoluteError(), (2, 3), real_targets),
    LossCase("real", Huber(), (3,), real_targets),
    LossCase("real", Huber(), (1,), real_targets, 1),
    LossCase("real", Huber(0.5), (2, 3), real_targets),
    LossCase("real", Huber(100.0), (), real_targets),
    LossCase("labels", SoftmaxCrossEntropy(), (5,), labels),
    LossCase("labels", SoftmaxCrossEntropy(), (2,), labels, 1),
    LossCase("small_labels", SoftmaxCrossEntropy(), (3,), small_labels),
    LossCase("one_hot", SoftmaxCrossEntropy(), (5,), one_hot),
    LossCase("soft", SoftmaxCrossEntropy(), (5,), soft),
    LossCase("masked", SoftmaxCrossEntropy(), (5,), masked),
    LossCase("labels", SoftmaxCrossEntropy(0.1), (3,), labels),
    LossCase("soft", SoftmaxCrossEntropy(0.1), (3,), soft),
    LossCase("masked", SoftmaxCrossEntropy(0.1), (3,), masked),
    LossCase("labels", SigmoidCrossEntropy(), (3,), labels),
    LossCase("yes_or_no", SigmoidCrossEntropy(), (3,), yes_or_no),
    LossCase("yes_or_no", SigmoidCrossEntropy(), (1,), yes_or_no, 1),
    LossCase("probabilities", SigmoidCrossEntropy(), (2, 3), probabilities),
    LossCase("labels", SigmoidCrossEntropy(0.1), (3,), labels),
    LossCase("yes_or_no", SigmoidCrossEntropy(0.1), (3,), yes_or_no),
]

# The first form of each loss.
LOSS_FORMS = list({type(case.loss): case for case in reversed(LOSSES)}.values())

INITIALIZERS = [
    Zeros(),
    Normal(),
    Normal(0.1),
    Uniform(),
    Uniform(-2.0, 1.0),
    Orthogonal(),
    Orthogonal(0.5),
    *(kind(form) for kind in (Glorot, He, LeCun) for form in ("truncated_normal", "normal", "uniform")),
]

PENALTIES = [l2(0.1), l1(0.1), (l1(0.01), l2(0.2)), l2(0.0)]


class Audited(NamedTuple):
    """A rule as `audit.check` takes it: what is audited, its arguments as a function of a seed, its options."""

    subject: Any
    name: str
    arguments: Callable[[int], tuple]
    options: dict[str, Any]

    def __str__(self) -> str:
        return self.name


def _audited_layer(case: LayerCase) -> Audited:
    options = {"key": jax.random.key(0) if case.draws else None, "train": case.train}
    return Audited(case.layer, str(case), lambda seed: case.point(seed)[:3], options)


def _audited_penalty(penalty: Any) -> Audited:
    case = LayerCase(Serial(Dense(3), Tanh(), Dense(2)), (4,))
    return Audited(penalty, str(penalty), lambda seed: (case.point(seed).params,), {})


# Every rule that has a gradient to audit: integers without params have none.
AUDITED = [
    *(_audited_layer(case) for case in WITH_GRADIENT if not case.integer or jax.tree.leaves(case.point().params)),
    *(Audited(case.loss, str(case), lambda seed, case=case: case.point(seed)[:2], {}) for case in LOSSES),
    *map(_audited_penalty, dict.fromkeys(jax.tree.leaves(PENALTIES, is_leaf=lambda each: hasattr(each, "gradient")))),
]


class RuleCase(NamedTuple):
    """A rule, and optax's equivalent: None where it has none."""

    rule: Any
    equivalent: Any

    def __str__(self) -> str:
        return str(self.rule)


def masked_decay(rate: float) -> Any:
    return optax.add_decayed_weights(rate, mask=weight_mask)


RULES = [
    RuleCase(gradient_descent(0.1), optax.sgd(0.1)),
    RuleCase(momentum(0.1), optax.sgd(0.1, momentum=0.9)),
    RuleCase(momentum(0.05, 0.5), optax.sgd(0.05, momentum=0.5)),
    RuleCase(nesterov(0.1), optax.sgd(0.1, momentum=0.9, nesterov=True)),
    RuleCase(adam(0.01), optax.adam(0.01)),
    RuleCase(adam(0.1, 0.8, 0.99, 1e-3), optax.adam(0.1, 0.8, 0.99, 1e-3)),
    RuleCase(adamw(0.01), optax.adamw(0.01, mask=weight_mask)),
    RuleCase(adamw(0.1, 0.8, 0.99, 1e-3, 0.3), optax.adamw(0.1, 0.8, 0.99, 1e-3, weight_decay=0.3, mask=weight_mask)),
    RuleCase(weight_decay(0.3), masked_decay(0.3)),
    RuleCase(clip_by_value(0.5), optax.clip(0.5)),
    RuleCase(clip_by_norm(0.5), None),
    RuleCase(clip_by_norm(100.0), optax.identity()),
    RuleCase(clip_by_global_norm(0.5), optax.clip_by_global_norm(0.5)),
    RuleCase(clip_by_global_norm(100.0), optax.clip_by_global_norm(100.0)),
    RuleCase(
        chain(clip_by_global_norm(1.0), weight_decay(0.1), momentum(0.1)),
        optax.chain(optax.clip_by_global_norm(1.0), masked_decay(0.1), optax.sgd(0.1, momentum=0.9)),
    ),
    RuleCase(proximal_l1(0.1, 0.3), None),
    RuleCase(chain(gradient_descent(0.1), proximal_l1(0.1, 0.3)), None),
    RuleCase(gradient_descent(schedules.exponential(0.1, 5, 0.5)), optax.sgd(optax.exponential_decay(0.1, 5, 0.5))),
    RuleCase(adamw(schedules.cosine(0.1, 10)), optax.adamw(optax.cosine_decay_schedule(0.1, 10), mask=weight_mask)),
]


class ScheduleCase(NamedTuple):
    """A schedule, and its rate at step t in plain Python, without its warm-up."""

    schedule: Any
    rate: Callable[[float], float]

    def __str__(self) -> str:
        return str(self.schedule)


SCHEDULES = [
    ScheduleCase(schedules.constant(0.3), lambda s: 0.3),
    ScheduleCase(schedules.constant(0.3, warmup=4), lambda s: 0.3),
    ScheduleCase(schedules.step_decay(0.3, 5), lambda s: 0.3 * 0.1 ** (s // 5)),
    ScheduleCase(schedules.step_decay(0.3, 5, 0.5, warmup=3), lambda s: 0.3 * 0.5 ** (s // 5)),
    ScheduleCase(schedules.exponential(0.3, 5), lambda s: 0.3 * 0.1 ** (s / 5)),
    ScheduleCase(schedules.exponential(0.3, 5, 0.5, warmup=1), lambda s: 0.3 * 0.5 ** (s / 5)),
    ScheduleCase(schedules.cosine(0.3, 10), lambda s: 0.3 * (1 + np.cos(np.pi * min(s / 10, 1))) / 2),
    ScheduleCase(
        schedules.cosine(0.3, 10, 0.2, warmup=3),
        lambda s: 0.3 * (0.2 + 0.8 * (1 + np.cos(np.pi * min(s / 10, 1))) / 2),
    ),
    ScheduleCase(schedules.inverse_time(0.3, 5), lambda s: 0.3 / (1 + s / 5)),
    ScheduleCase(schedules.inverse_time(0.3, 5, warmup=7), lambda s: 0.3 / (1 + s / 5)),
]


AUGMENTATIONS = [
    Flip(),
    Flip(1.0),
    Crop(2),
    Crop(0),
    Shift(),
    Shift(7),
    Rotate(),
    Rotate(180.0),
    Rotate(0.0),
    Noise(),
    Noise(30.0),
    Cutout(3),
    Cutout(4),
    Mixup(n_classes=3),
    Mixup(1.0, 5),
    Compose(),
    Compose(Flip(), Crop(1), Rotate(30.0), Noise(2.0), Cutout(2), Compose(Shift(), Mixup(0.5, 3))),
]
