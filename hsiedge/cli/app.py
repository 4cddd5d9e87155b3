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
from hsiedge.cli.help import Command, Group

app = typer.Typer(
    name="hsiedge",
    cls=Group,
    help="From a labelled hyperspectral scene to a verified model on a small computer. A model is one file. Its Card, in it, "
    "says for which bands and classes it is, and what it was trained on.",
    epilog="For example: hsiedge train indian_pines; hsiedge export --scene-graph; hsiedge quantize; hsiedge eval. Each takes "
    "the newest file in the folder that fits.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_COMMANDS = {
    "Make a model": {
        "train": train.train_command,
        "export": export.export_command,
        "quantize": quantize.quantize_command,
        "prune": compression.prune_command,
        "distill": compression.distill_command,
        "qat": compression.qat_command,
        "compress": compression.compress_command,
    },
    "Use a model": {
        "eval": evaluate.eval_command,
        "classify": classify.classify_command,
        "run": run.run_command,
        "show": models.show_command,
    },
    "Bring a net of your own": {"try": models.try_command, "card": models.card_command},
    "Measure": {
        "bench": bench.bench_command,
        "compare": bench.compare_command,
        "doctor": doctor.doctor_command,
        "study": study.study_command,
        "report": study.report_command,
    },
}
app.command("demo", cls=Command)(demo.demo_command)
for heading, commands in _COMMANDS.items():
    for name, command in commands.items():
        app.command(name, cls=Command, rich_help_panel=heading)(command)
app.add_typer(scenes.app, name="scenes")


def _version(value: bool) -> None:
    if value:
        print(f"hsiedge {__version__}")  # noqa: T201
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Print each step, choice and check. May stand anywhere on the line.")
    ] = False,
    show_traceback: Annotated[
        bool, typer.Option("--traceback", help="Print the traceback of an error. May stand anywhere on the line.")
    ] = False,
    allow_modified: Annotated[
        bool,
        typer.Option(
            "--allow-modified",
            help="Open model files whose digest does not match: they were damaged or changed. May stand anywhere on the line.",
        ),
    ] = False,
) -> None:
    """Options that stand before the command's name."""
