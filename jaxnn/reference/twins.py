"""From an object of jaxnn to its NumPy twin, by name."""

from dataclasses import fields
from typing import Any

from jaxnn.reference import (
    activations,
    augment,
    combinators,
    layers,
    losses,
    normalization,
    penalties,
    recurrent,
    schedules,
    updates,
    windows,
)

MODULES = (
    activations,
    layers,
    normalization,
    windows,
    combinators,
    recurrent,
    losses,
    penalties,
    schedules,
    updates,
    augment,
)
# Their constructors take the parts one by one.
OF_SEVERAL = (combinators.Serial, combinators.Branches, updates.chain, augment.Compose)


def twin(recipe: Any) -> Any:
    """The object of the same name and the same numbers, for a layer, loss, penalty, rule, schedule or the like.

    Of a tuple, such as one of penalties, the twin is a tuple of twins; None and plain numbers are their own twins.
    Raises: TypeError if nothing here has that name.

    >>> import jaxnn
    >>> twin(jaxnn.Serial(jaxnn.Dense(300), jaxnn.Sigmoid()))
    Serial(layers=(Dense(n_out=300), Sigmoid()))
    """
    if recipe is None or isinstance(recipe, bool | int | float | str):
        return recipe
    if isinstance(recipe, tuple | list):
        return tuple(map(twin, recipe))
    if hasattr(recipe, "item"):  # a number in an array
        return recipe.item()
    name = type(recipe).__name__
    kind = next((getattr(module, name) for module in MODULES if hasattr(module, name)), None)
    if kind is None:
        raise TypeError(f"twin: {name} has no NumPy twin: write one of that name in jaxnn/reference")
    numbers = {field.name: twin(getattr(recipe, field.name)) for field in fields(kind) if hasattr(recipe, field.name)}
    parts = numbers.pop(fields(kind)[0].name) if kind in OF_SEVERAL else ()
    return kind(*parts, **numbers)
