"""How much temporary memory a training step takes on a TPU and a GPU, by hand and by machine, as their compilers count.

    python benchmarks/aot_memory.py [--targets v5e v5ex4] [--networks ...] [--again] [--table]

Nothing runs: `jaxnn.aot` compiles each step for an accelerator that isn't here (needs `jaxnn[aot]` for the TPUs, and
`jaxnn[cuda13]` for h100 and h100x4). Batch 1024 of 28 x 28 images, momentum; three of the suite's networks: two
convolutions, the same with batch normalisation, residual blocks. By machine there are three opponents: jax.grad of the
idiomatic forward (a), of our own forward (b), and (c) the best of several forms of either with jax.checkpoint. By hand
the residual network has two more forms too, with Remat around whole blocks.

Writes results/aot_memory.json as it goes (a run that was cut off continues from there) and .md; --again measures again
what was measured before, --table makes the table from the JSON. On 2 cores about 4 minutes a network and target. To
reach on v5e: at most 0.8 x (a), and nowhere more than 1.0 x (c).
"""

import argparse
import json
import math
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import jax
import jax.numpy as jnp
from peers.networks import network
from peers.specs import shape

import jaxnn
from jaxnn import aot

RESULTS = Path(__file__).parent / "results"
JSON, TABLE = RESULTS / "aot_memory.json", RESULTS / "aot_memory.md"
BATCH, LOSS = 1024, jaxnn.SoftmaxCrossEntropy()
NETWORKS = {
    "two convolutions": "two-conv",
    "with batch normalisation": "batch-norm",
    "three residual blocks": "residual",
}
COMPILERS = ("jax", "jaxlib", "libtpu", "jax-cuda13-plugin")
LETTERS = {aot.IDIOMATIC: "a", aot.OWN_FORWARD: "b", aot.CHECKPOINT: "c"}


def versions():
    """Of the compilers that are installed."""
    installed = {}
    for package in COMPILERS:
        try:
            installed[package] = version(package)
        except PackageNotFoundError:
            continue
    return installed


def in_blocks(net):
    """A residual network whose blocks are each in a Remat, the stem with the first."""
    stem, first, *rest = net.layers
    blocks = [jaxnn.Remat(layer) if isinstance(layer, jaxnn.Residual) else layer for layer in rest]
    return jaxnn.Serial(jaxnn.Remat(jaxnn.Serial(stem, first)), *blocks)


def costs(target, spec, x, labels):
    """Those of `jaxnn.aot`, and two more forms by hand."""
    net = network(spec)
    yield from aot.costs(target, net, LOSS, x, labels)
    if spec["network"] == "residual":
        net = aot.across_devices(net) if aot.TARGETS[target].n_devices > 1 else net
        more = {"whole blocks": in_blocks(aot.without_remat(net)), "whole blocks, and in them": in_blocks(net)}
        for name, net in more.items():
            form = aot.Form(aot.BY_HAND, f"Remat around {name}", net, LOSS, jaxnn.backprop)
            yield aot.Cost(*form[:2], aot.step_cost(target, form.task(jaxnn.momentum(0.1)), x, labels))


def measured(target, name):
    """Every form of one network's step on one target."""
    spec = {"network": NETWORKS[name], "batch": BATCH}
    x = jax.ShapeDtypeStruct((BATCH, *shape(spec)), jnp.float32)
    labels = jax.ShapeDtypeStruct((BATCH,), jnp.int32)
    for cost in costs(target, spec, x, labels):
        row = {"target": target, "network": name, "kind": cost.kind, "form": cost.form} | cost.compiled._asdict()
        print(f"{target}, {name}, {cost.kind} ({cost.form}): {cost.compiled.temporary_bytes / 1e6:.0f} MB", flush=True)
        yield row | {"versions": versions()}


def least(rows):
    """Of each kind the row with the least temporary memory."""
    return {
        kind: min((row for row in rows if row["kind"] == kind), key=lambda row: row["temporary_bytes"])
        for kind in dict.fromkeys(row["kind"] for row in rows)
    }


def counted(number, digits):
    """In 10^9; a GPU's compiler counts neither operations nor bytes."""
    return "not counted" if math.isnan(number) else f"{number / 1e9:.{digits}f}"


def as_markdown(rows):
    lines = [
        f"A training step on batch {BATCH} of 28 x 28 images: {aot.LABEL}. 10^6 bytes, a device.",
        "",
        "By machine: (a) jax.grad of the idiomatic forward, (b) of our own, (c) the best with jax.checkpoint.",
        "",
        "| target | network | gradient | temporaries [MB] | by hand / this | GFLOP | GB moved | fusions | library "
        "calls | collectives |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for target, name in dict.fromkeys((row["target"], row["network"]) for row in rows):
        best = least([row for row in rows if (row["target"], row["network"]) == (target, name)])
        by_hand = best[aot.BY_HAND]["temporary_bytes"]
        for kind, row in best.items():
            label = kind if kind == aot.BY_HAND else f"({LETTERS[kind]}) {kind}"
            calls, collectives = (
                ", ".join(f"{n} {operation}" for operation, n in row[field].items()) or "none"
                for field in ("library_calls", "collectives")
            )
            form = f": {row['form']}" if row["form"] not in ("as written", "without Remat") else ""
            lines.append(
                f"| {target} | {name} | {label}{form} | {row['temporary_bytes'] / 1e6:.0f} | "
                f"{by_hand / row['temporary_bytes']:.2f} | {counted(row['flops'], 1)} | "
                f"{counted(row['bytes_accessed'], 2)} | {row['fusions']} | {calls} | {collectives} |"
            )
    compilers = sorted({", ".join(f"{name} {number}" for name, number in row["versions"].items()) for row in rows})
    return "\n".join([*lines, "", *compilers, ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--targets", nargs="+", choices=aot.TARGETS, default=["v5e", "v5ex4"])
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--again", action="store_true", help="measure again what was measured before")
    parser.add_argument("--table", action="store_true", help="make the table from the JSON, and measure nothing")
    options = parser.parse_args()
    jax.config.update("jax_platforms", "cpu")
    rows = json.loads(JSON.read_text()) if JSON.exists() else []
    which = lambda row: (row["target"], row["network"])  # noqa: E731
    for target in () if options.table else options.targets:
        for name in options.networks:
            if (target, name) not in map(which, rows) or options.again:
                new = list(measured(target, name))
                rows = [row for row in rows if which(row) != (target, name)] + new
                rows.sort(
                    key=lambda row: (list(aot.TARGETS).index(row["target"]), list(NETWORKS).index(row["network"]))
                )
                JSON.write_text(json.dumps(rows, indent=1) + "\n")
    TABLE.write_text(as_markdown(rows))


if __name__ == "__main__":
    main()
