"""What the command line does: one module a command, each a function from plain data to an exit status."""

from jaxnn.commands.aot import aot
from jaxnn.commands.compare import compare
from jaxnn.commands.evaluate import evaluate
from jaxnn.commands.summary import summary
from jaxnn.commands.train import train

__all__ = ["train", "evaluate", "compare", "summary", "aot"]
