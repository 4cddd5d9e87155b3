"""`hsiedge demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hsiedge.cli import console, options


def demo_command(
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder that it leaves.")] = Path("demo"),
    seed: options.SeedOption = 0,
    data_dir: options.DataDirOption = None,
) -> None:
    """The main job on Indian Pines: train, export, quantize, evaluate, bench, run; leaves models, maps and report.html."""
    from hsiedge.errors import needs_extra

    with needs_extra("the demo", "demo"):
        from hsiedge.cli.demo_job import run_demo

    console.stdout().print(*run_demo(output, seed, data_dir, console.progress, console.say), sep="\n")
