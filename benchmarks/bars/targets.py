"""Exported C's figures as benchmarks/c_targets.py stores them: the bars that they are held against, and the manual's tables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bars.tables import markdown

STORE = Path(__file__).parents[1] / "results" / "c_targets.json"
BARS = (
    ("RAM of the student at 145 columns", "student", "ram_bytes", 64_000),
    ("RAM of cnn2d at 145 columns", "cnn2d", "ram_bytes", 150_000),
    ("flash of the student", "student", "flash_bytes", 24_000),
)
STACK = 512
BOARDS = ("cortex-m4", "cortex-m7", "cortex-m55")
NETS = {
    "student": "student (`dscnn` 16,28,28,28,28)",
    "cnn2d": "`cnn2d`, as shipped",
    "cnn1d": "`cnn1d`",
    "liunet": "`liunet`",
    "cnn3d": "`cnn3d`",
    "hybridsn": "`hybridsn`",
}
Targets = Mapping[str, Mapping[str, Mapping[str, Any]]]


def stored() -> dict[str, dict[str, dict[str, Any]]]:
    """Figures by target, by net."""
    return dict(json.loads(STORE.read_text())["targets"]) if STORE.exists() else {}


def bar_lines(targets: Targets) -> list[str]:
    """Each bar on each microcontroller: what was measured, what was asked, and whether it holds."""
    lines = []
    for title in (title for title in BOARDS if title in targets):
        for what, net, figure, limit in BARS:
            value = targets[title].get(net, {}).get(figure)
            if value is not None:
                lines.append(_line(title, what, value, limit))
        stacks = {net: figures["stack_bytes"] for net, figures in targets[title].items() if "stack_bytes" in figures}
        lines += [_line(title, f"stack of {net}", value, STACK) for net, value in stacks.items()]
    return lines


def _line(title: str, what: str, value: int, limit: int) -> str:
    return f"{title}: {what} {value:,} B, at most {limit:,}: {'holds' if value <= limit else 'DOES NOT HOLD'}"


def sizes(targets: Targets, title: str = "cortex-m4") -> str:
    """A table of what each net takes on a microcontroller."""
    rows = []
    for name, words in NETS.items():
        figures = targets[title].get(name)
        if figures is not None:
            keys = ("flash_bytes", "ram_bytes", "stack_bytes")
            rows.append([words, *(f"{figures[key]:,} B" for key in keys), f"{figures['macs_per_pixel']:,}"])
    return markdown(["net", "flash", "RAM", "stack", "MACs a pixel"], rows)


def instructions(targets: Targets) -> str:
    """A table of instructions a pixel, a row for each target."""
    names = [name for name in NETS if any(name in nets for nets in targets.values())]
    rows = [
        [f"`{title}`", *(f"{nets[name]['instructions']:,}" if name in nets else "" for name in names)]
        for title, nets in targets.items()
    ]
    return markdown(["`--target`", *names], rows)
