"""The results as tables: Markdown for the documents, the same on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bars.limits import APART

Entry = dict[str, Any]
BUSY = 0.1  # cores: more than that, and times are not to be trusted

WITHDRAWN = (
    "pixels a second", "ours, pixels", "GMAC/s", "of the peak", "share of the peak", "GB/s", "of memory", "float ms", "INT8 ms",
    "INT8 of the peak", "us a pixel", "times real time",
)  # fmt: skip
"""Columns of times, by their beginnings."""
TITLES = {
    1: "Whole scenes against patches",
    2: "The student of 16 KiB",
    3: "INT8 against float",
    4: "Peers",
    5: "Memory of a long strip",
    6: "Cameras",
    7: "The native engine",
    8: "Exported C",
}


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def aligned(text: str) -> str:
    """The same for a terminal: Markdown tables with columns of one width, and no rules."""
    lines, block = [], []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            if not set(line) <= set("|-"):
                block.append([cell.strip() for cell in line.strip("|").split(" | ")])
            continue
        widths = [max(len(row[place]) for row in block) for place in range(len(block[0]))] if block else []
        lines += ["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in block]
        block = []
        lines.append(line)
    return "\n".join(lines)


def terminal(bar: int, entry: Entry) -> str:
    """All of one bar."""
    parts = [f"\n{bar}. {TITLES[bar]}", table(bar, entry)]
    if bar == 2:
        parts.append(breakdown(entry))
    parts.append(verdicts(entry))
    return aligned("\n\n".join(part for part in parts if part))


def device_line(device: Entry, limits: Entry) -> str:
    """The machine, and how fast one of its cores can be."""
    sets = ", ".join(device["instruction_sets"] or ["unknown instruction sets"])
    return f"{device['cpu']} ({sets}); {limit_words(limits)}"


def limit_words(limits: Entry) -> str:
    """The measured peaks, and the theoretical one."""
    words = (
        f"one core, measured: {limits['int8_gmac_s']:.0f} GMAC/s in INT8, {limits['float32_gmac_s']:.0f} in float32, "
        f"{limits['copy_gb_s']:.1f} GB/s of memory"
    )
    theory = limits.get("theory")
    if not theory:
        return words
    tiles = "with AMX beside it" if theory["amx"] else "no AMX"
    clock = f" at {theory['mhz']:.0f} MHz: {theory['gmac_s']:.0f} GMAC/s before turbo" if theory["mhz"] else ""
    return f"{words}; {theory['instruction']} does {theory['macs_a_cycle']} MAC a cycle{clock}, {tiles}"


def table(bar: int, entry: Entry) -> str:
    """The figures of one bar, and a warning where others kept the cores busy meanwhile."""
    figures, busy = _TABLES[bar](entry), entry.get("other_cores") or 0
    if busy <= BUSY:
        return figures
    return f"{figures}\n\nDo not trust these figures: other programs kept {busy:.1f} cores busy meanwhile."


def page_table(bar: int, entry: Entry) -> str:
    """The figures of one bar for a page: without the columns of times where others kept the cores busy."""
    text, busy = _TABLES[bar](entry), entry.get("other_cores") or 0
    if busy <= BUSY:
        return text
    text, *ratios = text.split("\n\n")
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    kept = [place for place, name in enumerate(lines[0]) if not name.startswith(WITHDRAWN)]
    rows = [[line[place] for place in kept] for line in lines[2:]]
    why = (
        f"Other programs kept {busy:.1f} cores busy meanwhile: ratios hold, for both took turns; times and rates are left out."
    )
    return "\n\n".join([markdown([lines[0][place] for place in kept], rows), *ratios, why])


def verdicts(entry: Entry) -> str:
    """What was asked, and whether it holds."""
    rows = []
    for verdict in entry["verdicts"]:
        value = "not measured" if verdict["value"] is None else _figure(verdict["value"])
        holds = {True: "yes", False: "**no**", None: "open"}[verdict["holds"]]
        rows.append([verdict["what"], value, f"{verdict['sense']} {verdict['limit']:g}", holds, verdict["note"]])
    return markdown(["bar", "measured", "asked", "holds", ""], rows) if rows else ""


def all_verdicts(stored: Entry) -> str:
    """Of all bars, in one table."""
    gathered = [
        {**verdict, "what": f"{bar}: {verdict['what']}"}
        for bar, entry in stored["bars"].items()
        for verdict in entry["verdicts"]
    ]
    return verdicts({"verdicts": gathered})


def processors(stores: Sequence[Entry]) -> str:
    """What of bars 1 to 3 is a ratio of times, a row for each processor; **bold** where it is not what was asked."""
    speeds = [f"{bar}: {title}" for bar, title, _ in _SPEEDS]
    head = ["one core of", "GMAC/s in INT8, float32", *speeds, "onnxruntime", "measured"]
    return markdown(head, [_processor(store["bars"]) for store in stores if "1" in store["bars"]])


_SPEEDS = (
    ("1", "onnxruntime", "on onnxruntime"),
    ("1", "LiteRT", "on litert"),
    ("2", "student", "of the student"),
    ("3", "1-D, 2-D", "1-D and 2-D nets"),
    ("3", "3-D, scenes", "3-D nets, and scene graphs"),
)
"""The bar, what it is called here, and words of its verdict."""


def _processor(bars: Entry) -> list[str]:
    first = bars["1"]
    device, limits = first["device"], first["limits"]
    name = f"{device['cpu']} ({', '.join(device['instruction_sets'] or ['unknown instruction sets'])})"
    peaks = f"{limits['int8_gmac_s']:.0f}, {limits['float32_gmac_s']:.0f}"
    speeds = [_speed(bars.get(bar, {}).get("verdicts", ()), words) for bar, _, words in _SPEEDS]
    version = first["rows"][0]["runtime"].split()[-1]
    doubtful = max(bars.get(bar, {}).get("other_cores") or 0 for bar in ("1", "2", "3")) > BUSY
    return [name, peaks, *speeds, version, first["measured"][:10] + (" *" if doubtful else "")]


def _speed(verdicts: Sequence[Entry], words: str) -> str:
    verdict_row = next((verdict for verdict in verdicts if words in verdict["what"]), {"value": None})
    if verdict_row["value"] is None:
        return "not measured"
    return f"**{_figure(verdict_row['value'])}**" if verdict_row["holds"] is False else _figure(verdict_row["value"])


def native_processors(stores: Sequence[Entry]) -> str:
    """What of bar 7 is a ratio, a column for each processor; **bold** where it is not what was asked."""
    entries = [store["bars"]["7"] for store in stores if "7" in store["bars"]]
    titles = list(dict.fromkeys(verdict["what"] for entry in entries for verdict in entry["verdicts"]))
    columns = [{verdict["what"]: verdict for verdict in entry["verdicts"]} for entry in entries]
    limits = {title: next(column[title] for column in columns if title in column) for title in titles}
    head = ["", "asked", *(f"{entry['device']['cpu']}, {entry['kernels']}, {entry['measured'][:10]}" for entry in entries)]
    rows = [
        [
            title,
            f"{limits[title]['sense']} {limits[title]['limit']:g}",
            *(_with_note(column.get(title)) for column in columns),
        ]
        for title in titles
    ]
    return markdown(head, rows)


def _with_note(verdict: Entry | None) -> str:
    """What was measured, and its interval."""
    note = f" ({verdict['note']})" if verdict and verdict["note"] else ""
    return "not measured" if verdict is None else _speed([verdict], verdict["what"]) + note


def breakdown(entry: Entry) -> str:
    """Where the student's time goes, and what would be allowed."""
    breakdown = entry["breakdown"]
    if (entry.get("other_cores") or 0) > BUSY:
        return _shares(breakdown)
    rows = [[node["node"], node["operator"], f"{node['ms']:.2f}"] for node in breakdown["nodes"] if node["ms"] >= 0.01]
    rows.append(["(input step, argmax, label ids)", "numpy", f"{breakdown['outside_ms']:.2f}"])
    arithmetic = f"{breakdown['arithmetic_ms']:.2f} ms at the core's INT8 peak"
    rest = f"reading the rows {breakdown['reading_ms']:.2f} ms at the speed of memory"
    allowed = f"1,000 times allow {breakdown['allowed_ms']:.2f} ms for the scene; its arithmetic takes {arithmetic}, {rest}."
    return f"{markdown(['node', 'operator', 'ms a scene'], rows)}\n\n{allowed}"


def _shares(breakdown: Entry) -> str:
    """Where the time goes, in parts of all of it."""
    nodes = [(node["node"], node["operator"], node["ms"]) for node in breakdown["nodes"] if node["ms"] >= 0.01]
    nodes.append(("(input step, argmax, label ids)", "numpy", breakdown["outside_ms"]))
    whole = sum(ms for *_, ms in nodes)
    return markdown(
        ["node", "operator", "share"], [[name, operator, f"{100 * ms / whole:.0f} %"] for name, operator, ms in nodes]
    )


def _graphs(entry: Entry) -> str:
    head = [
        "graph",
        "runtime",
        "batch",
        "pixels a second",
        "times",
        "test OA %",
        "MACs a pixel",
        *_RATES,
        "peak MiB",
    ]
    return markdown(head, [_graph(row, entry) for row in entry["rows"]])


_RATES = ("GMAC/s", "of the peak", "GB/s of rows", "of memory")


def _rates(pixels_per_s: float, macs: int, pixel_bytes: int, integer: bool, limits: Entry) -> list[str]:
    """Multiply-accumulates and stored bytes a second, each with its share of what one core can do."""
    peak = limits["int8_gmac_s" if integer else "float32_gmac_s"]
    arithmetic, reading = pixels_per_s * macs / 1e9, pixels_per_s * pixel_bytes / 1e9
    shares = 100 * arithmetic / peak, 100 * reading / limits["copy_gb_s"]
    return [_figure(arithmetic), f"{shares[0]:.0f} %", f"{reading:.2g}", f"{shares[1]:.2g} %"]


def _graph(row: Entry, entry: Entry) -> list[str]:
    batch = str(row["batch"]) if row["kind"] == "patch" else "x".join(map(str, row["input_shape"]))
    times = f"{row['times']:.1f} ({row['low']:.1f} to {row['high']:.1f})" if row["times"] != 1 else "1"
    first = [row["name"], row["runtime"], batch, f"{row['pixels_per_s']:,.0f}", times, f"{row['oa']:.2f}"]
    rates = _rates(row["pixels_per_s"], row["macs"], entry["pixel_bytes"], "int8" in row["name"], entry["limits"])
    return [*first, f"{row['macs']:,}", *rates, f"{row['memory_mib']:.0f}"]


def _integers(entry: Entry) -> str:
    rows = []
    for row in entry["rows"]:
        times = [
            f"{row['float_ms']:.3g}",
            f"{row['int8_ms']:.3g}",
            f"{row['ratio']:.3f}",
            f"{row['high']:.3f}",
            f"{row['limit']}",
        ]
        pixels_per_s = 1e3 * row["pixels_per_run"] / row["int8_ms"]
        _, peak, _, memory = _rates(pixels_per_s, row["int8_macs"], entry["pixel_bytes"], True, entry["limits"])
        rows.append([row["net"], row["given"], *times, "yes" if row["high"] <= row["limit"] else "**no**", peak, memory])
    times = ["float ms", "INT8 ms", "ratio", "95 % upper bound"]
    head = ["net", "given", *times, "asked", "holds", "INT8 of the peak", "of memory"]
    return markdown(head, rows)


def _peers(entry: Entry) -> str:
    speed = ["pixels a second", *_RATES, "ours is faster, times"]
    head = ["peer", "runtime", "given", *speed, "test OA %", "agrees with float patches"]
    return markdown(head, [_peer(row, entry) for row in entry["rows"]])


def _peer(row: Entry, entry: Entry) -> list[str]:
    if "failure" in row:
        return [row["name"], "", _given(row), *[""] * 7, row["failure"].replace("|", "/")]
    macs = entry["macs"]["patch" if row["given"] == "patch" else "scene"]
    rates = _rates(row["pixels_per_s"], macs, entry["pixel_bytes"], "int8" in row["name"], entry["limits"])
    cells = [row["name"], row["runtime"], _given(row), f"{row['pixels_per_s']:,.0f}", *rates]
    if row["given"] == "ours":
        return [*cells, "", "", ""]
    ours = f"{row['times']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
    return [*cells, ours, f"{row['oa']:.2f}", f"{row['agreement']:.2f} % of labels"]


def _given(row: Entry) -> str:
    if row["given"] == "ours":
        return f"scene graph, beside {row['beside']}"
    return "scene graph" if row["given"] == "scene" else f"patches, batch {row['batch']}"


def _memory(entry: Entry) -> str:
    names = {
        "imported_mib": "the imported runtime",
        "short_mib": f"{entry['rows']} rows",
        "long_mib": f"{entry['rows'] * entry['times']:,} rows",
    }
    return markdown(["anonymous memory", "MiB at most"], [[title, f"{entry[name]:.1f}"] for name, title in names.items()])


def _cameras(entry: Entry) -> str:
    rows = []
    for row in entry["rows"]:
        rates = _rates(row["pixels_per_s"], row["macs"], row["bands"] * entry["count_bytes"], True, entry["limits"])
        camera = [f"{row['name']} ({row['where']})", str(row["bands"]), str(row["pixels"]), f"{row['lines_per_second']:g}"]
        speed = [f"{row['pixels_per_s']:,.0f}", *rates, f"{row['times']:.1f}"]
        rows.append([*camera, *speed, f"{row['known']}: {row['source']}; {row['how']}"])
    camera = ["camera", "bands", "pixels a line", "lines a second"]
    return markdown([*camera, "ours, pixels a second", *_RATES, "times real time", "line rate"], rows)


def _native(entry: Entry) -> str:
    head = ["net", "rows a push", "us a pixel", f"share of the peak ({entry['kernels']})", "times as fast as", "95 %"]
    rows = []
    for row in entry["rows"]:
        versus = f"{row['times']:.2f} {row['against']}"
        figures = [f"{row['us_a_pixel']:.3f}", f"{100 * row['share']:.0f} %", versus, f"{row['low']:.2f} to {row['high']:.2f}"]
        rows.append([row["net"], row["push"], *figures])
    lines = [_two_threads(row) for row in entry.get("threads", ())] + [_on_avx2(row) for row in entry.get("avx2", ())]
    return markdown(head, rows) + "".join(f"\n{line}" for line in lines)


def _on_avx2(row: Entry) -> str:
    faster = f"{row['times']:.2f} times as fast as {row['against']} ({row['low']:.2f} to {row['high']:.2f})"
    return (
        f"\nWhere CPUID tells the runtimes of neither AVX-512 nor VNNI, kernels of AVX2, {row['net']}, a whole scene: {faster}."
    )


def _two_threads(row: Entry) -> str:
    control = f"the instruction's peak in two threads is {row['control']:.2f} times that in one"
    cores = f"{control}: they had a core each" if row["control"] >= APART else f"{control}: they were threads of one core"
    rounds = f"best rounds; in paired ones {row['low']:.2f} to {row['high']:.2f}"
    return f"\nTwo threads, {row['net']}, rows of {row['columns']} columns: {row['best']:.2f} times one ({rounds}); {cores}."


def _exported(entry: Entry) -> str:
    """Ratios alone: one compiler's on one processor, whose times say nothing of a board's."""
    rows = []
    for row in entry["rows"]:
        times = "1" if row["times"] == 1 else f"{row['times']:.2f}"
        agrees = "" if row["agreement"] is None else f"{row['agreement']:.2f} %"
        rows.append([row["net"], row["name"], row["runtime"], times, f"{row['low']:.2f} to {row['high']:.2f}", agrees])
    rows += [[*name.split(", ", 1), "", "", "", reason.replace("|", "/")] for name, reason in entry["failed"].items()]
    return markdown(["net", "as", "runtime", "exported C is faster, times", "95 %", "labels of onnxruntime"], rows)


def _figure(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


_TABLES: dict[int, Callable[[Entry], str]] = {
    1: _graphs,
    2: _graphs,
    3: _integers,
    4: _peers,
    5: _memory,
    6: _cameras,
    7: _native,
    8: _exported,
}
