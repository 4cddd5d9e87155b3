"""Peak memory of this process, from the kernel's own high-water mark. Nothing is polled, so that no peak is missed."""

from __future__ import annotations

import os
import re
import resource
import sys
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc/self")
MIB = 1 << 20


@dataclass(frozen=True)
class Baseline:
    """Resident memory at which the counting of a peak starts.

    Attributes:
        resident: bytes resident when the baseline was taken.
        source: where the peak comes from. "VmHWM": the kernel's mark, reset at the baseline, so that only later peaks
            count. "VmHWM, not reset": the same where the kernel has no /proc/PID/clear_refs, so that a peak during the
            imports counts too. "ru_maxrss": where there is no such mark either (macOS).
        proc: the process's folder in /proc.
    """

    resident: int
    source: str
    proc: Path = PROC


def take_baseline(proc: Path = PROC) -> Baseline:
    """Resets the high-water mark to what is resident now, and notes it."""
    try:
        source = "VmHWM" if _reset(proc) else "VmHWM, not reset"
        _status(proc, "VmHWM")
        return Baseline(_status(proc, "VmRSS"), source, proc)
    except (OSError, LookupError):
        return Baseline(_max_resident(), "ru_maxrss", proc)


def peak_mib(baseline: Baseline) -> float:
    """MiB by which resident memory has been higher than at the baseline, at most, since then. Never below 0."""
    peak = _max_resident() if baseline.source == "ru_maxrss" else _status(baseline.proc, "VmHWM")
    return max(0, peak - baseline.resident) / MIB


def _reset(proc: Path) -> bool:
    """Sets VmHWM to VmRSS by writing "5" to clear_refs: proc(5), since Linux 4.0. False where it cannot be written."""
    try:
        handle = os.open(proc / "clear_refs", os.O_WRONLY)
    except OSError:
        return False
    try:
        return os.write(handle, b"5") == 1
    except OSError:
        return False
    finally:
        os.close(handle)


def _status(proc: Path, key: str) -> int:
    """Bytes of one line of /proc/PID/status. Raises OSError or LookupError where there is none."""
    line = re.search(rf"^{key}:\s+(\d+) kB$", (proc / "status").read_text(), re.MULTILINE)
    if line is None:
        raise LookupError(key)
    return int(line[1]) << 10


def _max_resident() -> int:
    """Bytes of getrusage(2), which counts kilobytes, on macOS bytes. On Linux it starts, after exec, from the parent's peak."""
    value = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return value if sys.platform == "darwin" else value << 10
