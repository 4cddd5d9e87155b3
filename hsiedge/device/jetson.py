"""Facts that only an NVIDIA Jetson has: its release, its power mode, its clocks and the power of its rails."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hsiedge.device import procfs
from hsiedge.device.procfs import ROOT

WHOLE_MODULE = ("VDD_IN", "POM_5V_IN")
"""Rails that feed all of a module: Orin NX, Orin Nano and Xavier NX; the first Nano. An AGX has no such rail."""
_RAIL = re.compile(r"\b((?:VDD|VIN|POM|CV|GPU|CPU|SOC|SYS)\w*) (\d+)(?:mW)?/\d+(?:mW)?(?= |$)")


@dataclass(frozen=True)
class PowerMode:
    """A power mode of nvpmodel: its name ("25W", "MAXN") and number, which is another on each module."""

    name: str
    number: int


@dataclass(frozen=True)
class Rail:
    """A channel of an INA3221, which measures voltage and current of one rail."""

    name: str
    millivolts: Path
    milliamperes: Path

    @property
    def watts(self) -> float | None:
        """Watts of the rail now; None where it cannot be read any more."""
        voltage, current = procfs.number(self.millivolts), procfs.number(self.milliamperes)
        return None if voltage is None or current is None else voltage * current / 1e6


def l4t(root: Path = ROOT) -> str | None:
    """The release of Jetson Linux, "36.4.3", from the first line of /etc/nv_tegra_release."""
    line = re.match(r"# R(\d+) \(release\), REVISION: ([\d.]+)", procfs.text(root, "etc/nv_tegra_release") or "")
    return f"{line[1]}.{line[2]}" if line else None


def power_mode(root: Path = ROOT) -> PowerMode | None:
    """The mode that nvpmodel has set."""
    return parse_power_mode(procfs.ask_tool(root, "nvpmodel", "-q") or "")


def parse_power_mode(output: str) -> PowerMode | None:
    """Reads what `nvpmodel -q` prints, with `--verbose` or without: the name on one line, the number on the next."""
    mode = re.search(r"NV Power Mode: (\S+)\s*\n(\d+)\s*$", output, re.MULTILINE)
    return PowerMode(mode[1], int(mode[2])) if mode else None


def clocks_locked(root: Path = ROOT) -> bool | None:
    """Whether all cores keep their highest clock, as after `jetson_clocks`: their lowest allowed one is the highest."""
    lowest, highest = (
        procfs.texts(root, f"sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_{end}_freq") for end in ("min", "max")
    )
    return lowest == highest if lowest and len(lowest) == len(highest) else None


def gpu_load(root: Path = ROOT) -> float | None:
    """Percent that the GPU is busy now, which the kernel gives in thousandths."""
    for pattern in ("sys/devices/platform/gpu.0/load", "sys/devices/gpu.0/load", "sys/devices/platform/*/*.gpu/load"):
        for path in procfs.paths(root, pattern):
            load = procfs.number(path)
            if load is not None and load <= 1000:
                return load / 10
    return None


def rails(root: Path = ROOT) -> list[Rail]:
    """The channels of all INA3221 chips that this user may read (Linux, hwmon/ina3221.rst)."""
    return [rail for rail in _channels(root) if rail.watts is not None]


def _channels(root: Path) -> Iterator[Rail]:
    for chip in procfs.paths(root, "sys/class/hwmon/hwmon*"):
        if procfs.text(chip, "name") != "ina3221":
            continue
        for channel in (1, 2, 3):
            label = procfs.text(chip, f"in{channel}_label")
            if label and label != "NC":
                yield Rail(label, chip / f"in{channel}_input", chip / f"curr{channel}_input")


def rail_watts(root: Path = ROOT) -> dict[str, float] | None:
    """Watts of each rail now, from the kernel's files, else from a line of `tegrastats`; None where neither has them."""
    watts_by_rail = {rail.name: watts for rail in rails(root) if (watts := rail.watts) is not None}
    return watts_by_rail or parse_tegrastats(procfs.first_line(root, "tegrastats", "--interval", "100") or "") or None


def parse_tegrastats(line: str) -> dict[str, float]:
    """Watts by rail in a line of `tegrastats`: "VDD_IN 4856mW/4701mW", now and on average; without units before L4T 34."""
    return {name: int(milliwatts) / 1000 for name, milliwatts in _RAIL.findall(line)}


def power_modes(root: Path = ROOT) -> list[PowerMode]:
    """All modes of this module, in the order of /etc/nvpmodel.conf."""
    modes = re.findall(r"^< POWER_MODEL ID=(\d+) NAME=(\S+) >", procfs.text(root, "etc/nvpmodel.conf") or "", re.MULTILINE)
    return [PowerMode(name, int(number)) for number, name in modes]
