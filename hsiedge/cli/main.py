"""`hsiedge`: the commands, and what becomes of errors."""

from __future__ import annotations

import logging
import os
import sys
import traceback
import warnings
from contextlib import nullcontext
from typing import Annotated, Any

import typer

from hsiedge import __version__
from hsiedge.cli import (
    bench,
    classify,
    compare,
    compress,
    compression,
    console,
    demo,
    doctor,
    evaluate,
    export,
    flags,
    models,
    quantize,
    report,
    scenes,
    study,
    train,
)
from hsiedge.errors import HsiedgeError
from hsiedge.words import shown

app = typer.Typer(
    name="hsiedge",
    help="Hyperspectral classifiers on small computers: train, compress, export, quantize, evaluate, measure.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_USAGE_ERROR: Any = typer.BadParameter.__mro__[2]  # ClickException, which typer carries inside itself and does not export

_VERBOSE, _TRACEBACK = ("-v", "--verbose"), "--traceback"
_REASON = 300  # characters of an unexpected error's own text
_EVERYWHERE = (*_VERBOSE, _TRACEBACK)  # options that may stand anywhere on the line

app.add_typer(scenes.app, name="scenes")
app.command("train")(train.train_command)
app.command("prune")(compression.prune_command)
app.command("distill")(compression.distill_command)
app.command("qat")(compression.qat_command)
app.command("compress")(compress.compress_command)
app.command("export")(export.export_command)
app.command("quantize")(quantize.quantize_command)
app.command("eval")(evaluate.eval_command)
app.command("classify")(classify.classify_command)
app.command("bench")(bench.bench_command)
app.command("doctor")(doctor.doctor_command)
app.command("compare")(compare.compare_command)
app.command("show")(models.show_command)
app.command("card")(models.card_command)
app.command("study")(study.study_command)
app.command("report")(report.report_command)
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
) -> None:
    """Options that stand before the command's name."""


def main() -> None:
    """Runs the command line; an error is one line and exit code 2, or 1 where it is a fault of ours; Ctrl-C is 130."""
    arguments = [word for word in sys.argv[1:] if word not in _EVERYWHERE]
    verbose = any(word in _VERBOSE for word in sys.argv[1:])
    warnings.showwarning = console.show_warning
    warnings.simplefilter("default" if verbose else "ignore")
    warnings.filterwarnings("always", module="hsiedge")
    try:
        with console.logging_to_stderr(logging.INFO) if verbose else nullcontext():
            status = app(arguments or ["--help"], standalone_mode=False)
    except (typer.Abort, KeyboardInterrupt):
        status = 130
    except _USAGE_ERROR as error:
        if error.format_message():  # without one, the help has been printed
            console.fail(f"{error.format_message()} (see {error.ctx.command_path if error.ctx else 'hsiedge'} --help)")
        status = 2
    except BrokenPipeError:  # whoever read our output has seen enough, as in `hsiedge eval | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except Exception as error:
        if _TRACEBACK in sys.argv[1:]:
            traceback.print_exc()
        expected = isinstance(error, (HsiedgeError, OSError, MemoryError))
        console.fail((flags.message(error) or "out of memory") if expected else _unexpected(error))
        status = 2 if expected else 1
    if status == 130:
        console.say("stopped; nothing was left half-written")
    sys.exit(status if isinstance(status, int) else 0)


def _unexpected(error: Exception) -> str:
    """The line on what should not have happened: what it is, and how to report it."""
    reason = shown(" ".join(str(error).split()), _REASON)
    mend = f"please report it to the makers of hsiedge, with what the same command prints with {_TRACEBACK}"
    return f"unexpected {type(error).__name__}{': ' if reason else ''}{reason}; this is a fault in hsiedge: {mend}"


if __name__ == "__main__":
    main()
