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
from jaxnn.command_line.options import Config
from jaxnn.command_line.report import learning_curve, print_comparison, print_facts, print_layers
from jaxnn.command_line.run_folder import (
    LEARNING_CURVE,
    METRICS,
    RESULT,
    Learned,
    new_folder,
    require_new,
    versions,
    write_config,
    write_json,
    write_params,
)
from jaxnn.layer import Layer
from jaxnn.objective.losses import Loss
from jaxnn.training.evaluation import evaluate
from jaxnn.training.fit import Fit, fit
from jaxnn.training.run import start

ENDED = {
    "epochs": "all epochs run",
    "early": "validation loss stopped improving",
    "diverged": "the loss became NaN or infinite",
    "interrupted": "interrupted",
}


def train(config: Config, output: Path | None, progress: bool) -> int:
    """Train, show how it went and write the run's folder; 0, or 1 if the loss became NaN or infinite."""
    if output is not None:
        require_new(output)
    require_effective(config)
    config = config.resolved()
    with setting(config):
        return _train(config, output, progress)


def _train(config: Config, output: Path | None, progress: bool) -> int:
    prepared = prepare(config)
    problem = prepared.problem
    n = len(prepared.train[0])
    asked, config = config.training.remainder, config.for_examples(n)
    training = config.training
    net, loss = config.net(problem), config.objective.loss_function()
    penalty, rule = config.objective.penalty(), config.update.rule(training.n_steps(n))
    loop, stopping = training.loop_function(), training.stopping()
    if stopping is not None and prepared.validation is None:
        raise ValueError("--patience watches the validation loss, and none are held out: give --validation a number")

    key = training.key()
    require_room(net, prepared)
    run = start(net, problem.shape, key=key, update=rule, dtype=config.precision.dtype)
    _print_data(prepared)
    print_layers(net, problem.shape, training.rows_a_step(n), prepared.x_dtype)
    if training.remainder != asked:
        print(
            f"{n:,} examples are {n // training.batch_size} batches of {training.batch_size} and one more, too few for "
            "batch normalisation: it goes into the last batch (--remainder merge)\n"
        )
    x, y = first_batch(config, prepared)
    options = {"key": run.keys.noise, "penalty": penalty, "costs": False}
    comparison = audit.compare(net, loss, run.params, run.state, x, y, **options)
    print(f"Manual and automatic gradients on {len(x)} training examples")
    print_comparison(comparison)
    print(flush=True)

    with new_folder(output, prepared.name) as folder:
        write_config(folder, config, problem)
        began = time.perf_counter()
        try:
            fitted = fit(
                loop,
                net,
                loss,
                prepared.train,
                epochs=training.epochs,
                validation=prepared.validation,
                run=run,
                stopping=stopping,
                log=folder / METRICS,
                progress=progress,
                update=rule,
                penalty=penalty,
                metric=prepared.metric,
                augment=config.data.augmentation(problem),
                **training.options(),
            )
        except BaseException as error:
            if isinstance(learned := getattr(error, "fit", None), Fit):
                write_params(folder, net, config, Learned(learned.run.params, learned.run.state))
            raise
        seconds = time.perf_counter() - began
        has_best = fitted.best_epoch is not None and int(fitted.best_epoch) > 0
        kept = fitted.run if has_best or fitted.last_finite is None else fitted.last_finite
        learned = Learned(kept.params, kept.state)
        write_params(folder, net, config, learned)  # first: nothing that comes after can lose them
        result = {
            "ended": fitted.ended,
            "epochs": len(fitted.history.loss),
            **_measured(net, loss, learned, prepared),
            "seconds": seconds,
            "examples_per_second": _speed(folder / METRICS),
            "gradients_agree": comparison.ok,
            "gradient_error_float64": comparison.worst.float64_error,
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


def _measured(net: Layer, loss: Loss, learned: Learned, prepared: Prepared) -> dict[str, float]:
    """Loss and accuracy of the params that are kept, on every split. Test examples are used here and nowhere else."""
    numbers = {}
    for name, split in (("training", prepared.train), ("validation", prepared.validation), ("test", prepared.test)):
        if split is not None:
            measured = evaluate(net, loss, *learned, split, metric=prepared.metric)
            numbers[f"{name}_loss"] = float(measured.loss)
            if measured.metric is not None:
                numbers[f"{name}_accuracy"] = float(measured.metric)
    return numbers


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


def _verdict(fitted: Fit, config: Config) -> int:
    losses = np.asarray(fitted.history.loss)
    if np.isfinite(losses).all():
        return 0
    epoch = int(np.argmin(np.isfinite(losses))) + 1
    what = "NaN" if math.isnan(losses[epoch - 1]) else "infinite"
    print(
        f"jaxnn train: the loss became {what} in epoch {epoch}: give a --learning-rate smaller than "
        f"{config.update.learning_rate:g}, or clip the gradient with --clip-global-norm 1; the params "
        "that are kept are those before it",
        file=sys.stderr,
    )
    return 1
