"""Who catches which wrong gradient, and in what time: the audit and the other public checkers on one corpus of bugs.

    python benchmarks/kill_table.py [--workers 2] [--held-out 1] [--repetitions 200] [--every 1] [--again] [--plot]

The corpus: bugs that escaped from published code, each with its source, and mutants of every backward rule of jaxnn
(`seeded_bugs`; `python -m pytest benchmarks/seeded_bugs` tests the generator), and a held-out draw of the generator. A
checker catches a bug if it complains of it; the audit has all its gates and stops at the first that fails. The other
checkers, with their documented defaults, meet all escaped bugs and every third mutant. Then every clean rule is audited
at so many random points, with all gates at the first twenty and without the two dear ones (transforms, kinks) at the
rest: each complaint is a false alarm. The others meet the clean rules at three points. All compile as the tests do.
Last, one process alone takes the time of each checker on a sample of the bugs, compilation included.

Writes results/kill_table.json as it goes (a run that was cut off goes on where it was, and what is no longer in the
corpus goes out of the file), .md and .png; --again repeats what is the audit's, --plot makes table and figure from the
JSON. Some hours on 2 cores. Expect: the audit catches all and never cries wolf.
"""

import argparse
import json
import multiprocessing
import platform
import sys
import time
from collections import defaultdict
from functools import partial
from importlib.metadata import version
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

AUDIT = "jaxnn.audit.check"
OTHERS_EVERY, OTHERS_REPETITIONS = 3, 3
TIMED_EVERY = 60
DEAR, DEAR_REPETITIONS = ("transforms", "kinks"), 20
CLEARED_EVERY = 20  # tasks: mutants of one class share what runs eagerly, and memory has an end


def bugs(held_out):
    """(group, bug), in a fixed order."""
    from seeded_bugs.mutants import mutants
    from seeded_bugs.published import PUBLISHED

    groups = {"escaped": PUBLISHED, "mutants": mutants(0), "held out": mutants(held_out)}
    return [(group, bug) for group, found in groups.items() for bug in found]


def clean():
    """Every rule that is right: those of the table of laws, and the clean twins of the escaped bugs."""
    from seeded_bugs.published import PUBLISHED
    from table import AUDITED, Audited

    return AUDITED + [Audited(bug.clean, f"clean twin: {bug.name}", bug.arguments, bug.options) for bug in PUBLISHED]


def work(k, n_workers, settings, done, results):
    """Every n-th task; of what is done, nothing, or with --again the audit alone."""
    import conftest  # noqa: F401 (compiles as the tests do)
    import jax
    from seeded_bugs.mutants import corpus

    for seed in (0, settings.held_out) if k == 0 else ():
        made = corpus(seed)
        found = {"equivalents": [list(each) for each in made.equivalents]}
        found |= {"mutants": len(made.mutants), "twins": len(made.twins), "raised": len(made.raised)}
        results.put({"group": "corpus", "name": f"seed {seed}"} | found)
    wrong, right_ones, tasks = bugs(settings.held_out), clean(), []
    if k == 0:
        results.put({(group, bug.name) for group, bug in wrong} | {("clean", rule.name) for rule in right_ones})
    for i, (group, bug) in enumerate(wrong[:: settings.every]):
        others = group == "escaped" or (i // n_workers) % OTHERS_EVERY == 0
        tasks.append(((group, bug.name), partial(caught, group, bug, others)))
    for rule in right_ones[:: settings.every]:
        tasks.append((("clean", rule.name), partial(alarms, *rule, settings.repetitions)))
    for i, (name, task) in enumerate(tasks[k::n_workers]):
        old = done.get(name)
        if old is None or settings.again:
            results.put(task(old))
        if i % CLEARED_EVERY == 0:
            jax.clear_caches()
    results.put(None)


def caught(group, bug, others, old):
    """Which checker catches a bug; the others' results are the old ones where there are any."""
    from seeded_bugs.checkers import CHECKERS

    report = audited(bug)
    row = {"group": group, "name": bug.name, "source": bug.source, "caught": {AUDIT: not report.ok}}
    row["gate"] = report.failures[0].gate if report.failures else None
    if old:
        return row | {"caught": old["caught"] | row["caught"]}
    for checker in CHECKERS if others else ():
        row["caught"][checker.name] = checker(bug.subject())
    return row


def audited(bug):
    from jaxnn.audit import check

    return check(bug.wrong, *bug.arguments(0), **bug.options, until_failure=True)


def alarms(subject, name, arguments, options, n_repetitions, old):
    """How often each checker complains of a rule that is right, at random points."""
    from seeded_bugs.checkers import CHECKERS

    from jaxnn.audit import Auditor
    from jaxnn.audit.rule.subjects import subject_of

    audit, failed, began = Auditor(subject, **options), [], time.perf_counter()
    for seed in range(n_repetitions):
        if seed == DEAR_REPETITIONS:
            audit.gates = tuple(gate for gate in audit.gates if gate not in DEAR)
        failed += [f"seed {seed}: {finding}" for finding in audit(*arguments(seed), seed=seed).failures]
    row = {"group": "clean", "name": name, "repetitions": n_repetitions, "alarms": {AUDIT: failed}}
    row["seconds"] = time.perf_counter() - began
    known = {each: options[each] for each in options if each in ("key", "train", "rows", "couples")}
    for checker in CHECKERS:
        subjects = [] if old else [subject_of(subject, arguments(seed), **known) for seed in range(OTHERS_REPETITIONS)]
        row["alarms"][checker.name] = old["alarms"][checker.name] if old else sum(map(checker, subjects))
    return row


def seconds(settings):
    """The time that each checker takes for a bug, from nothing compiled, on a sample; one process, and no other."""
    import jax
    from seeded_bugs.checkers import CHECKERS

    rows = []
    for group, bug in bugs(settings.held_out)[:: TIMED_EVERY * settings.every]:
        row = {"group": "time", "name": f"{group}: {bug.name}", "seconds": {}}
        subject = bug.subject()
        candidates = {AUDIT: lambda _, bug=bug: audited(bug)} | {each.name: each for each in CHECKERS}
        for name, complains in candidates.items():
            jax.clear_caches()
            began = time.perf_counter()
            complains(subject)
            row["seconds"][name] = time.perf_counter() - began
        rows.append(row)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--held-out", type=int, default=1, help="seed of the generator's held-out draw")
    parser.add_argument("--repetitions", type=int, default=200, help="random points for each clean rule")
    parser.add_argument("--every", type=int, default=1, help="take one task in so many")
    parser.add_argument("--output", type=Path, default=RESULTS / "kill_table.json")
    parser.add_argument("--again", action="store_true", help="repeat what is the audit's")
    parser.add_argument("--plot", action="store_true", help="make table and figure from the JSON")
    settings = parser.parse_args()
    rows = json.loads(settings.output.read_text())["rows"] if settings.output.exists() else []
    if not settings.plot:
        rows = measured(settings, [row for row in rows if row["group"] != "time"])
        write(settings, rows)
        rows += seconds(settings)
        write(settings, rows)
    settings.output.with_suffix(".md").write_text(table(rows))
    figure(rows, settings.output.with_suffix(".png"))
    print(table(rows))
    return 0 if all(map(right, rows)) else 1


def measured(settings, rows):
    found = {(row["group"], row["name"]): row for row in rows}
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    workers = [
        context.Process(target=work, args=(k, settings.workers, settings, dict(found), results))
        for k in range(settings.workers)
    ]
    for worker in workers:
        worker.start()
    ended, n_done, began = 0, 0, time.perf_counter()
    while ended < len(workers):
        row = results.get()
        if row is None:
            ended += 1
            continue
        if isinstance(row, set):  # what there is: a rule that has changed has other mutants than it had
            found = {name: old for name, old in found.items() if name in row or name[0] == "corpus"}
            continue
        found[row["group"], row["name"]] = row
        n_done += 1
        if not right(row) or n_done % 25 == 0:
            write(settings, list(found.values()))
            print(f"{time.perf_counter() - began:6.0f}s {n_done} rows", "" if right(row) else row, flush=True)
    for worker in workers:
        worker.join()
    return sorted(found.values(), key=lambda row: (row["group"], row["name"]))


GROUPS = ("escaped", "mutants", "held out")


def right(row):
    """Whether the audit caught the bug, or had nothing to say of what is clean."""
    if row["group"] == "clean":
        return not row["alarms"][AUDIT]
    return row["group"] not in GROUPS or row["caught"][AUDIT]


def write(settings, rows):
    packages = ("jax", "jaxlib", "numpy", "chex")
    environment = {"python": platform.python_version(), "machine": platform.machine()}
    environment |= {package: version(package) for package in packages}
    found = {"environment": environment, "workers": settings.workers, "rows": rows}
    settings.output.write_text(json.dumps(found, indent=1) + "\n")


def counted(rows):
    """By checker: caught and tried in each group, median seconds, and complaints of clean rules."""
    found = defaultdict(lambda: {group: [0, 0] for group in GROUPS} | {"seconds": [], "alarms": [0, 0]})
    for row in rows:
        if row["group"] == "time":
            for name, taken in row["seconds"].items():
                found[name]["seconds"].append(taken)
        elif row["group"] == "clean":
            for name, alarmed in row["alarms"].items():
                ours = name == AUDIT
                times = len({each.split(":")[0] for each in alarmed}) if ours else alarmed
                found[name]["alarms"][0] += times
                found[name]["alarms"][1] += row["repetitions"] if ours else OTHERS_REPETITIONS
        elif row["group"] in GROUPS:
            for name, caught in row["caught"].items():
                found[name][row["group"]][0] += caught
                found[name][row["group"]][1] += 1
    return found


def table(rows):
    lines = ["| checker | escaped bugs | mutants | held-out mutants | false alarms | median seconds a bug |"]
    lines += ["| --- | --- | --- | --- | --- | --- |"]
    for name, of in counted(rows).items():
        cells = [f"{of[group][0]} of {of[group][1]}, {of[group][0] / max(of[group][1], 1):.1%}" for group in GROUPS]
        taken = f"{sorted(of['seconds'])[len(of['seconds']) // 2]:.2f}" if of["seconds"] else "not measured"
        alarmed = "{} of {}".format(*of["alarms"])
        lines.append(f"| {name} | {' | '.join(cells)} | {alarmed} | {taken} |")
    gates = defaultdict(int)
    for row in rows:
        if row["group"] in GROUPS:
            gates[row["gate"]] += 1
    by_gate = ", ".join(f"{gate} {n}" for gate, n in sorted(gates.items(), key=lambda each: -each[1]))
    parts = ["\n".join(lines), f"The gate that caught a bug first: {by_gate}."]
    for row in rows:
        if row["group"] == "corpus":
            counts = (
                f"{row['mutants']} mutants, and left out {row['raised']} that raise, {row['twins']} twins of others"
            )
            same = [f"- `{name}`: {reason}" for name, reason in row["equivalents"]]
            parts.append(f"The generator's {row['name']}: {counts} and {len(same)} equivalent to the clean rule.")
            parts += ["\n".join(same)] if same else []
    survivors = [f"- {row['name']}" for row in rows if row["group"] in GROUPS and not right(row)]
    wolf = [f"- {row['name']}: {each}" for row in rows if row["group"] == "clean" for each in row["alarms"][AUDIT]]
    n_clean = sum(row["group"] == "clean" for row in rows)
    parts.append(f"Clean rules audited: {n_clean}.")
    parts += ["Not caught by the audit:\n\n" + "\n".join(survivors)] if survivors else []
    parts += ["False alarms of the audit:\n\n" + "\n".join(wolf)] if wolf else []
    return "\n\n".join(parts) + "\n"


def figure(rows, path):
    """Shares caught, checker by checker, each group a bar."""
    from matplotlib.figure import Figure

    found = counted(rows)
    canvas = Figure(figsize=(9, 4.2), layout="constrained")
    axes = canvas.subplots()
    colours = ("#0072B2", "#E69F00", "#999999")
    for j, group in enumerate(GROUPS):
        shares = [100 * of[group][0] / max(of[group][1], 1) for of in found.values()]
        places = [i + 0.26 * (j - 1) for i in range(len(found))]
        n = next(iter(found.values()))[group][1]
        axes.barh(places, shares, 0.24, color=colours[j], label=f"{group} ({n})")
        for place, share in zip(places, shares, strict=True):
            axes.text(share + 0.5, place, f"{share:.0f}", va="center", fontsize=8)
    axes.set_yticks(range(len(found)), list(found))
    axes.invert_yaxis()
    axes.set_xlim(0, 108)
    axes.set_xlabel("wrong gradients caught [%]")
    canvas.legend(loc="outside upper center", ncols=len(GROUPS))
    canvas.savefig(path, dpi=120)


if __name__ == "__main__":
    raise SystemExit(main())
