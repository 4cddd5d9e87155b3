"""Arguments of public functions: what stands for a path becomes a Path, a number is one, or there is one clear error."""

from __future__ import annotations

import os
from collections.abc import Sequence
from numbers import Integral, Real
from pathlib import Path

from hsiedge.errors import OptionError

PathLike = str | os.PathLike[str]
"""Path of a file; a Model and a saved Checkpoint are such, too."""


def path_of(value: PathLike, option: str) -> Path:
    """The path that an argument names. Raises OptionError for another type."""
    if isinstance(value, (str, os.PathLike)):
        return Path(value)
    raise wrong_type(option, value, "a path")


def paths_of(value: PathLike | Sequence[PathLike], option: str) -> list[Path]:
    """The paths that an argument names: one, or several. Raises OptionError for another type."""
    if isinstance(value, (str, os.PathLike)):
        return [Path(value)]
    if not isinstance(value, Sequence):
        raise wrong_type(option, value, "a path, a Model, or a list of them")
    return [path_of(entry, option) for entry in value]


def whole_number(value: object, option: str) -> int:
    """The whole number that an argument is. Raises OptionError for anything else, a fraction or text among it."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise _no_number(option, value, "a whole number")
    return int(value)


def number(value: object, option: str) -> float:
    """The number that an argument is. Raises OptionError for anything else, text among it."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise _no_number(option, value, "a number")
    return float(value)


def _no_number(option: str, value: object, expected: str) -> OptionError:
    """The error of an argument that is not as a number was expected."""
    if isinstance(value, (float, str)) and value != "":
        return OptionError(f"{expected} is expected", option=option, value=repr(value))
    return wrong_type(option, value, expected)


def wrong_type(option: str, value: object, expected: str) -> OptionError:
    """The error of an argument of another type than `expected`."""
    return OptionError(f"{expected} is expected, not {type(value).__name__}", option=option)
