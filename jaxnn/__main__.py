"""`python -m jaxnn`, and the console script: the command line, or how to install it."""

import sys

try:
    from jaxnn.command_line.parser import main
except ImportError as error:
    sys.exit(f"jaxnn: {error}")

if __name__ == "__main__":
    sys.exit(main())
