"""A run as plain data: its parts become objects, and it survives JSON."""

import json
from dataclasses import asdict, replace
from functools import partial
from typing import get_args, get_type_hints

import numpy as np
import pytest

import jaxnn
from jaxnn import schedules
from jaxnn.models import ACTIVATIONS, INITIALIZERS
from jaxnn.recipes import (
    LEARNING_RATES,
    Network,
    Objective,
    Problem,
    Recipe,
    Training,
    Update,
    as_json,
    from_json,
)


def choices(kind, name):
    return get_args(get_type_hints(kind)[name])


def test_the_choices_are_the_names_that_models_know():
    assert set(choices(Network, "activation")) <= set(ACTIVATIONS)
    assert set(choices(Network, "output_activation")) - {"none"} <= set(ACTIVATIONS)
    assert set(choices(Network, "init")) == set(INITIALIZERS)
    assert set(choices(Update, "update")) == set(LEARNING_RATES)


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
    recipe = Recipe(update=Update("adamw")).resolved()
    assert recipe.update.rule(1) == jaxnn.adamw(0.001, weight_decay=1e-4)


def test_a_number_needs_no_schedule():
    assert Recipe().resolved().update.rule(1) == jaxnn.gradient_descent(0.2)


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
    takes_labels = objective.loss_function().check
    if objective.of_classes:
        assert takes_labels(np.zeros(5, int), (3,)) == 3
    else:
        assert takes_labels(np.zeros((5, 3)), (3,)) is None
        with pytest.raises(ValueError, match=f"--label-smoothing is for the cross-entropies: leave it out of {loss}"):
            replace(objective, label_smoothing=0.1).loss_function()


def test_loops_and_their_steps():
    assert Training("sgd").loop_function() is jaxnn.sgd
    shared = Training(devices=2).loop_function()
    assert isinstance(shared, partial)
    assert (shared.func, shared.args, shared.keywords) == (jaxnn.data_parallel, (jaxnn.mbgd,), {"devices": 2})
    assert [Training(loop, batch_size=30, epochs=2).n_steps(100) for loop in ("mbgd", "bgd", "sgd")] == [8, 2, 200]
    assert Training(gradient="autodiff").options() == {"gradient": jaxnn.autodiff, "batch_size": 8}
    assert Training("bgd").options() == {"gradient": jaxnn.backprop}
    assert Training().stopping() is None
    assert Training(patience=3).stopping() == jaxnn.early_stopping(3, 0.0)


def test_a_recipe_survives_json():
    recipe = Recipe(network=Network((3, 4), "tanh"), update=Update(clip_norm=1.0)).resolved()
    assert from_json(Recipe, json.loads(json.dumps(as_json(recipe))), "recipe") == recipe
    problem = Problem((8, 8, 1), 10, None, 1.0)
    assert from_json(Problem, json.loads(json.dumps(as_json(problem))), "problem") == problem


@pytest.mark.parametrize(
    ("part", "name", "value", "words"),
    [
        ("network", "hidden", ["3"], r"recipe.network.hidden should be tuple\[int, ...\], got a list"),
        ("network", "activation", "rleu", r"recipe.network.activation should be Literal\['relu'"),
        ("network", "dropout", "0.1", "recipe.network.dropout should be float, got a str"),
        ("network", "batch_norm", 1, "recipe.network.batch_norm should be bool, got a int"),
        ("training", "epochs", 1.5, "recipe.training.epochs should be int, got a float"),
        ("training", "colour", 1, r"recipe.training should have .* unknown: \['colour'\]"),
    ],
)
def test_a_damaged_recipe_is_refused_with_the_place(part, name, value, words):
    found = json.loads(json.dumps(asdict(Recipe())))
    found[part][name] = value
    with pytest.raises(ValueError, match=words):
        from_json(Recipe, found, "recipe")


def test_a_part_that_is_missing_is_named():
    with pytest.raises(ValueError, match=r"missing or unknown: \['network'\]"):
        from_json(Recipe, {name: part for name, part in as_json(Recipe()).items() if name != "network"}, "recipe")
    with pytest.raises(ValueError, match="fields of a Recipe"):
        from_json(Recipe, [], "recipe")


@pytest.mark.parametrize("field", ["momentum", "schedule_final"])
def test_fractions_are_fractions(field):
    update = replace(Update("momentum", 0.1, schedule="cosine"), **{field: 1.5})
    with pytest.raises(ValueError, match=rf"--{field.replace('_', '-')} should be in \[0, 1\), got 1.5"):
        update.rule(10)


def test_the_network_has_the_recipes_layers():
    net = Recipe(network=Network((3,), "sigmoid", "softmax", "normal", 0.5)).net(Problem((8,), 2, 2, 0.1))
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
