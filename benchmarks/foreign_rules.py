"""The audit of derivative rules that we did not write: JAX's, optax's, Flax's and Equinox's.

    python benchmarks/foreign_rules.py [--only NAME ...]

Every gate at every place of `peers/rules.py`.
"""

import argparse
import json
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import timing
from peers.rules import every

from jaxnn.audit.check import Auditor

RESULTS = Path(__file__).parent / "results"


def audit(foreign):
    """A row for each place: gates that held, gates skipped and why, failures, seconds."""
    auditor = Auditor(foreign.rule, **foreign.options)
    for place, arguments in foreign.places.items():
        row = {"rule": foreign.name, "package": f"{foreign.package} {version(foreign.package)}", "place": place}
        began = time.perf_counter()
        try:
            report = auditor(*arguments)
        except Exception as crash:
            yield row | {"crash": f"{type(crash).__name__}: {str(crash).splitlines()[0][:150]}"}
            continue
        failed = {finding.gate for finding in report.failures}
        yield row | {
            "held": list(dict.fromkeys(finding.gate for finding in report.findings if finding.gate not in failed)),
            "skipped": dict(report.skipped),
            "failures": list(map(str, report.failures)),
            "seconds": time.perf_counter() - began,
        }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", help="rules whose name holds one of these")
    only = parser.parse_args().only
    rules = [each for each in every() if only is None or any(name in each.name for name in only)]
    rows = []
    for foreign in rules:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for row in audit(foreign):
                rows.append(row)
                print(
                    row["package"],
                    row["rule"],
                    row["place"],
                    f"{row.get('seconds', 0):.1f} s",
                    row.get("crash", f"held {len(row.get('held', ()))}"),
                    flush=True,
                )
                for failure in row.get("failures", ()):
                    print("   ", failure, flush=True)
    if only is None:
        result = {"environment": timing.environment(), "rows": rows}
        (RESULTS / "foreign_rules.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
