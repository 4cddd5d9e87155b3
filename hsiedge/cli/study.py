"""`hsiedge study`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from hsiedge.cli import console, options


def study_command(
    config: Annotated[Path, typer.Argument(help="The study: scenes, splits, nets, methods and levels, as TOML.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of the study; left out, CONFIG without its suffix, here.")
    ] = None,
    net: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE.py:NAME", help="A net of your own, which CONFIG calls NAME; may be given again."),
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Dask scheduler of a cluster, tcp://HOST:PORT; left out, processes here.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes; left out, one a physical core.")] = None,
    measure: Annotated[
        str,
        typer.Option(help="Latencies after all cells are made: yes; no, for later; again, the measured ones too."),
    ] = "yes",
    data_dir: options.DataDirOption = None,
) -> None:
    """Runs a grid of scenes, nets and compression methods; stopped at any moment, the same command goes on from there."""
    from hsiedge import nets
    from hsiedge.errors import needs_extra

    with needs_extra("the study", "study"):
        from hsiedge.study.config import read_config
        from hsiedge.study.paths import scene_place
        from hsiedge.study.run import Plan, check, run_study

    for own in net or []:
        nets.NETS.name_of(own)
    study = read_config(config)
    folder = output or Path(config.stem)
    if scheduler is None:  # a cluster's workers find scenes for themselves
        with console.waiting("reading scenes"):
            places = [scene_place(name, study.base) for name in study.scenes]
            check(study, [options.open_named(place, None, None, None, data_dir) for place in places])
    note = console.say if not sys.stderr.isatty() else lambda text: None
    run_study(study, Plan(folder, scheduler, workers, data_dir, console.progress, console.say, note, measure))
    console.say(f"{folder}: the study is whole; next: hsiedge report {folder}")
