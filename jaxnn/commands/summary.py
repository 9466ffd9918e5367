"""jaxnn summary: the layers of a network and what they hold."""

from pathlib import Path

from jaxnn.commands.setting import examples, setting
from jaxnn.recipes import Recipe
from jaxnn.report import print_layers
from jaxnn.runs import read_config


def summary(run: Path | None, recipe: Recipe) -> int:
    """Show the network of a run, or the one that the recipe would make."""
    problem = None
    if run is not None:
        if recipe != Recipe():
            raise ValueError("a run has its own recipe: give either its folder or options")
        recipe, problem = read_config(run)
    with setting(recipe):
        found = examples(recipe, problem)
        net = recipe.net(found.problem)
        n_rows = recipe.training.rows_a_step(len(found.train[0]))
        print_layers(net, found.problem.shape, n_rows, found.x_dtype)
    return 0
