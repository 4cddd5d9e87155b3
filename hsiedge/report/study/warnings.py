"""Latencies of a study that are not to be trusted: counted by kind for a table, told one by one for who wants to know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hsiedge.benchmark.warnings import MeasurementWarning
from hsiedge.report.study.figures import Entry

SIGN = "!"
"""Stands behind a latency that is not to be trusted."""


def doubt_words(entries: Sequence[Entry]) -> str:
    """One sentence: how many latencies are doubted, and how many for each kind of reason; "" where none is.

    A latency is one figure of one entry, over its seeds: doubted where the run of any seed is.
    """
    latencies = sum(name.startswith("ms") for entry in entries for name in entry.figures)
    doubted = [lines for entry in entries for lines in entry.doubts.values()]
    if not doubted:
        return ""
    kinds = Counter(kind for lines in doubted for kind in dict.fromkeys(map(_kind, lines)))
    counted = ", ".join(f"{kind} ({count})" for kind, count in sorted(kinds.items(), key=lambda found: (-found[1], found[0])))
    are = "is" if len(doubted) == 1 else "are"
    return f"{SIGN} {len(doubted)} of {latencies} latencies {are} not to be trusted yet: {counted}."


def doubt_lines(entries: Sequence[Entry]) -> list[tuple[str, str]]:
    """Each doubted latency in words, and what bench said of its runs."""
    found = [(entry, name, lines) for entry in entries for name, lines in entry.doubts.items()]
    return [(f"{entry.title}, batch {name[2:]}", "; ".join(lines)) for entry, name, lines in found]


def _kind(line: str) -> str:
    doubt = MeasurementWarning.of(line)
    return doubt.words if doubt else "other reasons"
