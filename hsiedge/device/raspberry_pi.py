"""Facts that only a Raspberry Pi has: why its firmware throttled it, and the power of what its power chip feeds."""

from __future__ import annotations

import re
from pathlib import Path

from hsiedge.device import procfs
from hsiedge.device.procfs import ROOT

# `vcgencmd get_throttled`, Raspberry Pi documentation, "os.adoc": bits 0 to 3 now, the same from bit 16 on since boot.
THROTTLE_BITS = ("under-voltage", "frequency capped", "throttled", "soft temperature limit")
_CHANNEL = re.compile(r"^\s*(\w+)_([AV]) (?:current|volt)\(\d+\)=(\d+\.\d+)[AV]\s*$", re.MULTILINE)


def throttle_bits(root: Path = ROOT) -> tuple[frozenset[str], frozenset[str]] | None:
    """Throttling (now, since boot) in words of `THROTTLE_BITS`, from the kernel's file, else from `vcgencmd`."""
    words = procfs.texts(root, "sys/devices/platform/soc*/soc*:firmware/get_throttled")
    word = words[0] if words else (procfs.ask_tool(root, "vcgencmd", "get_throttled") or "").removeprefix("throttled=")
    if not re.fullmatch(r"(0x)?[0-9a-fA-F]+", word):
        return None
    bits = int(word, 16)
    now, past = (frozenset(name for bit, name in enumerate(THROTTLE_BITS) if bits >> (bit + shift) & 1) for shift in (0, 16))
    return now, past


def pmic_watts(root: Path = ROOT) -> dict[str, float] | None:
    """Watts of each rail that a Pi 5's power chip feeds; None on other boards, or where /dev/vcio is not this user's."""
    return parse_pmic(procfs.ask_tool(root, "vcgencmd", "pmic_read_adc") or "") or None


def parse_pmic(output: str) -> dict[str, float]:
    """Reads watts by rail from what `vcgencmd pmic_read_adc` prints.

    A rail is listed where both its current and its voltage are: not the 5 V input (EXT5V) nor the clock's battery (BATT), of
    which the chip knows the voltage alone. USB devices, HATs and whatever else is fed past the chip are not in it.
    """
    amperes: dict[str, float] = {}
    volts: dict[str, float] = {}
    for rail, unit, value in _CHANNEL.findall(output):
        (amperes if unit == "A" else volts)[rail] = float(value)
    return {rail: amperes[rail] * volts[rail] for rail in amperes if rail in volts}
