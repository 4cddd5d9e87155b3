"""Options of commands that can run on another machine: `--on`, `--python` and `--wheelhouse`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from hsiedge.cli import console

if TYPE_CHECKING:
    from hsiedge.benchmark.results import Report
    from hsiedge.remote.host import Host

PYTHON = "python3"
_NOT_SENT = ("models", "on", "python", "wheelhouse", "json")


def host_of(on: str | None, python: str, wheelhouse: Path | None) -> Host | None:
    """The machine that the options name; None for this one. Raises OptionError."""
    from hsiedge.errors import OptionError
    from hsiedge.remote.address import parse_address
    from hsiedge.remote.host import Host

    if on is None:
        if python != PYTHON or wheelhouse is not None:
            raise OptionError("--python and --wheelhouse need --on, which names the other machine")
        return None
    if not python or set(python) & {"\0", "\n"}:
        raise OptionError("--python: the path of a Python interpreter on the other machine is expected")
    if wheelhouse is not None and not wheelhouse.is_dir():
        raise OptionError(f"--wheelhouse {wheelhouse}: no such folder")
    return Host(parse_address(on), python, wheelhouse)


def bench(host: Host, models: Sequence[Path], context: typer.Context) -> Report:
    """The bench that the command line asks for, over there."""
    from hsiedge.remote.host import bench_on

    with console.progress(f"measuring on {host.address}") as progress:
        return bench_on(host, models, words(context), tell=console.say, progress=progress)


def doctor(host: Host, model: Path | None, config: Path | None, target: str | None) -> None:
    """Prints the other machine's doctor report as it is printed there; exit code 1 where models cannot run."""
    from hsiedge.errors import OptionError
    from hsiedge.remote.host import ask_on, tell_on

    if model is not None or config is not None:
        raise OptionError("doctor MODEL gives the same result on every machine; leave --on out")
    with console.progress(f"looking at {host.address}") as progress:
        if target is None:
            code, text = tell_on(host, ["doctor"], tell=console.say, progress=progress)
        else:
            code, report = ask_on(host, ["doctor"], tell=console.say, progress=progress)
    if target is None:
        console.write(text)
    else:
        console.write_json(report, target)
    if code:
        raise typer.Exit(code)


def words(context: typer.Context, left_out: Sequence[str] = _NOT_SENT) -> list[str]:
    """The options of a command line again, but for those `left_out`: what this machine was told is what the other one is."""
    written: list[str] = []
    for parameter in context.command.params:
        value: Any = context.params.get(str(parameter.name))
        if parameter.name in left_out or value is None or value is False:
            continue
        name = parameter.opts[0]
        if value is True:
            written.append(name)
        else:
            written += [
                word for entry in (value if isinstance(value, (list, tuple)) else [value]) for word in (name, str(entry))
            ]
    return written
