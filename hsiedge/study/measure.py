"""Latency, memory and energy of a study's deployed files: measured when no cell is in flight, one cell after another.

Where no cell is made at all, a row is measured again until its own warnings take no time back any more, a few times at most.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from hsiedge import files
from hsiedge.benchmark.results import Result
from hsiedge.benchmark.runner import bench
from hsiedge.benchmark.warnings import TIMES, withdrawn
from hsiedge.device.facts import DeviceFacts
from hsiedge.study.paths import model_path
from hsiedge.study.rows import Form, Row, Timing
from hsiedge.study.store import Store

BATCHES = (1, 256)
RUNS, SECONDS = 20, 0.6  # of each file and batch; below half a second bench warns
ATTEMPTS = 5  # at a row whose times are taken back


def pending(rows: Sequence[Row], patient: bool = False) -> list[Row]:
    """Rows with a form that is to be timed and is not yet; `patient`: or was, and its own warnings take the times back."""
    return [row for row in rows if untimed_forms(row, patient)]


def untimed_forms(row: Row, patient: bool = False) -> list[Form]:
    """Forms of a row that are to be timed and are not yet; `patient` as in `pending`."""
    return [
        form for form in row.forms if not row.untimed(form) and (not form.timings or (patient and _taken_back(form.timings)))
    ]


def _taken_back(timings: Sequence[Timing] | Sequence[Result]) -> int:
    """Number of timings whose own warnings take them back."""
    return sum(TIMES in withdrawn(timing.warnings) for timing in timings)


def present(row: Row, folder: Path, patient: bool = False) -> bool:
    """Whether the files of a row's untimed forms lie in the study's folder, as they were made."""
    paths = {form.sha256: model_path(folder, row.cell, form.precision) for form in untimed_forms(row, patient)}
    return all(path.is_file() and files.digest(path) == sha256 for sha256, path in paths.items())


def measure(row: Row, folder: Path, store: Store, patient: bool = False) -> None:
    """Measures the untimed forms of a row side by side, and stores the timings.

    With `patient`, they are measured up to ATTEMPTS times, until no warning takes a time back; the best attempt is stored.

    Raises:
        ModelError: a file that is not there or does not run.
    """
    started = time.perf_counter()
    forms = {str(model_path(folder, row.cell, form.precision)): form for form in untimed_forms(row, patient)}
    report = bench(list(forms), batches=BATCHES, runs=RUNS, seconds=SECONDS)
    for _ in range(ATTEMPTS - 1 if patient else 0):
        if not _taken_back(report.results):
            break
        report = min(
            report, bench(list(forms), batches=BATCHES, runs=RUNS, seconds=SECONDS), key=lambda r: _taken_back(r.results)
        )
    seconds = time.perf_counter() - started
    for path, form in forms.items():
        results = [result for result in report.results if result.path == path]
        timings = [_timing(result) for result in results]
        device = _device(report.device, results[0])
        store.set_timings(row.cell.key, form.precision, timings, device, seconds / len(forms))


def _timing(result: Result) -> Timing:
    return Timing(
        batch=result.batch,
        p50=result.latency_ms.p50,
        p90=result.latency_ms.p90,
        memory_mib=result.memory_mib,
        energy_mj=result.energy_mj,
        warnings=tuple(result.warnings),
    )


def _device(facts: DeviceFacts, result: Result) -> str:
    """Description of the device in one line."""
    name = facts.board or facts.cpu or facts.machine
    cpu = f" ({facts.cpu})" if facts.board and facts.cpu else ""
    virtual = ", virtual machine" if facts.virtual else ""
    energy = f", energy from {result.energy_source}" if result.energy_source else ""
    threads = f"{result.threads} thread{'s' if result.threads != 1 else ''}"
    return f"{name}{cpu}{virtual}, {threads}, {facts.runtime}{energy}"
