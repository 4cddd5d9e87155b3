"""Tables of `hsiedge compare`, in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hsiedge.benchmark.across_devices import DeviceComparison, Difference, Line, Run
from hsiedge.errors import Spell, spell
from hsiedge.report.terminal.bench import UNTRUSTED, device_lines, energy, figure, large, warning_lines
from hsiedge.report.terminal.tables import add_numbers, plain_table

UNPAIRED = (
    "These runs took no turns: a ratio is of two medians, has no interval, and holds what else differed. "
    "On one device, hsiedge bench with both models measures them in turns."
)


def compare_tables(comparison: DeviceComparison, spell: Spell = spell) -> list[RenderableType]:
    """Tables of a comparison: the devices, what differs, a table for each model, and the warnings."""
    parts: list[RenderableType] = []
    for run in comparison.runs:
        parts += _head(run)
    parts += [Text(), *_difference_lines(comparison.differences), Text()]
    for model, lines in groupby(comparison.lines, key=lambda line: line.model):
        parts += [Text(model, style="bold"), _table(list(lines))]
    parts.append(Text(UNPAIRED, style="dim"))
    warnings = [line for run in comparison.runs for line in _warning_lines(run, comparison.lines, spell)]
    return [*parts, Text(), UNTRUSTED, *warnings] if warnings else parts


def _head(run: Run) -> list[RenderableType]:
    lines = device_lines(run.report.device)
    return [Text.assemble((f"{run.name}  ", "bold"), run.file), *(Padding(line, (0, 0, 0, 3)) for line in lines)]


def _difference_lines(differences: Sequence[Difference]) -> list[RenderableType]:
    if not differences:
        return [Text("No fact that hsiedge knows of tells the devices apart.")]
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("differs", *differences[0].values):
        table.add_column(heading, overflow="fold")
    for entry in differences:
        table.add_row(entry.what, *(Text(value if value is not None else "?") for value in entry.values.values()))
    return [table]


def _table(lines: Sequence[Line]) -> Table:
    table = plain_table()
    metered = any(line.result.energy_mj is not None for line in lines)
    for heading in ("batch", "", "runtime", "precision"):
        table.add_column(heading, justify="right" if heading == "batch" else "left", overflow="fold")
    times = ("p50\nms", "p90\nms")
    add_numbers(table, "threads", *times, "pixels\na second", "memory\nMiB", *["mJ\na pixel"] * metered, "times")
    last = None
    for line in lines:
        result = line.result
        group = (result.batch, result.input_shape)
        first, last = group != last, group
        table.add_row(
            str(result.batch) if first else "",
            line.run,
            Text(result.runtime if result.provider.startswith("CPU") else f"{result.runtime}, {result.provider}"),
            Text(result.precision),
            str(result.threads),
            figure(result.latency_ms.p50),
            figure(result.latency_ms.p90),
            large(result.pixels_per_s),
            figure(result.memory_mib),
            *([energy(result.energy_mj)] if metered else []),
            Text(f"{line.ratio:.{2 if line.ratio < 10 else 1}f}", style="bold"),
        )
    return table


def _warning_lines(run: Run, lines: Sequence[Line], spell: Spell) -> list[RenderableType]:
    """Warnings of a run: those of every result once, the rest by result."""
    own = [line for line in lines if line.run == run.name]
    titles = [(f"{run.name}, {line.model}, batch {line.result.batch}", line.result.warnings) for line in own]
    return warning_lines(run.name, titles, spell)
