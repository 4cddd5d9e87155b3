"""Peak memory of this process, from the kernel's own high-water mark. Nothing is polled, so that no peak is missed."""

from __future__ import annotations

import re
import resource
import sys
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc/self")
MIB = 1 << 20


@dataclass(frozen=True)
class Baseline:
    """Where the counting starts.

    Attributes:
        resident: bytes resident when the baseline was taken.
        source: "VmHWM" where the mark was reset then, so that only later peaks count; "ru_maxrss" where the kernel has no
            /proc/PID/clear_refs: then the highest resident size since the process began stands in, and a peak during
            the imports counts too.
        proc: the process's folder in /proc.
    """

    resident: int
    source: str
    proc: Path = PROC


def take_baseline(proc: Path = PROC) -> Baseline:
    """Resets the high-water mark to what is resident now, and notes it.

    Writing "5" to clear_refs resets VmHWM: proc(5), since Linux 4.0.
    """
    try:
        (proc / "clear_refs").write_text("5")
        return Baseline(_status(proc, "VmRSS"), "VmHWM", proc)
    except (OSError, LookupError):
        return Baseline(_max_resident(), "ru_maxrss", proc)


def peak_mib(baseline: Baseline) -> float:
    """MiB by which resident memory has been higher than at the baseline, at most, since then. Never below 0."""
    peak = _status(baseline.proc, "VmHWM") if baseline.source == "VmHWM" else _max_resident()
    return max(0, peak - baseline.resident) / MIB


def _status(proc: Path, key: str) -> int:
    """Bytes of one line of /proc/PID/status. Raises OSError or LookupError where there is none."""
    found = re.search(rf"^{key}:\s+(\d+) kB$", (proc / "status").read_text(), re.MULTILINE)
    if found is None:
        raise LookupError(key)
    return int(found[1]) << 10


def _max_resident() -> int:
    """getrusage(2) counts kilobytes; on macOS bytes."""
    value = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return value if sys.platform == "darwin" else value << 10
