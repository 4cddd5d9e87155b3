"""Summary of a live run, as text and JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class RunSummary:
    """Figures of a live run.

    Attributes:
        model, runtime, provider, source: what ran, by name.
        ended: why: "the source ended", "stopped", or the message of an error.
        captures: maps that were made, one unless the source is a folder.
        lines_in, labelled, dropped: lines that came, got labels, and found the buffer full.
        pixels: labelled, those without data too.
        seconds: from the first line to the last label; line_rate: of the source's clock, lines a second, where it is known.
        waited_s: seconds that the source had to wait for a place in the buffer.
        latency_ms: from a line's arrival to its labels having gone to every sink: p50, p99 and max; None without a line.
        delay_lines: lines that a label waits for by itself, half of the model's patch.
        outside_range: share of values at the ends of the calibrated range; drift: first and last line of each marked stretch.
        dead_elements: elements of the detector that were interpolated.
        energy: its meter, joules, and millijoules a labelled line; None where the board does not tell.
        temperature_c: of the CPU, at the end.
        written: files of maps.
        warnings: a line each.
    """

    model: str
    runtime: str
    provider: str
    source: str
    delay_lines: int
    ended: str = "the source ended"
    captures: int = 0
    lines_in: int = 0
    labelled: int = 0
    dropped: int = 0
    pixels: int = 0
    seconds: float = 0.0
    line_rate: float | None = None
    waited_s: float = 0.0
    latency_ms: dict[str, float | None] = field(default_factory=dict)
    outside_range: float | None = None
    drift: list[list[int]] = field(default_factory=list)
    dead_elements: int = 0
    events: int = 0
    energy: dict[str, Any] | None = None
    temperature_c: float | None = None
    written: list[Path] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def lines_per_s(self) -> float:
        """Lines labelled a second."""
        return self.labelled / self.seconds if self.seconds else 0.0

    def to_json(self) -> dict[str, Any]:
        """The documented JSON, schema 1."""
        return {
            "schema": 1,
            **asdict(self),
            "lines_per_s": self.lines_per_s,
            "written": [str(path) for path in self.written],
        }

    def text(self) -> list[str]:
        """Lines for the user."""
        clock = f", the source's clock is {self.line_rate:.4g}" if self.line_rate else ""
        dropped = f", {self.dropped:,} dropped" if self.dropped else ", none dropped"
        lines = [
            f"{self.source}: {self.ended}",
            f"{self.lines_in:,} lines in, {self.labelled:,} labelled{dropped}; {self.seconds:.1f} s, "
            f"{self.lines_per_s:,.1f} lines a second{clock}",
        ]
        if self.latency_ms.get("p50") is not None:
            known = {name: value for name, value in self.latency_ms.items() if value is not None}
            figures = ", ".join(f"{name} {value:{'.3g' if value < 999.5 else ',.0f'}} ms" for name, value in known.items())
            lines.append(f"from a line to its labels: {figures}; {self.delay_lines} lines of it are waited for by the model")
        if self.outside_range is not None:
            lines.append(f"{100 * self.outside_range:.2g} % of values lie at or beyond the ends of the calibrated range")
        if self.energy is not None:
            lines.append(f"{self.energy['mj_per_line']:.3g} mJ a line ({self.energy['source']})")
        if self.temperature_c is not None:
            lines.append(f"{self.temperature_c:.0f} degrees Celsius at the end")
        if self.written:
            lines.append(f"wrote {', '.join(map(str, self.written))}")
        return lines

    def __repr__(self) -> str:
        return f"RunSummary({self.labelled:,} of {self.lines_in:,} lines of {self.source} labelled, {self.dropped:,} dropped)"
