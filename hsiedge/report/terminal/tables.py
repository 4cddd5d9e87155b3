"""Parts that the tables of several commands share."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table


def plain_table(*, header: bool = True) -> Table:
    """A table without frame, whose columns take as little room as they can."""
    return Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_header=header)


def add_numbers(table: Table, *headings: str) -> None:
    """Adds a column to the right for each heading, which is never wrapped but where it says so."""
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)


def short_names(files: Sequence[str], room: int) -> dict[str, str]:
    """Names of files in a table: themselves where all fit into `room` columns, else letters, for `name_table` to explain."""
    files = list(dict.fromkeys(files))
    if max(map(len, files), default=0) <= room:
        return {file: file for file in files}
    return {file: chr(ord("A") + index) if index < 26 else f"#{index + 1}" for index, file in enumerate(files)}


def name_table(names: dict[str, str], room: int) -> Table:
    """An empty table whose first columns take the letters of `short_names` and the files' names, unbroken where they fit."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=max(map(len, names), default=0) <= room, overflow="fold")
    return table
