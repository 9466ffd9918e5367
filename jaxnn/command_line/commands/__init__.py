"""What the command line does: one module a command, each a function from plain data to an exit status."""

from jaxnn.command_line.commands.aot import aot
from jaxnn.command_line.commands.compare import compare
from jaxnn.command_line.commands.evaluate import evaluate
from jaxnn.command_line.commands.summary import summary
from jaxnn.command_line.commands.train import train

__all__ = ["train", "evaluate", "compare", "summary", "aot"]
