"""A training step of the default net on Indian Pines, before and after a change, in turns; and its convolutions alone.

    git worktree add --detach /tmp/before COMMIT
    python benchmarks/training_speed.py --before /tmp/before -o benchmarks/results/training_speed.json

Weights must be the same bits on both sides. A busy machine shows in the difference of wall time and CPU time: the latter says
what a step costs, the former what a user waits for.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

LAYERS = ((48, 1, 13), (64, 3, 13), (64, 3, 11), (64, 3, 9), (64, 3, 7))  # channels in, kernel, pixels of a side: cnn2d
WIDTH, BATCH, REPEATS, FIRST = 64, 64, 20, 4
SIDES = ("before", "after")
ROOT = Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=True, help="the other side: a worktree of hsiedge")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(measured(options.epochs)))
        return
    sides = dict(zip(SIDES, (options.before, ROOT)))
    runs: list[dict[str, Any]] = []
    for place in range(options.rounds):
        for threads in (2, 1):
            for side in SIDES[:: 1 if place % 2 else -1]:  # neither is always the first
                runs.append({"side": side, "threads": threads, **worker(sides[side], threads, options.epochs)})
                print(runs[-1], flush=True)
    for threads in (1, 2):
        digests = {run["weights"] for run in runs if run["threads"] == threads}
        assert len(digests) == 1, f"other weights with {threads} threads: {digests}"
    result = {"epochs": options.epochs, "convolutions": convolutions(), "steps": summary(runs), "runs": runs}
    print(json.dumps({name: result[name] for name in ("convolutions", "steps")}, indent=2))
    if options.output is not None:
        options.output.write_text(json.dumps(result, indent=1) + "\n")


def worker(folder: Path, threads: int, epochs: int) -> dict[str, Any]:
    """Result of `measured` in a process of its own, with the hsiedge of a folder."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": str(threads)}
    words = [sys.executable, __file__, "--worker", "--before", ".", "--epochs", str(epochs)]
    done = subprocess.run(words, env=environment, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def measured(epochs: int) -> dict[str, Any]:
    """Trains with `hsiedge.train`: median milliseconds of a step by clock and processor, and the weights' digest."""
    import hsiedge

    moments: list[tuple[float, float]] = []

    def tick(share: float) -> None:
        moments.append((time.perf_counter(), time.process_time()))

    checkpoint = hsiedge.train("indian_pines", epochs=epochs, progress=tick)
    steps = 1e3 * np.diff(moments, axis=0)[FIRST:]
    weights = b"".join(tensor.contiguous().numpy().tobytes() for tensor in checkpoint.classifier.state_dict().values())
    return {
        "wall_ms": round(float(np.median(steps[:, 0])), 2),
        "cpu_ms": round(float(np.median(steps[:, 1])), 2),
        "weights": hashlib.sha256(weights).hexdigest()[:16],
        "load": round(os.getloadavg()[0], 1),
    }


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over rounds by threads and side, and before / after by round."""
    table: dict[str, Any] = {}
    for threads in (1, 2):
        for kind in ("wall_ms", "cpu_ms"):
            times = {side: [run[kind] for run in runs if (run["side"], run["threads"]) == (side, threads)] for side in SIDES}
            ratios = np.divide(times["before"], times["after"])
            table[f"{threads} threads, {kind}"] = {
                **{side: float(np.median(values)) for side, values in times.items()},
                "times_as_fast": [round(float(ratio), 2) for ratio in (ratios.min(), np.median(ratios), ratios.max())],
            }
    return table


def convolutions() -> dict[str, float]:
    """Least milliseconds of one thread for a step's convolutions alone, forwards and back, and their speed."""
    import torch
    from torch.nn.functional import conv2d

    torch.set_num_threads(1)
    least, operations = 0.0, 0
    for channels, kernel, side in LAYERS:
        maps = torch.randn(BATCH, channels, side, side, requires_grad=kernel > 1)  # the net's input needs no gradient
        weights = torch.randn(WIDTH, channels, kernel, kernel, requires_grad=True)
        gradient = torch.randn_like(conv2d(maps, weights))
        least += min(processor_ms(lambda: conv2d(maps, weights).backward(gradient)) for _ in range(REPEATS))  # noqa: B023
        passes = 3 if kernel > 1 else 2
        operations += passes * 2 * BATCH * WIDTH * channels * kernel**2 * (side - kernel + 1) ** 2
    matrix = torch.randn(1024, 1024)
    product = min(processor_ms(lambda: matrix @ matrix) for _ in range(REPEATS))
    return {
        "cpu_ms": round(least, 1),
        "gflops": round(operations / least / 1e6, 1),
        "matrix_product_gflops": round(2 * 1024**3 / product / 1e6, 1),
    }


def processor_ms(work: Any) -> float:
    """Milliseconds of the processor that `work` takes."""
    began = time.process_time()
    work()
    return 1e3 * (time.process_time() - began)


if __name__ == "__main__":
    main()
