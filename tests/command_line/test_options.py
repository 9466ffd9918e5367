"""A run as plain data: its parts become objects, and it survives JSON."""

from dataclasses import replace
from functools import partial
from typing import get_args, get_type_hints

import numpy as np
import pytest

import jaxnn
from jaxnn.command_line.options import (
    LEARNING_RATES,
    Config,
    Data,
    Network,
    Objective,
    Problem,
    Training,
    Update,
)
from jaxnn.networks import models
from jaxnn.networks.models import ACTIVATIONS, INITIALIZERS
from jaxnn.objective.losses import n_classes
from jaxnn.training import augment, schedules


def choices(kind, name):
    return get_args(get_type_hints(kind)[name])


def test_the_choices_are_the_names_that_models_know():
    assert set(choices(Network, "activation")) <= set(ACTIVATIONS)
    assert set(choices(Network, "output_activation")) - {"none"} <= set(ACTIVATIONS)
    assert set(choices(Network, "init")) == set(INITIALIZERS)
    assert set(choices(Update, "update")) == set(LEARNING_RATES)
    names, _ = choices(Data, "augment")
    assert get_args(names) == tuple(augment.AUGMENTATIONS)


def test_the_help_of_the_learning_rate_tells_the_truth():
    by_rate = {"0.2": ["gradient-descent"], "0.02": ["momentum", "nesterov"], "0.001": ["adam", "adamw"]}
    assert {name: float(rate) for rate, names in by_rate.items() for name in names} == LEARNING_RATES


@pytest.mark.parametrize("update", choices(Update, "update"))
@pytest.mark.parametrize("schedule", choices(Update, "schedule"))
def test_every_rule_goes_with_every_schedule(update, schedule):
    rule = Update(update, 0.5, schedule=schedule, schedule_steps=10, warmup=2).rule(n_steps=100)
    assert type(rule).__name__.replace("_", "-") == update
    assert float(rule.learning_rate(0)) == 0.25
    assert float(rule.learning_rate(2)) == 0.5
    assert float(rule.learning_rate(12)) < 0.5 or schedule == "constant"


def test_links_of_a_chain_stand_in_order():
    rule = Update("momentum", 0.5, weight_decay=0.1, clip_value=1.0, clip_norm=2.0, clip_global_norm=3.0).rule(1)
    assert rule == jaxnn.chain(
        jaxnn.clip_by_value(1.0),
        jaxnn.clip_by_norm(2.0),
        jaxnn.clip_by_global_norm(3.0),
        jaxnn.weight_decay(0.1),
        jaxnn.momentum(0.5, 0.9),
    )


def test_adamw_has_its_own_decay():
    config = Config(update=Update("adamw")).resolved()
    assert config.update.rule(1) == jaxnn.adamw(0.001, weight_decay=1e-4)


def test_a_number_needs_no_schedule():
    assert Config().resolved().update.rule(1) == jaxnn.gradient_descent(0.2)


def test_cosine_ends_with_the_run():
    rule = Update(learning_rate=1.0, schedule="cosine", warmup=10).rule(n_steps=100)
    assert rule.learning_rate == schedules.cosine(1.0, 90, 0.0, 10)


def test_losses_and_penalties():
    assert Objective().loss_function() == jaxnn.SoftmaxCrossEntropy()
    assert Objective("sigmoid-cross-entropy", 0.1).loss_function() == jaxnn.SigmoidCrossEntropy(0.1)
    assert Objective("half-squared-error").loss_function() == jaxnn.HalfSquaredError()
    assert Objective("absolute-error").loss_function() == jaxnn.AbsoluteError()
    assert Objective("huber").loss_function() == jaxnn.Huber()
    assert Objective("huber", huber_delta=0.5).loss_function() == jaxnn.Huber(0.5)
    assert Objective().penalty() is None
    assert Objective(l1=0.1, l2=0.2).penalty() == (jaxnn.l1(0.1), jaxnn.l2(0.2))


@pytest.mark.parametrize("loss", choices(Objective, "loss"))
def test_every_loss_takes_labels_or_numbers(loss):
    objective = Objective(loss)
    loss_function = objective.loss_function()
    if objective.of_classes:
        loss_function.check(np.zeros(5, int), (3,))
        assert n_classes(loss_function, np.zeros(5, int), (3,)) == 3
    else:
        loss_function.check(np.zeros((5, 3)), (3,))
        assert n_classes(loss_function, np.zeros((5, 3)), (3,)) is None


def test_loops_and_their_steps():
    assert Training("sgd").loop_function() is jaxnn.sgd
    shared = Training(devices=2).loop_function()
    assert isinstance(shared, partial)
    assert (shared.func, shared.args, shared.keywords) == (jaxnn.data_parallel, (jaxnn.mbgd,), {"devices": 2})
    assert [Training(loop, batch_size=30, epochs=2).n_steps(100) for loop in ("mbgd", "bgd", "sgd")] == [8, 2, 200]
    assert Training(gradient="autodiff").options() == {"gradient": jaxnn.autodiff, "batch_size": 8, "remainder": "step"}
    assert [Training(remainder=word, epochs=2).n_steps(17) for word in (None, "step", "drop", "merge")] == [6, 6, 4, 4]
    assert Training("bgd").options() == {"gradient": jaxnn.backprop}
    assert Training().stopping() is None
    assert Training(patience=3).stopping() == jaxnn.early_stopping(3, 0.0)


def test_augmentations_by_name_go_with_the_data():
    images = Problem((16, 16, 1), 10, 10, 0.5)
    given = Data(augment=("noise", "crop", "mixup")).augmentation(images)
    assert given == augment.Compose(augment.Noise(0.2), augment.Crop(2), augment.Mixup(n_classes=10))
    assert Data().augmentation(images) is None
    with pytest.raises(ValueError, match=r"flip: augmentation is for images \(H, W, C\), and one example is \(4,\)"):
        Data(augment=("flip",)).augmentation(Problem((4,), 3, 3, 1.0))


@pytest.mark.parametrize("field", ["momentum", "schedule_final"])
def test_fractions_are_fractions(field):
    update = replace(Update("momentum", 0.1, schedule="cosine"), **{field: 1.5})
    with pytest.raises(ValueError, match=rf"--{field.replace('_', '-')} should be in \[0, 1\), got 1.5"):
        update.rule(10)


def test_the_network_has_the_configs_layers():
    net = Config(
        network=Network(hidden=(3,), activation="sigmoid", output_activation="softmax", init="normal", dropout=0.5)
    ).net(Problem((8,), 2, 2, 0.1))
    normal = jaxnn.Normal()
    assert net.layers == (
        jaxnn.Flatten(),
        jaxnn.Rescale(0.1),
        jaxnn.Dense(3, normal),
        jaxnn.Sigmoid(),
        jaxnn.Dropout(0.5),
        jaxnn.Dense(2, normal),
        jaxnn.Softmax(),
    )


@pytest.mark.parametrize(
    ("network", "expected", "title"),
    [
        (Network(), models.mlp((128, 64), 10, scale=0.1), "784-128-64-10, relu"),
        (Network(hidden=()), models.mlp((), 10, scale=0.1), "784-10, relu"),
        (Network("cnn", activation="tanh"), models.cnn((32, 64), 10, "tanh", scale=0.1), "cnn 32-64-10, tanh"),
        (
            Network("cnn", (8,), (5,), batch_norm=True, dropout=0.2),
            models.cnn((8,), 10, hidden=(5,), batch_norm=True, dropout=0.2, scale=0.1),
            "cnn 8-5-10, relu",
        ),
        (Network("lenet5", activation="tanh"), models.lenet5(10, "tanh", 0.1), "lenet5, tanh"),
        (Network("resnet", depth=14, width=4), models.resnet(14, 10, width=4, scale=0.1), "resnet-14 of width 4"),
    ],
    ids=str,
)
def test_every_architecture_is_a_model(network, expected, title):
    assert network.net(10, 0.1) == expected
    assert network.title(784, 10) == title


def test_a_resnet_has_6n_and_2_layers():
    with pytest.raises(ValueError, match=r"depth should be 6 n \+ 2"):
        Network("resnet", depth=9).net(10, 1.0)


def test_a_last_batch_of_one_is_merged_under_batch_normalisation():
    """1,257 training digits are 157 batches of 8 and one more."""
    config, net = Config(), jaxnn.Serial(jaxnn.Dense(3), jaxnn.BatchNorm())
    assert config.for_examples(1257, net).training.remainder == "merge"
    given = replace(config, training=Training(remainder="drop"))
    for same, n, of in ((config, 1258, net), (config, 1257, jaxnn.Dense(3)), (given, 1257, net), (config, 8, net)):
        assert same.for_examples(n, of) is same
