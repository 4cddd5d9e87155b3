"""`hsiedge study` and `report`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hsiedge.cli import console, groups, options

if TYPE_CHECKING:
    from hsiedge.study.rows import Row
    from hsiedge.study.store import Store

_FORMATS = ("terminal", "html", "markdown", "csv", "latex")


@groups.expanded
def study_command(
    config: Annotated[Path, typer.Argument(help="TOML file of the study: scenes, splits, nets, methods and their levels.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="Folder of the study. Default: the name of CONFIG without .toml, in this folder.",
        ),
    ] = None,
    net: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE.py:NAME", help="Net of your own, which CONFIG calls NAME. May be repeated."),
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Dask scheduler, tcp://HOST:PORT. Default: processes on this machine.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Number of processes. Default: one per physical core.")] = None,
    measure: Annotated[
        str,
        typer.Option(
            metavar="yes|no|again|only",
            help="Timing of the models, after all are trained: yes; no, leave it for later; again, time all anew; only, train "
            "nothing.",
        ),
    ] = "yes",
    device: options.DeviceOption = "cpu",
    data_dir: options.DataDirOption = None,
) -> None:
    """Runs a compression study: a grid of scenes, nets and methods.

    It may be stopped at any moment. The same command then continues it.
    """
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
            check(study, [groups.open_named(place, None, None, None, data_dir) for place in places])
    note = console.say if not sys.stderr.isatty() else lambda text: None
    run_study(study, Plan(folder, scheduler, workers, data_dir, console.progress, console.say, note, measure, device))
    state = "what was made is measured" if measure == "only" else "the study is whole"
    console.say(f"{folder}: {state}; next: hsiedge report {folder}")


@groups.expanded
def report_command(
    study: Annotated[Path, typer.Argument(help="Folder that hsiedge study has written, or its study.sqlite.")],
    kind: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="NAME",
            help=f"Format: {', '.join(_FORMATS[:-1])} or {_FORMATS[-1]}; terminal writes a page too.",
        ),
    ] = "terminal",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write. Default: report.html beside the study; stdout for text."),
    ] = None,
) -> None:
    """Shows the results of a study: tables, and a page with plots, report.html.

    Figures are means over seeds, with their spread.
    """
    from hsiedge import files
    from hsiedge.errors import OptionError
    from hsiedge.study.store import NAME, Store

    if kind not in _FORMATS:
        raise OptionError(f"--format {kind}: choose one of {', '.join(_FORMATS)}")
    path = study / NAME if study.is_dir() else study
    page = output or path.parent / "report.html"
    if kind in ("terminal", "html") or output is not None:
        files.check_writable(page, [path])
    with Store(path, make=False) as store:
        rows = store.rows()
        failures = [f"{cell.title}: {reason}" for cell, reason in store.failures()]
        for failure in failures:
            console.say(f"failed, and missing here: {failure}")
        if kind == "terminal":
            from hsiedge.report.study.tables import study_tables

            console.stdout().print(*study_tables(rows), sep="\n")
        if kind in ("terminal", "html"):
            files.write_bytes(page, _page(store, rows, failures, path).encode())
            console.say(f"{page}: the page, with plots; open it in a browser")
        else:
            _write(_text(rows, kind), output)


def _page(store: Store, rows: list[Row], failures: list[str], path: Path) -> str:
    from hsiedge.errors import needs_extra

    with needs_extra("the page of a study", "report"):
        from hsiedge.report.study.page import render_study

    title = path.absolute().parent.name if path.name == "study.sqlite" else path.stem
    return render_study(rows, store.parts, title, failures)


def _text(rows: list[Row], kind: str) -> str:
    from hsiedge.report.study.tables import csv_text, latex, markdown, sheets

    if kind == "csv":
        return csv_text(rows)
    return markdown(sheets(rows)) if kind == "markdown" else latex(sheets(rows))


def _write(text: str, output: Path | None) -> None:
    from hsiedge import files

    if output is None:
        console.write(text)
    else:
        files.write_bytes(output, text.encode())
