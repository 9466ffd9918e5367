"""jaxnn compare: the hand-written gradient against the automatic one, of a run, of a fresh network or of any model."""

from collections.abc import Sequence
from pathlib import Path

from jaxnn import audit
from jaxnn.audit.network.comparison import require_ending
from jaxnn.command_line.commands.setting import config_of, first_batch, prepare, require_room, setting
from jaxnn.command_line.options import Config
from jaxnn.command_line.own_model import require_fit
from jaxnn.command_line.report import print_comparison
from jaxnn.command_line.run_folder import read_params
from jaxnn.data.files import require_writable
from jaxnn.layer import init_of
from jaxnn.training.run import Keys


def compare(
    run: Path | None,
    config: Config,
    *,
    save: Sequence[Path] = (),
    every_rule: bool = False,
    rows: int | None = None,
) -> int:
    """Print the comparison on the first training examples, and save it; 0 if all gradients agree, otherwise 1.

    The network is a trained run's, or the model or the config's, both as the seed initialises them. Data, loss and
    penalty are the config's.
    """
    for path in save:
        require_ending(path)
        require_writable(path)
    config, problem = config_of(run, config)
    with setting(config):
        prepared = prepare(config, problem)
        net, model = prepared.net, config.network.model
        loss, batch = config.objective.loss_function(), first_batch(config, prepared, rows)
        keys = Keys.of(config.training.key())
        require_room(net, prepared)
        if model is not None:
            require_fit(model, net, batch, prepared.name, loss)
        if run is not None:
            params, state = read_params(run, net, config, prepared.problem)
        else:
            params, state = init_of(net, keys.init, prepared.problem.shape, config.precision.dtype)
        options = {"key": keys.noise, "penalty": config.objective.penalty(), "every_rule": every_rule}
        comparison = audit.compare(net, loss, params, state, *batch, **options)
    network = run or config.network.model or f"a fresh network for {prepared.name}"
    print(f"Manual and automatic gradients of {network} on {len(batch[0])} training examples")
    print_comparison(comparison)
    for path in save:
        comparison.save(path)
    return 0 if comparison.ok else 1
