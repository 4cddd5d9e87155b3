"""A live run as a flight would have it: Indian Pines repeated to 640 columns, at a line rate, on one thread.

    python -m benchmarks.live MODEL [--runtime native] [--rate 300] [--seconds 600] [--page] [--json FILE]

Prints lines dropped, latency, memory over time and what was imported. The rate is at most half of what the model does itself,
which is measured first: CPU time of its thread for the same pushes, without a source. What its warnings withdraw is no figure;
where other programs cannot be stopped, `chrt -r 10` lets them wait.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

import hsiedge as he
from hsiedge.live.replay import Player
from hsiedge.mapping import LineClassifier
from hsiedge.runtimes import Model, load
from hsiedge.scenes.io.reader import open_cube

COLUMNS, SETTLED_SECONDS = 640, 5.0
UNWANTED = ("onnxruntime", "rasterio", "tornado", "torch", "onnx", "tensorflow")


def wide_cube() -> np.ndarray:
    """Indian Pines beside its mirror image, until there are 640 columns: `(145, 640, 200)` uint16."""
    cube = he.open_scene("indian_pines").cube
    pair = np.concatenate([cube, cube[:, ::-1]], 1)
    return np.ascontiguousarray(np.concatenate([pair] * 3, 1)[:, :COLUMNS])


def capacity(model: Model, cube: np.ndarray, rows: int) -> float:
    """Lines that one thread labels a second of CPU time, in pushes of `rows`."""
    lines, classifier = cube[:96], LineClassifier(model, COLUMNS)
    classifier.push(lines[:rows])
    began = time.thread_time()
    for first in range(rows, len(lines), rows):
        classifier.push(lines[first : first + rows])
    return (len(lines) - rows) / (time.thread_time() - began)


class Memory:
    """Resident memory in MiB, read four times a second."""

    def __init__(self) -> None:
        self.samples: list[tuple[float, float]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        began = time.monotonic()
        while not self._over.wait(0.25):
            resident = re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())
            self.samples.append((time.monotonic() - began, int(resident[1]) / 1024 if resident else 0.0))

    def end(self) -> dict[str, float]:
        """The peak, and how much more there is in the last two seconds than in two from the fifth on."""
        self._over.set()
        self._thread.join()
        times, mib = np.array(self.samples).T
        early = mib[(times >= SETTLED_SECONDS) & (times < SETTLED_SECONDS + 2)]
        late = mib[times >= times[-1] - 2]
        return {"peak_mib": float(mib.max()), "growth_mib": float(late.mean() - early.mean()) if len(early) else float("nan")}


def measure(path: Path, runtime: str | None, rate: float | None, seconds: float, page: bool) -> dict[str, Any]:
    """A run of so many seconds, and its figures."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "wide.npy")
        np.save(place, wide_cube())
        model = load(path, 1, runtime)
        rows = 1 if model.streams else 16
        with open_cube(place) as cube:
            able = capacity(model, cube.read(0, 112), rows)
            rate = min(rate or able / 2, able / 2)
            memory = Memory()
            times = int(seconds * rate / cube.shape[0]) + 1
            source = Player(cube, rate, times)
            summary = he.run(model, source, Path(folder, "map.hdr"), late="drop", page=0 if page else None)
            figures = memory.end()
    delay = summary.delay_lines + 2
    bound = 1e3 * delay / rate
    return {
        "capacity_lines_per_s": able,
        "latency_bound_ms": bound,
        "imported": [name for name in UNWANTED if name in sys.modules],
        **figures,
        **summary.to_json(),
        "written": [],
    }


def main() -> None:
    """Measures, and prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("--runtime")
    parser.add_argument("--rate", type=float)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--page", action="store_true")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    result = measure(asked.model, asked.runtime, asked.rate, asked.seconds, asked.page)
    text = json.dumps(result, indent=2)
    if asked.json is not None:
        asked.json.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
