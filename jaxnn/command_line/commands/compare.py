"""jaxnn compare: the hand-written gradient against the automatic one, of a run, of a fresh network or of any model."""

from collections.abc import Sequence
from pathlib import Path

import jax

from jaxnn import audit
from jaxnn.audit.network.comparison import require_ending
from jaxnn.command_line.commands.model import named_model, require_fit, require_one_network
from jaxnn.command_line.commands.setting import examples, first_batch, recipe_of, setting
from jaxnn.command_line.config import Recipe
from jaxnn.command_line.report import print_comparison
from jaxnn.command_line.run_folder import read_params
from jaxnn.training.run import Keys


def compare(
    run: Path | None,
    recipe: Recipe,
    *,
    model: str | None = None,
    save: Sequence[Path] = (),
    every_rule: bool = False,
    rows: int | None = None,
) -> int:
    """Print the comparison on the first training examples, and save it; 0 if all gradients agree, else 1.

    The network is a run's as trained, or the model's or the one that the recipe would make, both as their seed starts
    them; data, loss and penalty are the recipe's.
    """
    for path in save:
        require_ending(path)
    require_one_network(run, recipe, model)
    recipe, problem = recipe_of(run, recipe)
    with setting(recipe):
        found = examples(recipe, problem)
        net = recipe.net(found.problem) if model is None else named_model(model)
        loss, batch = recipe.objective.loss_function(), first_batch(recipe, found, rows)
        keys = Keys.of(jax.random.key(recipe.training.seed))
        if model is not None:
            require_fit(model, net, loss, batch, found.name)
        if run is not None:
            params, state = read_params(run, net, found.problem)
        else:
            params, state = net.init(keys.init, found.problem.shape, recipe.precision.dtype)
        options = {"key": keys.noise, "penalty": recipe.objective.penalty(), "every_rule": every_rule}
        comparison = audit.compare(net, loss, params, state, *batch, **options)
    of = run or model or f"a fresh network for {found.name}"
    print(f"Manual and automatic gradients of {of} on {len(batch[0])} training examples")
    print_comparison(comparison)
    for path in save:
        comparison.save(path)
    return 0 if comparison.ok else 1
