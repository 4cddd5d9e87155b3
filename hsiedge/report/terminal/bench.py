"""Tables of a measurement, in the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hsiedge.benchmark.results import Comparison, Profile, Recommendation, Report, Result, Sustained
from hsiedge.benchmark.warnings import advice, still_holds
from hsiedge.device.facts import DeviceFacts
from hsiedge.errors import Spell, spell
from hsiedge.report.terminal.tables import add_numbers, name_table, plain_table, short_names
from hsiedge.runtimes import ENGINES

TOP_OPERATORS = 12
_BESIDE_FILE, _ENERGY = 70, 9  # columns that everything but the file names takes, and energy where there is one
UNTRUSTED = Text("Do not trust these figures yet:", style="yellow")
_BESIDE_LEGEND = 26  # columns that letter, kind and the first word of a runtime take beside a file's name


def bench_tables(report: Report, width: int = 80, spell: Spell = spell) -> list[RenderableType]:
    """Tables of `hsiedge bench`: the device, the results, ratios, what was asked for beyond, and the warnings.

    Args:
        report: the measurement.
        width: columns of the terminal; where file names do not fit beside the figures, letters stand for them.
        spell: writes the parameters that hints name.
    """
    figures = _BESIDE_FILE + _ENERGY * any(entry.energy_mj is not None for entry in report.results)
    names = short_names([entry.model for entry in report.results], width - figures)
    parts: list[RenderableType] = [*device_lines(report.device), Text()]
    if any(name != file for file, name in names.items()):
        parts += [_legend(report, names, width), Text()]
    parts.append(_results_table(report.results, names))
    parts += [Text(f"energy: {source}, idle power included") for source in _energy_sources(report)]
    for file in dict.fromkeys(entry.model for entry in report.results if entry.kind == "tensor"):
        parts.append(Text(f"{names[file]} has no Card: the clock covers its session alone, no cutting of patches, no scaling"))
    arenas = {entry.model: entry.arena_bytes for entry in report.results if entry.arena_bytes is not None}
    parts += [Text(f"{names[file]} takes an arena of {size:,} bytes in TFLite Micro") for file, size in arenas.items()]
    parts += [_ratio_line(entry, names) for entry in report.comparisons]
    parts += _exactness_lines(report, names, spell)
    if report.choice is not None:
        parts += [Text(), *_choice_lines(report.choice, names)]
    for profile in report.ops:
        parts += [Text(), _profile_table(profile, names)]
    for sustained in report.sustained:
        parts += [Text(), _sustained_table(sustained, names)]
    warnings = _warning_lines(report.results, names, spell)
    return [*parts, Text(), *warnings] if warnings else parts


def _energy_sources(report: Report) -> list[str]:
    """Meters of the energy in the report: some measure sustained runs alone."""
    sustained = any(window.energy_mj is not None for entry in report.sustained for window in entry.windows)
    metered = (entry for entry in report.results if sustained or entry.energy_mj is not None)
    return list(dict.fromkeys(entry.energy_source for entry in metered if entry.energy_source is not None))


def device_lines(facts: DeviceFacts) -> list[Text]:
    """The device in a few lines, the first of which names it."""
    cores = f"{facts.cores_usable} of {facts.cores_logical} cores" if facts.cores_logical else None
    place = " in a container" if facts.container else ""
    place += " on a virtual machine" if facts.virtual else ""
    board = f"{facts.board} ({facts.cpu})" if facts.board and facts.cpu else facts.board or facts.cpu or facts.machine
    ram = f"{facts.ram_mib / 1024:.1f} GiB" if facts.ram_mib is not None else None
    clock = _frequency(facts)
    heat = f"{facts.temperature_c:.0f} °C" if facts.temperature_c is not None else None
    governor = f"governor {facts.governor}" if facts.governor else None
    lines: list[list[str | None]] = [
        [board, cores, ram, *(facts.instruction_sets or [])],
        [f"{facts.machine}{place}"] if place else [],
        [clock, governor, heat, f"held back: {', '.join(facts.throttle_reasons)}" if facts.throttled else None],
        [f"Jetson Linux {facts.l4t}" if facts.l4t else None, f"power mode {facts.power_mode}" if facts.power_mode else None],
        [facts.runtime, f"Python {facts.python}", facts.os],
    ]
    texts = [" · ".join(entry for entry in line if entry) for line in lines]
    return [Text(text, style="bold" if index == 0 else "dim") for index, text in enumerate(texts) if text]


def _frequency(facts: DeviceFacts) -> str | None:
    if facts.frequency_mhz is None:
        return None
    most = f" of {facts.frequency_max_mhz:.0f}" if facts.frequency_max_mhz is not None else ""
    return f"{facts.frequency_mhz:.0f}{most} MHz"


def _legend(report: Report, names: dict[str, str], width: int) -> Table:
    results = {file: next(entry for entry in report.results if entry.model == file) for file in names}
    several = len({entry.runtime for entry in report.results}) > 1
    legend = name_table(names, width - _BESIDE_LEGEND)
    for file, result in results.items():
        runtime = [Text(result.runtime, style="dim")] if several else []
        legend.add_row(Text(names[file], style="bold"), Text(file), result.kind, *runtime)
    return legend


def _results_table(results: Sequence[Result], names: dict[str, str]) -> Table:
    table = plain_table()
    table.add_column("file" if all(name == file for file, name in names.items()) else "", overflow="fold")
    add_numbers(table, "size")
    table.add_column("precision", no_wrap=True)
    metered = any(entry.energy_mj is not None for entry in results)
    times = ("p50\nms", "p90\nms", "p99\nms")
    add_numbers(table, "batch", *times, "pixels\na second", "memory\nMiB", "load\nms", *["mJ\na pixel"] * metered)
    last = None
    for entry in sorted(results, key=lambda entry: (list(names).index(entry.model), entry.batch)):
        first, last = entry.model != last, entry.model
        spread = entry.latency_ms
        table.add_row(
            Text(names[entry.model]) if first else "",
            _bytes(entry.file_bytes) if first else "",
            entry.precision if first else "",
            str(entry.batch),
            *(figure(value) for value in (spread.p50, spread.p90, spread.p99)),
            large(entry.pixels_per_s),
            figure(entry.memory_mib),
            figure(entry.load_ms),
            *([energy(entry.energy_mj)] if metered else []),
        )
    return table


def _ratio_line(entry: Comparison, names: dict[str, str]) -> Text:
    """Line "INT8 is 2.31x (2.25..2.38) as fast as float32 at batch 256", with file names where precisions are alike."""
    distinct = entry.precision != entry.baseline_precision and len(names) == 2
    this, that = (entry.precision, entry.baseline_precision) if distinct else (names[entry.model], names[entry.baseline])
    this, that = ("INT8" if name == "int8" else name for name in (this, that))
    digits = 2 if entry.ratio < 10 else 1
    ratio, low, high = (f"{value:.{digits}f}" for value in (entry.ratio, entry.low, entry.high))
    return Text.assemble(this, " is ", (f"{ratio}x", "bold"), f" ({low}..{high}) as fast as {that} at batch {entry.batch}")


def _exactness_lines(report: Report, names: dict[str, str], spell: Spell) -> list[Text]:
    """Lines on the exact mode: that a runtime ran in it, once; and its cost, where that was measured."""
    if not any(entry.exact_int8 for entry in report.results):
        return []
    why = "INT8 in exact mode, for 8-bit sums overflow here without it"
    if not report.exactness:
        return [Text(f"{why}; {spell('ops', '')} measures its cost")]
    costs = (
        f"{names[entry.model]} takes {1 / entry.ratio:.2f}x ({1 / entry.high:.2f}..{1 / entry.low:.2f}) the time "
        f"at batch {entry.batch}"
        for entry in report.exactness
    )
    return [Text(why), *(Text(f"  {cost}") for cost in costs)]


def _choice_lines(choice: Recommendation, names: dict[str, str]) -> list[Text]:
    """Lines on whose labels agree, what is not installed, and the one runtime to take."""
    lines = []
    for entry in choice.agreements:
        pair = f"labels of {names[entry.model]} and {names[entry.reference]}"
        if entry.differ:
            share = 100 * entry.differ / entry.pixels
            lines.append(Text(f"{pair} differ at {entry.differ} of {entry.pixels} pixels ({share:.2g} %): not recommended"))
        else:
            ties = f", but for {entry.ties} where two classes are level within {100 * entry.tie:g} %" if entry.ties else ""
            lines.append(Text(f"{pair} are equal at {entry.pixels} pixels of seeded counts{ties}"))
    for name, extra in choice.missing.items():
        runs = " and ".join(ENGINES[name].suffixes)
        lines.append(Text(f"{ENGINES[name].title}, which runs {runs}, is not installed: pip install 'hsiedge[{extra}]'"))
    if choice.model is None or choice.pixels_per_s is None:
        return [*lines, Text("No runtime is recommended: labels can be compared of models with a Card alone.", style="yellow")]
    pace = f": {large(choice.pixels_per_s)} pixels a second at batch {choice.batch}"
    line = Text.assemble("Recommended here: ", (f"{names[choice.model]}, {choice.runtime}", "bold"), pace)
    if choice.margin is not None:
        ratio, low, high = (f"{value:.2f}" for value in (choice.margin.ratio, choice.margin.low, choice.margin.high))
        line.append(f"; {ratio}x ({low}..{high}) as fast as the next, {names[choice.margin.baseline]}")
        line.append(", from which this run does not tell it apart" if choice.margin.low <= 1 else "")
    return [*lines, line]


def _profile_table(profile: Profile, names: dict[str, str]) -> RenderableType:
    title = f"{names[profile.model]}, {profile.precision}, batch {profile.batch}: operators, {profile.runs} profiled runs"
    table = plain_table()
    table.add_column("operator", overflow="fold")
    add_numbers(table, "nodes", "ms a run", "share")
    table.add_column("provider", overflow="fold")
    for entry in profile.by_operator[:TOP_OPERATORS]:
        provider = entry.provider.removesuffix("ExecutionProvider")
        table.add_row(Text(entry.name), str(entry.nodes), figure(entry.ms), f"{entry.share:.1f} %", provider)
    rest = profile.by_operator[TOP_OPERATORS:]
    if rest:
        figures = (str(sum(entry.nodes for entry in rest)), figure(sum(entry.ms for entry in rest)))
        table.add_row(f"{len(rest)} others", *figures, f"{sum(entry.share for entry in rest):.1f} %", "")
    table.add_row("session, in all", "", figure(profile.run_ms), "", "", style="dim")
    table.add_row("rows to patches, logits to labels", "", figure(profile.outside_ms), "", "", style="dim")
    return Group(Text(title, style="bold"), table)


def _sustained_table(sustained: Sustained, names: dict[str, str]) -> RenderableType:
    title = f"{names[sustained.model]}, {sustained.precision}, batch {sustained.batch}: without a pause"
    table = plain_table()
    metered = any(entry.energy_mj is not None for entry in sustained.windows)
    add_numbers(table, "from s", "pixels/s", "p50 ms", "°C", "MHz", *["mJ/pixel"] * metered)
    table.add_column("held back")
    decimals = 1 if sustained.windows[-1].start_s < 60 else 0
    for entry in sustained.windows:
        heat = f"{entry.temperature_c:.1f}" if entry.temperature_c is not None else "-"
        clock = f"{entry.frequency_mhz:.0f}" if entry.frequency_mhz is not None else "-"
        power = [energy(entry.energy_mj)] if metered else []
        held = ", ".join(entry.throttle_reasons)
        start = f"{entry.start_s:.{decimals}f}"
        table.add_row(start, large(entry.pixels_per_s), figure(entry.p50_ms), heat, clock, *power, held)
    last = f"The last window ran at {100 * sustained.ratio:.1f} % of the rate of the first."
    last += " Interrupted: it was to run longer." if sustained.interrupted else ""
    return Group(Text(title, style="bold"), table, Text(last))


def _warning_lines(results: Sequence[Result], names: dict[str, str], spell: Spell) -> list[RenderableType]:
    """Warnings: those of every result once, the rest by result."""
    titles = [(f"{names[entry.model]}, batch {entry.batch}", entry.warnings) for entry in results]
    lines = warning_lines("all", titles, spell)
    holds = still_holds(line for entry in results for line in entry.warnings)
    return [UNTRUSTED, *lines, Text(holds)] if lines else []


def warning_lines(title: str, warnings: Sequence[tuple[str, Sequence[str]]], spell: Spell) -> list[RenderableType]:
    """Lines of warnings: under `title` those that all results have, then the others by result."""
    counts = Counter(text for _, texts in warnings for text in texts)
    common = [text for text, count in counts.items() if count == len(warnings) > 1]
    others = [(name, [text for text in texts if text not in common]) for name, texts in warnings]
    return [
        Padding(
            Text.assemble((f"{name}: ", "bold"), "; ".join(advice(text, spell) for text in texts), overflow="fold"),
            (0, 0, 0, 2),
            expand=False,
        )
        for name, texts in [(title, common), *others]
        if texts
    ]


def figure(value: float) -> str:
    """Text of a figure with three significant digits, without an exponent: 0.0172, 1.23, 45.6, 1234."""
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    text = f"{value:#.3g}"
    return f"{value:.6f}" if "e" in text else text


def energy(millijoules: float | None) -> str:
    """Text of millijoules, a dash where they are unknown."""
    return "-" if millijoules is None else figure(millijoules)


def large(value: float) -> str:
    """Text of a large figure with three significant digits, and k or M."""
    for limit, unit in ((1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{figure(value / limit)} {unit}"
    return figure(value)


def _bytes(count: int) -> str:
    for limit, unit in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if count >= limit:
            return f"{figure(count / limit)} {unit}"
    return f"{count} B"
