"""jaxnn summary: the layers of a network and what they hold."""

from pathlib import Path

from jaxnn.command_line.commands.setting import config_of, prepare, setting
from jaxnn.command_line.options import Config
from jaxnn.command_line.own_model import require_fit
from jaxnn.command_line.report import print_layers, print_memory


def summary(run: Path | None, config: Config, *, memory: bool = False) -> int:
    """Show the layers of a network: a run's, the model or the config's; with `memory`, what they keep for backward."""
    config, problem = config_of(run, config)
    with setting(config):
        prepared = prepare(config, problem)
        n_rows = config.training.rows_a_step(len(prepared.train[0]))
        net, model = prepared.net, config.network.model
        if model is not None:
            x, y = (array[:n_rows] for array in prepared.train)
            require_fit(model, net, (x, y), prepared.name)
        show = print_memory if memory else print_layers
        show(net, prepared.problem.shape, n_rows, prepared.x_dtype)
    return 0
