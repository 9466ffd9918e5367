"""jaxnn aot: what a training step costs on an accelerator that isn't here."""

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from jaxnn.command_line.commands.setting import config_of, prepare, setting
from jaxnn.command_line.options import Config
from jaxnn.command_line.own_model import require_fit
from jaxnn.command_line.report import print_table
from jaxnn.costs.aot import LABEL, Cost, best, costs, mesh
from jaxnn.data.files import require_writable, write_whole


def aot(run: Path | None, config: Config, *, target: str, save: Sequence[Path] = ()) -> int:
    """Print what a training step costs, by hand and by machine, and save it.

    The network is a run's, the model or the config's; batch size, loss, penalty and update are the config's.
    """
    for path in save:
        if path.suffix not in (".json", ".md"):
            raise ValueError(f"costs are saved as .json or .md, got {path.name!r}")
        require_writable(path)
    config, problem = config_of(run, config)
    config = config.resolved()
    with setting(config):
        mesh(target)  # before any data is read: its compiler may be missing
        prepared = prepare(config, problem)
        net, model = prepared.net, config.network.model
        loss, n = config.objective.loss_function(), len(prepared.train[0])
        n_rows = config.training.rows_a_step(n)
        if n_rows % mesh(target).size:
            raise ValueError(
                f"{n_rows} examples a step can't be shared equally by the {mesh(target).size} devices of {target}: "
                f"give a --batch-size that is a multiple of {mesh(target).size}"
            )
        x, y = (array[:n_rows] for array in prepared.train)
        if model is not None:
            require_fit(model, net, (x, y), prepared.name, loss)
        penalty, rule = config.objective.penalty(), config.update.rule(config.training.n_steps(n))
        step_costs = best(costs(target, net, loss, x, y, rule, penalty))
    network = run or config.network.model or f"a network for {prepared.name}"
    title = f"A training step of {network} on {n_rows} examples, for {target}: {LABEL}"
    print_costs(title, step_costs)
    for path in save:
        text = _as_json(title, target, step_costs) if path.suffix == ".json" else _as_markdown(title, step_costs)
        write_whole(path, text)
    return 0


ROWS = ("", "form", "bytes of temporaries", "bytes moved", "FLOPs", "fusions", "library calls", "collectives")


def cost_cells(cost: Cost) -> tuple[str, ...]:
    """What one form of a step costs, in the words of `ROWS`."""
    compiled = cost.compiled
    calls, collectives = (
        ", ".join(f"{n} {name}" for name, n in counts.items()) or "none"
        for counts in (compiled.library_calls, compiled.collectives)
    )
    numbers = (compiled.temporary_bytes, compiled.bytes_accessed, compiled.flops, compiled.fusions)
    counted = ("not counted" if math.isnan(number) else f"{number:,.0f}" for number in numbers)
    return cost.kind, cost.form, *counted, calls, collectives


def print_costs(title: str, step_costs: Iterable[Cost]) -> None:
    """What a training step costs on each device, by hand and by machine: a column for each form."""
    columns, *rows = zip(ROWS, *map(cost_cells, step_costs), strict=True)
    print_table(title, columns, rows)


def _as_json(title: str, target: str, step_costs: Sequence[Cost]) -> str:
    rows: list[Any] = [{"gradient": cost.kind, "form": cost.form} | cost.compiled._asdict() for cost in step_costs]
    return json.dumps({"title": title, "target": target, "rows": rows}, indent=1) + "\n"


def _as_markdown(title: str, step_costs: Sequence[Cost]) -> str:
    first, *rest = zip(ROWS, *map(cost_cells, step_costs), strict=True)
    rows = [first, ["---"] * len(first), *rest]
    return "\n".join([title, "", *(f"| {' | '.join(row)} |" for row in rows), ""])
