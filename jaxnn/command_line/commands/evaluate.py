"""jaxnn evaluate: a trained network on data."""

from dataclasses import replace
from pathlib import Path

from jaxnn.command_line.commands.setting import prepare, setting
from jaxnn.command_line.options import Data
from jaxnn.command_line.report import print_facts
from jaxnn.command_line.run_folder import read_config, read_params
from jaxnn.training.evaluation import evaluate as evaluated


def evaluate(run: Path, data: str | None, data_dir: str | None, split: str) -> int:
    """Print the loss and accuracy of a run on one split of its own data, or of other data of the same kind."""
    trained, problem = read_config(run)
    config = trained
    if data is not None:
        config = replace(config, data=Data(data, data_dir))
    elif data_dir is not None:
        config = replace(config, data=replace(config.data, data_dir=data_dir))
    with setting(config):
        prepared = prepare(config, problem)
        net, loss = prepared.net, config.objective.loss_function()
        params, state = read_params(run, net, trained, problem)
        examples = {"train": prepared.train, "validation": prepared.validation, "test": prepared.test}[split]
        if examples is None:
            raise ValueError(f"{config.data.data} has no {split} examples: choose another --split")
        result = evaluated(net, loss, params, state, examples)
        name = "training" if split == "train" else split
        facts = [
            ("data", config.data.data),
            ("examples", f"{len(examples[0]):,}"),
            (f"{name} loss", float(result.loss)),
        ]
        if result.metric is not None:
            facts.append((f"{name} accuracy", float(result.metric)))
    print_facts("Evaluation", [("run", run), *facts])
    return 0
