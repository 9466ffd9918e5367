"""The audit of derivative rules that we did not write: JAX's, optax's, Flax's and Equinox's.

    python benchmarks/foreign_rules.py [--only NAME ...]

All gates at all places of peers/rules.py: at ordinary points and where something happens, a kink, a tie, an edge, huge
numbers. What was found is explained in peers/verdicts.py; the script exits with 1 where something isn't. Writes
results/foreign_rules.json and foreign_rules.md; --only audits these rules again and keeps the other rows. About 20
minutes on 2 cores, nearly all of it compilation.
"""

import argparse
import json
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import timing
from peers.rules import every
from peers.verdicts import VERDICTS

from jaxnn.audit.rule.check import ORACLES, Auditor

RESULTS = Path(__file__).parent / "results" / "foreign_rules.json"


def audit(foreign):
    """A row for each place: gates that held, gates skipped and why, failures, seconds."""
    auditor = Auditor(foreign.rule, **foreign.options)
    for place, arguments in foreign.places.items():
        row = {"rule": foreign.name, "package": f"{foreign.package} {version(foreign.package)}", "place": place}
        row |= {"held": [], "skipped": {}}
        began = time.perf_counter()
        try:
            with warnings.catch_warnings(action="ignore"):
                report = auditor(*arguments)
        except Exception as crash:
            row["failures"] = [f"crash: {type(crash).__name__}: {str(crash).splitlines()[0]}"]
        else:
            failed = {finding.gate for finding in report.failures}
            gates = dict.fromkeys(finding.gate for finding in report.findings)
            row["held"] = [gate for gate in gates if gate not in failed]
            row["skipped"] = dict(report.skipped)
            row["failures"] = list(map(str, report.failures))
        yield row | {"seconds": round(time.perf_counter() - began, 2)}


def verdicts(row):
    """What is known of a row's failures."""
    known = [verdict for verdict in VERDICTS if row["failures"] and row["rule"] in verdict.places]
    return [verdict for verdict in known if row["place"] in (verdict.places[row["rule"]] or [row["place"]])]


def as_markdown(result):
    rows = result["rows"]
    failing, unjudged = [row for row in rows if row["failures"]], [row for row in rows if not judged(row)]
    n_held = len(rows) - len(failing) - len(unjudged)
    rules = list(dict.fromkeys(row["rule"] for row in rows))
    lines = [
        f"{len(rules)} rules at {len(rows)} points. Every gate that had something to say holds at {n_held}; at "
        f"{len(unjudged)} no oracle had (the forward isn't finite there); at {len(failing)} something was found:",
    ]
    for verdict in VERDICTS:
        where = ", ".join(f"{row['rule']} ({row['place']})" for row in failing if verdict in verdicts(row))
        lines += ["", f"- **{verdict.kind}**: {verdict.says} In: {where}."] if where else []
    lines += ["", "| package | rule | points | gates that hold at all | found |", "| --- |" + " --- |" * 4]
    for rule in rules:
        mine = [row for row in rows if row["rule"] == rule]
        gates = {gate for row in mine for gate in row["held"]}
        failed = {failure.split(":")[0] for row in mine for failure in row["failures"]}
        kinds = dict.fromkeys(verdict.kind for row in mine for verdict in verdicts(row))
        words = ", ".join(kinds) or ("UNEXPLAINED" if failed else "")
        n_points = f"{len(mine)}" + (f", {n} not judged" if (n := sum(not judged(row) for row in mine)) else "")
        lines.append(f"| {mine[0]['package']} | {rule} | {n_points} | {len(gates - failed)} | {words} |")
    environment = ", ".join(f"{name} {value}" for name, value in result["environment"].items() if name != "dtype")
    return "\n".join([*lines, "", environment, ""])


def judged(row):
    """Whether some oracle had something to say."""
    return row["failures"] or not set(ORACLES) <= set(row["skipped"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", help="rules whose name begins with one of these; the others' rows stay")
    parser.add_argument("--table", action="store_true", help="make the table again, from the JSON")
    options = parser.parse_args()
    before = json.loads(RESULTS.read_text())["rows"] if RESULTS.exists() else []
    chosen = [rule for rule in every() if not options.only or rule.name.startswith(tuple(options.only))]
    rows = {} if not (options.only or options.table) else {(row["rule"], row["place"]): row for row in before}
    for foreign in [] if options.table else chosen:
        for row in audit(foreign):
            rows[row["rule"], row["place"]] = row
            print(row["rule"], row["place"], *row["failures"], sep="\n  ", flush=True)
    listed = {(rule.name, place) for rule in every() for place in rule.places}
    result = {"environment": timing.environment(), "rows": [row for key, row in rows.items() if key in listed]}
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    RESULTS.with_suffix(".md").write_text(as_markdown(result))
    unexplained = [row for row in result["rows"] if row["failures"] and not verdicts(row)]
    for row in unexplained:
        print("UNEXPLAINED", row["rule"], row["place"], *row["failures"], sep="\n  ")
    raise SystemExit(1 if unexplained else 0)


if __name__ == "__main__":
    main()
