"""What a training step costs: by hand, by machine in three forms, and in other libraries. One command runs it all.

    python benchmarks/suite.py [--torch PYTHON] [--families NAME ...] [--results NAME] [--again] [--plot]

Families (families.py): networks of convolutions, the same in `lax.scan`, single operations, multilayer perceptrons,
ensembles, and how the cost grows with batch, width, depth and devices; and, if named, what keeps a GPU busy
(`--families accelerator --results suite_gpu`, with JAX_COMPILATION_CACHE_DIR set). By machine is `jax.grad` of an
idiomatic forward (a), of our own (b), and the fastest that `jax.checkpoint` makes of either (c). Every candidate has a
process of its own, and they take turns in random order (turns.py): the machine should have nothing else to do. --torch
names an interpreter that has PyTorch, which is left out without it; a peer that isn't installed is left out with a line
that says so.

Writes results/NAME.json as it goes (rows that it holds are kept, except with --again), NAME.md, and two figures, which
--plot makes again from the JSON; NAME is suite, and another for another machine. About 40 minutes on 2 cores. Expect,
on JAX 0.12: two-conv 2.1x faster than (a), 1.2x than the best automatic form, 28x in a scan.
"""

import argparse
import json
import os
from pathlib import Path

import families
import numpy as np
import report
import timing
from families import HAND
from turns import measured

RESULTS = Path(__file__).parent / "results"


def measure(family, row, n_rounds):
    """Milliseconds a step, ratios to the hand-written one within a round, and facts, of each candidate."""
    results = measured(row.candidates, row.spec, n_rounds)
    counts = {label: result.facts["n_params"] for label, result in results.items()}
    assert len(set(counts.values())) == 1, f"the peers' networks differ: {counts}"
    per_step = row.spec.get("steps") or 1
    return {
        "family": family.name,
        "at": row.at,
        "spec": row.spec,
        "rounds": n_rounds,
        "milliseconds": {
            label: {
                "min": 1e3 * result.seconds.min() / per_step,
                "median": 1e3 * float(np.median(result.seconds)) / per_step,
            }
            for label, result in results.items()
        },
        "over_hand": {label: timing.ratio(result.seconds, results[HAND].seconds) for label, result in results.items()},
        "facts": {label: result.facts for label, result in results.items()},
        "environment": timing.environment(),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch", default=None, help="an interpreter that has PyTorch")
    parser.add_argument("--families", nargs="+", default=None, help="by name; by default all except accelerator")
    parser.add_argument(
        "--rounds", type=int, default=None, help="instead of a family's own number, to see that it runs"
    )
    parser.add_argument("--results", default="suite", metavar="NAME", help="the files' name: suite by default")
    parser.add_argument("--again", action="store_true", help="measure rows again that the JSON already holds")
    parser.add_argument("--plot", action="store_true", help="make table and figures again, from the JSON")
    options = parser.parse_args()
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # the candidates share an accelerator's memory
    path = RESULTS / f"{options.results}.json"
    all_families = families.families(options.torch)
    known = [family.name for family in all_families]
    if unknown := set(options.families or ()) - set(known):
        parser.error(f"there is no family {', '.join(sorted(unknown))}: expected some of {', '.join(known)}")
    rows = json.loads(path.read_text()) if path.exists() else []
    place = lambda row: (row["family"], row["at"])  # noqa: E731
    chosen = options.families or [family.name for family in all_families if family.by_default]
    todo = [] if options.plot else [family for family in all_families if family.name in chosen]
    for family in todo:
        for row in family.rows:
            if (family.name, row.at) in map(place, rows) and not options.again:
                continue
            new = measure(family, row, options.rounds or family.n_rounds)
            short = {label: round(ratio[0], 2) for label, ratio in new["over_hand"].items()}
            print(family.name, row.at, json.dumps(short), flush=True)
            rows = [row for row in rows if place(row) != place(new)] + [new]
            rows.sort(key=lambda row: known.index(row["family"]))
            path.write_text(json.dumps(rows, indent=1) + "\n")
    report.write(path, all_families, rows)


if __name__ == "__main__":
    main()
