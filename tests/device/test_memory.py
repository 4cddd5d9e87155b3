"""Peaks of memory, each in a process of its own: in one that has run other tests, what is taken may be resident already."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from hsiedge.device import memory

linux = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs /proc/PID/clear_refs")
TOUCH = """
import sys
from pathlib import Path
import numpy as np
from hsiedge.device import memory

def touch(mib):
    np.ones(mib << 20, np.uint8)

proc = Path(sys.argv[1])
"""


def alone(proc: Path, program: str) -> list[str]:
    """Words that a program prints in a process of its own, with `touch`, and `proc` as its folder in /proc."""
    done = subprocess.run([sys.executable, "-c", TOUCH + program, proc], capture_output=True, text=True, check=True)
    return done.stdout.split()


@linux
def test_the_peak_counts_though_it_is_gone_and_earlier_ones_do_not() -> None:
    source, before, after = alone(
        memory.PROC,
        """
touch(200)
baseline = memory.take_baseline(proc)
print(baseline.source, memory.peak_mib(baseline))
touch(64)
print(memory.peak_mib(baseline))
""",
    )
    assert source == "VmHWM"
    assert float(before) < 20
    assert 60 < float(after) < 90


@linux
def test_without_clear_refs_the_mark_is_not_reset(tmp_path: Path) -> None:
    (tmp_path / "status").symlink_to("/proc/self/status")
    *source, peak = alone(
        tmp_path,
        """
memory.take_baseline()
touch(40)
baseline = memory.take_baseline(proc)
print(baseline.source, memory.peak_mib(baseline))
""",
    )
    assert source == ["VmHWM,", "not", "reset"]
    assert not (tmp_path / "clear_refs").exists()
    assert float(peak) > 35


def test_without_proc_the_process_record_stands_in(tmp_path: Path) -> None:
    source, peak = alone(
        tmp_path,
        """
baseline = memory.take_baseline(proc)
touch((baseline.resident >> 20) + 64)
print(baseline.source, memory.peak_mib(baseline))
""",
    )
    assert source == "ru_maxrss"
    assert float(peak) > 50


@linux
def test_baseline_is_what_is_resident() -> None:
    resident = re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())
    assert resident is not None
    assert memory.take_baseline().resident == pytest.approx(int(resident[1]) << 10, rel=0.05)


def test_never_below_zero() -> None:
    assert memory.peak_mib(memory.Baseline(1 << 50, "ru_maxrss")) == 0
