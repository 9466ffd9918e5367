"""Dataclasses to what JSON can hold, and back, each field in its own type."""

import types
from dataclasses import asdict, fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


def as_json(thing: Any) -> dict[str, Any]:
    """The fields, as a dict that JSON can hold."""
    return asdict(thing)


def from_json(kind: type, content: Any, where: str) -> Any:
    """The dataclass `kind` made from what JSON held, each field in its own type; `where` names it in errors.

    Raises: ValueError if a field is missing, unknown or of another type: the file was damaged or made by another
        version.
    """
    types_by_name = get_type_hints(kind)
    names = [field.name for field in fields(kind)]
    if not isinstance(content, dict) or set(content) != set(names):
        differing = sorted(set(content) ^ set(names)) if isinstance(content, dict) else names
        raise ValueError(f"{where} should have the fields of a {kind.__name__}; missing or unknown: {differing}")
    return kind(**{name: _typed(types_by_name[name], content[name], f"{where}.{name}") for name in names})


def _typed(expected: Any, value: Any, where: str) -> Any:
    if is_dataclass(expected):
        return from_json(expected, value, where)
    options = get_args(expected) if get_origin(expected) in (Union, types.UnionType) else (expected,)
    for option in options:
        if get_origin(option) is Literal and value in get_args(option):
            return value
        if get_origin(option) is tuple and isinstance(value, list):
            kind = get_args(option)[0]
            if all(part in get_args(kind) if get_origin(kind) is Literal else type(part) is kind for part in value):
                return tuple(value)
        if option is float and type(value) in (int, float):
            return float(value)
        if isinstance(option, type) and type(value) is option:
            return value
    name = expected.__name__ if isinstance(expected, type) else str(expected).removeprefix("typing.")
    raise ValueError(f"{where} should be {name}, got a {type(value).__name__}")
