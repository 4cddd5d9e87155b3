"""Decoding of plain data, as JSON has it, into dataclasses: a file or another machine may hold anything."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable
from typing import Any, get_args, get_origin, get_type_hints

DEEPEST = 64  # objects and lists within one another


def build(kind: Any, value: Any) -> Any:
    """Builds an instance of the annotated type `kind` from `value`, plain JSON.

    Types are dataclasses, lists, objects, and None where it may be; a list stands for a tuple of one kind, too. Keys that
    `kind` does not know are left out; null for a float is NaN.

    Raises:
        TypeError: it does not fit.
    """
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        if not isinstance(value, dict):
            raise TypeError(f"{kind.__name__} is not an object")
        hints = get_type_hints(kind)
        known = {entry.name for entry in dataclasses.fields(kind)}
        return kind(**{key: build(hints[key], entry) for key, entry in value.items() if key in known})
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (list, tuple):
        if not isinstance(value, list):
            raise TypeError("a list was expected")
        return origin(build(arguments[0], entry) for entry in value)
    if origin is dict:
        if not isinstance(value, dict):
            raise TypeError("an object was expected")
        return {key: build(arguments[1], entry) for key, entry in value.items()}
    if type(None) in arguments:
        inner = [entry for entry in arguments if entry is not type(None)]
        return None if value is None else build(inner[0], value)
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if kind is Any or (isinstance(value, kind) and not (kind is int and isinstance(value, bool))):
        return value
    if kind is float and value is None:
        return math.nan
    raise TypeError(f"{value!r} is not {getattr(kind, '__name__', kind)}")


def each(kind: type, value: Any, change: Callable[[Any], Any]) -> Any:
    """Plain data with each leaf of a kind changed, keys of objects among them; tuples become lists."""
    if isinstance(value, dict):
        return {each(kind, key, change): each(kind, entry, change) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [each(kind, entry, change) for entry in value]
    return change(value) if isinstance(value, kind) else value


def parse_json(text: str | bytes) -> Any:
    """The value that JSON stands for; nesting is bounded, for who walks it, and so are the digits of an integer.

    Raises:
        ValueError: no JSON, NaN and the like among it, or nested too deep.
    """
    try:
        value = json.loads(text, parse_constant=_no_number)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    check_depth(value)
    return value


def check_depth(value: Any) -> None:
    """Raises ValueError where plain data is nested deeper than anything of ours is."""
    level = [value]
    for _ in range(DEEPEST):
        level = [inner for entry in level for inner in _within(entry)]
        if not level:
            return
    raise ValueError("nested too deep")


def _within(value: Any) -> Iterable[Any]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return (entry for entry in inner if isinstance(entry, (dict, list)))


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")
