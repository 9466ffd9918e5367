"""Networks by name: what the command line builds, and what saves a line in a script."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from jaxnn.activations import (
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
from jaxnn.combinators import Serial
from jaxnn.initializers import Glorot, He, LeCun, Normal, Orthogonal, Uniform, Zeros
from jaxnn.layer import Layer
from jaxnn.layers import BatchNorm, Dense, Dropout, Flatten, Rescale

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
    [output_activation]. A Dense before BatchNorm has no bias, for the normalisation would take it off again.

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


def _named(what: str, choice: str | T, known: Mapping[str, T]) -> T:
    if not isinstance(choice, str):
        return choice
    if choice not in known:
        raise ValueError(f"there is no {what} {choice!r}: expected one of {', '.join(known)}")
    return known[choice]
