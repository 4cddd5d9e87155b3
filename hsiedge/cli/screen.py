"""A console of rich that shows words from files as text: no markup, no emoji, no character that a terminal would obey."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from hsiedge.words import printable


class Screen(Console):
    """Console of 100 columns where the terminal does not say; rich's own colours and cursor movements are left as they are."""

    def __init__(self, file: TextIO) -> None:
        super().__init__(file=file, highlight=False, markup=False, emoji=False, width=None if file.isatty() else 100)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Segments of what is shown, each made of printable characters and line ends."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else "\n".join(map(printable, text.split("\n"))), style, control)
