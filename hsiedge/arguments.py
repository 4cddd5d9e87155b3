"""Arguments of public functions: a path, or an object that has one, becomes a Path, or one clear error."""

from __future__ import annotations

import os
from collections.abc import Sequence
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


def wrong_type(option: str, value: object, expected: str) -> OptionError:
    """The error of an argument of another type than `expected`."""
    return OptionError(f"{expected} is expected, not {type(value).__name__}", option=option)
