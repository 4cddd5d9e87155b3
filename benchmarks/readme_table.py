"""Prints the README's table of accuracies from benchmarks/results. A test fails when the README says otherwise."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

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


if __name__ == "__main__":
    print(table())
