"""What somebody asks for on the command line has an effect, or is refused."""

from dataclasses import fields, replace

import pytest

from jaxnn.command_line.effects import FOR, require_effective
from jaxnn.command_line.options import Config, Data, Network, Objective, Training, Update

CHANGED = {  # a value for each option that isn't its default, where 1 will not do
    "data.data_dir": "somewhere", "network.channels": (3,), "network.hidden": (3,), "network.activation": "tanh",
    "network.output_activation": "tanh", "network.init": "glorot", "network.batch_norm": True,
    "training.remainder": "drop", "training.devices": 2,
}  # fmt: skip


def with_value(config, name, value):
    part, option = name.split(".")
    return replace(config, **{part: replace(getattr(config, part), **{option: value})})


@pytest.mark.parametrize("option", FOR)
def test_an_option_is_taken_where_it_is_for_something_and_refused_elsewhere(option):
    given, use = with_value(Config(), option, CHANGED.get(option, 7)), FOR[option]
    part, name = use.chosen.split(".")
    kind = {field.name: field for field in fields(getattr(Config(), part))}[name]
    choices = getattr(kind.type, "__args__", ("mnist", "digits")) if use.values is not None else (None, 5)
    for chosen in choices:
        config = with_value(given, use.chosen, chosen)
        is_for = chosen is not None if use.values is None else chosen in use.values
        if is_for:
            require_effective(config)
            continue
        flag = "--" + option.split(".")[1].replace("_", "-")
        with pytest.raises(ValueError, match=f"{flag} .* isn't for .*: leave it out"):
            require_effective(config)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (Config(network=Network("lenet5", hidden=(3, 4))), "--hidden 3 4 isn't for --architecture lenet5, but for"),
        (Config(network=Network("resnet", batch_norm=True)), "--batch-norm True isn't for --architecture resnet"),
        (
            Config(update=Update(momentum=0.5)),
            "--momentum 0.5 isn't for --update gradient-descent, but for",
        ),
        (
            Config(training=Training(min_improvement=0.1)),
            "--min-improvement 0.1 isn't for a run without --patience",
        ),
        (Config(objective=Objective(huber_delta=2.0)), "--huber-delta 2.0 isn't for --loss softmax-cross-entropy"),
        (
            Config(data=Data(data_dir="x")),
            "--data-dir x isn't for --data digits, but for --data mnist or",
        ),
        (
            Config(network=Network(hidden=(3,), model="m:net")),
            "--hidden 3 isn't for --model, which is the whole network",
        ),
        (Config(network=Network("cnn", model="m:net")), "--architecture cnn isn't for --model"),
        (Config(network=Network(output_activation="softmax")), "which starts from logits and applies it itself"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_words(config, words):
    with pytest.raises(ValueError, match=words):
        require_effective(config)


def test_every_option_is_in_the_table_or_always_has_an_effect():
    """Adding an option means saying what it is for, or here that it always is."""
    always = {
        "data": {"data", "validation", "augment"},
        "network": {"architecture", "model"},
        "objective": {"loss", "l1", "l2"},
        "update": {
            "update", "learning_rate", "weight_decay", "schedule", "warmup", "clip_value", "clip_norm",
            "clip_global_norm",
        },
        "training": {"loop", "epochs", "patience", "gradient", "seed"},
        "precision": {"dtype", "matmul_precision"},
    }  # fmt: skip
    for part in fields(Config):
        names = {field.name for field in fields(getattr(Config(), part.name))}
        assert names == always[part.name] | {name.split(".")[1] for name in FOR if name.startswith(part.name + ".")}
