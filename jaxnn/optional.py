"""Dependencies that only some users need: each belongs to an extra of the package."""

import importlib
from types import ModuleType


def require(module: str, extra: str) -> ModuleType:
    """Import an optional dependency, or say how to install it.

    The only import inside a function in this package: the core must import without any extra.

    Raises: ImportError if the module isn't installed. If it fails while being imported, its own error is passed on.

    >>> require("json", extra="data").dumps([1, 2])
    '[1, 2]'
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise ImportError(
            f'{error.name} is needed for this, as part of the extra "{extra}": pip install "jaxnn[{extra}]"',
            name=error.name,
        ) from error
