"""CPU time of `classify` with little memory beside that with much: a cube of 1000 columns and 200 bands, of a shipped model.

    python benchmarks/strip_memory.py                 # --memory 32MiB against 256MiB, and 64MiB
    python benchmarks/strip_memory.py MODEL.onnx 400  # of another scene graph, and so many rows

Strips of few rows compute their halo again and again. CPU time, of all threads, is what the command's process says it took; the
runs take turns, and each time is the least of three.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from hsiedge.runtimes import require_card
from hsiedge.shipped import shipped

COLUMNS, ROUNDS = 1000, 3
LIMITS = ("256MiB", "64MiB", "32MiB")


def cpu_seconds(model: Path, cube: Path, limit: str) -> tuple[float, int]:
    """CPU seconds and peak MiB of one `classify`."""
    command = [sys.executable, "-m", "hsiedge", "classify", str(model), str(cube), "-o", str(cube.with_name("map.npy"))]
    child = subprocess.Popen([*command, "--memory", limit, "--threads", "1"], stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"classify ended with {status}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss >> 10


def write(path: Path, shape: tuple[int, int, int]) -> None:
    """Writes a random cube row by row: the peak of a child begins with that of its parent."""
    dice = np.random.default_rng(0)
    with path.open("wb") as file:
        np.lib.format.write_array_header_2_0(file, {"descr": "<u2", "fortran_order": False, "shape": shape})
        for _ in range(shape[0]):
            file.write(dice.integers(1000, 6000, shape[1:], np.uint16).tobytes())


def main() -> None:
    """Prints a line for each limit: CPU seconds, how many times those of the largest, and peak memory."""
    model = Path(sys.argv[1]) if len(sys.argv) > 1 else shipped("-int8-scene.onnx")
    rows = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    bands = require_card(model).scene.bands
    with tempfile.TemporaryDirectory() as folder:
        cube = Path(folder) / "cube.npy"
        write(cube, (rows, COLUMNS, bands))
        taken: dict[str, list[tuple[float, int]]] = {}
        for _ in range(ROUNDS):
            for limit in LIMITS:
                taken.setdefault(limit, []).append(cpu_seconds(model, cube, limit))
    least = min(seconds for seconds, _ in taken[LIMITS[0]])
    print(f"{model.name}: {rows} x {COLUMNS} pixels, {bands} bands")
    for limit, runs in taken.items():
        seconds = min(entry for entry, _ in runs)
        print(f"--memory {limit}: {seconds:.2f} s, {seconds / least:.2f} times, {max(mib for _, mib in runs)} MiB at most")


if __name__ == "__main__":
    main()
