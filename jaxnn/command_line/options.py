"""A training run as plain data: every choice the command line offers, and the one place where it becomes objects.

A `Config` holds names and numbers, so it travels through JSON; its parts build the network, the loss, the penalty, the
update rule and the loop. The strings under the fields are the command line's help.
"""

import math
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import jax

from jaxnn.arrays import PyTree, Shape
from jaxnn.command_line.own_model import located, named_model
from jaxnn.layer import Layer, couples_batch
from jaxnn.networks.models import cnn, lenet5, mlp, resnet
from jaxnn.objective.gradient import autodiff, backprop
from jaxnn.objective.losses import (
    AbsoluteError,
    HalfSquaredError,
    Huber,
    Loss,
    SigmoidCrossEntropy,
    SoftmaxCrossEntropy,
)
from jaxnn.objective.penalties import l1, l2
from jaxnn.training import schedules
from jaxnn.training.augment import Augment, named
from jaxnn.training.fit import early_stopping
from jaxnn.training.links import clip_by_global_norm, clip_by_norm, clip_by_value, weight_decay
from jaxnn.training.loops import bgd, mbgd, sgd
from jaxnn.training.parallel import data_parallel
from jaxnn.training.run import require_counted
from jaxnn.training.updates import (
    UpdateRule,
    adam,
    adamw,
    chain,
    gradient_descent,
    momentum,
    nesterov,
)


@dataclass(frozen=True)
class Data:
    """What to learn from."""

    data: str = "digits"
    """digits, fashion-mnist, mnist, mnist1d, or the path of an .npz file, with the keys x_train and y_train, and as you
    like x_validation, y_validation, x_test, y_test; or x and y alone. Examples come first; images are NHWC: (B, height,
    width, channels). Integers are labels, from 0; floating targets are quantities."""
    data_dir: str | None = None
    """Folder with the four files of mnist or fashion-mnist; None means where the system's package puts them."""
    validation: int | None = None
    """Training examples held out for validation; None means the data set's usual number."""
    augment: tuple[Literal["flip", "crop", "shift", "rotate", "cutout", "mixup", "noise"], ...] = ()
    """Random changes of each step's images, in this order, as in: --augment flip crop."""

    def augmentation(self, problem: "Problem") -> Augment | None:
        return named(self.augment, problem.shape, problem.n_classes, problem.scale)


@dataclass(frozen=True)
class Network:
    """What learns."""

    architecture: Literal["mlp", "cnn", "lenet5", "resnet"] = "mlp"
    """Multilayer perceptron; convolutions of 3 x 3, each with pooling, then a perceptron; LeNet-5; residual network."""
    channels: tuple[int, ...] = (32, 64)
    """Channels of each convolution, as in: --channels 32 64 (cnn)."""
    hidden: tuple[int, ...] | None = None
    """Neurons of each hidden layer, as in: --hidden 256 128 100; None means 128 64 (mlp) or no hidden layer (cnn)."""
    depth: int = 8
    """Layers, 6 n + 2 for some n (resnet)."""
    width: int = 16
    """Channels of the first stage; the next two have twice and four times as many (resnet)."""
    activation: Literal[
        "relu", "sigmoid", "tanh", "leaky-relu", "prelu", "elu", "softplus", "silu", "gelu", "identity"
    ] = "relu"
    """After each hidden layer."""
    output_activation: Literal["none", "sigmoid", "softmax", "tanh"] = "none"
    """After the last layer. The cross-entropies start from logits and want none."""
    init: Literal["he", "glorot", "lecun", "orthogonal", "normal", "uniform", "zeros"] = "he"
    """Initial weights; normal is N(0, 1), uniform is U(-0.1, 0.1). Biases start at 0."""
    dropout: float = 0.0
    """Fraction of each hidden layer's outputs dropped in training."""
    batch_norm: bool = False
    """Batch normalisation before each hidden activation."""
    model: str | None = None
    """module.py:name or package.module:name: a layer, or a function that makes one, in place of all that."""

    def net(self, n_out: int, scale: float) -> Layer:
        if self.model is not None:
            return named_model(self.model)
        if self.architecture == "resnet":
            return resnet(self.depth, n_out, width=self.width, scale=scale)
        if self.architecture == "lenet5":
            return lenet5(n_out, self.activation, scale)
        options = {
            "output_activation": None if self.output_activation == "none" else self.output_activation,
            "weight_init": self.init,
            "batch_norm": self.batch_norm,
            "dropout": self.dropout,
            "scale": scale,
        }
        if self.architecture == "cnn":
            return cnn(self.channels, n_out, self.activation, hidden=self.hidden_sizes, **options)
        return mlp(self.hidden_sizes, n_out, self.activation, **options)

    @property
    def hidden_sizes(self) -> tuple[int, ...]:
        if self.hidden is None:
            return (128, 64) if self.architecture == "mlp" else ()
        return self.hidden

    def title(self, n_in: int, n_out: int) -> str:
        """A line for a figure: 784-128-64-10, relu."""
        if self.model is not None:
            return self.model.rpartition("/")[2]
        match self.architecture:
            case "resnet":
                return f"resnet-{self.depth} of width {self.width}"
            case "lenet5":
                return f"lenet5, {self.activation}"
            case "cnn":
                return f"cnn {'-'.join(map(str, (*self.channels, *self.hidden_sizes, n_out)))}, {self.activation}"
        return f"{'-'.join(map(str, (n_in, *self.hidden_sizes, n_out)))}, {self.activation}"


@dataclass(frozen=True)
class Objective:
    """What is minimised."""

    loss: Literal["softmax-cross-entropy", "sigmoid-cross-entropy", "half-squared-error", "absolute-error", "huber"] = (
        "softmax-cross-entropy"
    )
    """Mean over the examples. For all but the cross-entropies labels are made one-hot."""
    label_smoothing: float = 0.0
    """Fraction of each label spread over all classes (cross-entropies)."""
    huber_delta: float = 1.0
    """Size above which an error counts linearly instead of squared (huber)."""
    l1: float = 0.0
    """Strength of the penalty: l1 * sum |W|."""
    l2: float = 0.0
    """Strength of the penalty: l2 / 2 * sum W^2."""

    @property
    def of_classes(self) -> bool:
        """Whether the loss starts from logits and knows labels; the others take numbers."""
        return self.loss in ("softmax-cross-entropy", "sigmoid-cross-entropy")

    def loss_function(self) -> Loss:
        match self.loss:
            case "half-squared-error":
                return HalfSquaredError()
            case "absolute-error":
                return AbsoluteError()
            case "huber":
                return Huber(_positive("--huber-delta", self.huber_delta))
            case "sigmoid-cross-entropy":
                return SigmoidCrossEntropy(self.label_smoothing)
        return SoftmaxCrossEntropy(self.label_smoothing)

    def penalty(self) -> PyTree:
        strengths = {l1: _at_least_0("--l1", self.l1), l2: _at_least_0("--l2", self.l2)}
        return tuple(make(strength) for make, strength in strengths.items() if strength) or None


LEARNING_RATES = {"gradient-descent": 0.2, "momentum": 0.02, "nesterov": 0.02, "adam": 0.001, "adamw": 0.001}


@dataclass(frozen=True)
class Update:
    """How a gradient becomes a step."""

    update: Literal["gradient-descent", "momentum", "nesterov", "adam", "adamw"] = "gradient-descent"
    """The update rule."""
    learning_rate: float | None = None
    """None means 0.2 for gradient-descent, 0.02 for momentum and nesterov, 0.001 for adam and adamw."""
    momentum: float = 0.9
    """Fraction of the velocity kept (momentum, nesterov)."""
    b1: float = 0.9
    """Decay of the mean of gradients (adam, adamw)."""
    b2: float = 0.999
    """Decay of the mean of squared gradients (adam, adamw)."""
    epsilon: float = 1e-8
    """Added to the root of the mean square (adam, adamw)."""
    weight_decay: float | None = None
    """Decay of weights, not of biases; None means 0.0001 for adamw, 0 for the others."""
    schedule: Literal["constant", "step", "exponential", "cosine", "inverse-time"] = "constant"
    """How the learning rate changes with the step."""
    schedule_steps: int | None = None
    """Steps from one decay to the next; for cosine, steps to its end, and None means the end of the run."""
    schedule_factor: float = 0.1
    """What the learning rate is multiplied by every --schedule-steps (step, exponential)."""
    schedule_final: float = 0.0
    """Fraction of the learning rate at the end (cosine)."""
    warmup: int = 0
    """Steps over which the learning rate first rises to its value."""
    clip_value: float | None = None
    """Clip each number of the gradient to this size."""
    clip_norm: float | None = None
    """Shrink each tensor of the gradient to this norm."""
    clip_global_norm: float | None = None
    """Shrink the whole gradient to this norm."""

    def rule(self, n_steps: int) -> UpdateRule:
        """The rule of a run of `n_steps` steps: clipping, then decay, then the rule itself."""
        links: list[Any] = []
        clips = {"value": clip_by_value, "norm": clip_by_norm, "global_norm": clip_by_global_norm}
        for name, clip in clips.items():
            limit = getattr(self, f"clip_{name}")
            if limit is not None:
                links.append(clip(_positive(f"--clip-{name}".replace("_", "-"), limit)))
        decay = _at_least_0("--weight-decay", self.weight_decay or 0.0)
        if decay and self.update != "adamw":
            links.append(weight_decay(decay))
        links.append(self._rule(self._learning_rate(n_steps), decay))
        return links[0] if len(links) == 1 else chain(*links)

    def _rule(self, eta: Any, decay: float) -> UpdateRule:
        match self.update:
            case "gradient-descent":
                return gradient_descent(eta)
            case "momentum":
                return momentum(eta, _fraction("--momentum", self.momentum))
            case "nesterov":
                return nesterov(eta, _fraction("--momentum", self.momentum))
        b1, b2 = _fraction("--b1", self.b1), _fraction("--b2", self.b2)
        epsilon = _positive("--epsilon", self.epsilon)
        return adam(eta, b1, b2, epsilon) if self.update == "adam" else adamw(eta, b1, b2, epsilon, decay)

    def _learning_rate(self, n_steps: int) -> Any:
        if self.learning_rate is None:
            raise ValueError("this config has no learning rate yet: take config.resolved()")
        eta = _positive("--learning-rate", self.learning_rate)
        warmup, steps = _at_least_0("--warmup", self.warmup), self.schedule_steps
        if self.schedule == "constant":
            return schedules.constant(eta, warmup) if warmup else eta
        if self.schedule == "cosine":
            steps = max(n_steps - warmup, 1) if steps is None else steps
        if steps is None:
            raise ValueError(f"--schedule {self.schedule} needs --schedule-steps: this run has {n_steps} steps in all")
        _positive("--schedule-steps", steps)
        match self.schedule:
            case "cosine":
                return schedules.cosine(eta, steps, _fraction("--schedule-final", self.schedule_final), warmup)
            case "inverse-time":
                return schedules.inverse_time(eta, steps, warmup)
        factor = _positive("--schedule-factor", self.schedule_factor)
        decay = schedules.step_decay if self.schedule == "step" else schedules.exponential
        return decay(eta, steps, factor, warmup)


@dataclass(frozen=True)
class Training:
    """Which loop, and for how long."""

    loop: Literal["mbgd", "bgd", "sgd"] = "mbgd"
    """Mini-batch, batch (all examples a step) or stochastic (one a step) gradient descent."""
    batch_size: int = 8
    """Examples in each step (mbgd)."""
    remainder: Literal["step", "drop", "merge"] | None = None
    """What becomes of the examples after an epoch's whole batches (mbgd): a smaller step, none, or a larger last step.
    None means a step, but merge where it would have one example and there is batch normalisation."""
    epochs: int = 30
    """Passes over the training examples, at most."""
    patience: int | None = None
    """Stop after this many epochs without a better validation loss, and keep the best params."""
    min_improvement: float = 0.0
    """How much lower a validation loss must be to count as better (--patience)."""
    gradient: Literal["backprop", "autodiff"] = "backprop"
    """The hand-written backward pass, or jax.grad."""
    devices: int = 1
    """Share every batch among this many devices (mbgd, bgd)."""
    seed: int = 0
    """For everything random: initial weights, order of the examples, dropout, augmentation."""

    def key(self) -> jax.Array:
        """Raises: ValueError for a seed of more than 32 bits, of which JAX would use 32."""
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"--seed should be in 0 ... {2**32 - 1:,}, got {self.seed}")
        return jax.random.key(self.seed)

    def loop_function(self) -> Any:
        loop = {"mbgd": mbgd, "bgd": bgd, "sgd": sgd}[self.loop]
        if _positive("--devices", self.devices) == 1:
            return loop
        return partial(data_parallel, loop, devices=self.devices)

    def options(self) -> dict[str, Any]:
        """The loop's own keyword arguments."""
        gradient = backprop if self.gradient == "backprop" else autodiff
        batches = {"batch_size": self.batch_size, "remainder": self.remainder or "step"} if self.loop == "mbgd" else {}
        return {"gradient": gradient, **batches}

    def rows_a_step(self, n_examples: int) -> int:
        if self.loop == "mbgd" and _positive("--batch-size", self.batch_size) > n_examples:
            raise ValueError(
                f"--batch-size {self.batch_size} is larger than the set of {n_examples} examples: "
                f"give at most {n_examples}, or --loop bgd for the whole set"
            )
        return {"mbgd": self.batch_size, "bgd": n_examples, "sgd": 1}[self.loop]

    def n_steps(self, n_examples: int) -> int:
        """Steps of a whole run, without early stopping."""
        steps, rest = divmod(n_examples, self.rows_a_step(n_examples))
        steps += rest > 0 and self.remainder in (None, "step")
        require_counted(_positive("--epochs", self.epochs), steps)
        return self.epochs * steps

    def stopping(self) -> early_stopping | None:
        if self.patience is None:
            return None
        return early_stopping(_positive("--patience", self.patience), self.min_improvement)


@dataclass(frozen=True)
class Precision:
    """Types and precision of the arithmetic."""

    dtype: Literal["float32", "float64"] = "float32"
    """Type of params, activations and gradients."""
    matmul_precision: Literal["default", "high", "highest"] = "default"
    """Precision of matrix products; default means TF32 or bfloat16 on some accelerators."""


@dataclass(frozen=True)
class Problem:
    """What of a data set a network depends on. n_classes is None where targets are real numbers."""

    shape: Shape
    n_out: int
    n_classes: int | None
    scale: float


@dataclass(frozen=True)
class Config:
    """All choices of a run: the same config gives the same bits on the same machine."""

    data: Data = field(default_factory=Data)
    network: Network = field(default_factory=Network)
    objective: Objective = field(default_factory=Objective)
    update: Update = field(default_factory=Update)
    training: Training = field(default_factory=Training)
    precision: Precision = field(default_factory=Precision)

    def net(self, problem: Problem) -> Layer:
        net = self.network.net(problem.n_out, problem.scale)
        batch_of_one = self.training.loop == "sgd" or (self.training.loop == "mbgd" and self.training.batch_size == 1)
        if batch_of_one and couples_batch(net):
            raise ValueError("batch normalisation takes the variance over a step's examples: give a step more than one")
        return net

    def for_examples(self, n: int, net: Layer) -> "Config":
        """A copy for a set of n examples: a last step of one of them is no batch to normalise, and is merged."""
        training = self.training
        lonely = training.loop == "mbgd" and 1 < training.batch_size < n and n % training.batch_size == 1
        if training.remainder is None and lonely and couples_batch(net):
            return replace(self, training=replace(training, remainder="merge"))
        return self

    def resolved(self) -> "Config":
        """A copy whose file is complete: with the defaults that depend on the update rule, and a model's whole path."""
        rule, model = self.update, self.network.model
        rate = LEARNING_RATES[rule.update] if rule.learning_rate is None else rule.learning_rate
        decay = (1e-4 if rule.update == "adamw" else 0.0) if rule.weight_decay is None else rule.weight_decay
        network = self.network if model is None else replace(self.network, model=located(model))
        return replace(self, network=network, update=replace(rule, learning_rate=rate, weight_decay=decay))


def _positive(name: str, number: Any) -> Any:
    if not 0 < number < math.inf:
        raise ValueError(f"{name} should be a positive number, got {number}")
    return number


def _at_least_0(name: str, number: Any) -> Any:
    if not 0 <= number < math.inf:
        raise ValueError(f"{name} should be 0 or a positive number, got {number}")
    return number


def _fraction(name: str, number: float) -> float:
    if not 0 <= number < 1:
        raise ValueError(f"{name} should be in [0, 1), got {number}")
    return number
