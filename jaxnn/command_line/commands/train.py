"""jaxnn train: train a network, and write a folder with all that came of it."""

import json
import math
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from jaxnn import audit
from jaxnn.command_line.commands.setting import Prepared, first_batch, prepare, require_room, setting
from jaxnn.command_line.effects import require_effective
from jaxnn.command_line.interrupts import INTERRUPTED, letting_an_epoch_finish
from jaxnn.command_line.keeping import Keeper, saying_what_is_kept
from jaxnn.command_line.options import Config
from jaxnn.command_line.own_model import require_fit
from jaxnn.command_line.report import learning_curve, print_facts, print_layers, print_outcome
from jaxnn.command_line.run_folder import (
    LEARNING_CURVE,
    METRICS,
    RESULT,
    Learned,
    new_folder,
    require_new,
    reserve_params,
    versions,
    write_config,
    write_json,
)
from jaxnn.layer import Layer
from jaxnn.objective.losses import Loss
from jaxnn.training.evaluation import Metric, evaluate, metric_for
from jaxnn.training.examples import checked_splits
from jaxnn.training.fit import Fit, fit
from jaxnn.training.run import start

ENDED = {
    "epochs": "all epochs run",
    "early": "validation loss stopped improving",
    "diverged": "the loss became NaN or infinite",
    "interrupted": "interrupted",
}


def train(config: Config, output: Path | None, progress: bool, *, compare: bool = True, overwrite: bool = False) -> int:
    """Train, show how it went and write the run's folder.

    The exit status: 0, 1 if the loss became NaN or infinite, 130 after Ctrl-C.
    """
    if output is not None:
        require_new(output, overwrite=overwrite)
    require_effective(config)
    config = config.resolved()
    with setting(config):
        return _train(config, output, progress, compare, overwrite)


def _train(config: Config, output: Path | None, progress: bool, compare: bool, overwrite: bool) -> int:
    prepared = prepare(config)
    problem, n = prepared.problem, len(prepared.train[0])
    net, loss = prepared.net, config.objective.loss_function()
    asked, config = config.training.remainder, config.for_examples(n, net)
    training = config.training
    n_rows = training.rows_a_step(n)
    penalty, rule = config.objective.penalty(), config.update.rule(training.n_steps(n))
    loop, stopping, augment = training.loop_function(), training.stopping(), config.data.augmentation(problem)
    if stopping is not None and prepared.validation is None:
        raise ValueError("--patience watches the validation loss, and none are held out: give --validation a number")
    require_room(net, prepared)
    if config.network.model is not None:
        require_fit(config.network.model, net, first_batch(config, prepared), prepared.name, loss)
    data, validation = checked_splits(prepared.train, prepared.validation, net, loss)
    metric = metric_for("auto", net, loss, data)

    run = start(net, problem.shape, key=training.key(), update=rule, dtype=config.precision.dtype)
    _print_data(prepared)
    print_layers(net, problem.shape, n_rows, prepared.x_dtype)
    if training.remainder != asked:
        print(
            f"{n:,} examples are {n // n_rows} batches of {n_rows} and one more, too few for\n"
            "batch normalisation: it goes into the last batch (--remainder merge)\n"
        )
    comparison = None
    if compare:
        x, y = first_batch(config, prepared)
        options = {"key": run.keys.noise, "penalty": penalty, "costs": False}
        comparison = audit.compare(net, loss, run.params, run.state, x, y, **options)
        print_outcome(comparison, len(x))

    with new_folder(output, prepared.name, overwrite=overwrite) as folder, saying_what_is_kept(folder):
        write_config(folder, config, problem)
        reserve_params(folder, net, config, problem, Learned(run.params, run.state))
        keeper = Keeper(folder, net, config, problem)
        began = time.perf_counter()
        with keeper.keeping(), letting_an_epoch_finish() as interrupted:
            fitted = fit(
                loop,
                net,
                loss,
                data,
                epochs=training.epochs,
                validation=validation,
                run=run,
                stopping=stopping,
                log=folder / METRICS,
                progress=progress,
                after_epoch=keeper.note,
                interrupted=interrupted,
                update=rule,
                penalty=penalty,
                metric=metric,
                augment=augment,
                **training.options(),
            )
            keeper.note(fitted)
        result = {
            "ended": fitted.ended,
            "epochs": len(fitted.history.loss),
            "epoch_of_params": _epoch_of_params(fitted),
            "seconds": time.perf_counter() - began,
            "examples_per_second": _speed(folder / METRICS),
            **_measured(net, loss, Learned(fitted.run.params, fitted.run.state), prepared, metric),
            **_compared(comparison),
            "versions": versions(),
        }
        write_json(folder / RESULT, result)
        unit = "nat" if config.objective.of_classes else "1"
        learning_curve(fitted.history, folder / LEARNING_CURVE, _title(prepared, config), unit)
    _print_result(result, folder)
    return _verdict(fitted, config)


def _title(prepared: Prepared, config: Config) -> str:
    network, training = config.network, config.training
    title = network.title(math.prod(prepared.problem.shape), prepared.problem.n_out)
    return f"{prepared.name}: {title}, {training.loop}, {config.update.update}, seed {training.seed}"


def _measured(net: Layer, loss: Loss, learned: Learned, prepared: Prepared, metric: Metric | None) -> dict[str, float]:
    """Loss and accuracy of the params that are kept, on every split. Test examples are used here and nowhere else."""
    numbers = {}
    for name, split in (("training", prepared.train), ("validation", prepared.validation), ("test", prepared.test)):
        if split is not None:
            measured = evaluate(net, loss, *learned, split, metric=metric)
            numbers[f"{name}_loss"] = float(measured.loss)
            if measured.metric is not None:
                numbers[f"{name}_accuracy"] = float(measured.metric)
    return numbers


def _compared(comparison: audit.Comparison | None) -> dict[str, Any]:
    if comparison is None:
        return {}
    return {"gradients_agree": comparison.ok, "gradient_error_float64": comparison.worst.float64_error}


def _speed(metrics: Path) -> float:
    """Examples per second: the median over the epochs after the first, which includes compilation."""
    rows = [json.loads(line)["examples_per_second"] for line in metrics.read_text(encoding="utf-8").splitlines()]
    return statistics.median(rows[1:] or rows)


def _print_data(prepared: Prepared) -> None:
    splits = {"training": prepared.train, "validation": prepared.validation, "test": prepared.test}
    counts = ", ".join(f"{len(split[0]):,} {name}" for name, split in splits.items() if split is not None)
    print(f"{prepared.name}: {counts} examples of shape {prepared.problem.shape}, {prepared.x_dtype}\n")


def _print_result(result: dict[str, Any], folder: Path) -> None:
    measured = {name: value for name, value in result.items() if name.endswith(("_loss", "_accuracy"))}
    facts = [
        ("epochs", f"{result['epochs']} ({ENDED[result['ended']]})"),
        *((name.replace("_", " "), value) for name, value in measured.items()),
        ("seconds", f"{result['seconds']:.1f}"),
        ("examples per second", f"{result['examples_per_second']:,.0f} (median epoch)"),
        ("folder", folder),
    ]
    print_facts("Result", facts)


def _epoch_of_params(fitted: Fit) -> int:
    """The epoch at whose end the network had the params that are kept; 0 is before the first."""
    if fitted.best_epoch is not None and int(fitted.best_epoch) > 0:
        return int(fitted.best_epoch)
    return int(fitted.run.epoch)


def _verdict(fitted: Fit, config: Config) -> int:
    if fitted.ended == "interrupted":
        return INTERRUPTED
    losses = np.asarray(fitted.history.loss)
    if fitted.ended != "diverged":
        return 0
    finite = np.isfinite(losses)
    epoch = len(losses) if finite.all() else int(np.argmin(finite)) + 1
    value = "NaN" if np.isnan(losses[epoch - 1]) else "infinite"
    what = "params became NaN or infinite" if finite.all() else f"loss became {value}"
    print(
        f"jaxnn train: the {what} in epoch {epoch}: give a --learning-rate smaller than "
        f"{config.update.learning_rate:g}, or clip the gradient with --clip-global-norm 1; the params that are kept "
        f"are those after epoch {_epoch_of_params(fitted)}",
        file=sys.stderr,
    )
    return 1
