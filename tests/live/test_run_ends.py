"""Ends of a live run: within a line, by a signal, by being killed; what came before is kept."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hsiedge
from hsiedge.errors import SourceError
from hsiedge.live.runner import run
from hsiedge.mapping import classify
from hsiedge.runtimes import Model
from hsiedge.scenes.scene import Scene
from tests.live import cameras
from tests.live.cameras import RAW, labels
from tests.mapping.cubes import STORED


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (lambda cube: cameras.raw(cube) + b"12345", r"stdin: ends in the middle of line 40, after 5 of its 300 bytes"),
        (lambda cube: cameras.raw(cube)[:-1], r"stdin: ends in the middle of line 39, after 299 of its 300 bytes"),
    ],
)
def test_an_end_within_a_line_keeps_what_came(
    data: Any, message: str, model: Model, tiny_scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = data(tiny_scene.cube)
    with cameras.pipe(sent) as stdin, monkeypatch.context() as patch:
        patch.setattr(sys, "stdin", stdin)
        with pytest.raises(SourceError, match=message) as raised:
            run(model, "-", tmp_path / "map.hdr", **RAW)
    whole = len(sent) // 300
    assert raised.value.summary.seconds > 0
    np.testing.assert_array_equal(labels(tmp_path / "map.hdr"), classify(model, tiny_scene.cube[:whole]))
    assert raised.value.summary.labelled == whole
    assert raised.value.summary.ended == str(raised.value)


def test_a_source_that_stalls(model: Model, tiny_scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with cameras.pipe(cameras.raw(tiny_scene.cube), keep_open=True) as stdin, monkeypatch.context() as patch:
        patch.setattr(sys, "stdin", stdin)
        with pytest.raises(SourceError, match=r"stdin: no line for 0\.3 s; use idle=SECONDS"):
            run(model, "-", tmp_path / "map.hdr", idle=0.3, **RAW)
    assert labels(tmp_path / "map.hdr").shape == (40, 30)


@pytest.mark.parametrize("name", ["map.hdr", "map.npy"])
def test_an_end_before_the_first_label(
    name: str, model: Model, tiny_scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cameras.pipe(cameras.raw(tiny_scene.cube)[:310]) as stdin, monkeypatch.context() as patch:
        patch.setattr(sys, "stdin", stdin)
        with pytest.raises(SourceError, match="in the middle of line 1") as raised:
            run(model, "-", tmp_path / name, **RAW)
    summary = raised.value.summary
    assert (summary.source, summary.lines_in, summary.labelled, summary.seconds) == ("stdin", 1, 0, 0)
    assert summary.to_json()["latency_ms"] == {"p50": None, "p99": None, "max": None}
    assert list(tmp_path.iterdir()) == []
    late = replace(summary, line_rate=145 / 3, latency_ms={"p50": 21.44, "p99": None, "max": 9530.4}).text()
    assert late[1].endswith("the source's clock is 48.33")
    assert late[2].startswith("from a line to its labels: p50 21.4 ms, max 9,530 ms; ")


def started(folder: Path, *words: str, **options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "hsiedge", "run", *words], cwd=folder, **options)


def wait_for_lines(path: Path, count: int) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        text = path.read_bytes() if path.is_file() else b""
        if b"lines = " in text and int(text.split(b"lines = ")[1].split()[0]) >= count:
            return
        time.sleep(0.02)
    pytest.fail(f"{path} did not reach {count} lines")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
def test_killed_the_map_is_whole_up_to_its_last_row(
    tiny_scene: Scene, expected: np.ndarray, model: Model, tmp_path: Path
) -> None:
    np.save(tmp_path / "cube.npy", tiny_scene.cube)
    process = started(tmp_path, str(STORED / "float.onnx"), "--from", "replay:cube.npy@100*50", "-o", "map.hdr", "--rows", "1")
    wait_for_lines(tmp_path / "map.hdr", 50)
    process.kill()
    process.wait()
    lines = labels(tmp_path / "map.hdr")
    assert len(lines) >= 50
    whole = classify(model, np.concatenate([tiny_scene.cube] * (len(lines) // 40 + 2)))
    np.testing.assert_array_equal(lines, whole[: len(lines)])
    rasterio = pytest.importorskip("rasterio", reason="GDAL opens the map")
    with rasterio.open(tmp_path / "map.img") as data:
        np.testing.assert_array_equal(data.read(1), lines)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_in_good_order(number: int, tiny_scene: Scene, model: Model, tmp_path: Path) -> None:
    np.save(tmp_path / "cube.npy", tiny_scene.cube)
    words = ("--from", "replay:cube.npy@100*50", "-o", "map.hdr", "-o", "map.npy", "--json", "run.json", "--rows", "1")
    process = started(tmp_path, str(STORED / "float.onnx"), *words, stderr=subprocess.PIPE)
    wait_for_lines(tmp_path / "map.hdr", 20)
    process.send_signal(number)
    _, text = process.communicate(timeout=30)
    assert process.returncode == 0, text
    result = json.loads((tmp_path / "run.json").read_text())
    assert result["ended"] == "stopped"
    assert result["lines_in"] == result["labelled"] >= 20
    lines = np.load(tmp_path / "map.npy")
    assert len(lines) == result["labelled"]
    np.testing.assert_array_equal(labels(tmp_path / "map.hdr"), lines)
    count = len(lines)
    np.testing.assert_array_equal(lines, classify(model, np.concatenate([tiny_scene.cube] * (count // 40 + 1))[:count]))
    assert f"{count:,} lines in, {count:,} labelled, none dropped".encode() in text


@pytest.mark.parametrize("kind", ["tcp-listen://0", "folder", "-"])
def test_ctrl_c_while_nothing_comes(kind: str, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "captures").mkdir()
    source, place = (str(tmp_path / "captures"), tmp_path / "maps") if kind == "folder" else (kind, tmp_path / "map.hdr")
    press = threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT))
    with cameras.pipe(b"", keep_open=True) as stdin, monkeypatch.context() as patch:
        patch.setattr(sys, "stdin", stdin)
        press.start()
        began = time.monotonic()
        summary = run(model, source, place, idle=60, **RAW)
    press.join()
    assert time.monotonic() - began < 5
    assert (summary.ended, summary.lines_in, summary.written) == ("stopped", 0, [])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.slow
def test_the_command_in_a_pipe(tiny_scene: Scene, expected: np.ndarray, tmp_path: Path) -> None:
    words = ("--from", "-", "--columns", "30", "--bands", "5", "-o", "-")
    done = subprocess.run(
        [sys.executable, "-m", "hsiedge", "run", str(STORED / "float.onnx"), *words],
        input=cameras.raw(tiny_scene.cube) + b"123",
        capture_output=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 2
    np.testing.assert_array_equal(np.frombuffer(done.stdout, np.uint8).reshape(40, 30), expected)
    lines = done.stderr.decode().splitlines()
    assert "40 lines in, 40 labelled, none dropped" in lines[1]
    assert lines[-1] == "hsiedge: error: stdin: ends in the middle of line 40, after 3 of its 300 bytes"
    assert hsiedge.run is run
