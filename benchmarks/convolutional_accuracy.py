"""Convolutional networks on Fashion-MNIST by `jaxnn train`: to which accuracy, in what time.

    python benchmarks/convolutional_accuracy.py choose [--kinds NAME ...]
    python benchmarks/convolutional_accuracy.py final [--kinds NAME ...]
    python benchmarks/convolutional_accuracy.py plot

`choose` trains every candidate on 55,000 images and looks at the other 5,000; the test images aren't in its files at
all. `final` trains the best candidate of each kind, by those 5,000, on all 60,000 and reads the test once a seed.
Published (the data set's README): 0.925 for two convolutions with fewer than 100,000 params, 0.939 for two
convolutions with augmentation. Third kind: the best in half an hour on 2 cores.

Every run is one command, `jaxnn train`, whose options are in the table. Writes results/convolutional_choice.json and
results/convolutional_accuracy.json, .md and .png as it goes; runs that they hold are kept. About an hour each on 2
cores.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import timing

from jaxnn import data, optional

RESULTS = Path(__file__).parent / "results"
CHOICE, FINAL = RESULTS / "convolutional_choice.json", RESULTS / "convolutional_accuracy.json"
COMMON = "--loop mbgd --batch-size 128 --update adamw --schedule cosine --warmup 500 --label-smoothing 0.1 --batch-norm"
CANDIDATES = {
    "under 100,000 params": [
        "--architecture cnn --channels 32 64 --dropout 0.3 --epochs 20 --learning-rate 0.003 --weight-decay 0.05",
        "--architecture cnn --channels 32 64 --hidden 24 --dropout 0.1 --epochs 20 --learning-rate 0.003 "
        "--weight-decay 0.05",
        "--architecture cnn --channels 24 48 64 --hidden 64 --dropout 0.2 --epochs 24 --learning-rate 0.003 "
        "--weight-decay 0.05 --augment shift flip",
    ],
    "two convolutions, augmented": [
        "--architecture cnn --channels 32 64 --hidden 256 --dropout 0.4 --epochs 30 --learning-rate 0.003 "
        "--weight-decay 0.05 --augment shift flip",
        "--architecture cnn --channels 64 128 --hidden 256 --dropout 0.4 --epochs 30 --learning-rate 0.002 "
        "--weight-decay 0.05 --augment shift flip",
    ],
    "half an hour": [
        "--architecture cnn --channels 48 96 192 --hidden 256 --dropout 0.4 --epochs 40 --learning-rate 0.002 "
        "--weight-decay 0.05 --augment shift flip",
    ],
}
PUBLISHED = {"under 100,000 params": 0.925, "two convolutions, augmented": 0.939}
SEEDS = {"under 100,000 params": (0, 1, 2), "two convolutions, augmented": (0,), "half an hour": (0,)}


def train(options, data_options, seed):
    """One run of `jaxnn train`: the facts of its result.json, and of each epoch the seconds so far and accuracy."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "run"
        command = [sys.executable, "-m", "jaxnn", "train", *data_options, *COMMON.split(), *options.split()]
        began = time.perf_counter()
        subprocess.run([*command, "--seed", str(seed), "--output", str(output)], check=True, capture_output=True)
        seconds = time.perf_counter() - began
        result = json.loads((output / "result.json").read_text())
        epochs = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    facts = {name: value for name, value in result.items() if name.endswith("_accuracy")}
    curve = [epoch.get("validation_metric") for epoch in epochs]
    elapsed = np.cumsum([epoch["seconds"] for epoch in epochs]).tolist()
    return {
        "options": f"{COMMON} {options}",
        "seed": seed,
        **facts,
        "seconds": seconds,
        "epoch_seconds": elapsed,
        "epoch_validation_accuracy": curve,
    }


def choose(kinds):
    rows = read(CHOICE)
    images = data.load("fashion-mnist")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fashion-mnist-without-test.npz"
        (x_train, y_train), (x_validation, y_validation) = images.train, images.validation
        np.savez(path, x_train=x_train, y_train=y_train, x_validation=x_validation, y_validation=y_validation)
        for kind in kinds:
            for options in CANDIDATES[kind]:
                if any((row["kind"], row["options"]) == (kind, f"{COMMON} {options}") for row in rows):
                    continue
                row = {"kind": kind} | train(options, ["--data", str(path)], seed=0)
                assert "test_accuracy" not in row
                print(
                    f"{kind}: validation {row['validation_accuracy']:.4f} in {row['seconds']:.0f} s: {options}",
                    flush=True,
                )
                rows.append(row)
                write(CHOICE, rows)


def final(kinds):
    rows, choice = read(FINAL), read(CHOICE)
    for kind in kinds:
        best = max((row for row in choice if row["kind"] == kind), key=lambda row: row["validation_accuracy"])
        rows = [row for row in rows if row["kind"] != kind or row["options"] == best["options"]]
        for seed in SEEDS[kind]:
            if any((row["kind"], row["options"], row["seed"]) == (kind, best["options"], seed) for row in rows):
                continue
            options = best["options"].removeprefix(COMMON)
            row = {"kind": kind} | train(options, ["--data", "fashion-mnist", "--validation", "0"], seed)
            print(f"{kind}, seed {seed}: test {row['test_accuracy']:.4f} in {row['seconds']:.0f} s", flush=True)
            rows.append(row)
            write(FINAL, rows)
    FINAL.with_suffix(".md").write_text(as_markdown(rows))
    plot(choice, FINAL.with_suffix(".png"))


def as_markdown(rows):
    lines = ["| | test accuracy | published | seconds a run | options of `jaxnn train` |", "| --- " * 5 + "|"]
    for kind in dict.fromkeys(row["kind"] for row in rows):
        found = [row for row in rows if row["kind"] == kind]
        accuracies = [row["test_accuracy"] for row in found]
        spread = f" ({min(accuracies):.4f} to {max(accuracies):.4f}, {len(found)} seeds)" if len(found) > 1 else ""
        seconds = np.mean([row["seconds"] for row in found])
        lines.append(
            f"| {kind} | {np.mean(accuracies):.4f}{spread} | {PUBLISHED.get(kind, '')} | {seconds:.0f} | "
            f"`{found[0]['options']}` |"
        )
    return "\n".join([*lines, ""])


def plot(rows, path):
    """Validation accuracy against the seconds of training, a line a candidate, the kinds by colour."""
    figure = optional.require("matplotlib.figure", "plot").Figure(figsize=(8, 4.8), layout="constrained")
    panel = figure.subplots()
    colours = dict(zip(CANDIDATES, ("#0072B2", "#D55E00", "#009E73"), strict=True))
    for kind, colour in colours.items():
        for k, row in enumerate(row for row in rows if row["kind"] == kind):
            seconds, accuracies = row["epoch_seconds"], row["epoch_validation_accuracy"]
            panel.plot(seconds, accuracies, color=colour, alpha=0.8, label=None if k else kind, marker=".")
        if kind in PUBLISHED:
            panel.axhline(
                PUBLISHED[kind], color=colour, linewidth=0.8, linestyle="--", label=f"{kind}: published (test)"
            )
    panel.set(xlabel="training time [s]", ylabel="validation accuracy", xscale="log", ylim=(0.85, None))
    panel.grid(alpha=0.3)
    panel.legend(loc="lower right")
    figure.savefig(path, dpi=120)


def read(path):
    return json.loads(path.read_text())["rows"] if path.exists() else []


def write(path, rows):
    path.write_text(json.dumps({"environment": timing.environment(), "rows": rows}, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("choose", "final", "plot"))
    parser.add_argument("--kinds", nargs="+", choices=CANDIDATES, default=list(CANDIDATES))
    options = parser.parse_args()
    {"choose": choose, "final": final, "plot": lambda kinds: final(())}[options.what](options.kinds)


if __name__ == "__main__":
    main()
