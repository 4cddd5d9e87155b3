"""Conformance checks for nets, readers, runtimes and map writers of one's own: what ours pass, they must pass.

Each raises one `CheckError` that says what is expected, and passes in silence.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hsiedge.testing.net import check_net

__all__ = ["check_net"]
_HOMES = {"check_net": "net"}


def __getattr__(name: str) -> Callable[..., Any]:
    """Imports a check when it is asked for: that of nets needs torch, and the others do not."""
    if name not in _HOMES:
        raise AttributeError(f"module 'hsiedge.testing' has no attribute {name!r}")
    check: Callable[..., Any] = getattr(import_module(f"hsiedge.testing.{_HOMES[name]}"), name)
    return check
