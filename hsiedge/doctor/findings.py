"""Findings of an examination, one thing at a time."""

from __future__ import annotations

from dataclasses import dataclass

PROBLEM, NOTE, GOOD = SEVERITIES = ("problem", "note", "good")


@dataclass(frozen=True)
class Finding:
    """One thing that was examined.

    Attributes:
        topic: "CPU", "memory", "onnxruntime".
        severity: of `SEVERITIES`: a problem makes answers wrong, figures untrue, or commands fail; a note is worth knowing.
        what: is the case.
        why: it matters; "" where that is plain.
        do: lines for the user to run or to read; none are run for them.
        stops: whether models cannot be run until it is mended.
    """

    topic: str
    severity: str
    what: str
    why: str = ""
    do: tuple[str, ...] = ()
    stops: bool = False
