"""What a training step of convolutional networks costs: by hand, by machine in three forms, and in PyTorch.

    python benchmarks/convolutional.py [--rounds 60] [--batch 128] [--networks NAME ...] [--torch PYTHON] [--plot]

Networks: two convolutions of 3 x 3 with pooling and a hidden layer of 128 (`models.cnn`), the same with batch
normalisation, three pre-activation residual blocks, LeNet-5. By machine: `jax.grad` of an idiomatic forward (a), of
our own (b), and the best that `jax.checkpoint` makes of either (c). A row is a step as one compiled program, called
from Python; or three of them in one `lax.scan`, as in every loop of this library.

Each candidate has a process of its own and they take turns (turns.py); the machine should have nothing else to do.
--torch names an interpreter that has PyTorch; without it PyTorch is left out. Writes results/convolutional.json as it
goes (rows that it holds are kept, but for --again), .md and .png, which --plot makes anew from the JSON. About 20
minutes on 2 cores. Expect, on JAX 0.12: two-conv 2.5x faster than (a), 1.3x than (b), 20x in a scan.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import timing
from turns import Candidate, measured

from jaxnn import aot, optional

RESULTS = Path(__file__).parent / "results" / "convolutional.json"
NETWORKS = ("two-conv", "batch-norm", "residual", "lenet5")
STEPS, SCAN_ROUNDS = 3, 5  # the library's convolutions take seconds a step inside of a scan
HAND = "by hand"
OURS = {
    HAND: aot.BY_HAND,
    "by hand, again": aot.BY_HAND,
    "(a) jax.grad, idiomatic": aot.IDIOMATIC,
    "(b) jax.grad, our forward": aot.OWN_FORWARD,
    "(c) jax.grad, checkpoint": aot.CHECKPOINT,
}
TORCH = {"PyTorch": "eager", "PyTorch, channels last": "channels_last", "PyTorch, compiled": "compiled"}
COLOURS = ("#0072B2", "#56B4E9", "#D55E00", "#E69F00", "#CC79A7", "#009E73", "#000000", "#999999")


def candidates(torch, in_scan):
    found = [Candidate(label, "ours", name) for label, name in OURS.items()]
    if torch and not in_scan:  # PyTorch has no loop to compile
        found += [Candidate(label, "pytorch", name, torch) for label, name in TORCH.items()]
    return found


def row(network, batch, in_scan, n_rounds, torch):
    """Seconds a step, ratios to the hand-written one within a round, and facts, of each candidate."""
    spec = {"network": network, "batch": batch} | ({"steps": STEPS} if in_scan else {})
    found = measured(candidates(torch, in_scan), spec, SCAN_ROUNDS if in_scan else n_rounds)
    per_step = STEPS if in_scan else 1
    assert len({each.facts["n_params"] for each in found.values()}) == 1, "the peers' networks differ"
    return {
        "network": network,
        "batch": batch,
        "where": "in lax.scan" if in_scan else "a call",
        "rounds": len(found[HAND].seconds),
        "milliseconds": {
            label: {"min": 1e3 * each.seconds.min() / per_step, "median": 1e3 * np.median(each.seconds) / per_step}
            for label, each in found.items()
        },
        "over_hand": {label: timing.ratio(each.seconds, found[HAND].seconds) for label, each in found.items()},
        "facts": {label: each.facts for label, each in found.items()},
    }


def as_markdown(result):
    lines = []
    for each in result["rows"]:
        lines += ["", f"**{each['network']}, batch {each['batch']}, {each['where']}** ({each['rounds']} rounds)", ""]
        lines += ["| | ms a step | over by hand | temporaries [MB] | to the first step [s] |", "| --- " * 5 + "|"]
        for label, times in each["milliseconds"].items():
            middle, low, high = each["over_hand"][label]
            facts = each["facts"][label]
            bytes_ = facts.get("temporary_bytes")
            lines.append(
                f"| {label} | {times['min']:.1f} | {middle:.2f} ({low:.2f} to {high:.2f}) | "
                f"{'' if bytes_ is None else f'{bytes_ / 1e6:.1f}'} | {facts['first_seconds']:.1f} |"
            )
    environment = ", ".join(f"{name} {value}" for name, value in result["environment"].items())
    head = "Milliseconds are the rounds' minimum; ratios are medians within a round, with 95 % intervals."
    return "\n".join([head, *lines, "", environment, ""])


def plot(result, path):
    """How many times the hand-written step's time each candidate takes, a panel for calls and one for scans."""
    figure = optional.require("matplotlib.figure", "plot").Figure(figsize=(11, 4.8), layout="constrained")
    wheres = list(dict.fromkeys(each["where"] for each in result["rows"]))
    panels = figure.subplots(1, len(wheres), squeeze=False)[0]
    for panel, where in zip(panels, wheres, strict=True):
        rows = [each for each in result["rows"] if each["where"] == where]
        labels = [label for label in rows[0]["over_hand"] if label != HAND]
        width = 0.8 / len(labels)
        for k, label in enumerate(labels):
            heights = [each["over_hand"].get(label, [np.nan])[0] for each in rows]
            places = np.arange(len(rows)) + (k - (len(labels) - 1) / 2) * width
            panel.bar(places, heights, width, label=label, color=COLOURS[k + 1])
        panel.axhline(1, color="black", linewidth=0.8)
        panel.set_xticks(np.arange(len(rows)), [each["network"] for each in rows])
        panel.set(yscale="log", title=where, ylabel="time over that of the hand-written step [1]")
        panel.grid(alpha=0.3, axis="y")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=60, help="60 where a difference of 3 %% is claimed")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--networks", nargs="+", default=NETWORKS, choices=NETWORKS)
    parser.add_argument("--torch", default=None, help="an interpreter that has PyTorch")
    parser.add_argument("--again", action="store_true", help="measure rows that the JSON holds once more")
    parser.add_argument("--plot", action="store_true", help="make table and figure anew from the JSON")
    options = parser.parse_args()
    result = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"rows": []}
    for in_scan in () if options.plot else (False, True):
        for network in options.networks:
            key = (network, options.batch, "in lax.scan" if in_scan else "a call")
            old = [each for each in result["rows"] if (each["network"], each["batch"], each["where"]) == key]
            if old and not options.again:
                continue
            new = row(network, options.batch, in_scan, options.rounds, options.torch)
            print(
                *key, json.dumps({label: round(ratio[0], 2) for label, ratio in new["over_hand"].items()}), flush=True
            )
            rows = [each for each in result["rows"] if each not in old] + [new]
            result = {"environment": timing.environment(), "rows": rows}
            RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    RESULTS.with_suffix(".md").write_text(as_markdown(result))
    plot(result, RESULTS.with_suffix(".png"))


if __name__ == "__main__":
    sys.exit(main())
