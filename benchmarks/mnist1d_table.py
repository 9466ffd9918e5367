"""MNIST-1D, signals of ten shapes: four models, the order of the samples kept and shuffled, five seeds.

    python benchmarks/mnist1d_table.py [--steps 6000] [--models NAME ...]

The published recipe: Adam at 0.01, batches of 100 of the 4,000 training signals, 6,000 steps, and the 1,000 test
signals read once at the end. The shuffled task has one fixed permutation of the 40 samples for all signals. The five
seeds of a model are one compiled program, an ensemble. Published (Greydanus and Kobak, "Scaling down deep learning"):
the README's numbers and, in brackets, the notebook's log, which is what the recipe gives; both are targets.

Writes results/mnist1d.json, .md and .png. Some minutes on 2 cores. Expect: the convolutional and the recurrent network
fall by more than thirty points when the samples are shuffled, and the other two don't change. The recurrent one has 24
params fewer than the published one, whose cell has second biases that add nothing.
"""

import argparse
import json
import time
from pathlib import Path

import jax
import numpy as np
import timing
from matplotlib.figure import Figure
from scipy import stats

import jaxnn
from jaxnn import data

RESULTS = Path(__file__).parent / "results"
BATCH_SIZE, LEARNING_RATE, N_SEEDS = 100, 0.01, 5

MODELS = {
    "logistic": jaxnn.Serial(jaxnn.Flatten(), jaxnn.Dense(10)),
    "MLP 40-100-100-10, residual": jaxnn.Serial(
        jaxnn.Flatten(),
        jaxnn.Dense(100),
        jaxnn.ReLU(),
        jaxnn.Residual(jaxnn.Serial(jaxnn.Dense(100), jaxnn.ReLU())),
        jaxnn.Dense(10),
    ),
    "CNN, 3 convolutions of 25": jaxnn.Serial(
        jaxnn.Conv1D(25, 5, stride=2, padding=((1, 1),)),
        jaxnn.ReLU(),
        jaxnn.Conv1D(25, 3, stride=2, padding=((1, 1),)),
        jaxnn.ReLU(),
        jaxnn.Conv1D(25, 3, stride=2, padding=((1, 1),)),
        jaxnn.ReLU(),
        jaxnn.Flatten(),
        jaxnn.Dense(10),
    ),
    "GRU of 6, both ways": jaxnn.Serial(
        jaxnn.Branches(
            jaxnn.Recurrent(jaxnn.GRUCell(6)),
            jaxnn.Recurrent(jaxnn.GRUCell(6), reverse=True),
            merge="concatenate",
        ),
        jaxnn.Flatten(),
        jaxnn.Dense(10),
    ),
}
# In percent: the README's, the notebook's log; then both of the shuffled task.
PUBLISHED = {
    "logistic": ((32, 31.5), (32, 31.5)),
    "MLP 40-100-100-10, residual": ((68, 65.1), (68, 66.0)),
    "CNN, 3 convolutions of 25": ((94, 92.3), (56, 58.7)),
    "GRU of 6, both ways": ((91, 89.1), (57, 53.3)),
}


def measured(name, shuffled, n_steps):
    """Test accuracy of each seed in percent, and the seconds of one run alone, without compilation."""
    net, loss, rule = MODELS[name], jaxnn.SoftmaxCrossEntropy(), jaxnn.adam(LEARNING_RATE)
    signals = data.load("mnist1d", validation=0)
    order = np.random.default_rng(0).permutation(40) if shuffled else np.arange(40)
    (x, y), (x_test, y_test) = ((x[:, order], y) for x, y in (signals.train, signals.test))
    options = {"epochs": n_steps // (len(x) // BATCH_SIZE), "batch_size": BATCH_SIZE, "update": rule}
    keys = jax.random.split(jax.random.key(0), N_SEEDS)
    runs, histories = jaxnn.ensemble(jaxnn.mbgd, net, loss, (x, y), keys=keys, share_order=False, **options)
    accuracies = []
    for seed in range(N_SEEDS):
        run = jaxnn.member(runs, seed)
        accuracies.append(100 * float(jaxnn.evaluate(net, loss, run.params, run.state, (x_test, y_test)).metric))
    jax.block_until_ready(jaxnn.mbgd(net, loss, (x, y), key=keys[0], **options | {"epochs": 1}))
    began = time.perf_counter()
    jax.block_until_ready(jaxnn.mbgd(net, loss, (x, y), key=keys[0], **options))
    seconds = time.perf_counter() - began
    n_params = sum(leaf[0].size for leaf in jax.tree.leaves(runs.params))
    return {
        "model": name,
        "params": n_params,
        "shuffled": shuffled,
        "steps": n_steps,
        "test_accuracy": accuracies,
        "train_accuracy": (100 * histories.metric[:, -1]).tolist(),
        "seconds_of_one_run": seconds,
    }


def interval(row):
    """Mean and half of its 95 % interval over the seeds."""
    samples = row["test_accuracy"]
    half = stats.t.ppf(0.975, len(samples) - 1) * np.std(samples, ddof=1) / np.sqrt(len(samples))
    return float(np.mean(samples)), float(half)


def by_model(rows):
    """(name, its row in order, its row shuffled) of each model."""
    by_order = {(row["model"], row["shuffled"]): row for row in rows}
    return [(name, by_order[name, False], by_order[name, True]) for name in dict.fromkeys(row["model"] for row in rows)]


def table(rows):
    lines = [
        "| model | params | test accuracy [%] | published | shuffled [%] | published | seconds for 1,000 steps |",
        "| --- " * 7 + "|",
    ]
    for name, plain, shuffled in by_model(rows):
        cells = []
        for row, (readme, log) in zip((plain, shuffled), PUBLISHED[name], strict=True):
            mean, half = interval(row)
            cells += [f"{mean:.1f} +- {half:.1f}", f"{readme} ({log})"]
        speed = 1000 * plain["seconds_of_one_run"] / plain["steps"]
        lines.append(f"| {name} | {plain['params']:,} | {' | '.join(cells)} | {speed:.2f} |")
    return "\n".join(lines) + "\n"


def figure(rows, path):
    canvas = Figure(figsize=(9, 3.8), layout="constrained")
    axes = canvas.subplots()
    models = by_model(rows)
    for shuffled, colour, shift in ((False, "#0072B2", -0.18), (True, "#E69F00", 0.18)):
        for i, (name, *both) in enumerate(models):
            mean, half = interval(both[shuffled])
            label = ("samples shuffled" if shuffled else "samples in order") + f", {N_SEEDS} seeds, 95 %"
            axes.bar(i + shift, mean, 0.32, yerr=half, color=colour, capsize=4, label=None if i else label)
            readme, log = PUBLISHED[name][shuffled]
            marks = {"color": "black", "zorder": 3}
            axes.plot(i + shift, readme, "_", markersize=24, label=None if i or shuffled else "published", **marks)
            axes.plot(i + shift, log, ".", label=None if i or shuffled else "published, the notebook's log", **marks)
    axes.set_xticks(range(len(models)), [f"{name}\n{plain['params']:,} params" for name, plain, _ in models])
    axes.set(ylabel="test accuracy [%]", ylim=(0, 100))
    axes.grid(axis="y", alpha=0.3)
    canvas.legend(loc="outside upper center", ncols=2)
    canvas.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--output", type=Path, default=RESULTS / "mnist1d.json")
    options = parser.parse_args()
    rows = []
    for name in options.models:
        for shuffled in (False, True):
            rows.append(measured(name, shuffled, options.steps))
            print({key: value for key, value in rows[-1].items() if key != "train_accuracy"}, flush=True)
    options.output.write_text(json.dumps({"environment": timing.environment(), "rows": rows}, indent=1) + "\n")
    options.output.with_suffix(".md").write_text(table(rows))
    figure(rows, options.output.with_suffix(".png"))
    print(table(rows))


if __name__ == "__main__":
    main()
