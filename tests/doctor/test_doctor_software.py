"""What doctor says of what is installed."""

from __future__ import annotations

import shutil
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from hsiedge.doctor.software import (
    PURPOSES,
    clash_findings,
    extras,
    owners_of,
    python_findings,
    runtime_findings,
    telemetry_findings,
    version_of,
)

DATA = Path(__file__).parent / "data"
OPENVINO = "onnxruntime_openvino-1.24.1.dist-info"
RUNS = {"version": "1.31.1", "home": "/x/onnxruntime", "providers": ["CPUExecutionProvider"], "check": "equal"}


@pytest.fixture
def both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as pip leaves it after both were installed, alone on sys.path.

    The metadata of onnxruntime is that installed here; of onnxruntime-openvino 1.24.1 the wheel's own top_level.txt, the first
    lines of its METADATA and some of its RECORD. Two true wheels, 84 MB, gave this finding, too.
    """
    installed = next(entry for entry in metadata.distributions(name="onnxruntime"))
    source = Path(str(installed.locate_file(""))) / f"onnxruntime-{installed.version}.dist-info"
    shutil.copytree(source, tmp_path / source.name)
    shutil.copytree(DATA / OPENVINO, tmp_path / OPENVINO)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    return tmp_path


def test_two_builds_in_one_folder(both: Path) -> None:
    owners = owners_of("onnxruntime")
    installed = metadata.version("onnxruntime")
    assert owners == {str(both.resolve()): {"onnxruntime": installed, "onnxruntime-openvino": "1.24.1"}}
    (finding,) = clash_findings(owners)
    assert (finding.severity, finding.stops) == ("problem", False)
    assert finding.what == "onnxruntime and onnxruntime-openvino are installed over one another"
    assert finding.do == (
        "pip uninstall -y onnxruntime onnxruntime-openvino",
        "pip install --no-deps onnxruntime-openvino==1.24.1",
    )


def test_one_build_and_a_package_of_another_name(both: Path) -> None:
    shutil.rmtree(both / OPENVINO)
    assert list(clash_findings(owners_of("onnxruntime"))) == []
    assert owners_of("nothing") == {}


def test_without_top_level_the_files_tell(both: Path) -> None:
    (both / OPENVINO / "top_level.txt").unlink()
    assert len(next(iter(owners_of("onnxruntime").values()))) == 2


def test_one_that_hides_another(both: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "system"
    shutil.move(both / OPENVINO, other / OPENVINO)
    monkeypatch.setattr(sys, "path", [str(tmp_path), str(other)])
    (finding,) = clash_findings(owners_of("onnxruntime"))
    assert finding.severity == "note"
    assert finding.what.startswith(f"onnxruntime-openvino in {other.resolve()} is hidden by onnxruntime in")


def test_a_jetsons_wheel_is_not_of_the_index() -> None:
    (finding,) = clash_findings({"/x": {"onnxruntime": "1.31.1", "onnxruntime-gpu": "1.23.0"}}, jetson=True)
    assert "made for your JetPack" in finding.do[1]
    (finding,) = clash_findings({"/x": {"onnxruntime": "1.31.1", "onnxruntime-gpu": "1.23.0"}})
    assert finding.do[1] == "pip install --no-deps onnxruntime-gpu==1.23.0"


@pytest.mark.parametrize(
    ("bits", "machine", "libc", "severity", "stops"),
    [
        (64, "aarch64", ("glibc", "2.36"), "good", False),
        (32, "aarch64", ("glibc", "2.36"), "note", False),  # the 32-bit Raspberry Pi OS on its 64-bit kernel
        (32, "armv7l", ("glibc", "2.36"), "note", False),
        (64, "aarch64", ("glibc", "2.27"), "note", False),
        (64, "aarch64", ("", ""), "problem", False),
    ],
)
def test_python(bits: int, machine: str, libc: tuple[str, str], severity: str, stops: bool) -> None:
    last = python_findings(bits, machine, libc)[-1]
    assert (last.severity, last.stops) == (severity, stops)
    if bits == 32:
        assert ("on a 64-bit kernel" in last.what) == (machine == "aarch64")


@pytest.mark.parametrize(
    ("runtime", "reply", "severities", "stops"),
    [
        ("ort", RUNS, ["good", "good"], False),
        ("ort", {**RUNS, "check": "different"}, ["problem", "good"], False),
        ("ort", {**RUNS, "check": "the shipped model was not run: x", "providers": []}, ["note"], False),
        ("ort", {**RUNS, "version": "1.17.3"}, ["problem", "good", "good"], True),
        ("ort", {"missing": "No module named 'onnxruntime'"}, ["problem"], True),
        ("ort", {"broken": "its process ended with code -4: "}, ["problem"], True),
        ("litert", {"missing": "No module named 'ai_edge_litert'"}, [], False),
        ("tflm", {"missing": "No module named 'tflite_micro'"}, [], False),
        ("tflm", {"version": "0.dev1", "check": "equal", "arena_bytes": 50_576}, ["good"], False),
        ("litert", {"broken": "ImportError: libx.so"}, ["problem"], False),
    ],
    ids=range(10),
)
def test_runtimes(runtime: str, reply: dict[str, Any], severities: list[str], stops: bool) -> None:
    findings = list(runtime_findings(runtime, reply))
    assert [finding.severity for finding in findings] == severities
    assert any(finding.stops for finding in findings) == stops


def test_usage_data() -> None:
    assert list(telemetry_findings("1.28.1", "")) == []
    assert list(telemetry_findings(None, "")) == []
    assert [finding.severity for finding in telemetry_findings("1.29.0", "1")] == ["good"]
    assert [finding.severity for finding in telemetry_findings("1.31.1", "0")] == ["note"]


def test_extras_are_those_of_the_installed_metadata() -> None:
    if version_of("hsiedge") is None:
        assert extras() == []
        return
    by_name = {extra.name: extra for extra in extras()}
    assert set(by_name) <= set(PURPOSES)
    assert by_name["mat"].versions == {"scipy": version_of("scipy")}
    assert by_name["mat"].complete == (version_of("scipy") is not None)
