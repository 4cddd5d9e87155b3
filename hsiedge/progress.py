"""Progress of long work, as a share of all of it."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[float], None]
"""Called with the share of the work that is done, 0 to 1."""

PREFIX = "hsiedge: progress "
"""Where $HSIEDGE_PROGRESS is set, a program watches: stderr has the share as lines that begin so."""


def silent(share: float) -> None:
    """Progress that nobody watches."""
