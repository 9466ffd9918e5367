"""Dataclasses as what JSON knows, and back, each field of its type."""

import types
from dataclasses import asdict, fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


def as_json(thing: Any) -> dict[str, Any]:
    """The fields as what JSON knows."""
    return asdict(thing)


def from_json(kind: type, found: Any, where: str) -> Any:
    """The dataclass `kind` from what JSON gave, each field of its type; `where` names it in errors.

    Raises: ValueError if a field is missing, unknown or of another type: the file was damaged or made by another
        version.
    """
    types_of = get_type_hints(kind)
    names = [each.name for each in fields(kind)]
    if not isinstance(found, dict) or set(found) != set(names):
        differing = sorted(set(found) ^ set(names)) if isinstance(found, dict) else names
        raise ValueError(f"{where} should have the fields of a {kind.__name__}; missing or unknown: {differing}")
    return kind(**{name: _typed(types_of[name], found[name], f"{where}.{name}") for name in names})


def _typed(expected: Any, value: Any, where: str) -> Any:
    if is_dataclass(expected):
        return from_json(expected, value, where)
    options = get_args(expected) if get_origin(expected) in (Union, types.UnionType) else (expected,)
    for option in options:
        if get_origin(option) is Literal and value in get_args(option):
            return value
        if get_origin(option) is tuple and isinstance(value, list):
            kind = get_args(option)[0]
            if all(each in get_args(kind) if get_origin(kind) is Literal else type(each) is kind for each in value):
                return tuple(value)
        if option is float and type(value) in (int, float):
            return float(value)
        if isinstance(option, type) and type(value) is option:
            return value
    name = expected.__name__ if isinstance(expected, type) else str(expected).removeprefix("typing.")
    raise ValueError(f"{where} should be {name}, got a {type(value).__name__}")
