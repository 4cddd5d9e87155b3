"""`hsiedge demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hsiedge.cli import console, groups, options


@groups.expanded
def demo_command(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Folder for models, maps and the report.")
    ] = Path("demo"),
    seed: options.SeedOption = 0,
    data_dir: options.DataDirOption = None,
) -> None:
    """Runs the whole road on Indian Pines: train, export, quantize, eval, bench and run.

    Writes models, maps and report.html to one folder.
    """
    from hsiedge.errors import needs_extra

    with needs_extra("the demo", "demo"):
        from hsiedge.cli.demo_job import run_demo

    console.stdout().print(*run_demo(output, seed, data_dir, console.progress, console.say), sep="\n")
