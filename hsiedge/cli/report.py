"""`hsiedge report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hsiedge.cli import console

if TYPE_CHECKING:
    from hsiedge.study.rows import Row
    from hsiedge.study.store import Store

_FORMATS = ("terminal", "html", "markdown", "csv", "latex")


def report_command(
    study: Annotated[Path, typer.Argument(help="The folder that hsiedge study leaves, or its study.sqlite.")],
    kind: Annotated[
        str,
        typer.Option("--format", help=f"Format: {', '.join(_FORMATS[:-1])} or {_FORMATS[-1]}; terminal writes a page too."),
    ] = "terminal",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The file to write; left out, report.html beside the study, or stdout for text."),
    ] = None,
) -> None:
    """Shows what a study came to: tables with mean and spread over seeds, and a page with plots, report.html."""
    from hsiedge import files
    from hsiedge.errors import OptionError
    from hsiedge.study.store import NAME, Store

    if kind not in _FORMATS:
        raise OptionError(f"--format {kind}: choose one of {', '.join(_FORMATS)}")
    path = study / NAME if study.is_dir() else study
    page = output or path.parent / "report.html"
    if kind in ("terminal", "html") or output is not None:
        files.check_writable(page)
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
