"""jaxnn summary: the layers of a network and what they hold."""

from pathlib import Path

from jaxnn.command_line.commands.setting import config_of, prepare, setting
from jaxnn.command_line.config import Config
from jaxnn.command_line.report import print_layers, print_memory


def summary(run: Path | None, config: Config, memory: bool = False) -> int:
    """Show the network of a run, or the one that the config would make; with `memory`, what it keeps for backward."""
    config, problem = config_of(run, config)
    with setting(config):
        prepared = prepare(config, problem)
        net = config.net(prepared.problem)
        n_rows = config.training.rows_a_step(len(prepared.train[0]))
        show = print_memory if memory else print_layers
        show(net, prepared.problem.shape, n_rows, prepared.x_dtype)
    return 0
