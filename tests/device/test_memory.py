from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from hsiedge.device import memory

linux = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs /proc/PID/clear_refs")


def touch(mib: int) -> None:
    np.ones(mib << 20, np.uint8)


@linux
def test_the_peak_counts_though_it_is_gone_and_earlier_ones_do_not() -> None:
    touch(200)
    baseline = memory.take_baseline()
    assert baseline.source == "VmHWM"
    assert memory.peak_mib(baseline) < 20
    touch(64)
    assert 60 < memory.peak_mib(baseline) < 90


@linux
def test_without_clear_refs_the_mark_is_not_reset(tmp_path: Path) -> None:
    (tmp_path / "status").symlink_to("/proc/self/status")
    memory.take_baseline()
    touch(40)
    baseline = memory.take_baseline(tmp_path)
    assert baseline.source == "VmHWM, not reset"
    assert not (tmp_path / "clear_refs").exists()
    assert memory.peak_mib(baseline) > 35


@pytest.mark.slow
def test_without_proc_the_process_record_stands_in(tmp_path: Path) -> None:
    baseline = memory.take_baseline(tmp_path)
    assert baseline.source == "ru_maxrss"
    record = baseline.resident >> 20
    touch(record + 64)
    assert memory.peak_mib(baseline) > 50


@linux
def test_baseline_is_what_is_resident() -> None:
    resident = re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())
    assert resident is not None
    assert memory.take_baseline().resident == pytest.approx(int(resident[1]) << 10, rel=0.05)


def test_never_below_zero() -> None:
    assert memory.peak_mib(memory.Baseline(1 << 50, "ru_maxrss")) == 0
