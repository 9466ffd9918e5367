"""Networks by name: what the command line builds, and what saves a line in a script."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from jaxnn.layer import Layer
from jaxnn.layers.activations import (
    ELU,
    GELU,
    Identity,
    LeakyReLU,
    PReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from jaxnn.layers.batch_norm import BatchNorm
from jaxnn.layers.convolution import Conv2D
from jaxnn.layers.dense import Dense
from jaxnn.layers.dropout import Dropout
from jaxnn.layers.initializers import Glorot, He, LeCun, Normal, Orthogonal, Uniform, Zeros
from jaxnn.layers.pooling import GlobalAvgPool, MaxPool
from jaxnn.layers.rescale import Rescale
from jaxnn.layers.reshape import Flatten
from jaxnn.networks.combinators import Branches, Remat, Residual, Serial

T = TypeVar("T")

ACTIVATIONS: dict[str, Layer] = {
    "relu": ReLU(),
    "sigmoid": Sigmoid(),
    "tanh": Tanh(),
    "leaky-relu": LeakyReLU(),
    "prelu": PReLU(),
    "elu": ELU(),
    "softplus": Softplus(),
    "silu": SiLU(),
    "gelu": GELU(),
    "identity": Identity(),
    "softmax": Softmax(),
}

INITIALIZERS: dict[str, Callable[..., Any]] = {
    "he": He(),
    "glorot": Glorot(),
    "lecun": LeCun(),
    "orthogonal": Orthogonal(),
    "normal": Normal(),
    "uniform": Uniform(),
    "zeros": Zeros(),
}


def mlp(
    hidden: Sequence[int],
    n_out: int,
    activation: str | Layer = "relu",
    *,
    output_activation: str | Layer | None = None,
    weight_init: str | Callable[..., Any] = "he",
    batch_norm: bool = False,
    dropout: float = 0.0,
    scale: float = 1.0,
) -> Serial:
    """A multilayer perceptron on examples of any shape.

    Flatten, Rescale(scale), then for each of `hidden`: Dense, [BatchNorm], activation, [Dropout]; then Dense(n_out) and
    [output_activation]. A Dense before BatchNorm has no bias, since the normalisation would subtract it again.

    Args:
        hidden: neurons of each hidden layer; none for a linear model.
        activation, output_activation: a name in `ACTIVATIONS`, or a layer; no output activation gives logits.
        weight_init: a name in `INITIALIZERS`, or an initialiser; biases start at 0.
        dropout: the fraction dropped after each hidden activation.
        scale: what x is multiplied by, such as 1/255 for images of uint8.
    Shapes: x (B, ...) -> (B, n_out).
    Raises: ValueError for a name that isn't known, or a number that a layer refuses.

    >>> mlp([30], 10, "sigmoid", scale=1 / 255)
    Serial(Reshape((-1,)), Rescale(0.00392156862745098), Dense(30), Sigmoid(), Dense(10))
    >>> mlp([30], 10, batch_norm=True, dropout=0.2).output_shape((28, 28, 1))
    (10,)
    """
    act = _named("activation", activation, ACTIVATIONS)
    init = _named("initialiser", weight_init, INITIALIZERS)
    layers: list[Layer] = [Flatten(), Rescale(scale)]
    for n in hidden:
        layers += [Dense(n, init, bias=not batch_norm), *([BatchNorm()] if batch_norm else []), act]
        layers += [Dropout(dropout)] if dropout else []
    layers.append(Dense(n_out, init))
    if output_activation is not None:
        layers.append(_named("output activation", output_activation, ACTIVATIONS))
    return Serial(*layers)


def cnn(
    channels: Sequence[int],
    n_out: int,
    activation: str | Layer = "relu",
    *,
    hidden: Sequence[int] = (),
    window: int = 3,
    output_activation: str | Layer | None = None,
    weight_init: str | Callable[..., Any] = "he",
    batch_norm: bool = False,
    dropout: float = 0.0,
    scale: float = 1.0,
) -> Serial:
    """A convolutional network on images: each of `channels` halves height and width; then a multilayer perceptron.

    Rescale(scale), then for each of `channels`: Conv2D, [BatchNorm], MaxPool(2), activation; then Flatten, [Dropout],
    and for each of `hidden`: Dense, [BatchNorm], activation, [Dropout]; then Dense(n_out) and [output_activation].
    The maximum is taken before the activation: for a monotone one the result is the same, on a quarter of the numbers.

    Args: `window` is the convolutions'; otherwise as in `mlp`.
    Shapes: x (B, H, W, C) -> (B, n_out).
    Raises: ValueError for a name that isn't known, or a number that a layer refuses.

    >>> cnn([32, 64], 10).output_shape((28, 28, 1))
    (10,)
    """
    act = _named("activation", activation, ACTIVATIONS)
    init = _named("initialiser", weight_init, INITIALIZERS)
    layers: list[Layer] = [Rescale(scale)]
    for n in channels:
        norm = [BatchNorm()] if batch_norm else []
        layers += [Conv2D(n, window, weight_init=init, bias=not batch_norm), *norm, MaxPool(2), act]
    flatten, _, *rest = mlp(
        hidden,
        n_out,
        act,
        output_activation=output_activation,
        weight_init=init,
        batch_norm=batch_norm,
        dropout=dropout,
    ).layers
    return Serial(*layers, flatten, *([Dropout(dropout)] if dropout else []), *rest)


def small_cnn(n_out: int = 10, scale: float = 1.0) -> Serial:
    """Two convolutions and a linear layer: 50,186 params on images of 28 x 28 with 10 classes.

    >>> small_cnn(10).output_shape((28, 28, 1))
    (10,)
    """
    return cnn((32, 64), n_out, scale=scale)


def batch_norm_cnn(n_out: int = 10, scale: float = 1.0) -> Serial:
    """Two convolutions and a hidden layer of 128, each with batch normalisation."""
    return cnn((32, 64), n_out, hidden=(128,), batch_norm=True, scale=scale)


def lenet5(n_out: int = 10, activation: str | Layer = "relu", scale: float = 1.0) -> Serial:
    """LeNet-5 in its usual modern form: 5 x 5 convolutions of 6 and 16 channels, 2 x 2 max-pooling, then 120-84-n_out.

    44,426 params on images of 28 x 28 with 10 classes. The original has tanh, learned means and sparse connections.
    Shapes: x (B, 28, 28, 1), or another height, width and number of channels -> (B, n_out).
    Source: LeCun et al. 1998, section II B.

    >>> lenet5().output_shape((28, 28, 1))
    (10,)
    """
    act = _named("activation", activation, ACTIVATIONS)
    return Serial(
        Rescale(scale),
        *(Conv2D(6, 5, padding="VALID"), MaxPool(2), act),
        *(Conv2D(16, 5, padding="VALID"), MaxPool(2), act),
        Flatten(),
        *(Dense(120), act, Dense(84), act, Dense(n_out)),
    )


def resnet(depth: int = 8, n_out: int = 10, *, width: int = 16, scale: float = 1.0) -> Serial:
    """A residual network of `depth` = 6 n + 2 layers: three stages of n blocks, of width, 2 width and 4 width channels.

    A block is x + f(x), where f is [BatchNorm, ReLU, Conv2D] twice; the first block of stages 2 and 3 halves height and
    width, and its skip connection is a 1 x 1 convolution. Each [BatchNorm, ReLU, Conv2D] is in Remat, so a block keeps
    one tensor per convolution for backward, the input of the three: the normalised and the rectified tensors are
    recomputed, which is cheap, and the convolution's own output isn't needed for it.

    Shapes: x (B, H, W, C) -> (B, n_out).
    Raises: ValueError if depth isn't 6 n + 2 for some n of 1 or more.
    Source: He et al. 2016, "Identity mappings in deep residual networks"; depths and widths of their CIFAR networks.

    >>> resnet(20).output_shape((32, 32, 3))
    (10,)
    """
    n, rest = divmod(depth - 2, 6)
    if n < 1 or rest:
        raise ValueError(f"resnet: depth should be 6 n + 2, as in 8, 14, 20, 32, 56 or 110, got {depth}")
    layers: list[Layer] = [Rescale(scale), Conv2D(width, bias=False)]
    for stage in range(3):
        layers += [residual_block(width * 2**stage, 2 if stage and not i else 1) for i in range(n)]
    return Serial(*layers, BatchNorm(), ReLU(), GlobalAvgPool(), Dense(n_out))


def residual_block(channels: int, stride: int = 1) -> Layer:
    """x + f(x), f twice [BatchNorm, ReLU, Conv2D], keeping one tensor per convolution; with a stride, x is projected.

    A TPU's compiler does as much by itself. To save more, recompute whole blocks: on a GPU by
    `Remat(residual_block(32))`, on a TPU without the Remats inside. benchmarks/aot_memory.py has all three forms.
    """

    def convolved(stride: int) -> Layer:
        return Remat(Serial(BatchNorm(), ReLU(), Conv2D(channels, stride=stride, bias=False)))

    f = Serial(convolved(stride), convolved(1))
    return Residual(f) if stride == 1 else Branches(Conv2D(channels, 1, stride=stride, bias=False), f)


def _named(what: str, choice: str | T, known: Mapping[str, T]) -> T:
    if not isinstance(choice, str):
        return choice
    if choice not in known:
        raise ValueError(f"there is no {what} {choice!r}: expected one of {', '.join(known)}")
    return known[choice]
