"""`hsiedge doctor`, as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hsiedge.doctor import DoctorReport
from hsiedge.doctor.findings import Finding
from hsiedge.shipped import shipped
from tests.cli.conftest import Hsiedge


@pytest.mark.slow
def test_this_device(hsiedge: Hsiedge, tmp_path: Path) -> None:
    run = hsiedge("doctor", "--json", "seen.json")
    assert run.code == 0
    seen = DoctorReport.from_dict(json.loads((tmp_path / "seen.json").read_text()))
    for finding in seen.findings:
        assert finding.topic in run.out
    assert f"bench takes {seen.threads} thread" in run.out
    assert json.loads(hsiedge("doctor", "--json", "-").out)["device"]["machine"] == seen.device.machine


@pytest.mark.slow
def test_the_lines_to_run_and_the_exit_code(hsiedge: Hsiedge, monkeypatch: pytest.MonkeyPatch) -> None:
    import hsiedge.doctor as home

    real = home.examine()
    broken = Finding("onnxruntime", "problem", "does not work", "why so", ("pip install --upgrade onnxruntime",), stops=True)
    monkeypatch.setattr(home, "examine", lambda progress: DoctorReport(real.device, 1, [broken]))
    run = hsiedge("doctor")
    assert run.code == 1
    for text in ("problem", "does not work", "why so", "pip install --upgrade onnxruntime", "cannot be run here"):
        assert text in run.out
    assert json.loads(hsiedge("doctor", "--json", "-").out)["stopped"] is True


def test_a_model(hsiedge: Hsiedge, tmp_path: Path) -> None:
    run = hsiedge("doctor", shipped("-int8.onnx"), "--config", "ops.config", "--json", "ops.json")
    assert run.code == 0
    assert "QLinearConv" in run.out
    assert "com.microsoft;1;QGemm,QLinearConv" in (tmp_path / "ops.config").read_text()
    operators = json.loads((tmp_path / "ops.json").read_text())
    assert (operators["schema"], operators["model"]) == (1, shipped("-int8.onnx").name)
    assert {"name", "domain", "version", "types", "builtin"} == set(operators["as_it_runs"][0])


def test_errors(hsiedge: Hsiedge, tmp_path: Path) -> None:
    assert "hsiedge doctor MODEL --config" in hsiedge("doctor", "--config", "a").error
    assert "no such file" in hsiedge("doctor", "none.onnx").error
    assert "no folder" in hsiedge("doctor", "--json", "no/where.json").error
    (tmp_path / "folder").mkdir()
    assert "folder" in hsiedge("doctor", shipped("-int8.onnx"), "--config", "folder").error
