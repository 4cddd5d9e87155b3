"""Tables of `hsiedge doctor`, in the terminal."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hsiedge.doctor import DoctorReport, Finding, Operators
from hsiedge.doctor.findings import GOOD, NOTE, PROBLEM
from hsiedge.doctor.operators import Operator
from hsiedge.doctor.software import Extra
from hsiedge.errors import Spell, spell
from hsiedge.report.terminal.tables import plain_table

_MARKS = {PROBLEM: Text("problem", style="bold red"), NOTE: Text("note", style="yellow"), GOOD: Text("good", style="green")}


def doctor_tables(report: DoctorReport) -> list[RenderableType]:
    """Tables of a report: the findings, the extras, and the verdict."""
    facts = report.device
    machine = facts.board or facts.cpu or facts.machine
    title = " · ".join(text for text in (machine, facts.os, f"kernel {facts.kernel}" if facts.kernel else None) if text)
    parts: list[RenderableType] = [Text(title, style="bold"), _findings_table(report.findings)]
    if report.extras:
        parts.append(_extras_table(report.extras))
    return [*parts, _verdict(report)]


def operator_tables(operators: Operators, spell: Spell = spell) -> list[RenderableType]:
    """Tables of a model's operators, as it is and as it runs."""
    parts = [_operators_table(f"{operators.model}: operators of the file", operators.as_it_is)]
    if operators.as_it_is != operators.as_it_runs:
        title = "the same, optimized and in ORT format, as a reduced build loads it"
        parts.append(_operators_table(title, operators.as_it_runs))
    custom = [entry.name for entry in operators.as_it_is if not entry.builtin]
    if custom:
        parts.append(Text(f"not built in, and no runtime has them without a kernel of your own: {', '.join(custom)}"))
    if operators.arena_bytes is not None:
        parts.append(Text(f"takes an arena of {operators.arena_bytes:,} bytes in TFLite Micro"))
    if operators.config:
        hint = f"{spell('config', 'FILE')} writes what onnxruntime's build.py takes with --include_ops_by_config"
        parts.append(Text(hint, style="dim"))
    return parts


def _findings_table(findings: Sequence[Finding]) -> Table:
    table = plain_table(header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        lines: list[RenderableType] = [Text(finding.what)]
        if finding.why:
            lines.append(Text(finding.why, style="dim"))
        lines += [Padding(Text(line, style="bold", overflow="fold"), (0, 0, 0, 2)) for line in finding.do]
        table.add_row(_MARKS[finding.severity], Text(finding.topic), Group(*lines))
    return table


def _extras_table(extras: Sequence[Extra]) -> Table:
    table = plain_table()
    for heading in ("extra", "installed", "for"):
        table.add_column(heading, overflow="fold")
    for extra in extras:
        versions = ", ".join(f"{name} {version}" for name, version in extra.versions.items() if version is not None)
        missing = ", ".join(name for name, version in extra.versions.items() if version is None)
        installed = Text(versions if not missing else f"no {missing}", style="" if not missing else "dim")
        table.add_row(Text(f"[{extra.name}]"), installed, Text(extra.purpose))
    return table


def _verdict(report: DoctorReport) -> Text:
    problems = sum(finding.severity == PROBLEM for finding in report.findings)
    notes = sum(finding.severity == NOTE for finding in report.findings)
    counts = f"{problems} problem{'' if problems == 1 else 's'}, {notes} note{'' if notes == 1 else 's'}"
    if report.stopped:
        return Text(f"{counts}; models cannot be run here as it is", style="bold red")
    return Text(f"{counts}; bench takes {report.threads} thread{'' if report.threads == 1 else 's'} here", style="bold")


def _operators_table(title: str, operators: Sequence[Operator]) -> RenderableType:
    table = plain_table()
    table.add_column("operator", overflow="fold")
    table.add_column("domain", overflow="fold")
    table.add_column("version", justify="right")
    table.add_column("types", overflow="fold")
    for entry in operators:
        table.add_row(Text(entry.name), Text(entry.domain), str(entry.version), Text(_types(entry)))
    return Group(Text(title, style="bold"), table)


def _types(operator: Operator) -> str:
    """Types of an operator: "inputs 0: float, 1: int8_t; outputs 0: float"."""
    sides = []
    for side, places in operator.types.items():
        if isinstance(places, dict):
            types = ", ".join(f"{place}: {' or '.join(map(str, names))}" for place, names in places.items())
            sides.append(f"{side} {types}")
        else:
            sides.append(f"{side} {json.dumps(places)}")
    return "; ".join(sides) or "all"
