"""The whole look, on this machine, and its JSON."""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hsiedge import files
from hsiedge.doctor import DoctorReport, examine, probe, selftest
from hsiedge.errors import OptionError
from hsiedge.shipped import shipped


@pytest.fixture(scope="module")
def here() -> DoctorReport:
    return examine()


def test_this_machine(here: DoctorReport) -> None:
    assert not here.stopped
    assert here.device.runtime is not None
    whats = [finding.what for finding in here.findings if finding.topic == "onnxruntime"]
    assert any(here.device.runtime.removeprefix("onnxruntime ") in what for what in whats)
    assert any("gives the labels that it should" in what for what in whats)
    assert here.device.int8_overflows == any(finding.topic == "exact mode" for finding in here.findings)


def test_json_and_back(here: DoctorReport) -> None:
    assert DoctorReport.from_dict(json.loads(json.dumps(here.to_dict()))) == here


def test_what_a_newer_one_adds_is_left_out(here: DoctorReport) -> None:
    data = here.to_dict()
    data["moon"] = data["device"]["moon"] = "full"
    assert DoctorReport.from_dict(json.loads(json.dumps(data))) == here


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("schema",), 2),
        (("findings",), None),
        (("findings", 0, "severity"), "fatal"),
        (("findings", 0, "what"), 3),
        (("findings", 0, "stops"), "no"),
        (("device",), []),
        (("device", "machine"), None),
        (("threads",), "2"),
        (("extras",), [{"name": "mat"}]),
        (("hsiedge",), None),
    ],
    ids=str,
)
def test_what_is_not_of_a_doctor_is_refused(here: DoctorReport, place: tuple[Any, ...], value: Any) -> None:
    data = json.loads(json.dumps(here.to_dict()))
    inner = data
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    with pytest.raises(OptionError, match="not what hsiedge doctor"):
        DoctorReport.from_dict(data)
    with pytest.raises(OptionError):
        DoctorReport.from_dict(value)


def test_another_machines_text_does_not_steer_the_terminal(here: DoctorReport) -> None:
    data = copy.deepcopy(json.loads(json.dumps(here.to_dict())))
    data["findings"][0]["what"] = data["device"]["os"] = "\x1b[2Jhello\n"
    back = DoctorReport.from_dict(data)
    assert (back.findings[0].what, back.device.os) == ("\ufffd[2Jhello\ufffd", "\ufffd[2Jhello\ufffd")


def test_the_shipped_models_are_those_whose_labels_are_known() -> None:
    """After models/ has changed: python -m hsiedge.doctor.selftest."""
    assert set(selftest.EXPECTED) == {files.digest(shipped(suffix))[:16] for suffix in selftest.SHIPPED.values()}


def run_probe(monkeypatch: pytest.MonkeyPatch, folder: Path, runtime: str = "ort") -> dict[str, Any]:
    """With `folder` before all other packages."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]))
    return probe.probe(runtime)


def test_a_runtime_that_kills_its_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "onnxruntime.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n")
    assert run_probe(monkeypatch, tmp_path)["broken"].startswith("its process ended with code -4")
    assert "built for processors with instructions that this one lacks" in run_probe(monkeypatch, tmp_path)["broken"]


def test_a_command_that_meets_an_illegal_instruction_says_in_which_package(tmp_path: Path) -> None:
    (tmp_path / "onnxruntime.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n")
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    command = [sys.executable, "-m", "hsiedge", "classify", str(shipped(".onnx")), "x.npy", "-o", str(tmp_path / "map.npy")]
    np.save(tmp_path / "x.npy", np.zeros((9, 9, 200), np.uint16))
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=variables, cwd=tmp_path)
    assert ended.returncode == -signal.SIGILL
    assert ended.stderr.startswith("Fatal Python error: Illegal instruction")
    assert "onnxruntime.py" in ended.stderr


def test_what_an_uninstalled_one_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip leaves a folder where two builds were installed over one another and one was uninstalled."""
    (tmp_path / "onnxruntime" / "capi").mkdir(parents=True)
    (tmp_path / "onnxruntime" / "__init__.py").touch()
    assert "holds no InferenceSession" in run_probe(monkeypatch, tmp_path)["broken"]


def test_one_that_prints_and_one_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "onnxruntime.py").write_text("print('hello')\nraise OSError('libcuda.so.1: no such file')\n")
    assert run_probe(monkeypatch, tmp_path) == {"broken": "OSError: libcuda.so.1: no such file"}
    (tmp_path / "onnxruntime.py").write_text("raise ModuleNotFoundError('No module named onnxruntime')\n")
    assert "missing" in run_probe(monkeypatch, tmp_path)


def test_wrong_labels_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest, "EXPECTED", dict.fromkeys(selftest.EXPECTED, "0" * 16))
    assert selftest.selftest("ort")["check"] == "different"
    monkeypatch.setattr(selftest, "EXPECTED", {})
    assert "not known" in selftest.selftest("ort")["check"]
