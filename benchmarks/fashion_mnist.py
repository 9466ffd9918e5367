"""Fully connected networks on Fashion-MNIST: the recipe chosen on validation images, the test images read once.

    python benchmarks/fashion_mnist.py choose     every candidate on 55,000 images, its accuracy on the other 5,000
    python benchmarks/fashion_mnist.py final      the chosen recipes on all 60,000, three seeds, then the test

Published for 256-128-100: 0.8833 (the data set's README). `choose` writes results/fashion_mnist_choice.json, `final`
reads it and writes results/fashion_mnist.json. About 10 minutes each on 2 cores.
"""

import json
import sys
import time
from pathlib import Path

import jax
import timing

import jaxnn
from jaxnn import data
from jaxnn.networks.models import mlp
from jaxnn.training import schedules

RESULTS = Path(__file__).parent / "results"
SEEDS = (0, 1, 2)
LOSS = {"plain": jaxnn.SoftmaxCrossEntropy(), "smoothed": jaxnn.SoftmaxCrossEntropy(label_smoothing=0.1)}

# Candidates: (hidden, dropout, batch norm, loss, peak learning rate of AdamW, weight decay, epochs), batch size 128.
CANDIDATES = {
    "256-128-100": [
        ((256, 128, 100), 0.0, False, "plain", 1e-3, 1e-2, 15),
        ((256, 128, 100), 0.1, False, "plain", 1e-3, 1e-2, 25),
        ((256, 128, 100), 0.2, False, "smoothed", 2e-3, 1e-2, 30),
    ],
    "best": [
        ((512, 512), 0.3, False, "smoothed", 1e-3, 1e-2, 30),
        ((512, 512), 0.3, True, "smoothed", 2e-3, 5e-2, 30),
        ((1024, 512), 0.4, False, "smoothed", 1e-3, 5e-2, 30),
    ],
}
BATCH_SIZE = 128


def train(recipe, train_set, held_out, scale, seed):
    """Accuracy on the held-out images after the last epoch, and the seconds it took."""
    hidden, dropout, batch_norm, loss, rate, decay, epochs = recipe
    net = mlp(hidden, 10, batch_norm=batch_norm, dropout=dropout, scale=scale)
    steps = epochs * -(-len(train_set[0]) // BATCH_SIZE)
    rule = jaxnn.adamw(schedules.cosine(rate, steps=steps, warmup=500), weight_decay=decay)
    began = time.perf_counter()
    run, _ = jaxnn.mbgd(
        net, LOSS[loss], train_set, key=jax.random.key(seed), epochs=epochs, batch_size=BATCH_SIZE, update=rule
    )
    accuracy = float(jaxnn.evaluate(net, LOSS[loss], run.params, run.state, held_out).metric)
    return accuracy, time.perf_counter() - began


def choose():
    images = data.load("fashion-mnist")
    rows = []
    for kind, recipes in CANDIDATES.items():
        for recipe in recipes:
            accuracy, seconds = train(recipe, images.train, images.validation, images.scale, seed=0)
            rows.append({"kind": kind, "recipe": recipe, "validation_accuracy": accuracy, "seconds": seconds})
            print(kind, recipe, f"validation {accuracy:.4f} in {seconds:.0f} s", flush=True)
            write("fashion_mnist_choice.json", rows)


def final():
    rows = json.loads((RESULTS / "fashion_mnist_choice.json").read_text())["rows"]
    images = data.load("fashion-mnist", validation=0)
    finals = []
    for kind in CANDIDATES:
        chosen = max((row for row in rows if row["kind"] == kind), key=lambda row: row["validation_accuracy"])
        runs = [train(chosen["recipe"], images.train, images.test, images.scale, seed) for seed in SEEDS]
        accuracies, seconds = zip(*runs, strict=True)
        mean = sum(accuracies) / len(accuracies)
        finals.append({**chosen, "test_accuracies": accuracies, "mean": mean, "seconds": seconds})
        shown = [f"{accuracy:.4f}" for accuracy in accuracies]
        print(kind, chosen["recipe"], "test", shown, f"mean {mean:.4f}", flush=True)
    finals.append(one_epoch_of_sgd(images))
    write("fashion_mnist.json", finals)


def one_epoch_of_sgd(images):
    """60,000 updates, each of a single example, in one compiled program; its second call is timed."""
    net, rule = mlp((128,), 10, scale=images.scale), jaxnn.gradient_descent(0.01)

    def epoch(seed):
        run, _ = jaxnn.sgd(net, LOSS["plain"], images.train, key=jax.random.key(seed), epochs=1, update=rule)
        return jax.block_until_ready(run)

    epoch(0)
    began = time.perf_counter()
    run = epoch(1)
    seconds = time.perf_counter() - began
    accuracy = float(jaxnn.evaluate(net, LOSS["plain"], run.params, run.state, images.test).metric)
    print(f"sgd: {int(run.step):,} updates in {seconds:.1f} s, test {accuracy:.4f}", flush=True)
    return {"kind": "784-128-10, one epoch of sgd", "updates": int(run.step), "seconds": seconds, "test": accuracy}


def write(name, rows):
    text = json.dumps({"environment": timing.environment(), "rows": rows}, indent=1)
    (RESULTS / name).write_text(text + "\n")


if __name__ == "__main__":
    {"choose": choose, "final": final}[sys.argv[1]]()
