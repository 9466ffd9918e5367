"""jaxnn summary: the layers of a network and what they hold."""

from pathlib import Path

from jaxnn.command_line.commands.setting import examples, recipe_of, setting
from jaxnn.command_line.config import Recipe
from jaxnn.command_line.report import print_layers, print_memory


def summary(run: Path | None, recipe: Recipe, memory: bool = False) -> int:
    """Show the network of a run, or the one that the recipe would make; with `memory`, what it keeps for backward."""
    recipe, problem = recipe_of(run, recipe)
    with setting(recipe):
        found = examples(recipe, problem)
        net = recipe.net(found.problem)
        n_rows = recipe.training.rows_a_step(len(found.train[0]))
        show = print_memory if memory else print_layers
        show(net, found.problem.shape, n_rows, found.x_dtype)
    return 0
