"""Flags: how the command line writes the parameters that errors name."""

from __future__ import annotations

from hsiedge.errors import HsiedgeError

_NAMES = {
    "batches": "--batch",
    "classes": "--class-names",
    "kind": "--split",
    "models": "MODEL",
    "output": "-o",
    "page_token": "$HSIEDGE_PAGE_TOKEN",
    "path": "-o",
    "patches": "--calib-patches",
    "shapes": "--shape",
    "source": "--from",
    "train": "--train-fraction",
}
"""Flags that are not called as the parameter is."""


def flag(option: str, value: object = "") -> str:
    """A parameter as it is written on the command line: "--threads 4"; "--threads" alone, or a switch that is on, "--align"."""
    name = _NAMES.get(option, f"--{option.replace('_', '-')}")
    return name if str(value) in ("", "True") else f"{name} {value}"


def message(error: Exception) -> str:
    """The line that the user reads of an error."""
    return error.text(flag) if isinstance(error, HsiedgeError) else str(error)
