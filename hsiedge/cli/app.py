"""Commands of `hsiedge`, by name."""

from __future__ import annotations

from typing import Annotated

import typer

from hsiedge import __version__
from hsiedge.cli import (
    bench,
    classify,
    compression,
    demo,
    doctor,
    evaluate,
    export,
    models,
    quantize,
    run,
    scenes,
    study,
    train,
)

app = typer.Typer(
    name="hsiedge",
    help="Hyperspectral classifiers on small computers: train, compress, export, quantize, evaluate, measure.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(scenes.app, name="scenes")
app.command("train")(train.train_command)
app.command("prune")(compression.prune_command)
app.command("distill")(compression.distill_command)
app.command("qat")(compression.qat_command)
app.command("compress")(compression.compress_command)
app.command("export")(export.export_command)
app.command("quantize")(quantize.quantize_command)
app.command("eval")(evaluate.eval_command)
app.command("classify")(classify.classify_command)
app.command("run")(run.run_command)
app.command("bench")(bench.bench_command)
app.command("doctor")(doctor.doctor_command)
app.command("compare")(bench.compare_command)
app.command("show")(models.show_command)
app.command("card")(models.card_command)
app.command("try")(models.try_command)
app.command("study")(study.study_command)
app.command("report")(study.report_command)
app.command("demo")(demo.demo_command)


def _version(value: bool) -> None:
    if value:
        print(f"hsiedge {__version__}")  # noqa: T201
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show each pass, choice and check as it is made (anywhere on the line).")
    ] = False,
    show_traceback: Annotated[
        bool, typer.Option("--traceback", help="Show the traceback of an error (anywhere on the line).")
    ] = False,
    allow_modified: Annotated[
        bool,
        typer.Option("--allow-modified", help="Open model files that are not as they were written (anywhere on the line)."),
    ] = False,
) -> None:
    """Options that stand before the command's name."""
