"""Options that would have no effect on a run are refused: what somebody asked for isn't ignored in silence.

One table says what each option is for, by its flag's field: the values of another field with which it does something.
An option that isn't in it always does.
"""

from collections.abc import Iterator
from dataclasses import fields
from typing import Any, NamedTuple

from jaxnn.command_line.options import Config


class For(NamedTuple):
    """An option is for some values of another field, `part.name`; None stands for any value but None."""

    chosen: str
    values: tuple[Any, ...] | None


_PERCEPTRON = For("network.architecture", ("mlp", "cnn"))
_ADAM = For("update.update", ("adam", "adamw"))
_VELOCITY = For("update.update", ("momentum", "nesterov"))
_DECAYING = ("step", "exponential", "cosine", "inverse-time")

FOR: dict[str, For] = {
    "data.data_dir": For("data.data", ("mnist", "fashion-mnist")),
    "network.channels": For("network.architecture", ("cnn",)),
    "network.hidden": _PERCEPTRON,
    "network.activation": For("network.architecture", ("mlp", "cnn", "lenet5")),
    "network.output_activation": _PERCEPTRON,
    "network.init": _PERCEPTRON,
    "network.dropout": _PERCEPTRON,
    "network.batch_norm": _PERCEPTRON,
    "network.depth": For("network.architecture", ("resnet",)),
    "network.width": For("network.architecture", ("resnet",)),
    "objective.label_smoothing": For("objective.loss", ("softmax-cross-entropy", "sigmoid-cross-entropy")),
    "objective.huber_delta": For("objective.loss", ("huber",)),
    "update.momentum": _VELOCITY,
    "update.b1": _ADAM,
    "update.b2": _ADAM,
    "update.epsilon": _ADAM,
    "update.schedule_steps": For("update.schedule", _DECAYING),
    "update.schedule_factor": For("update.schedule", ("step", "exponential")),
    "update.schedule_final": For("update.schedule", ("cosine",)),
    "training.batch_size": For("training.loop", ("mbgd",)),
    "training.remainder": For("training.loop", ("mbgd",)),
    "training.devices": For("training.loop", ("mbgd", "bgd")),
    "training.min_improvement": For("training.patience", None),
}


def require_effective(config: Config) -> None:
    """Raises: ValueError for an option that would do nothing, with what it is for, and for a second softmax or sigmoid
    in front of a loss that has its own.
    """
    model = config.network.model
    for option, given in _given(config):
        if model is not None and option.startswith("network.") and option != "network.model":
            raise ValueError(f"{_flag(option)} {given} isn't for --model, which is the whole network: leave it out")
        use = FOR.get(option)
        chosen = None if use is None else _value(config, use.chosen)
        if use is None or (chosen is not None and (use.values is None or chosen in use.values)):
            continue
        flag = _flag(use.chosen)
        what = f"a run without {flag}" if chosen is None else f"{flag} {chosen}"
        words = "" if use.values is None else f", but for {flag} {' or '.join(use.values)}"
        raise ValueError(f"{_flag(option)} {given} isn't for {what}{words}: leave it out")
    activation = config.network.output_activation
    if config.objective.of_classes and activation in ("softmax", "sigmoid"):
        raise ValueError(
            f"--output-activation {activation} isn't for --loss {config.objective.loss}, which starts from logits and "
            "applies it itself: leave it out, or take another --loss"
        )


def _given(config: Config) -> Iterator[tuple[str, str]]:
    """The options that aren't at their default, as `part.name`, and their values as one types them."""
    for part in fields(Config):
        value = getattr(config, part.name)
        for option in fields(value):
            given = getattr(value, option.name)
            if given != option.default:
                words = map(str, given if isinstance(given, tuple) else (given,))
                yield f"{part.name}.{option.name}", " ".join(words)


def _value(config: Config, name: str) -> Any:
    part, field = name.split(".")
    return getattr(getattr(config, part), field)


def _flag(name: str) -> str:
    return f"--{name.split('.')[1].replace('_', '-')}"
