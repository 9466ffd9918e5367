"""How a comparison looks: as text, as a rich table, in Markdown, as a heat map."""

import io
import math
from pathlib import Path
from typing import Any

import numpy as np

from jaxnn.data.files import write_whole
from jaxnn.optional import require

WORST = "worst element: manual | automatic | truth"
HEAD = [
    "tensor",
    "shape",
    "verdict",
    "float64",
    "manual",
    "automatic",
    "idiomatic",
    "ulp",
    "scale - 1",
    "closer",
    WORST,
]
LEFT_OUT_FIRST = [WORST, "closer", "scale - 1", "idiomatic", "shape", "ulp"]  # where there is no room for all
GAP = "  "
TIMING_HEAD = ["gradient", "compile [s]", "run [ms]", "FLOPs", "temporary [bytes]"]


def as_text(comparison: Any, width: float = math.inf) -> str:
    """Tables whose columns line up, as many as go into a line of that width, and the verdict."""
    head, rows = _fitting(HEAD, [_words(row) for row in comparison.rows], width)
    parts = [_lined_up(head, rows), caption(comparison, head)]
    if comparison.costs:
        parts.append(_lined_up(TIMING_HEAD, [_timing_words(timing) for timing in comparison.costs]))
    return "\n".join([*parts, verdict(comparison)])


def verdict(comparison: Any) -> str:
    """What is wrong, first of all the rules that make it so; or that nothing is."""
    not_judged = [f"NOT JUDGED: {words}" for words in comparison.not_judged]
    if comparison.ok:
        return "\n".join([*not_judged, f"all {'other ' if not_judged else ''}gradients agree"])
    lines = [f"WRONG RULE {rule}" for rule in comparison.wrong]
    bad = [row for row in comparison.rows if not row.ok]
    lines += [f"WRONG: {', '.join(row.name for row in bad)}"] if bad else []
    lines += [] if comparison.wrong else [f"  {row.name}: {row.reason}" for row in bad]
    return "\n".join([*not_judged, *lines])


def caption(comparison: Any, head: list[str] = HEAD) -> str:
    """What the columns are."""
    kinds = ", ".join(name for name in ("manual", "automatic", "idiomatic") if name in head)
    lines = [
        "float64: manual against the truth, which is automatic in float64.",
        f"{kinds}: in {comparison.dtype} against the truth.",
        f"ulp: {comparison.dtype} numbers between manual and automatic, at most / in the median."
        if "ulp" in head
        else "",
        "Errors are relative to max(max |truth|, size of the terms that were summed).",
        "" if head == HEAD else "More columns where there is room for them, and in what is saved.",
    ]
    return "\n".join(filter(None, lines))


def _fitting(head: list[str], rows: list[list[str]], width: float) -> tuple[list[str], list[list[str]]]:
    """A table without the columns, those that one needs least first, for which a line has no room."""
    left_out: list[str] = []
    for name in [None, *LEFT_OUT_FIRST]:
        left_out += [name] if name else []
        kept = [i for i, word in enumerate(head) if word not in left_out]
        table = [[line[i] for i in kept] for line in (head, *rows)]
        if sum(max(map(len, column)) + len(GAP) for column in zip(*table, strict=True)) <= width:
            break
    return table[0], table[1:]


def as_markdown(comparison: Any) -> str:
    parts = [_markdown(HEAD, [_words(row) for row in comparison.rows])]
    if comparison.costs:
        parts.append(_markdown(TIMING_HEAD, [_timing_words(timing) for timing in comparison.costs]))
    return "\n\n".join([*parts, caption(comparison), verdict(comparison)]) + "\n"


def as_rich(comparison: Any, width: float = math.inf) -> Any:
    """The same as rich's tables; wrong rows stand out."""
    head, rows = _fitting(HEAD, [_words(row) for row in comparison.rows], width)
    tables = [_rich(head, rows, [row.ok for row in comparison.rows])]
    if comparison.costs:
        tables.append(_rich(TIMING_HEAD, [_timing_words(timing) for timing in comparison.costs]))
    text = require("rich.text", "cli").Text
    style = "bold green" if comparison.ok else "bold red"
    return require("rich.console", "cli").Group(
        *tables, text(caption(comparison, head), style="dim"), text(verdict(comparison), style=style)
    )


def heat_map(comparison: Any, path: Path) -> None:
    """Tensors against quantities, each on its scale of tens, as a PNG; wrong tensors have a red name."""
    quantities = {
        "float64": [row.float64_error for row in comparison.rows],
        f"{comparison.dtype}\nmanual": [row.manual_error for row in comparison.rows],
        f"{comparison.dtype}\nautomatic": [row.automatic_error for row in comparison.rows],
        f"{comparison.dtype}\nidiomatic": [row.idiomatic_error for row in comparison.rows],
        "|1 - scale|\nfloat64": [abs(1 - row.scale) for row in comparison.rows],
    }
    values = np.array(list(quantities.values()), float).T
    values = np.log10(np.where(values > 0, values, 1e-17), where=~np.isnan(values), out=np.full(values.shape, np.nan))
    figure = require("matplotlib.figure", "plot").Figure(
        figsize=(8, 1.8 + 0.28 * len(comparison.rows)), layout="constrained"
    )
    axes = figure.subplots()
    colours = require("matplotlib", "plot").colormaps["cividis"].with_extremes(bad="#D55E00")
    image = axes.imshow(values, aspect="auto", vmin=-17, vmax=0, cmap=colours)
    for i, j in np.ndindex(*values.shape):
        word = "NaN" if math.isnan(values[i, j]) else "0" if values[i, j] <= -17 else f"{10 ** values[i, j]:.0e}"
        axes.text(j, i, word, ha="center", va="center", fontsize=8, color="white" if values[i, j] < -8 else "black")
    axes.set_xticks(range(len(quantities)), list(quantities))
    axes.set_yticks(range(len(comparison.rows)), [row.name for row in comparison.rows], fontsize=8)
    for label, row in zip(axes.get_yticklabels(), comparison.rows, strict=True):
        label.set_color("black" if row.ok else "#D55E00")
    axes.set_title("all gradients agree" if comparison.ok else "WRONG GRADIENTS")
    figure.colorbar(image, label="error [log10 of the relative error]", shrink=0.8)
    picture = io.BytesIO()
    figure.savefig(picture, dpi=120)
    write_whole(path, picture.getvalue())


def _words(row: Any) -> list[str]:
    errors = (row.float64_error, row.manual_error, row.automatic_error, row.idiomatic_error)
    at_worst = f"{list(row.worst)}: {row.manual:.6g} | {row.automatic:.6g} | {row.truth:.6g}"
    return [
        row.name,
        str(row.shape),
        row.verdict.upper() if not row.ok else row.verdict,
        *(f"{error:.1e}" for error in errors),
        f"{row.max_ulp:.3g} / {row.median_ulp:.3g}",
        f"{row.scale - 1:.1e}",
        row.closer,
        at_worst,
    ]


def _timing_words(timing: Any) -> list[str]:
    return [
        timing.name,
        f"{timing.compile_seconds:.2f}",
        f"{1e3 * timing.run_seconds:.3f}",
        f"{timing.flops:,.0f}",
        f"{timing.temporary_bytes:,.0f}",
    ]


def _lined_up(head: list[str], rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [GAP.join(word.ljust(width) for word, width in zip(row, widths, strict=True)) for row in [head, *rows]]
    first, *rest = (line.rstrip() for line in lines)
    return "\n".join([first, "-" * len(first), *rest])


def _markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(word.replace("|", "\\|") for word in line) + " |" for line in lines)


def _rich(head: list[str], rows: list[list[str]], ok: list[bool] | None = None) -> Any:
    table = require("rich.table", "cli").Table(box=require("rich.box", "cli").SIMPLE_HEAD)
    for name in head:
        table.add_column(name, overflow="fold")
    for i, words in enumerate(rows):
        escaped = [word.replace("[", "\\[") for word in words]
        table.add_row(*escaped, style=None if ok is None or ok[i] else "bold red")
    return table
