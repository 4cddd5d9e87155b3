"""Limits of bench's warnings, from repeated runs with and without programs that disturb them.

    python benchmarks/warning_limits.py                 # shows what the stored runs say of each limit
    python benchmarks/warning_limits.py --runs 40       # measures so many more first

A run measures the shipped INT8 net and its float original side by side, as `hsiedge bench` does, on one core fewer than there
are or on all of them, beside a program that keeps some share of a core busy, drawn anew for each run. Kept are the load, what
the threads waited, the spread, tail and drift of the rounds, and the medians: in benchmarks/results/warning_limits.json.

Quiet is a run beside no disturber during which other programs kept less than a tenth of a core busy. Times are judged against
the median of the five quickest runs of the same file, batch and threads; ratios against the median ratio.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from hsiedge import files
from hsiedge.benchmark import warnings
from hsiedge.benchmark.measure import Plan, Sample, measure_group, model_files
from hsiedge.benchmark.statistics import deviation, drift
from hsiedge.device.facts import device_facts
from hsiedge.progress import silent
from hsiedge.shipped import shipped

RESULTS = Path(__file__).parent / "results" / "warning_limits.json"
SHARES = (0.0, 0.0, 0.1, 0.25, 0.5, 1.0)  # of a core that the disturber keeps busy: a third of the runs have none
BATCHES = (1, 256)
QUIET_CORES = 0.1
LIMITS = {
    "waited": warnings.WAITED, "others": warnings.OTHER_CORES, "stolen": warnings.STOLEN_CORES, "spread": warnings.SPREAD,
    "drift": warnings.DRIFT, "tail": warnings.TAIL,
}  # fmt: skip
Run = dict[str, Any]


def busy(share: float) -> None:
    """Keeps a share of a core busy, in slices of 20 ms, until it is ended."""
    while True:
        end = time.perf_counter() + 0.02 * share
        while time.perf_counter() < end:
            pass
        time.sleep(0.02 * (1 - share))


@contextmanager
def disturber(share: float) -> Iterator[None]:
    """Runs a process beside the block that keeps a share of a core busy; none for 0."""
    process = multiprocessing.Process(target=busy, args=(share,), daemon=True)
    if share:
        process.start()
    try:
        yield
    finally:
        if share:
            process.kill()
            process.join()


def measured(seed: int) -> list[Run]:
    """One run: a record a file."""
    dice = random.Random(seed)  # noqa: S311
    share, batch = dice.choice(SHARES), dice.choice(BATCHES)
    threads = dice.choice([max(1, (os.cpu_count() or 1) - 1), os.cpu_count() or 1])
    models = model_files([shipped(".onnx"), shipped("-int8.onnx")])
    with disturber(share):
        samples = measure_group(models, batch, [batch], Plan(20, 1.0, threads, (), seed), silent)
    return [{"seed": seed, "disturber": share, "threads": threads, **record(sample)} for sample in samples]


def record(sample: Sample) -> Run:
    """Figures of a sample that warnings are made of, and its median."""
    means, runs = np.array([entry.mean() for entry in sample.rounds]), sample.all_ms
    facts = {
        "waited": sample.waited,
        "others": sample.load.cores,
        "stolen": sample.load.stolen,
        "spread": deviation(means) / float(means.mean()),
        "drift": abs(drift(sample.medians.tolist())),
        "tail": float(np.percentile(runs, 99) / np.median(runs)),
        "p50": float(np.median(runs)),
    }
    kept = {name: round(value, 5) if value is not None else None for name, value in facts.items()}
    return {"precision": sample.opened["precision"], "batch": sample.opened["batch"], **kept}


def counted(runs: list[Run]) -> str:
    """A line that says what was counted as others' load, for each share of a core that a program took."""
    shares: dict[float, list[float]] = {}
    for run in runs:
        shares.setdefault(run["disturber"], []).append(run["others"])
    ranges = [f"{min(of):.2f} to {max(of):.2f} of {share:g}" for share, of in sorted(shares.items())]
    return f"cores that others took, as counted: {', '.join(ranges)}"


def judged(runs: list[Run]) -> list[Run]:
    """Records with "late", by how much the median lies above the quickest, and "off", how far the ratio is from the usual."""
    groups: dict[tuple[object, ...], list[Run]] = {}
    for run in runs:
        groups.setdefault((run["precision"], run["batch"], run["threads"]), []).append(run)
    best = {key: float(np.median(sorted(run["p50"] for run in of)[:5])) for key, of in groups.items()}
    ratios = {(run["seed"], run["precision"]): run["p50"] for run in runs}
    ratio = {run["seed"]: ratios[run["seed"], "float32"] / ratios[run["seed"], "int8"] for run in runs}
    usual = {key[1:]: float(np.median([ratio[run["seed"]] for run in of])) for key, of in groups.items()}
    return [
        {
            **run,
            "late": run["p50"] / best[run["precision"], run["batch"], run["threads"]] - 1,
            "off": abs(ratio[run["seed"]] / usual[run["batch"], run["threads"]] - 1),
        }
        for run in runs
    ]


def table(runs: list[Run]) -> str:
    """A line for each limit: how many quiet and disturbed runs pass it, and how wrong those are that pass, and that do not."""
    lines = ["limit            | quiet: pass | others: pass | late, pass | late, not | ratio off, pass | ratio off, not"]
    quiet = [run for run in runs if not run["disturber"] and (run["others"] or 0) < QUIET_CORES]
    rest = [run for run in runs if run not in quiet]
    for name, limit in LIMITS.items():
        passes = [run for run in runs if run[name] is None or run[name] < limit]
        fails = [run for run in runs if run not in passes]
        counts = [f"{sum(run in passes for run in of)} of {len(of)}" for of in (quiet, rest)]
        errors = [_ninth([run[error] for run in of]) for error in ("late", "off") for of in (passes, fails)]
        lines.append(f"{name} < {limit:g}".ljust(16) + " | " + " | ".join([*counts, *errors]))
    return "\n".join(lines)


def _ninth(values: list[float]) -> str:
    """Median and 90th percentile, percent."""
    return " to ".join(f"{100 * value:.1f} %" for value in np.percentile(values, [50, 90])) if values else "-"


def main() -> None:
    """Measures what is asked for, and shows what all runs say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=0, help="runs to measure before")
    data = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"devices": [], "runs": []}
    for _ in range(parser.parse_args().runs):
        seed = 1 + max((run["seed"] for run in data["runs"]), default=-1)
        data["runs"] += measured(seed)
        data["devices"] = sorted({*data["devices"], str(device_facts().cpu)})
        files.write_bytes(RESULTS, (json.dumps(data) + "\n").encode())
    print(counted(data["runs"]))
    print(table(judged(data["runs"])))


if __name__ == "__main__":
    main()
