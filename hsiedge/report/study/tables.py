"""Tables of a study: for the terminal, as Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import TYPE_CHECKING

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from hsiedge.report.study.figures import (
    CONTROLS,
    MAIN_CONTROLS,
    METHODS,
    Contrast,
    Entry,
    Group,
    Spread,
    control_of,
    signed,
)
from hsiedge.report.study.gather import groups
from hsiedge.report.study.warnings import SIGN, warning_words

if TYPE_CHECKING:
    from hsiedge.study.rows import Row

ABSENT = "-"
"""Cell of what was not measured, or would say nothing."""

UNITS = {"kb": ("bytes", 1e3), "gzip_kb": ("gzip", 1e3)} | {
    f"{name}_{unit}": (name, size)
    for name in ("parameters", "nonzeros", "macs", "instructions", "scene_instructions")
    for unit, size in (("k", 1e3), ("m", 1e6))
}
"""Figures in other units: the name, the figure it is made of, and how much of that is one."""

_SCORES = ("oa", "aa", "kappa")
_HEADS = {
    "oa": "OA %", "aa": "AA %", "kappa": "kappa", "drop": "points lost",
    "parameters": "parameters", "parameters_k": "param., k", "nonzeros": "non-zeros", "nonzeros_k": "non-0, k",
    "macs": "MACs a pixel", "macs_m": "MACs, M", "bytes": "file bytes", "kb": "file kB", "gzip": "gzip bytes",
    "gzip_kb": "gzip kB", "memory": "peak MiB", "energy": "mJ a pixel",
    "instructions": "instructions a pixel, patch", "instructions_k": "instr. k, patch",
    "scene_instructions": "instructions a pixel, scene", "scene_instructions_k": "instr. k, scene",
    "parent": "difference to the net",
    "control": "control, OA %", "own": "difference, own steps", "all": "difference, steps in all",
}  # fmt: skip


@dataclass(frozen=True)
class Sheet:
    """A table as text, of one scene and split.

    Attributes:
        name: for anchors and labels.
        head: a column each; the first `texts` of them hold words, the others numbers.
        cells: a row for each of `entries`, a control right under what it controls.
        notes: sentences that belong under the table: split, seeds, pixels, device, and what its signs mean.
    """

    name: str
    title: str
    head: list[str]
    cells: list[list[str]]
    notes: list[str]
    entries: list[Entry] = field(default_factory=list)
    texts: int = 4


def sheets(rows: Sequence[Row]) -> list[Sheet]:
    """Makes a table for each scene and split. Raises StudyError where there is no row."""
    return [sheet(group, group.entries) for group in groups(rows)]


def sheet(group: Group, entries: Sequence[Entry], figures: Sequence[str] = ()) -> Sheet:
    """Makes the table of some of a group's entries.

    Args:
        figures: by name, as `Entry.figures` and `UNITS` have them, a column each; then entries are named in few columns:
            method with level, precision, and net and number of seeds where they differ. Left out, everything.

    Raises:
        KeyError: no such figure.
    """
    labels = [_short_label(entry) if figures else _label(entry) for entry in entries]
    alike = [name for name in ("net", "n") if figures and len({label[name] for label in labels}) < 2]
    head = [name for name in labels[0] if name not in alike]
    names = figures or [
        *_SCORES,
        "parameters",
        "nonzeros",
        "macs",
        "bytes",
        "gzip",
        *group.counted,
        *group.timed,
        *group.compared,
    ]
    cells = [[*(label[name] for name in head), *(figure_words(e, name) for name in names)] for e, label in zip(entries, labels)]
    return Sheet(
        group.slug,
        group.title,
        [*head, *(_HEADS[name] if name in _HEADS else _batch_head(group, name) for name in names)],
        cells,
        notes(group, entries, names),
        list(entries),
        texts=len(head) - ("n" in head),
    )


def _batch_head(group: Group, name: str) -> str:
    if name not in (f"ms{batch}" for batch in group.batches):
        raise KeyError(f"no figure {name}; there are {', '.join(_HEADS)}, {', '.join(f'ms{b}' for b in group.batches)}")
    return f"ms, batch {name[2:]}"


def notes(group: Group, entries: Sequence[Entry], figures: Sequence[str] = ("ms",)) -> list[str]:
    """Notes on some figures of some of a group's entries."""
    group = replace(group, entries=tuple(entries))  # with the seeds, pixels and devices of these
    timed, sized = (any(name.startswith(kinds) for name in figures) for kinds in (("ms", "energy"), "memory"))
    train, validation, test = group.parts()
    lines = [
        f"{group.words()}: {train} pixels train, {validation} validate, {test} test.",
        _seed_words(group, entries, timed or sized),
    ]
    lines[0] = lines[0][0].upper() + lines[0][1:]
    if group.split == "random":
        lines.append("A random split leaks: patches of neighbouring training and test pixels overlap.")
    if timed and group.batches:
        devices = " and ".join(group.devices) or "a device that was not noted"
        lines.append(
            f"Latency: median of one run in ms, on {devices}, one file at a time; peak memory at batch {group.batches[-1]}."
        )
    elif sized and group.batches:
        lines.append(f"Peak memory: of the process that runs the file, at batch {group.batches[-1]}, beyond what Python takes.")
    elif timed:
        lines.append("Latencies have not been measured.")
    if group.controlled and ("control" in figures or "own" in figures or "all" in figures):
        lines += _control_words(group)
    if any("instructions" in name for name in (figures or group.counted)):
        lines.append(
            "Instructions: from rows as stored to labels, one more pixel of a patch or a scene graph, Cortex-A76 in QEMU."
        )
    untimed = ((METHODS.get(e.method, e.method) if not e.simulated else "simulated bits", e.untimed) for e in entries)
    lines += [f"No latency of {what}: {why}." for what, why in dict.fromkeys(untimed) if why and timed and group.batches]
    if any(entry.control and entry.method == "qat" for entry in entries):
        lines.append(
            "QAT's control: as many more steps in float, then post-training quantization to the same bits. "
            "Only what lies above its control is a gain of QAT."
        )
    if any(entry.simulated for entry in entries):
        lines.append("* Simulated: the weights take the values of so few bits, the file stores them with 8 bits each.")
    lines += dict.fromkeys(f"{e.net}, {e.how}: {text}." for e in entries if not e.control for text in e.remarks)
    return [*lines, warning] if timed and (warning := warning_words(entries)) else lines


def _control_words(group: Group) -> list[str]:
    """Sentences on the budget and the controls of a group that has some."""
    cells = {(row.cell.epochs, row.cell.tuning or row.cell.epochs) for row in group.rows if row.cell.method in MAIN_CONTROLS}
    budgets = [f"{before} epochs of the uncompressed net, then {own} of each method" for before, own in sorted(cells)]
    return [
        f"Budget: {' or '.join(budgets)}; a student and its control begin anew. Nets trained from nothing are trained as long "
        "as the method (own steps), and as long as the uncompressed net and the method together (steps in all).",
        "Difference: points of OA above the control (below: negative), mean and 95 % interval, Student's t over seeds, paired "
        "by seed. Where it holds zero, no difference was seen.",
        "Controls: of a distilled or pruned net the same small net trained from nothing; of magnitude pruning and QAT the "
        "uncompressed net, trained on for as many steps; of an uncompressed net's INT8 its float.",
    ]


def study_tables(rows: Sequence[Row]) -> list[RenderableType]:
    """Tables for the terminal: accuracy and costs of each scene and split, in two tables that fit 100 columns."""
    shown: list[RenderableType] = []
    for group in groups(rows):
        shown.append(Text(f"\n{group.title}", style="bold"))
        shown.append(_accuracy_table(group))
        shown.append(_cost_table(group))
        if group.controlled:
            shown.append(_contrast_table(group))
        shown += [Text(note, style="dim") for note in notes(group, group.entries)]
    return shown


def markdown(tables: Sequence[Sheet]) -> str:
    """Markdown of tables, each under a heading and above its notes."""
    parts = (f"### {table.title}\n\n{markdown_table(table)}\n\n{markdown_notes(table.notes)}" for table in tables)
    return "\n\n".join(parts) + "\n"


def markdown_table(table: Sheet) -> str:
    """Markdown of a bare table, numbers to the right."""
    ruler = ["---"] * table.texts + ["---:"] * (len(table.head) - table.texts)
    rows = [table.head, ruler, *([_markdown(text) for text in cells] for cells in table.cells)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def markdown_notes(notes: Sequence[str]) -> str:
    """Markdown of notes, as a list."""
    return "\n".join(f"- {_markdown(note)}" for note in notes)


def csv_text(rows: Sequence[Row]) -> str:
    """CSV of a study: a line an entry, mean and standard deviation in full precision, a QAT control on its entry's line."""
    study_groups = groups(rows)
    names = list(dict.fromkeys(name for group in study_groups for entry in group.measured() for name in entry.figures))
    names = [name for name in names if any(name in entry.figures for group in study_groups for entry in group.measured())]
    figures = [f"{name}_{part}" for name in names for part in ("mean", "std")]
    controls = [f"control_{name}_{part}" for name in _SCORES for part in ("mean", "std")]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    differences = [f"{kind}_{part}" for kind in CONTROLS for part in ("control_oa", "difference", "low", "high")]
    writer.writerow([*_CSV, *figures, *controls, *differences, "untimed", "warnings", "told", "device"])
    for group in study_groups:
        for entry in group.measured():
            control = control_of(entry, group.entries)
            values = [entry.figures.get(name) for name in names]
            values += [control.figures.get(name) if control else None for name in _SCORES]
            remarks = dict.fromkeys(row.told for row in entry.rows if row.told)
            warnings = [f"batch {name[2:]}: {line}" for name, lines in entry.warnings.items() for line in lines]
            rest = [entry.untimed, "; ".join(warnings), " | ".join(remarks), "; ".join(group.devices)]
            words = (get(group, entry) for get in _CSV.values())
            writer.writerow([*words, *_parts(values), *_differences(entry), *rest])
    return out.getvalue()


def _differences(entry: Entry) -> list[str]:
    """OA of each kind of control, the difference and its bounds, in full precision; empty where there is none."""
    of_kind = {contrast.kind: contrast for contrast in entry.contrasts}
    cells: list[str] = []
    for kind in CONTROLS:
        contrast = of_kind.get(kind)
        numbers = [contrast.control.mean, contrast.points.mean, *(contrast.points.interval or ())] if contrast else []
        cells += [repr(number) for number in numbers] + [""] * (4 - len(numbers))
    return cells


def latex(tables: Sequence[Sheet]) -> str:
    """LaTeX tables, to be put into a document that uses booktabs and graphicx."""
    return "% needs \\usepackage{booktabs,graphicx}\n" + "\n".join(map(_latex_table, tables))


_CSV: dict[str, Callable[[Group, Entry], str | int | float]] = {
    "scene": lambda group, _: group.scene,
    "split": lambda group, _: group.split,
    "fraction": lambda group, _: group.fraction,
    "guard": lambda group, _: group.guard,
    "net": lambda _, entry: entry.net,
    "method": lambda _, entry: entry.method,
    "level": lambda _, entry: entry.level,
    "variant": lambda _, entry: entry.variant,
    "precision": lambda _, entry: entry.precision,
    "storage": lambda _, entry: "int8" if entry.simulated else entry.precision,
    "n": lambda _, entry: entry.n,
    "seeds": lambda _, entry: " ".join(map(str, dict.fromkeys(entry.seeds))),
    "test_pixels": lambda _, entry: " ".join(dict.fromkeys(str(row.test) for row in entry.rows)),
}


def _label(entry: Entry) -> dict[str, str]:
    """Labels of an entry, by the head of their column."""
    method = METHODS.get(entry.method, entry.method)
    level = entry.sized_level
    variant = f" ({entry.variant})" if entry.variant else ""
    what = f"{method}'s control" if entry.control else f"{method}{variant}"
    return {"net": entry.net, "method": what, "level": level, "precision": entry.precision, "n": str(entry.n)}


def _short_label(entry: Entry) -> dict[str, str]:
    full = _label(entry)
    level = short_level(full.pop("level"))
    return {**full, "method": f"{full['method']}{',' if entry.control else ''} {level}".strip()}


def short_level(level: str) -> str:
    """Short name of a level: a student's net and widths, "dscnn 16,28x4" for one layer of 16 and four of 28."""
    net, _, widths = level.partition(":")
    runs = [(width, len(list(same))) for width, same in groupby(widths.split(","))]
    return f"{net} {','.join(width if count == 1 else f'{width}x{count}' for width, count in runs)}".strip()


def figure_words(entry: Entry, name: str) -> str:
    """A figure of `Entry.figures` or `UNITS` as a table writes it; a dash where there is none."""
    if name == "parent":
        return _contrast_cell(next((contrast for contrast in entry.contrasts if contrast.kind == "parent"), None), name)
    if name in ("control", "own", "all"):
        return _contrast_cell(entry.against(*([] if name == "control" else [name])), name)
    figure, unit = UNITS.get(name, (name, 1.0))
    spread = entry.figures.get(figure)
    if spread is None or math.isnan(spread.mean):
        return ABSENT
    if name in (*_SCORES, "drop"):
        return spread_words(spread, "{:.2f}")
    if name.startswith("ms"):
        return spread_words(spread, f"{{:.{_decimals(spread.mean)}f}}") + (SIGN if name in entry.warnings else "")
    if name == "memory":
        return f"{spread.mean:.1f}"
    if name == "energy" or unit != 1:
        value = f"{spread.mean / unit:,.{_decimals(spread.mean / unit)}f}"
    else:
        value = f"{spread.mean:,.0f}"
    return value + ("*" if figure == "bytes" and entry.simulated else "")


def _contrast_cell(contrast: Contrast | None, name: str) -> str:
    if contrast is None:
        return ABSENT
    return spread_words(contrast.control, "{:.2f}") if name == "control" else difference_words(contrast)


def difference_words(contrast: Contrast) -> str:
    """Text "+0.52 [+0.31, +0.73]": points above the control, and their 95 % interval; the points alone for one seed."""
    bounds = contrast.points.interval
    return signed(contrast.points.mean) + (f" [{signed(bounds[0])}, {signed(bounds[1])}]" if bounds else "")


def _decimals(value: float) -> int:
    """Number of decimals that make three significant digits, at most three."""
    return min(3, max(0, 2 - math.floor(math.log10(value)))) if value > 0 else 3


def spread_words(spread: Spread, form: str) -> str:
    """Text "mean ± standard deviation"; the value alone for one seed."""
    return form.format(spread.mean) + (f" ± {form.format(spread.std)}" if spread.std is not None else "")


def _seed_words(group: Group, entries: Sequence[Entry], measured: bool) -> str:
    seeds = group.seeds
    if len(seeds) == 1:
        return f"One seed ({seeds[0]}): no spread is known."
    counts = {entry.n for entry in entries}
    over = " over n seeds" if len(counts) > 1 else ""
    words = f"Seeds {', '.join(map(str, seeds))}: mean ± sample standard deviation{over}."
    if 1 in counts:
        words += " Where n is 1, no spread is known."
    times = {s.n for e in entries for name, s in e.figures.items() if name.startswith("ms") and s.n < e.n}
    if times and measured:
        words += f" Latencies and memory of some rest on {' or '.join(map(str, sorted(times)))} of them."
    return words


def _parts(values: Sequence[Spread | None]) -> list[str]:
    """Mean and standard deviation of each value, with digits enough to read the same number back; empty where there is none."""
    cells: list[str] = []
    for value in values:
        cells.append(repr(value.mean) if value else "")
        cells.append(repr(value.std) if value and value.std is not None else "")
    return cells


def _accuracy_table(group: Group) -> Table:
    table = _terminal_table("n", "OA %", "AA %", "kappa", "bytes")
    for entry in _sections(group.entries, table):
        figures = (*(figure_words(entry, name) for name in _SCORES), "" if entry.control else _compact(entry, "bytes"))
        style = "dim" if entry.control else None
        table.add_row(_short(entry), _precision(entry), str(entry.n), *figures, style=style)
    return table


def _cost_table(group: Group) -> Table:
    figures = ["parameters", "nonzeros", "macs", "gzip", *group.counted, *group.timed]
    short = {
        "instructions": "instr.",
        "scene_instructions": "scene",
        "parameters": "param.",
        "nonzeros": "non-0",
        "macs": "MACs",
        "memory": "MiB",
        "energy": "mJ",
    }
    table = _terminal_table(*(f"ms @{name[2:]}" if name.startswith("ms") else short.get(name, name) for name in figures))
    for entry in _sections(group.measured(), table):
        table.add_row(_short(entry), _precision(entry), *(_compact(entry, name) for name in figures))
    return table


def _contrast_table(group: Group) -> Table:
    names = ("control", "own", "all")
    table = _terminal_table("n", "control OA %", "own steps", "steps in all")
    for entry in _sections([entry for entry in group.measured() if entry.against()], table):
        table.add_row(_short(entry), _precision(entry), str(entry.n), *(figure_words(entry, name) for name in names))
    return table


def _terminal_table(*figures: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=0)
    table.add_column("net, method", min_width=25, overflow="fold")
    table.add_column("precision", min_width=9)
    for head in figures:
        table.add_column(head, justify="right", no_wrap=True)
    return table


def _sections(entries: Sequence[Entry], table: Table) -> Iterator[Entry]:
    """Yields the entries; adds a line with the net's name before the first of each net."""
    last = None
    for entry in entries:
        if entry.net != last:
            table.add_row(entry.net, style="bold")
        last = entry.net
        yield entry


def _short(entry: Entry) -> str:
    """Short name of method and level, for which the terminal has room."""
    if entry.control:
        return "its control"
    method = {"none": "uncompressed", "qat": "QAT"}.get(entry.method, entry.method)
    level = short_level(entry.sized_level)
    return " ".join(word for word in (method, level, f"({entry.variant})" if entry.variant else "") if word)


def _precision(entry: Entry) -> str:
    return entry.precision.translate({ord("("): None, ord(")"): None})


def _compact(entry: Entry, name: str) -> str:
    """Short text of a cost: 162k, 4.20M, 0.101±0.001."""
    spread = entry.figures.get(name)
    if spread is None:
        return ABSENT
    if name.startswith("ms"):
        return figure_words(entry, name).replace(" ", "")
    if name in ("memory", "energy"):
        return f"{spread.mean:.3g}"
    return short_number(spread.mean) + ("*" if name == "bytes" and entry.simulated else "")


def short_number(value: float) -> str:
    """Text of a number with three digits and a unit: 9.14k, 162k, 4.20M."""
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= 0.9995 * unit:
            return f"{value / unit:#.3g}".rstrip(".") + letter
    return f"{value:.3g}"


def _markdown(text: str) -> str:
    return re.sub(r"([|*_<>`\\])", r"\\\1", text)


_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "<": r"$<$", ">": r"$>$", "|": r"$|$",
}  # fmt: skip


def tex(text: str) -> str:
    """Escapes a text for LaTeX."""
    return "".join(_TEX.get(letter, letter) for letter in text)


def _latex_table(table: Sheet) -> str:
    lines, last = [], ""
    for entry, cells in zip(table.entries, table.cells):
        lines += ["\\midrule"] if last not in ("", entry.net) else []
        lines.append(" & ".join(map(tex, cells)) + r" \\")
        last = entry.net
    columns = "l" * table.texts + "r" * (len(table.head) - table.texts)
    return "\n".join(
        [
            r"\begin{table*}",
            r"\centering",
            rf"\caption{{{tex(table.title)}.}}",
            rf"\label{{tab:{table.name}}}",
            rf"\resizebox{{\textwidth}}{{!}}{{\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            " & ".join(map(tex, table.head)) + r" \\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}}",
            rf"\par\smallskip\footnotesize {tex(' '.join(table.notes))}",
            r"\end{table*}",
            "",
        ]
    )
