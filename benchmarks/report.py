"""The suite's tables and figures, from its JSON alone."""

import numpy as np
from families import CONTROL, HAND, OURS

from jaxnn import optional

# Okabe and Ito's colours, colour-blind safe, each with a marker.
STYLES = dict(
    zip(
        (label for label in OURS if label != CONTROL),
        (("#0072B2", "o"), ("#D55E00", "s"), ("#E69F00", "D"), ("#CC79A7", "v")),
        strict=True,
    )
)
OTHERS = [("#009E73", "^"), ("#000000", "x"), ("#56B4E9", "+"), ("#999999", "*"), ("#F0E442", "p"), ("#7F3C8D", "h")]
HATCHES = ("", "////", "....")  # for the second and third use of a colour


def write(path, families, rows):
    path.with_suffix(".md").write_text(as_markdown(families, rows))
    for numbers, name in ((False, "compared"), (True, "growth")):
        shown = [family for family in families if is_growth(family) == numbers and rows_of(family, rows)]
        if shown:
            plot(shown, rows, path.with_name(f"{path.stem}_{name}.png"), growth if numbers else bars)


def is_growth(family):
    return not isinstance(family.rows[0].at, str)


def rows_of(family, rows):
    return [row for row in rows if row["family"] == family.name]


def as_markdown(families, rows):
    lines = [
        "Milliseconds a step are the rounds' minimum; ratios are medians within a round, with 95 % intervals.",
        "By machine: (a) jax.grad of the idiomatic forward, (b) of our own, (c) the fastest form with jax.checkpoint,",
        "with the temporaries of the form that has least. `by hand, again` is the control: the same program twice.",
    ]
    for family in families:
        for row in rows_of(family, rows):
            lines += ["", f"**{family.name}: {row['at']}** ({family.axis}; {row['rounds']} rounds)", ""]
            lines += ["| | ms a step | over by hand | temporaries [MB] | compile [s] | first step [s] | peak [MB] |"]
            lines += ["| --- " * 7 + "|"]
            lines += [line(label, row) for label in row["milliseconds"]]
        if family.note and rows_of(family, rows):
            lines += ["", family.note]
    environments = {", ".join(f"{name} {value}" for name, value in row["environment"].items()) for row in rows}
    versions = {facts["version"] for row in rows for facts in row["facts"].values()}
    return "\n".join([*lines, "", *sorted(environments), ", ".join(sorted(versions)), ""])


def line(label, row):
    middle, low, high = row["over_hand"][label]
    facts = row["facts"][label]
    bytes_ = facts.get("least_temporary_bytes", facts.get("temporary_bytes"))
    temporary = "" if bytes_ is None else f"{bytes_ / 1e6:.1f}"
    cells = (
        label,
        significant(row["milliseconds"][label]["min"]),
        f"{middle:.2f} ({low:.2f} to {high:.2f})",
        temporary,
        f"{facts['compile_seconds']:.1f}",
        f"{facts['first_seconds']:.1f}",
        f"{facts['peak_bytes'] / 1e6:.0f}",
    )
    return f"| {' | '.join(cells)} |"


def significant(value, digits=3):
    return f"{float(f'{value:.{digits}g}'):,g}"


def styles(families, rows):
    """A colour, a marker and a hatch for every candidate, the same in all panels."""
    labels = dict.fromkeys(label for family in families for row in rows_of(family, rows) for label in row["over_hand"])
    others = [label for label in labels if label not in (*STYLES, CONTROL)]
    styles = {label: (*style, "") for label, style in STYLES.items()}
    return styles | {label: (*OTHERS[i % len(OTHERS)], HATCHES[i // len(OTHERS)]) for i, label in enumerate(others)}


def plot(families, rows, path, draw):
    n_columns = min(len(families), 2 if draw is bars else 3)
    figure = optional.require("matplotlib.figure", "plot").Figure(figsize=(12, 8), layout="constrained")
    ticker = optional.require("matplotlib.ticker", "plot")
    panels = figure.subplots(-(-len(families) // n_columns), n_columns, squeeze=False)
    style = styles(families, rows)
    drawn = {}
    for panel, family in zip(panels.flat, families, strict=False):
        draw(panel, family, rows_of(family, rows), style)
        panel.set(title=family.name, yscale="log")
        panel.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_major_formatter("{x:g}")
        panel.yaxis.set_minor_formatter("")
        panel.grid(alpha=0.3, axis="both" if draw is growth else "y")
        drawn |= dict(zip(*reversed(panel.get_legend_handles_labels()), strict=True))
    for panel in panels.flat[len(families) :]:
        panel.remove()
    figure.legend(drawn.values(), drawn.keys(), loc="outside lower center", ncols=5)
    figure.savefig(path, dpi=120)


def bars(panel, family, rows, style):
    """Each candidate's time over that of the hand-written step."""
    labels = [label for label in style if label != HAND and any(label in row["over_hand"] for row in rows)]
    width = 0.8 / len(labels)
    for k, label in enumerate(labels):
        ratios = np.array([row["over_hand"].get(label, [np.nan] * 3) for row in rows])
        places = np.arange(len(rows)) + (k - (len(labels) - 1) / 2) * width
        reach = np.abs(ratios[:, 1:] - ratios[:, :1]).T
        colour, _, hatch = style[label]
        looks = {"color": colour, "hatch": hatch, "edgecolor": "white", "error_kw": {"linewidth": 0.6}}
        panel.bar(places, ratios[:, 0], width, yerr=reach, label=label, **looks)
    panel.axhline(1, color="black", linewidth=0.8)
    panel.set_xticks(np.arange(len(rows)), [row["at"] for row in rows], rotation=20, ha="right")
    panel.set_ylabel("time over that by hand [1]")


def growth(panel, family, rows, style):
    """Milliseconds a step against the family's number."""
    for label, (colour, marker, _) in style.items():
        points = [(row["at"], row["milliseconds"][label]["min"]) for row in rows if label in row["milliseconds"]]
        if points:
            panel.plot(*zip(*points, strict=True), label=label, color=colour, marker=marker, fillstyle="none")
    panel.set_xscale("log", base=2)
    at = sorted({row["at"] for row in rows})
    panel.set_xticks(at, at)
    panel.set(xlabel=family.axis, ylabel="time [ms a step]")
