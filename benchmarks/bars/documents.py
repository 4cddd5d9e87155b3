"""docs/: tables of the stored results between markers, `<!-- bars: NAME -->` and `<!-- end -->`.

NAME is a bar's number for its table, `verdicts N` for what was asked of it, `verdicts` for those of all bars, `breakdown` for
where the student's time goes, `device N` for the machine and its limits, `processors` for speeds on other ones too.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bars import results, tables
from hsiedge import files

ROOT = Path(__file__).parents[2]
DOCUMENTS = (ROOT / "docs" / "benchmarks" / "speed.md",)
NOT_YET = "Not measured yet."
_MARKER = re.compile(r"<!-- bars: (?P<asked>[a-z0-9 ]+) -->.*?<!-- end -->", re.DOTALL)


def fill(text: str, stored: dict[str, Any]) -> str:
    """The text with every table as the results have it. Raises KeyError where a marker asks for what there is not."""

    def answer(block: re.Match[str]) -> str:
        return f"<!-- bars: {block['asked']} -->\n{_said(block['asked'].split(), stored)}\n<!-- end -->"

    return _MARKER.sub(answer, text)


def write(stored: dict[str, Any]) -> None:
    """Writes the documents anew, and names those that changed."""
    for path in DOCUMENTS:
        before = path.read_text()
        after = fill(before, stored)
        if after != before:
            files.write_bytes(path, after.encode())
        print(f"{path.name}: {'written' if after != before else 'is as the results have it'}")


def _said(asked: list[str], stored: dict[str, Any]) -> str:
    if asked == ["verdicts"]:
        return tables.all_verdicts(stored)
    if asked == ["processors"]:
        return tables.processors([stored, *results.elsewhere()])
    bar = "2" if asked == ["breakdown"] else asked[-1]
    if bar not in stored["bars"]:
        return NOT_YET
    if asked[0].isdigit():
        return tables.table(int(bar), stored["bars"][bar])
    if asked == ["breakdown"]:
        return tables.breakdown(stored["bars"][bar])
    figures: dict[str, Callable[[dict[str, Any]], str]] = {
        "verdicts": tables.verdicts,
        "device": lambda entry: tables.device_line(entry["device"], entry["limits"]),
    }
    return figures[asked[0]](stored["bars"][bar])
