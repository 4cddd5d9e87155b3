"""Rows of a mapped file are read, and let go."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hsiedge.scenes.io.reader import open_cube

MIB = 1 << 20


def resident_file_bytes() -> int:
    """Bytes of mapped files that count as this process's."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("RssFile"))


def test_what_was_read_of_a_mapped_file_no_longer_counts(tmp_path: Path) -> None:
    if not Path("/proc/self/status").exists() or "RssFile" not in Path("/proc/self/status").read_text():
        pytest.skip("this system does not tell how much of a process is mapped files")
    cube = np.arange(64 * 256 * 2048, dtype=np.uint16).reshape(256, 64, 2048)  # 64 MiB
    np.save(tmp_path / "cube.npy", cube)
    with open_cube(tmp_path / "cube.npy") as source:
        before = resident_file_bytes()
        for first in range(0, 256, 16):
            rows = source.read(first, 16)
            assert np.array_equal(rows, cube[first : first + 16])
            assert resident_file_bytes() - before < 8 * MIB
        assert rows.flags.owndata
