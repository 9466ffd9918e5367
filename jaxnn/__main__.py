"""`python -m jaxnn`, and the console script: the command line, or how to install it."""

import sys

from jaxnn.command_line.interrupts import watched
from jaxnn.command_line.streams import open_closed_descriptors


def main() -> int:
    open_closed_descriptors()
    with watched():
        try:
            from jaxnn.command_line.parser import main as command_line
        except ImportError as error:
            sys.exit(f"jaxnn: {error}")
        return command_line()


if __name__ == "__main__":
    sys.exit(main())
