"""The input step of an INT8 model, in 16-bit integers and in float32, on rows of Indian Pines in their stored dtype.

    python benchmarks/input_step.py            # the shipped INT8 scene graph
    python benchmarks/input_step.py MODEL      # any whose affine 16-bit integers compute

Both take turns, in one process on one thread, and must give the same integers.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from hsiedge.errors import ModelError
from hsiedge.runtimes import require_card
from hsiedge.runtimes.input_affine import InputAffine, WholeSteps
from hsiedge.scenes.open import open_scene
from hsiedge.shipped import shipped

ROUNDS = 200


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
    seconds = np.empty((ROUNDS, len(ways)))
    for turn in seconds:
        for place, way in enumerate(ways.values()):
            started = time.perf_counter()
            way.of_rows(rows)
            turn[place] = time.perf_counter() - started
    whole, other = (way.of_rows(rows) for way in ways.values())
    print(f"the same integers: {np.array_equal(whole, other)}")
    for name, median in zip(ways, np.median(seconds, 0)):
        print(f"{name:16} {1e3 * median:.2f} ms, {1e9 * median / rows.size:.2f} ns a value")
    low, middle, high = np.percentile(seconds[:, 1] / seconds[:, 0], [2.5, 50, 97.5])
    print(f"float32 takes {middle:.2f} times as long ({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
