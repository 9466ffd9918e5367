"""jaxnn evaluate: a trained network on data."""

from dataclasses import replace
from pathlib import Path

from jaxnn.command_line.commands.setting import examples, setting
from jaxnn.command_line.config import Data
from jaxnn.command_line.report import print_facts
from jaxnn.command_line.run_folder import read_config, read_params
from jaxnn.training.evaluation import evaluate as evaluated


def evaluate(run: Path, data: str | None, data_dir: str | None, split: str) -> int:
    """Print the loss and accuracy of a run on one split of its own data, or of other data of the same kind."""
    recipe, problem = read_config(run)
    if data is not None:
        recipe = replace(recipe, data=Data(data, data_dir))
    elif data_dir is not None:
        recipe = replace(recipe, data=replace(recipe.data, data_dir=data_dir))
    with setting(recipe):
        net, loss = recipe.net(problem), recipe.objective.loss_function()
        params, state = read_params(run, net, problem)
        found = examples(recipe, problem)
        chosen = {"train": found.train, "validation": found.validation, "test": found.test}[split]
        if chosen is None:
            raise ValueError(f"{recipe.data.data} has no {split} examples: choose another --split")
        result = evaluated(net, loss, params, state, chosen, metric=found.metric)
        name = "training" if split == "train" else split
        facts = [("data", recipe.data.data), ("examples", f"{len(chosen[0]):,}"), (f"{name} loss", float(result.loss))]
        if result.metric is not None:
            facts.append((f"{name} accuracy", float(result.metric)))
    print_facts("Evaluation", [("run", run), *facts])
    return 0
