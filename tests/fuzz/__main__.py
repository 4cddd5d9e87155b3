"""Fuzzing of every kind of file that hsiedge opens: `make fuzz N=10000`, or

    python -m tests.fuzz 10000 --seed 0    # that many mutated files; exit code 1 where one has a fault
    python -m tests.fuzz --case 1234       # one of them again, kept as fuzz-1234/FILE, and what it gave

A file is mutated by its seed and number alone, so a case is the same on every machine that has the same packages.
"""

from __future__ import annotations

import argparse
import collections
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # a child of a process with threads may wait for one for ever
    os.environ.setdefault(variable, "1")

from tests.fuzz import samples as sound  # noqa: E402
from tests.fuzz.harness import Outcome, Sample, cases, run  # noqa: E402


def fuzz(numbers: Sequence[int], seed: int, folder: Path) -> list[tuple[int, Sample, Outcome]]:
    """Runs cases by their numbers, and gives those with a fault."""
    faults, ended = [], collections.Counter[str]()
    samples, largest, began = sound.write(folder), 0, time.monotonic()
    for number, sample, data in cases(samples, folder, numbers, seed):
        outcome = run(sample, data, folder)
        largest = max(largest, outcome.mib)
        ended["read" if outcome.code == 0 else "refused" if outcome.code == 2 else "fault"] += 1
        if outcome.fault is not None:
            faults.append((number, sample, outcome))
            print(f"case {number} ({sample.name}, {sample.file}): {outcome.fault}", flush=True)
    seconds = time.monotonic() - began
    kinds = len({sample.name for sample in samples})
    print(f"{len(numbers)} cases of {kinds} kinds of file in {seconds:.0f} s, {largest} MiB at most: {dict(ended)}")
    return faults


def again(number: int, seed: int, folder: Path) -> Outcome:
    """Runs one case, and keeps its file."""
    os.environ["FUZZ_TRACEBACK"] = "1"
    ((_, sample, data),) = cases(sound.write(folder), folder, [number], seed)
    kept = Path(f"fuzz-{number}")
    kept.mkdir(exist_ok=True)
    (kept / sample.file).write_bytes(data)
    return run(sample, data, folder)


def main() -> int:
    """Fuzzes as the command line says; 1 where there are faults."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int, nargs="?", default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--case", type=int)
    options = parser.parse_args()
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as parent:
        folder = Path(parent, "samples")
        folder.mkdir()
        if options.case is not None:
            print(again(options.case, options.seed, folder))
            return 0
        return 1 if fuzz(range(options.first, options.first + options.count), options.seed, folder) else 0


if __name__ == "__main__":
    sys.exit(main())
