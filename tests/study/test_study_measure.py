"""Measuring a study apart: again until no warning takes a time back, a few times at most, and the best attempt stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnxruntime", reason="files are measured in onnxruntime")

from hsiedge import bench
from hsiedge.benchmark import Report
from hsiedge.shipped import shipped
from hsiedge.study import measure
from hsiedge.study.paths import model_path
from hsiedge.study.store import NAME, Store
from tests import study_rows

NOISE, TAIL = "its threads waited for a core 9% of the time", "1 run in 100 takes 2.5 times the median or longer"


@pytest.fixture(scope="module")
def report() -> Report:
    """What bench really says of a file, at both batches."""
    return bench(shipped("-int8.onnx"), batches=measure.BATCHES, runs=1, seconds=0.02)


def measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, report: Report, attempts: Sequence[Sequence[str]], patient: bool
) -> tuple[int, list[tuple[str, ...]]]:
    """Number of benches that a row of one file took, and the stored warnings by batch."""
    row = study_rows.row(study_rows.cell(), study_rows.form("int8", 4, 4000))
    path = model_path(tmp_path, row.cell, "int8")
    left = iter(attempts)
    taken = []

    def scripted(paths: list[str], **options: Any) -> Report:
        assert paths == [str(path)]
        taken.append(paths)
        lines = list(next(left))
        return replace(report, results=[replace(result, path=str(path), warnings=lines) for result in report.results])

    monkeypatch.setattr(measure, "bench", scripted)
    with Store(tmp_path / NAME) as store:
        store.put(row)
        measure.measure(row, tmp_path, store, patient)
        (stored,) = store.rows()
        return len(taken), [timing.warnings for timing in stored.forms[0].timings]


def test_it_measures_until_no_time_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, report: Report) -> None:
    attempts = [[NOISE, TAIL], [NOISE], [TAIL], [NOISE]]
    assert measured(tmp_path, monkeypatch, report, attempts, True) == (3, [(TAIL,), (TAIL,)])
    assert measured(tmp_path, monkeypatch, report, attempts, False) == (1, [(NOISE, TAIL), (NOISE, TAIL)])


def test_it_gives_up_after_some_attempts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, report: Report) -> None:
    count, stored = measured(tmp_path, monkeypatch, report, [[NOISE]] * 20, True)
    assert (count, stored) == (measure.ATTEMPTS, [(NOISE,), (NOISE,)])


def test_what_warnings_take_back_is_due_again_where_there_is_patience() -> None:
    calm, noisy, untimed = (
        study_rows.row(study_rows.cell(seed=seed), study_rows.form("int8", 4, 4000, ms, lines))
        for seed, (ms, lines) in enumerate([(0.4, (TAIL,)), (0.4, (NOISE,)), (None, ())])
    )
    assert measure.pending([calm, noisy, untimed]) == [untimed]
    assert measure.pending([calm, noisy, untimed], patient=True) == [noisy, untimed]
