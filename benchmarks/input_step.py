"""The input step of an INT8 model, in 16-bit integers and in float32, on rows of Indian Pines as stored; and from raw counts.

    python benchmarks/input_step.py            # the shipped INT8 scene graph
    python benchmarks/input_step.py MODEL      # any whose affine 16-bit integers compute

Both take turns, in one process on one thread, and must give the same integers. So do the ways from a row of 640 columns of raw
counts by way of dark and white references: numpy and then the step, the library and then the step, and one pass.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from hsiedge.errors import ModelError
from hsiedge.runtimes import require_card
from hsiedge.runtimes.input_affine import InputAffine, WholeSteps
from hsiedge.scenes.open import open_scene
from hsiedge.scenes.references import Calibration
from hsiedge.shipped import shipped

ROUNDS, COLUMNS = 200, 640


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", type=Path, default=shipped("-int8-scene.onnx"))
    affine = require_card(parser.parse_args().model).input_affine
    rows = np.ascontiguousarray(open_scene("indian_pines").cube)
    if affine is None or WholeSteps.of(affine, rows.dtype) is None:
        raise ModelError("the model's affine is none of whole steps")
    floats = InputAffine(affine)
    floats.in_whole_steps.clear()
    ways = {"16-bit integers": InputAffine(affine), "float32": floats}
    seconds = timed([lambda way=way: way.of_rows(rows) for way in ways.values()])
    for name, median in zip(ways, np.median(seconds, 0)):
        print(f"{name:16} {1e3 * median:.2f} ms, {1e9 * median / rows.size:.2f} ns a value")
    low, middle, high = np.percentile(seconds[:, 1] / seconds[:, 0], [2.5, 50, 97.5])
    print(f"float32 takes {middle:.2f} times as long ({low:.2f} to {high:.2f})")
    raw_counts(InputAffine(affine), rows.shape[2])


def raw_counts(step: InputAffine, bands: int) -> None:
    """Prints what a row of raw counts takes, with references."""
    draw, nothing = np.random.default_rng(0), np.zeros((2, 0), np.intp)
    dark, white = draw.uniform(90, 110, (COLUMNS, bands)), draw.uniform(2500, 3500, (COLUMNS, bands))
    tables = dark.astype(np.float32), (1e4 / (white - dark)).astype(np.float32)
    references = Calibration(*tables, nothing, nothing, nothing.astype(np.float32), nothing[0], ())
    row, one_pass = (
        draw.integers(0, 4096, (1, COLUMNS, bands)).astype(np.uint16),
        references.tables(None, np.zeros(bands, np.uint16)),
    )
    ways = {
        "numpy, then the step": lambda: step.of_rows(references.apply_numpy(row)),
        "library, then the step": lambda: step.of_rows(references.apply(row)),
        "one pass": lambda: step.of_rows(row, references=one_pass),
        "the step without references": lambda: step.of_rows(row),
    }
    for name, median in zip(ways, np.median(timed(list(ways.values()), equal=3), 0)):
        print(f"{name:28} {1e6 * median:.0f} us a row of {COLUMNS} x {bands}")


def timed(ways: list[Callable[[], np.ndarray]], equal: int | None = None) -> np.ndarray:
    """Seconds `(rounds, ways)`; the first `equal` of them, or all, must give the same."""
    results = [way() for way in ways[:equal]]
    assert all(np.array_equal(results[0], result) for result in results), "other integers"
    seconds = np.empty((ROUNDS, len(ways)))
    for turn in seconds:
        for place, way in enumerate(ways):
            started = time.perf_counter()
            way()
            turn[place] = time.perf_counter() - started
    return seconds


if __name__ == "__main__":
    main()
