"""What every experiment shares: predictions beside measurements, the command line, the figure's style.

    def experiment(claims, quick, seed):
        claims.near("slope of the error", measured=..., predicted=..., within=...)
        return figure                                    # matplotlib's

    if __name__ == "__main__":
        raise SystemExit(main(__doc__, experiment))

How a claim's interval is made is fixed before the first run: by theory, or by the spread over seeds, for which `mean`,
`mean_at_least` and `fraction` take confidence 99.9 %. A script writes NAME.png and NAME.json into the folder that
`--output` names and ends with status 1 if a claim failed; with `--fresh-seeds` it reports, and ends with 0.
"""

import argparse
import json
import math
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from matplotlib.figure import Figure
from scipy import stats

CONFIDENCE = 0.999
SEED = 20240  # of CI and of the gallery

# Okabe and Ito's colours, which all readers can distinguish; PREDICTED is for the theory's lines.
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#E69F00", "#009E73", "#CC79A7"
SKY, RED, YELLOW = "#56B4E9", "#D55E00", "#F0E442"
PREDICTED = {"color": "black", "linestyle": "--", "linewidth": 1.2}


class Claim(NamedTuple):
    """One row of the table: `within` says in words which interval was committed, `holds` whether it was met."""

    statement: str
    predicted: str
    measured: str
    within: str
    holds: bool


class Claims:
    """The rows of one experiment, in the order in which they were claimed."""

    def __init__(self) -> None:
        self.rows: list[Claim] = []

    def near(self, statement, measured, predicted, within, unit=""):
        """|measured - predicted| <= within."""
        self._add(statement, predicted, measured, f"+- {_number(within)}", abs(measured - predicted) <= within, unit)

    def relative(self, statement, measured, predicted, within, unit=""):
        """|measured / predicted - 1| <= within."""
        self._add(
            statement, predicted, measured, f"+- {_percent(within)}", abs(measured / predicted - 1) <= within, unit
        )

    def equal(self, statement, measured, predicted, unit=""):
        """Exactly the same, element by element."""
        self._add(statement, predicted, measured, "exactly", bool(np.all(np.asarray(measured) == predicted)), unit)

    def at_most(self, statement, measured, limit, unit=""):
        self._add(statement, f"<= {_number(limit)}", measured, "the bound", measured <= limit, unit)

    def at_least(self, statement, measured, limit, unit=""):
        self._add(statement, f">= {_number(limit)}", measured, "the bound", measured >= limit, unit)

    def between(self, statement, measured, low, high, unit=""):
        span = f"{_number(low)} to {_number(high)}"
        self._add(statement, span, measured, "the interval", low <= measured <= high, unit)

    def mean(self, statement, samples, predicted, room=0.0, unit=""):
        """The predicted mean lies in the t-interval of independent samples, give or take the theory's own `room`."""
        samples = np.asarray(samples, np.float64).ravel()
        half = half_width(samples) + room
        measured = float(np.mean(samples))
        within = f"+- {_number(half)} (t, n = {len(samples)})"
        self._add(statement, predicted, measured, within, abs(measured - predicted) <= half, unit)

    def mean_at_least(self, statement, samples, limit, unit=""):
        """The lower end of the samples' t-interval is at least the limit. For `at most`, change the signs."""
        samples = np.asarray(samples, np.float64).ravel()
        low = float(np.mean(samples)) - half_width(samples)
        within = f"lower end {_number(low)} (t, n = {len(samples)})"
        self._add(statement, f">= {_number(limit)}", float(np.mean(samples)), within, low >= limit, unit)

    def fraction(self, statement, hits, tries, predicted):
        """The predicted probability lies in the exact binomial interval (Clopper and Pearson)."""
        low, high = stats.binomtest(int(hits), int(tries)).proportion_ci(CONFIDENCE, method="exact")
        within = f"{low:.4f} to {high:.4f} (binomial, n = {tries})"
        self._add(statement, f"{predicted:.4f}", f"{hits / tries:.4f}", within, low <= predicted <= high)

    def _add(self, statement, predicted, measured, within, holds, unit=""):
        shown = [f"{_number(value)} {unit}".strip() for value in (predicted, measured)]
        self.rows.append(Claim(statement, *shown, within, bool(holds)))


def half_width(samples) -> float:
    """Half the t-interval of the mean of independent samples."""
    n = len(samples)
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1) * np.std(samples, ddof=1) / math.sqrt(n))


def main(doc, experiment):
    """Run an experiment from the command line; the exit status."""
    topic = Path(sys.argv[0]).stem
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the small form, for CI")
    parser.add_argument("--fresh-seeds", action="store_true", help="draw the seed anew, and report without failing")
    parser.add_argument(
        "--output", type=Path, default=Path("runs/experiments"), help="folder of the figure and the JSON"
    )
    options = parser.parse_args()
    seed = int(np.random.SeedSequence().generate_state(1)[0]) if options.fresh_seeds else SEED
    claims, began = Claims(), time.perf_counter()
    figure = experiment(claims, options.quick, seed)
    seconds = time.perf_counter() - began
    options.output.mkdir(parents=True, exist_ok=True)
    with_legends(figure).savefig(options.output / f"{topic}.png", dpi=120)
    report = {
        "topic": topic,
        "seed": seed,
        "quick": options.quick,
        "seconds": round(seconds, 1),
        "environment": {"python": platform.python_version(), "jax": version("jax"), "backend": jax.default_backend()},
        "claims": [row._asdict() for row in claims.rows],
    }
    (options.output / f"{topic}.json").write_text(json.dumps(report, indent=1) + "\n")
    print(as_text(claims.rows))
    n_failed = sum(not row.holds for row in claims.rows)
    print(f"{topic}: {len(claims.rows) - n_failed} of {len(claims.rows)} claims hold, seed {seed}, {seconds:.0f} s")
    return 0 if options.fresh_seeds or not n_failed else 1


def as_text(rows) -> str:
    """The table predicted | measured | within, and what failed marked."""
    lines = [("", "claim", "predicted", "measured", "within")]
    lines += [("ok" if row.holds else "NO", *row[:4]) for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(" | ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def panels(columns=1, rows=1, width=4.6, height=3.8):
    """(figure, axes) in the gallery's style; axes one by one, in reading order."""
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for panel in axes:
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
    return figure, axes


def with_legends(figure):
    """The figure; whatever panel has labels, and no legend of its own, gets one."""
    for axes in figure.axes:
        if axes.get_legend() is None and axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=8)
    return figure


def _number(value) -> str:
    if isinstance(value, str):
        return value
    array = np.asarray(value)
    if array.ndim:
        return "(" + ", ".join(map(_number, array.tolist())) + ")"
    if array.dtype.kind in "iub":
        return str(array)
    return f"{float(array):.4g}" if abs(float(array)) < 1e4 else f"{float(array):.6g}"


def _percent(share) -> str:
    return f"{100 * share:.3g} %"
