"""What `compare` found, as data: rows, wrong rules, timings. How it looks is in `show.py`."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxnn.audit.network import show
from jaxnn.audit.network.rules import WrongRule
from jaxnn.audit.network.timing import Timing
from jaxnn.audit.rounding.measure import Terms, cosine, error, scale_factor, ulp_distance, unexplained
from jaxnn.data.files import write_whole


class Tensors(NamedTuple):
    """One tensor five times: by hand, by machine, by machine from the idiomatic forward; the first two in float64."""

    manual: Any
    automatic: Any
    idiomatic: Any
    manual64: Any
    truth: Any


class Row(NamedTuple):
    """One tensor of the comparison.

    kind: "gradient", of a parameter by its path or of the input x; or "error term" of the layer at the path.
    verdict: "exact", "close" or "wrong"; reason: why it is wrong.
    float64_error: manual against the truth, both in float64.
    manual_error, automatic_error, idiomatic_error: each in the working precision against the truth.
    closer: whether the manual or the automatic one is nearer to the truth, or "equal".
    max_ulp, median_ulp: how many numbers of the working precision lie between manual and automatic.
    scale, cosine: <manual, truth> / <truth, truth> and the cosine between the two, in float64.
    worst: the index where the manual one is farthest from the truth; manual, automatic, truth: the values there.
    """

    kind: str
    path: str
    shape: tuple[int, ...]
    verdict: str
    reason: str
    float64_error: float
    manual_error: float
    automatic_error: float
    idiomatic_error: float
    closer: str
    max_ulp: float
    median_ulp: float
    scale: float
    cosine: float
    worst: tuple[int, ...]
    manual: float
    automatic: float
    truth: float

    @property
    def name(self) -> str:
        return self.path if self.kind == "gradient" else f"error term of {self.path or 'the network'}"

    @property
    def ok(self) -> bool:
        return self.verdict != "wrong"


@dataclass(frozen=True)
class Comparison:
    """What `compare` found. `print` it, or `rich.print` it, for the table; `ok` says whether all is right.

    not_judged: in words, the rules that are meant to differ from the derivative, and what else wasn't looked at.
    """

    rows: tuple[Row, ...]
    wrong: tuple[WrongRule, ...]
    costs: tuple[Timing, ...]
    dtype: str
    not_judged: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return all(row.ok for row in self.rows) and not self.wrong

    @property
    def worst(self) -> Row:
        """The row with the largest error in float64; NaN is the largest of all."""
        return max(self.rows, key=lambda row: math.inf if math.isnan(row.float64_error) else row.float64_error)

    def __str__(self) -> str:
        return show.as_text(self)

    def text(self, width: float = math.inf) -> str:
        """The tables and the verdict, with as many columns as go into lines of that width."""
        return show.as_text(self, width)

    def __rich_console__(self, console: Any, options: Any) -> Any:
        yield show.as_rich(self, options.max_width)

    def verdict(self) -> str:
        """The last lines of the text: what is wrong, or that all gradients agree."""
        return show.verdict(self)

    def markdown(self) -> str:
        """The tables in Markdown."""
        return show.as_markdown(self)

    def save(self, path: str | Path) -> None:
        """Write all that was found: .json, .md, or .png for the heat map (tensor x quantity), by the path's ending.

        Raises: ValueError for another ending.
        """
        path = Path(path)
        require_ending(path)
        if path.suffix == ".json":
            write_whole(path, json.dumps(self.as_dict(), indent=1) + "\n")
        elif path.suffix == ".md":
            write_whole(path, self.markdown())
        else:
            show.heat_map(self, path)

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it; NaN and infinities are strings there."""
        fields = {
            "ok": self.ok,
            "dtype": self.dtype,
            "rows": [row._asdict() for row in self.rows],
            "wrong": [rule._asdict() for rule in self.wrong],
            "costs": [timing._asdict() for timing in self.costs],
            "not_judged": list(self.not_judged),
        }
        return _plain(fields)


def require_ending(path: Path) -> None:
    """A path that `Comparison.save` can write to, as far as its name says."""
    if path.suffix not in (".json", ".md", ".png"):
        raise ValueError(f"a comparison is saved as .json, .md or .png, got {path.name!r}")


def row(kind: str, path: str, tensors: Tensors, terms: Terms, dtype: Any) -> Row:
    """Judge one tensor, whose entries are sums of terms."""
    manual, automatic, idiomatic, manual64, truth = tensors
    if manual is None or manual64 is None or manual.shape != truth.shape:
        shape = None if manual is None else manual.shape
        return _misshapen(kind, path, truth, f"the manual gradient is of shape {shape}")
    errors = [error(tensor, truth, terms.size) for tensor in (manual64, manual, automatic, idiomatic)]
    float64_error, manual_error, automatic_error, idiomatic_error = errors
    reason = ""
    for precision, mine, machine in ((np.float64, manual64, truth), (dtype, manual, automatic)):
        broken = unexplained(mine, machine, truth, terms, precision)
        reason = reason or (broken and f"{np.dtype(precision)} {broken}")
    distance = ulp_distance(manual, automatic)
    max_ulp, median_ulp = (float(np.max(distance)), float(np.median(distance))) if distance.size else (0.0, 0.0)
    closer = "equal"
    if manual_error != automatic_error:
        closer = "manual" if manual_error < automatic_error else "automatic"
    difference = np.abs(np.asarray(manual, np.float64) - truth)
    worst = np.unravel_index(int(np.argmax(difference)), truth.shape) if truth.size else ()
    at_worst = [float(tensor[worst]) if truth.size else math.nan for tensor in (manual, automatic, truth)]
    return Row(
        kind=kind,
        path=path,
        shape=truth.shape,
        verdict="wrong" if reason else "exact" if max_ulp == 0 else "close",
        reason=reason,
        float64_error=float64_error,
        manual_error=manual_error,
        automatic_error=automatic_error,
        idiomatic_error=idiomatic_error,
        closer=closer,
        max_ulp=max_ulp,
        median_ulp=median_ulp,
        scale=scale_factor(manual64, truth),
        cosine=cosine(manual64, truth),
        worst=tuple(map(int, worst)),
        manual=at_worst[0],
        automatic=at_worst[1],
        truth=at_worst[2],
    )


def _misshapen(kind: str, path: str, truth: np.ndarray, reason: str) -> Row:
    nan = math.nan
    numbers = (nan, nan, nan, nan, "automatic", nan, nan, nan, nan, (), nan, nan, nan)
    return Row(kind, path, truth.shape, "wrong", reason, *numbers)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(inside) for name, inside in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inside) for inside in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
