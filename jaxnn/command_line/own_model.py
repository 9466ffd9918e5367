"""A network of the user's own, by name: `module.py:name` or `package.module:name`."""

import pkgutil
import runpy
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxnn.layer import Layer, forward_of, init_of, is_layer, require_layer
from jaxnn.objective.losses import Loss
from jaxnn.training.examples import checked


def named_model(model: str) -> Layer:
    """The layer of that name, or what the function of that name returns without arguments.

    What the module imports is looked for in the file's folder first, or for package.module in the working directory,
    as `python` itself does.
    Raises: ValueError if there is no such module or name, or its code fails; TypeError if it isn't a layer.
    """
    source, name = _parts(model)
    is_file = source.endswith(".py")
    if is_file and not Path(source).is_file():
        raise ValueError(f"model {model}: there is no file {source}")
    sys.path.insert(0, str(Path(source).resolve().parent if is_file else Path.cwd()))
    with _blamed_on(source):
        module = runpy.run_path(source, run_name=Path(source).stem) if is_file else vars(pkgutil.resolve_name(source))
    if name not in module:
        raise ValueError(
            f"model {model}: {source} has no {name!r}: give the name of a layer or of a function that makes one"
        )
    layer = module[name]
    if isinstance(layer, type) or (callable(layer) and not is_layer(layer)):
        with _blamed_on(source):
            layer = layer()
    require_layer(f"model {model}", layer)
    return layer


def located(model: str) -> str:
    """The same model, found from any working directory if it is in a file."""
    source, name = _parts(model)
    return f"{Path(source).resolve()}:{name}" if source.endswith(".py") else model


def _parts(model: str) -> tuple[str, str]:
    source, _, name = model.rpartition(":")
    if not source or not name:
        raise ValueError(f"a model should be module.py:name or package.module:name, got {model!r}")
    return source, name


def require_fit(
    model: str, net: Layer, batch: tuple[np.ndarray, np.ndarray], data: str, loss: Loss | None = None
) -> None:
    """Trace a model with shapes alone, and check the targets, so that what doesn't fit is said before any computing.

    Raises: ValueError.
    """
    x: Any = batch[0]

    def output(key: jax.Array) -> jax.Array:
        params, state = init_of(net, key, x.shape[1:], x.dtype if x.dtype.kind == "f" else None)
        return forward_of(net, params, state, x, key=key, train=True).y

    try:
        jax.eval_shape(output, jax.random.key(0))
        if loss is not None:
            checked(batch, net, loss)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{model} doesn't fit {data}, with examples {x.shape[1:]} of {x.dtype}: {error}") from error


@contextmanager
def _blamed_on(source: str) -> Iterator[None]:
    """Whatever the user's own code raises is the user's mistake, and is answered in one line."""
    try:
        yield
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if Path(frame.filename).resolve() == Path(source).resolve()]
        where = f" (line {lines[-1]})" if lines else ""
        raise ValueError(f"model {source} fails with {type(error).__name__}: {error}{where}") from error
