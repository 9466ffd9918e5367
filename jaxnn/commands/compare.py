"""jaxnn compare: the hand-written gradient of a trained network against the automatic one."""

from pathlib import Path

import jax

from jaxnn import audit
from jaxnn.commands.setting import examples, first_batch, setting
from jaxnn.runs import read_config, read_params


def compare(run: Path) -> int:
    """Print the comparison on one batch of the run's training examples; 0 if all gradients agree, else 1."""
    recipe, problem = read_config(run)
    with setting(recipe):
        found = examples(recipe, problem)
        net, loss = recipe.net(problem), recipe.objective.loss_function()
        params, state = read_params(run, net, problem)
        x, y = first_batch(recipe, found)
        key = jax.random.key(recipe.training.seed)
        comparison = audit.compare(net, loss, params, state, x, y, key=key, penalty=recipe.objective.penalty())
    print(f"Manual and automatic gradients of {run} on {len(x)} training examples")
    print(comparison)
    return 0 if comparison.ok else 1
