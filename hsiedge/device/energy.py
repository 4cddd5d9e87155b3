"""Energy, where the machine can tell: RAPL counters of x86, the INA3221 of Jetsons, a Pi 5's power chip. Elsewhere absent.

A meter counts all that it feeds, idle power and other programs included: the CPU packages (RAPL), the whole
module (Jetson), the rails behind the power chip (Pi). Counters and the INA3221 are read before and after an interval,
never within it, unless that is a live run's. What takes a tool to read is read once a second, while the work goes on, and
of long intervals only: so it costs rounds of half a second nothing, and sustained runs have it (`--duration`).

Every function takes the `root` below which /sys lies, so that another machine's text can be read as well.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hsiedge.device import jetson, procfs, raspberry_pi
from hsiedge.device.procfs import ROOT

SAMPLE_SECONDS = 1.0
LEAST_SAMPLES = 3
RAPL_SECONDS = 60.0  # the smallest span, 65 kJ, lasts two minutes at 500 W


class Meter(Protocol):
    """A meter of the energy of an interval."""

    @property
    def source(self) -> str:
        """Name of the meter, for the report."""

    def begin(self) -> None:
        """Begins the interval."""

    def end(self, seconds: float) -> float | None:
        """Joules since `begin`, `seconds` ago; None where it cannot be read any more."""


@dataclass(frozen=True)
class _Zone:
    """A RAPL domain: a counter of microjoules that starts again from 0 after `span` (Linux, power/powercap/powercap.rst)."""

    counter: Path
    span: int


class Rapl:
    """Counters of the CPU packages; memory has a counter of its own, which is left out.

    Args:
        throughout: read within the interval, too, lest a counter starts again twice unseen.
    """

    def __init__(self, zones: Sequence[_Zone], *, throughout: bool = False) -> None:
        self._zones, self._throughout = zones, throughout
        self._before: list[int | None] = []
        self._counted: int | None = 0
        self._over = threading.Event()
        self._thread = threading.Thread()

    @property
    def source(self) -> str:
        """RAPL, and how many packages it counts."""
        return "RAPL, CPU package" if len(self._zones) == 1 else f"RAPL, {len(self._zones)} CPU packages"

    def begin(self) -> None:
        """Reads the counters."""
        self._before, self._counted = [procfs.number(zone.counter) for zone in self._zones], 0
        if self._throughout:
            self._over = threading.Event()
            self._thread = threading.Thread(target=self._watch, args=(self._over,), daemon=True)
            self._thread.start()

    def end(self, seconds: float) -> float | None:
        """Joules since `begin`."""
        if self._throughout:
            self._over.set()
            self._thread.join()
        self._count()
        return None if self._counted is None else self._counted / 1e6

    def _count(self) -> None:
        """Adds what came since the last look; a counter that has started again did so once: that takes minutes at any power."""
        for place, (zone, before) in enumerate(zip(self._zones, self._before)):
            after = self._before[place] = procfs.number(zone.counter)
            if before is None or after is None or self._counted is None:
                self._counted = None
                return
            self._counted += after - before if after >= before else after - before + zone.span

    def _watch(self, over: threading.Event) -> None:
        while not over.wait(RAPL_SECONDS):
            self._count()


class Ina3221:
    """The power of one rail, read as the interval ends and taken for the whole of it (Linux, hwmon/ina3221.rst)."""

    def __init__(self, rail: jetson.Rail) -> None:
        self._rail = rail

    @property
    def source(self) -> str:
        """The rail, and how its power becomes energy."""
        return f"INA3221, {self._rail.name}, power at the end of each round times its length"

    def begin(self) -> None:
        """Does nothing: the chip does not count."""

    def end(self, seconds: float) -> float | None:
        """Joules at the power of this moment."""
        watts = self._rail.watts
        return None if watts is None else watts * seconds


class Sampled:
    """The mean of power read once a second by a thread, while the work goes on, times the interval's length.

    A reading starts a tool: on a Pi 5 some 25 ms, nearly all of it the firmware's (github.com/ml-energy/zeus, pull 274), on
    another core than the work's where there is one. The first comes after a second, so that a shorter interval is undisturbed.

    Args:
        source: as `Meter.source`.
        read: gives watts, None where they cannot be read.
    """

    def __init__(self, source: str, read: Callable[[], float | None]) -> None:
        self._source, self._read = source, read
        self._watts: list[float | None] = []
        self._over = threading.Event()
        self._thread = threading.Thread()

    @property
    def source(self) -> str:
        """The meter's name, as it was handed over."""
        return self._source

    def begin(self) -> None:
        """Starts the thread."""
        self._watts, self._over = [], threading.Event()
        self._thread = threading.Thread(target=self._sample, args=(self._over, self._watts), daemon=True)
        self._thread.start()

    def end(self, seconds: float) -> float | None:
        """Joules since `begin`; None for an interval too short for three readings, or where one failed."""
        self._over.set()
        self._thread.join()
        known = [watts for watts in self._watts if watts is not None]
        if len(known) < LEAST_SAMPLES or len(known) < len(self._watts):
            return None
        return sum(known) / len(known) * seconds

    def _sample(self, over: threading.Event, watts: list[float | None]) -> None:
        while not over.wait(SAMPLE_SECONDS):
            reading = self._read()
            if not over.is_set():  # one that ended after the work did is of another time
                watts.append(reading)


def find_meter(root: Path = ROOT, *, throughout: bool = False) -> Meter | None:
    """The machine's meter; None where there is none that this user may read: RAPL is root's alone since Linux 5.10.

    Args:
        throughout: for one interval of many seconds, at whose end the power is another; what does not count is then read once
            a second.
    """
    zones = [
        _Zone(folder / "energy_uj", span)
        for folder in procfs.paths(root / "sys/class/powercap", "intel-rapl:*")
        if (procfs.text(folder, "name") or "").startswith("package-")
        and procfs.number(folder / "energy_uj") is not None
        and (span := procfs.number(folder / "max_energy_range_uj"))
    ]
    return Rapl(zones, throughout=throughout) if zones else _find_jetson(root, throughout) or _find_pi(root)


def mean_mj(joules: Sequence[float | None], pixels: int) -> float | None:
    """Millijoules a pixel of several intervals that labelled so many pixels in all; None where one of them is unknown."""
    known = [value for value in joules if value is not None and math.isfinite(value)]
    return 1e3 * sum(known) / pixels if known and len(known) == len(joules) and pixels > 0 else None


def _find_jetson(root: Path, throughout: bool) -> Meter | None:
    """The rail that feeds the whole module, by the kernel's files; by tegrastats where these cannot be read."""
    rails = jetson.rails(root)
    if rails:
        whole = next((rail for rail in rails if rail.name in jetson.WHOLE_MODULE), None)
        if whole is None:
            return None
        if not throughout:
            return Ina3221(whole)
        return Sampled(f"INA3221, {whole.name}, read once a second", lambda: whole.watts)
    watts = jetson.rail_watts(root) or {}
    name = next((name for name in watts if name in jetson.WHOLE_MODULE), None)
    if name is None:
        return None
    return Sampled(f"tegrastats, {name}, read once a second", lambda: (jetson.rail_watts(root) or {}).get(name))


def _find_pi(root: Path) -> Meter | None:
    rails = raspberry_pi.pmic_watts(root)
    if rails is None:
        return None
    source = f"PMIC, sum of {len(rails)} rails without USB, HATs and what else is fed past it, read once a second"
    return Sampled(source, lambda: _same_rails(raspberry_pi.pmic_watts(root), len(rails)))


def _same_rails(watts: dict[str, float] | None, count: int) -> float | None:
    """Sum of the rails' watts; None where some are missing this time."""
    return sum(watts.values()) if watts is not None and len(watts) == count else None
