"""`hsiedge study` as a user runs it, in processes of its own: it can be ended at any moment, and goes on from there."""

from __future__ import annotations

import functools
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

pytest.importorskip("torch", reason="a study trains nets")
pytest.importorskip("distributed", reason="a study runs on Dask")

from hsiedge.errors import ClusterError
from hsiedge.metrics import confusion_matrix
from hsiedge.scenes.pack import pack
from hsiedge.scenes.splits import TEST
from hsiedge.study.dask_pool import open_pool
from hsiedge.study.paths import model_path
from hsiedge.study.rows import Row
from hsiedge.study.store import NAME, Store
from tests import workstation
from tests.dask_cluster import cluster

CONFIG = """
scenes = ["./corner.npz"]
splits = ["random"]
seeds = [0]
epochs = 20
tuning = 5
controls = false
[nets.cnn2d]
patch = 7
widths = [8, 8]
[methods]
magnitude = [0.5]
structured = [0.5]
distill = ["dscnn:6,8"]
qat = [4]
"""
FEW = CONFIG.split("structured")[0]  # the trained net and one pruned by magnitude
_FOLDER = tempfile.TemporaryDirectory(prefix="hsiedge-study-")


@functools.cache
def home() -> Path:
    """Where the configs and the scene lie that they name."""
    pack(workstation.corner(), Path(_FOLDER.name) / "corner.npz")
    return Path(_FOLDER.name)


def config(name: str, text: str = CONFIG) -> Path:
    path = home() / f"{name}.toml"
    path.write_text(text)
    return path


def start(path: Path, folder: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "hsiedge", "study", str(path), "-o", str(folder), "--workers", "1", *words]
    return subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )


def run(path: Path, folder: Path, *words: str) -> tuple[int, str]:
    """Exit code and stderr of a whole run."""
    process = start(path, folder, *words)
    _, output = process.communicate(timeout=900)
    assert "Traceback" not in output, output
    return process.returncode, output


def rows(folder: Path) -> dict[str, Row]:
    with Store(folder / NAME, make=False) as store:
        stored = store.rows()
    assert len({row.cell.key for row in stored}) == len(stored)
    return {row.cell.key: row for row in stored}


def outcome(row: Row) -> str:
    """A row without what may differ from run to run: seconds, and what the hour in the files' Cards makes of their bytes."""
    forms = tuple(replace(form, sha256="", bytes=0, gzip=0, timings=()) for form in row.forms)
    return repr(replace(row, forms=forms, seconds=0, device=""))


def outcomes(folder: Path) -> dict[str, str]:
    return {key: outcome(row) for key, row in rows(folder).items()}


def noted(output: str) -> list[str]:
    """The cells that a run has finished, by their titles."""
    return re.findall(r"^\d+/\d+ (.*?): .* left$", output, re.MULTILINE)


@functools.cache
def whole() -> Path:
    """The folder of a run that nothing disturbed, not measured."""
    folder = home() / "whole"
    code, output = run(config("whole"), folder, "--measure", "no")
    assert code == 0, output
    assert len(noted(output)) == 5, output
    return folder


def test_rows_say_what_was_made() -> None:
    by_method = {row.cell.method: row for row in rows(whole()).values()}
    assert set(by_method) == {"none", "magnitude", "structured", "distill", "qat"}
    precisions = {method: [form.precision for form in row.forms] for method, row in by_method.items()}
    assert precisions == {
        "none": ["float32", "float16", "int8"],
        "magnitude": ["float32", "int8"],
        "structured": ["float32", "int8"],
        "distill": ["float32", "int8"],
        "qat": ["int4 (simulated)"],
    }
    assert len({row.split_digest for row in by_method.values()}) == 1
    for row in by_method.values():
        assert row.train + row.validation + row.test == (workstation.corner().labelled() > 0).sum()
        assert (row.control is None) == (row.cell.method != "qat")
        assert re.fullmatch(r"20\d\d-\d\d-\d\d, \S.*", row.made), row.made
        for form in row.forms:
            assert form.confusion.shape == (len(row.classes), len(row.classes))
            assert form.confusion.sum() == row.test == len(form.predicted)
            assert 100 * form.confusion.trace() / row.test == pytest.approx(form.oa)
            data = model_path(whole(), row.cell, form.precision).read_bytes()
            assert len(data) == form.bytes > form.gzip
    weights = by_method["none"].parameters
    assert by_method["none"].nonzeros == weights > by_method["magnitude"].nonzeros > 0.4 * weights
    assert by_method["structured"].parameters < weights == by_method["magnitude"].parameters
    assert by_method["structured"].macs_per_pixel < by_method["magnitude"].macs_per_pixel == by_method["none"].macs_per_pixel
    assert "weights are 0" in by_method["magnitude"].told
    assert "channels removed" in by_method["structured"].told


def test_controls_are_the_nets_that_they_stand_beside(tmp_path: Path) -> None:
    text = (
        CONFIG.split("[methods]")[0].replace("controls = false", "")
        + """
[methods]
structured = [{ levels = [0.5] }, { levels = [0.5], rounds = 2, soft_labels = true }]
distill = ["cnn2d:4,4"]
"""
    )
    code, output = run(
        config("controls", text.replace("epochs = 20", "epochs = 4").replace("tuning = 5", "")), tmp_path, "--measure", "no"
    )
    assert code == 0, output
    by_title = {row.cell.title.split("cnn2d ", 1)[1]: row for row in rows(tmp_path).values() if row.cell.method != "scratch"}
    scratch = {row.cell.tuning: row for row in rows(tmp_path).values() if row.cell.method == "scratch"}
    assert set(by_title) == {"trained", "structured 0.5", "structured 0.5 rounds=2 soft_labels=True", "distill cnn2d:4,4"}
    assert set(scratch) == {4, 8}
    assert {row.shape for row in (*scratch.values(), *by_title.values()) if row.cell.method != "none"} == {"cnn2d@7:4,4"}
    assert by_title["trained"].shape == "cnn2d@7:8,8"
    assert len({row.parameters for row in (*scratch.values(), by_title["structured 0.5"])}) == 1
    assert len({row.forms[0].predicted.tobytes() for row in (*scratch.values(), *by_title.values())}) == 6
    page = tmp_path / "report.html"
    command = [sys.executable, "-m", "hsiedge", "report", str(tmp_path), "--format", "html", "-o", str(page)]
    subprocess.run(command, check=True, timeout=200)
    assert "trained from nothing for as many steps in all" in page.read_text()


def test_its_report(tmp_path: Path) -> None:
    scene = workstation.corner()
    with Store(whole() / NAME, make=False) as store:
        for row in store.rows():
            parts = store.parts(row.split_digest)
            assert parts is not None
            truth = scene.labelled()[parts == TEST]
            for form in row.forms:  # a prediction lies on the ground where the split's map says
                assert (confusion_matrix(truth, form.predicted, list(row.classes)) == form.confusion).all()
    page = tmp_path / "report.html"
    command = [sys.executable, "-m", "hsiedge", "report", str(whole()), "--format", "html", "-o", str(page)]
    subprocess.run(command, check=True, timeout=100)
    text = page.read_text()
    assert text.count("data:image/png;base64,") == 3
    assert "its control" in text


def test_killed_at_any_moment_it_comes_to_the_same(tmp_path: Path) -> None:
    dice, titles = random.Random(time.time_ns()), []
    for line in ("expected", "1/"):  # while the parent trains, and while cells are under way
        process = start(config("whole"), tmp_path, "--measure", "no", "--workers", "2")
        assert process.stderr is not None
        output = ""
        for text in process.stderr:
            output += text
            if text.startswith(line):
                break
        time.sleep(dice.uniform(0, 2))
        workers = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.send_signal(signal.SIGKILL)
        titles += noted(output + process.communicate()[1])
        _, alive = psutil.wait_procs(workers, timeout=20)
        assert not alive, "a worker outlives its client"
    code, output = run(config("whole"), tmp_path, "--measure", "no", "--workers", "2")
    assert code == 0, output
    titles += noted(output)
    assert len(set(titles)) == len(titles) >= 2, "a finished cell was run again"
    assert outcomes(tmp_path) == outcomes(whole())
    assert not list(tmp_path.glob("**/.*.onnx"))


def test_resuming_measures_and_runs_new_cells_alone_and_a_failing_one_stops_no_other(tmp_path: Path) -> None:
    """First without measuring; then with a cell more, and a split on which the parent cannot be trained; then once more."""
    folder = tmp_path / "study"
    code, output = run(config("first", FEW), folder, "--measure", "no")
    assert (code, len(noted(output))) == (0, 2), output
    before = rows(folder)
    second = (
        FEW.replace('["random"]', '["random", "blocks"]').replace("[0.5]", "[0.5, 0.6]").replace("seeds", "guard = 2\nseeds")
    )
    code, output = run(config("second", second), folder)
    assert code == 2
    assert "6 cells, 2 of them done" in output
    assert noted(output) == ["corner.npz random s0 cnn2d magnitude 0.6"]
    failed = [line for line in output.splitlines() if line.startswith("failed:")]
    assert len(failed) == 3, output
    assert all("keeps only 2 between test and training pixels" in line for line in failed)
    assert output.splitlines()[-1].startswith("hsiedge: error: 3 of 6 cells failed;")
    with Store(folder / NAME) as store:
        assert {cell.split for cell, _ in store.failures()} == {"blocks"}
    after = rows(folder)
    assert {key: outcome(after[key]) for key in before} == {key: outcome(row) for key, row in before.items()}
    assert {key: after[key].seconds for key in before} == {key: row.seconds for key, row in before.items()}
    for row in after.values():
        for form in row.forms:
            assert [entry.batch for entry in form.timings] == ([] if row.cell.method == "magnitude" else [1, 256])
            assert all(0 < entry.p50 <= entry.p90 and entry.memory_mib > 0 for entry in form.timings)
            assert bool(row.untimed(form)) == (row.cell.method == "magnitude")
    code, output = run(config("first", FEW), folder)
    assert (code, "measured" in output, "2 cells, 2 of them done" in output) == (0, False, True), output


def test_a_cluster_gives_the_same_rows(tmp_path: Path) -> None:
    with cluster(1) as (address, _):
        code, output = run(config("first", FEW), tmp_path, "--measure", "no", "--scheduler", address)
    assert code == 0, output
    assert "on 1 worker" in output
    undisturbed = outcomes(whole())
    kept = outcomes(tmp_path)
    assert len(kept) == 2
    assert kept == {key: undisturbed[key] for key in kept}


def test_no_cluster_is_one_line() -> None:
    with pytest.raises(ClusterError, match="no Dask scheduler answers there"), open_pool("nonsense://here", None):
        pass
