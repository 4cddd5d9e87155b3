"""Prints the README's tables: accuracies and the search for 16 KiB from benchmarks/results, shipped models from their Cards.

A test fails when the README says otherwise.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from hsiedge.runtimes import require_card
from hsiedge.shipped import shipped

RESULTS = Path(__file__).parent / "results"
ROWS = (
    ("cnn2d", "random"),
    ("cnn2d", "blocks"),
    ("cnn1d", "random"),
    ("cnn3d", "random"),
    ("hybridsn", "random"),
)
HEAD = """\
| net | split | seeds | OA %, float | OA %, INT8 | AA %, INT8 | most OA lost to INT8 | float file | INT8 file |
|---|---|---|---|---|---|---|---|---|"""


def line(net: str, split: str) -> str:
    """One row: mean and standard deviation over the seeds."""
    rows: list[dict[str, Any]] = json.loads((RESULTS / f"indian_pines-{net}-{split}.json").read_text())["seeds"]

    def spread(precision: str, figure: str) -> str:
        values = [row[precision][figure] for row in rows]
        return f"{statistics.mean(values):.2f}" + (f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else "")

    lost = max(row["float"]["oa"] - row["int8"]["oa"] for row in rows)
    sizes = [f"{rows[0][precision]['bytes'] / 1000:.0f} kB" for precision in ("float", "int8")]
    cells = [spread("float", "oa"), spread("int8", "oa"), spread("int8", "aa"), f"{lost:.2f}", *sizes]
    return f"| {net} | {split} | {len(rows)} | {' | '.join(cells)} |"


def table() -> str:
    """The table, Markdown."""
    return "\n".join([HEAD, *(line(net, split) for net, split in ROWS)])


def shipped_table() -> str:
    """The shipped models, by what their own Cards say."""
    lines = [
        "| file in models/ | size | split | test OA %, this file | test OA %, mean ± std over seeds |",
        "|---|---|---|---|---|",
    ]
    for suffix in (".onnx", "-int8.onnx", "-int8-scene.onnx", "-int8.tflite", "-int8-scene.tflite"):
        path = shipped(suffix)
        card = require_card(path)
        own, *others = card.accuracy
        assert card.split is not None
        assert card.split.fraction is not None
        split = f"{card.split.kind}, {100 * card.split.fraction:g} %, seed {card.split.seed}"
        spread = "".join(f"{over.oa:.2f} ± {over.oa_std:.2f} ({len(over.seeds)} seeds)" for over in others)
        lines.append(f"| {path.name} | {path.stat().st_size / 1000:.0f} kB | {split} | {own.oa:.2f} | {spread} |")
    return "\n".join(lines)


def compress_table() -> str:
    """The search for 16 KiB, a line a seed, then the means."""
    rows: list[dict[str, Any]] = json.loads((RESULTS / "compress-indian_pines-random.json").read_text())["seeds"]
    lines = [
        "| seed | the path it took | bytes, Card included | test OA %, INT8 student | test OA %, float teacher |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        figures = f"{row['test']['student']:.2f} | {row['test']['teacher']:.2f}"
        lines.append(f"| {row['seed']} | {', then '.join(row['path'])} | {row['bytes']:,} | {figures} |")
    largest = max(row["bytes"] for row in rows)
    means = []
    for name in ("student", "teacher"):
        values = [row["test"][name] for row in rows]
        means.append(f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}")
    lines.append(f"| all {len(rows)} | | at most {largest:,} | {' | '.join(means)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(), shipped_table(), compress_table(), sep="\n\n")
