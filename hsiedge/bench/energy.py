"""Energy, where the machine can tell: RAPL counters of x86, the INA3221 of Jetsons. Elsewhere absent, never guessed.

What a meter says is of all that it feeds, idle power and other programs included: of the CPU packages (RAPL), or of the whole
module (Jetson). Both are read before and after an interval, never within it.

Every function takes the `root` below which /sys lies, so that another machine's text can be read as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

ROOT = Path("/")
WHOLE_MODULE = ("VDD_IN", "POM_5V_IN")
"""Rails that feed all of a Jetson module: Orin NX, Orin Nano and Xavier NX; the first Nano. An AGX has no such rail."""


class Meter(Protocol):
    """Tells of the energy of an interval. `source`: by what, for the report."""

    @property
    def source(self) -> str: ...

    def begin(self) -> None:
        """The interval begins now."""

    def end(self, seconds: float) -> float | None:
        """Joules since `begin`, `seconds` ago; None where it cannot be read any more."""


@dataclass(frozen=True)
class _Zone:
    """A RAPL domain: a counter of microjoules that starts again from 0 after `span` (Linux, power/powercap/powercap.rst)."""

    counter: Path
    span: int


class Rapl:
    """Counters of the CPU packages; memory has a counter of its own, which is left out."""

    def __init__(self, zones: Sequence[_Zone]) -> None:
        self._zones = zones
        self._before: list[int | None] = []

    @property
    def source(self) -> str:
        """Of how many packages."""
        return "RAPL, CPU package" if len(self._zones) == 1 else f"RAPL, {len(self._zones)} CPU packages"

    def begin(self) -> None:
        """Reads the counters."""
        self._before = [_number(zone.counter) for zone in self._zones]

    def end(self, seconds: float) -> float | None:
        """Joules; a counter that has started again since has done so once: it takes minutes at any power."""
        total = 0
        for zone, before in zip(self._zones, self._before):
            after = _number(zone.counter)
            if before is None or after is None:
                return None
            total += after - before if after >= before else after - before + zone.span
        return total / 1e6


class Ina3221:
    """The power of one rail, read as the interval ends and taken for the whole of it (Linux, hwmon/ina3221.rst)."""

    def __init__(self, millivolts: Path, milliamperes: Path, rail: str) -> None:
        self._millivolts, self._milliamperes, self._rail = millivolts, milliamperes, rail

    @property
    def source(self) -> str:
        """Which rail, and how its power becomes energy."""
        return f"INA3221, {self._rail}, power at the end of each round times its length"

    def begin(self) -> None:
        """Nothing to do: the chip does not count."""

    def end(self, seconds: float) -> float | None:
        """Joules at the power of this moment."""
        voltage, current = _number(self._millivolts), _number(self._milliamperes)
        return None if voltage is None or current is None else voltage * current / 1e6 * seconds


def find_meter(root: Path = ROOT) -> Meter | None:
    """The machine's meter; None where there is none that this user may read: RAPL is root's alone since Linux 5.10."""
    zones = [
        _Zone(folder / "energy_uj", span)
        for folder in _folders(root / "sys/class/powercap", "intel-rapl:*")
        if _word(folder / "name").startswith("package-")
        and _number(folder / "energy_uj") is not None
        and (span := _number(folder / "max_energy_range_uj"))
    ]
    return Rapl(zones) if zones else _find_rail(root)


def mean_mj(joules: Sequence[float | None], pixels: int) -> float | None:
    """Millijoules a pixel of several intervals that labelled so many pixels in all; None where one of them is unknown."""
    known = [value for value in joules if value is not None and math.isfinite(value)]
    return 1e3 * sum(known) / pixels if known and len(known) == len(joules) and pixels > 0 else None


def _find_rail(root: Path) -> Meter | None:
    for chip in _folders(root / "sys/class/hwmon", "hwmon*"):
        if _word(chip / "name") != "ina3221":
            continue
        for channel in (1, 2, 3):
            label = _word(chip / f"in{channel}_label")
            paths = [chip / f"{kind}{channel}_input" for kind in ("in", "curr")]
            if label in WHOLE_MODULE and all(_number(path) is not None for path in paths):
                return Ina3221(paths[0], paths[1], label)
    return None


def _folders(place: Path, pattern: str) -> list[Path]:
    try:
        return sorted(place.glob(pattern))
    except OSError:
        return []


def _word(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _word(path)
    return int(text) if text.isdigit() else None
