"""The native engine's labels and instructions: python3 native.py ROWS.npy OUT.npz MODEL..., counted by the plugin.

Of each model, OUT gets `NAME` labels `(rows, columns)`, `NAME raw` those of the rows as raw counts, and the kernel set.
Instructions count from mark 0 to the next: 1 after ROWS rows in one push of the stream, 2 after as many pushes of a row, 3
after as many through LineClassifier.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np

from hsiedge.mapping.line_classifier import LineClassifier
from hsiedge.runtimes import load
from hsiedge.scenes.references import Calibration

LIBC = ctypes.CDLL(None)
GETPRIORITY, MARK = 141, 42
ROWS = 8


def marked(mark: int) -> None:
    LIBC.syscall(GETPRIORITY, MARK, mark)


def references(width: int, bands: int) -> Calibration:
    """A calibration that leaves counts much as they are, with a dead element in each fifth column."""
    numbers = np.arange(width * bands).reshape(width, bands)
    dark, gain = (numbers * 7 % 5).astype(np.float32), (1 + numbers * 13 % 100 / 10000).astype(np.float32)
    columns = np.arange(0, width, 5)
    dead, between = np.stack([columns, 0 * columns + 9]), np.stack([0 * columns + 8, 0 * columns + 10])
    return Calibration(dark, gain, dead, between, np.full(dead.shape, 0.5, np.float32), columns[:0], ())


def main() -> None:
    gc.disable()
    rows, out = np.load(sys.argv[1]), Path(sys.argv[2])
    answers: dict[str, object] = {}
    for path in map(Path, sys.argv[3:]):
        model = load(path, 1, "native")
        stream, filled = model.session.stream(rows.shape[1], model.known.radius), 3 * model.known.radius + 1
        labels = [stream.push(rows[:filled])]
        ends = np.cumsum([filled, ROWS, *[1] * ROWS])
        marked(0)
        labels.append(stream.push(rows[ends[0] : ends[1]]))
        marked(1)
        marked(0)
        for first, last in pairwise(ends[1:]):
            labels.append(stream.push(rows[first:last]))
        marked(2)
        answers[path.name] = np.concatenate([*labels, stream.push(rows[ends[-1] :]), stream.finish()])
        answers["kernels"] = model.session.provider
        tables = references(*rows.shape[1:]).tables(None, np.zeros(rows.shape[2], np.uint16))
        raw = model.session.stream(rows.shape[1], model.known.radius, references=tables)
        answers[f"{path.name} raw"] = np.concatenate([raw.push(rows), raw.finish()])
        lines = LineClassifier(model, rows.shape[1])
        lines.push(rows[:filled])
        marked(0)
        for row in rows[filled : filled + ROWS]:
            lines.push(row[None])
        marked(3)
    np.savez(out, **answers)


if __name__ == "__main__":
    main()
