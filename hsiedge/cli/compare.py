"""`hsiedge compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hsiedge.cli import console, options
from hsiedge.cli.flags import flag


def compare_command(
    results: Annotated[list[Path], typer.Argument(help="Files of hsiedge bench --json, two or more; the first is the base.")],
    json: options.JsonOption = None,
) -> None:
    """Put results of bench side by side: of several devices, or of several runs on one."""
    from hsiedge.benchmark.across_devices import compare_devices
    from hsiedge.report.terminal.compare import compare_tables

    console.check_json(json)
    comparison = compare_devices(results)
    if json != "-":
        console.stdout().print(*compare_tables(comparison, flag), sep="\n")
    if json is not None:
        console.write_json(comparison.to_dict(), json)
