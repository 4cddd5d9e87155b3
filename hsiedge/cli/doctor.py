"""`hsiedge doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hsiedge.cli import console, groups, options, remote
from hsiedge.cli.flags import flag


@groups.expanded
def doctor_command(
    model: Annotated[
        Path | None,
        typer.Argument(
            help="Model to look at instead of the device: lists the operators and types of .onnx, .ort or .tflite, or the "
            "needs of an exported .c."
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", help="File for the model's operators, as a build of onnxruntime takes it (--include_ops_by_config)."
        ),
    ] = None,
    on: options.OnOption = None,
    python: options.PythonOption = remote.PYTHON,
    wheelhouse: options.WheelhouseOption = None,
    json: options.JsonOption = None,
) -> None:
    """Checks what this device can run, what it lacks, and which settings to change; or another device, over ssh.

    It changes nothing. The exit code is 1 if no model can run.
    """
    from hsiedge import files

    console.check_json(json, [model, config])
    if config is not None and model is not None:
        files.check_writable(config, [model])
    host = remote.host_of(on, python, wheelhouse)
    if host is not None:
        remote.doctor(host, model, config, json)
        return
    if model is not None:
        _operators(model, config, json)
        return
    from hsiedge.doctor import examine
    from hsiedge.errors import OptionError
    from hsiedge.report.terminal.doctor import doctor_tables

    if config is not None:
        raise OptionError("--config is written of a model: hsiedge doctor MODEL --config FILE")
    with console.progress("looking") as progress:
        report = examine(progress)
    console.show(doctor_tables(report), report.to_dict(), json)
    if report.stopped:
        raise typer.Exit(1)


def _operators(model: Path, config: Path | None, json: str | None) -> None:
    from rich.text import Text

    from hsiedge.doctor import operators_of
    from hsiedge.doctor.operators import write_config
    from hsiedge.report.terminal.doctor import operator_tables
    from hsiedge.report.terminal.model import c_lines
    from hsiedge.runtimes import require_card

    if model.suffix == ".c":
        card = require_card(model)
        console.show([Text(line) for line in c_lines(card)], card.lineage[-1].options if card.lineage else {}, json)
        return
    operators = operators_of(model)
    if config is not None:
        write_config(operators, config)
    console.show(operator_tables(operators, flag), operators.to_dict(), json)
