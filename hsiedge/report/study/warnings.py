"""Latencies of a study that are not to be trusted: counted by kind for a table, and listed one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hsiedge.benchmark.warnings import MeasurementWarning
from hsiedge.report.study.figures import Entry

SIGN = "!"
"""Sign behind a latency that is not to be trusted."""


def warning_words(entries: Sequence[Entry]) -> str:
    """Sentence with the number of latencies not to be trusted, in all and for each kind of warning; "" for none.

    A latency is one figure of one entry, over its seeds: it counts where the run of any seed has a warning.
    """
    latencies = sum(name.startswith("ms") for entry in entries for name in entry.figures)
    untrusted = [lines for entry in entries for lines in entry.warnings.values()]
    if not untrusted:
        return ""
    kinds = Counter(kind for lines in untrusted for kind in dict.fromkeys(map(_kind, lines)))
    counted = ", ".join(f"{kind} ({count})" for kind, count in sorted(kinds.items(), key=lambda entry: (-entry[1], entry[0])))
    are = "is" if len(untrusted) == 1 else "are"
    return f"{SIGN} {len(untrusted)} of {latencies} latencies {are} not to be trusted yet: {counted}."


def warning_lines(entries: Sequence[Entry]) -> list[tuple[str, str]]:
    """Titles of the latencies not to be trusted, and bench's warnings on their runs."""
    untrusted = [(entry, name, lines) for entry in entries for name, lines in entry.warnings.items()]
    return [(f"{entry.title}, batch {name[2:]}", "; ".join(lines)) for entry, name, lines in untrusted]


def _kind(line: str) -> str:
    kind = MeasurementWarning.of(line)
    return kind.words if kind else "other reasons"
