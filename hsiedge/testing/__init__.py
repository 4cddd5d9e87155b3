"""Conformance checks for nets, readers, runtimes, map writers and live sources of one's own: what ours pass, they must pass.

Each raises one `CheckError` that says what is expected, and passes in silence.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hsiedge.testing.net import check_net
    from hsiedge.testing.reader import check_reader
    from hsiedge.testing.runtime import check_runtime
    from hsiedge.testing.source import check_source
    from hsiedge.testing.writer import check_writer

__all__ = ["check_net", "check_reader", "check_runtime", "check_source", "check_writer"]


def __getattr__(name: str) -> Callable[..., Any]:
    """Imports a check when it is asked for: that of nets needs torch, and the others do not."""
    if name not in __all__:
        raise AttributeError(f"module 'hsiedge.testing' has no attribute {name!r}")
    check: Callable[..., Any] = getattr(import_module(f"hsiedge.testing.{name.removeprefix('check_')}"), name)
    return check
