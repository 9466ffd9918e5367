"""Two things that the audit of a network has to do: find a small error in a large one, and be done soon.

    python benchmarks/audit_networks.py [planted | right]

planted: one tensor of the sixth Dense of ten (its weight's gradient, its bias's, its dx) is 1.001 times what it should
be, at batch 4096, with params in float64 and in float32; the float32 one is wrong in that precision alone, so that only
a comparison in float32 can find it. Expect: `jaxnn.compare` names layer, tensor and factor, and blames nothing else.
right: 20 layers, about a million params, batch 128, every rule judged, costs measured. Expect: nothing is wrong, in
less than 60 s on 2 cores. Writes results/audit_networks.json and audit_networks.md, and exits with 1 if one of these
expectations isn't met. About 3 minutes on 2 cores.
"""

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path

import jax
import numpy as np
import timing

import jaxnn

RESULTS = Path(__file__).parent / "results"
LOSS = jaxnn.SoftmaxCrossEntropy()
FACTOR, N_OUT, LIMIT = 1.001, 10, 60
SIXTH = 10  # the sixth Dense's index, for each is followed by a Tanh
# The events that JAX reports of a compilation, and plain names for them.
EVENTS = {
    "/jax/core/compile/jaxpr_trace_duration": "tracing",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "lowering",
    "/jax/core/compile/backend_compile_duration": "compiling",
}


@jaxnn.layer.recipe
class Planted(jaxnn.Dense):
    """A Dense whose backward has one tensor wrong by a factor, in one precision."""

    tensor: str = "weight"
    dtype: str = "float64"

    def backward(self, params, cache, dy):
        dparams, dx = super().backward(params, cache, dy)
        if dy.dtype != self.dtype:
            return jaxnn.Backward(dparams, dx)
        if self.tensor == "dx":
            return jaxnn.Backward(dparams, FACTOR * dx)
        return jaxnn.Backward(dparams._replace(**{self.tensor: FACTOR * getattr(dparams, self.tensor)}), dx)


def tanh_network(n_dense, width):
    """n_dense fully connected layers, a tanh between any two."""
    hidden = [layer for _ in range(n_dense - 1) for layer in (jaxnn.Dense(width), jaxnn.Tanh())]
    return jaxnn.Serial(*hidden, jaxnn.Dense(N_OUT))


def compared(net, n_in, batch_size, dtype, **options):
    """What `compare` finds, how long it took by the clock, and how much of the processors' time."""
    rng = np.random.default_rng(0)
    with jax.enable_x64(dtype == np.float64):
        params, state = net.init(jax.random.key(0), (n_in,))
        x, labels = rng.normal(size=(batch_size, n_in)).astype(dtype), rng.integers(0, N_OUT, batch_size)
        began = time.perf_counter(), time.process_time()
        comparison = jaxnn.compare(net, LOSS, params, state, x, labels, **options)
    seconds = {"seconds": time.perf_counter() - began[0], "processor_seconds": time.process_time() - began[1]}
    n_params = sum(leaf.size for leaf in jax.tree.leaves(params))
    return comparison, seconds | {"params": n_params, "batch_size": batch_size, "dtype": str(np.dtype(dtype))}


def planted(dtype, tensor):
    """A row: what was planted, what was found, and whether exactly that was found."""
    net = jaxnn.replaced(tanh_network(10, 64), (SIXTH,), Planted(64, tensor=tensor, dtype=str(np.dtype(dtype))))
    comparison, measured = compared(net, 64, 4096, dtype, costs=False)
    blamed = [(rule.path, rule.tensor, rule.dtype, rule.pattern) for rule in comparison.wrong]
    ok = blamed == [(f"[{SIXTH}]", tensor, str(np.dtype(dtype)), f"a factor: times {FACTOR}")]
    return {"planted": tensor, "found": [str(rule) for rule in comparison.wrong], "ok": ok} | measured


def right():
    """A row: whether all agrees, and where the time went."""
    net = tanh_network(20, 230)
    spent = defaultdict(float)

    def listen(event, duration, **_):
        spent[EVENTS.get(event, "other")] += duration

    jax.monitoring.register_event_duration_secs_listener(listen)
    comparison, measured = compared(net, 230, 128, np.float32, every_rule=True)
    parts = {name: spent[name] for name in EVENTS.values()}
    worst = {"worst_float64_error": comparison.worst.float64_error, "tensors": len(comparison.rows)}
    ok = comparison.ok and measured["seconds"] < LIMIT
    costs = [cost._asdict() for cost in comparison.costs]
    return {"ok": ok, "agrees": comparison.ok} | worst | measured | {"of_that": parts, "costs": costs}


def as_markdown(result):
    lines = []
    if rows := result.get("planted"):
        lines += [f"A tensor of the sixth Dense of ten, times {FACTOR}, batch {rows[0]['batch_size']}:", ""]
        lines += ["| params | planted in | found | s | processor s |", "| --- | --- | --- | --- | --- |"]
        lines += [
            f"| {row['dtype']} | {row['planted']} | {'; '.join(row['found']) or 'nothing'} | {row['seconds']:.1f} | "
            f"{row['processor_seconds']:.1f} |"
            for row in rows
        ]
    if row := result.get("right"):
        parts = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in row["of_that"].items())
        lines += [
            "",
            f"A right network of 20 Dense, {row['params']:,} params, batch {row['batch_size']}, every rule judged, "
            f"costs measured: {row['tensors']} tensors {'agree' if row['agrees'] else 'DO NOT AGREE'}, the largest "
            f"error in float64 {row['worst_float64_error']:.1e}. It took {row['seconds']:.1f} s by the clock "
            f"({row['processor_seconds']:.1f} s of processor time); of that {parts}.",
        ]
    environment = ", ".join(f"{name} {value}" for name, value in result["environment"].items() if name != "dtype")
    return "\n".join([*lines, "", environment, ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", nargs="?", choices=["planted", "right"], help="one of the two, and nothing is written")
    part = parser.parse_args().part
    result = {"environment": timing.environment()}
    if part != "right":
        kinds = [(dtype, tensor) for dtype in (np.float64, np.float32) for tensor in ("weight", "bias", "dx")]
        result["planted"] = [planted(*kind) for kind in kinds]
    if part != "planted":
        result["right"] = right()
    print(as_markdown(result))
    if part is None:
        (RESULTS / "audit_networks.json").write_text(json.dumps(result, indent=1) + "\n")
        (RESULTS / "audit_networks.md").write_text(as_markdown(result))
    rows = [*result.get("planted", ()), *([result["right"]] if "right" in result else [])]
    raise SystemExit(0 if all(row["ok"] for row in rows) else 1)


if __name__ == "__main__":
    main()
