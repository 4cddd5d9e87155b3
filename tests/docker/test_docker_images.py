"""The images of docker/ as they are built: what is in them, and what their containers do.

Times inside are looked at nowhere: half of the containers run on an emulated core.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import hsiedge
from hsiedge.native.library import kernel_sets
from tests.docker.images import DOCKER, MACHINES, Image

PATCH, SCENE = (f"indian_pines-cnn2d-random-s0-int8{suffix}.onnx" for suffix in ("", "-scene"))
PI_MB, WORKSTATION_MB = 220, 2000  # torch's CUDA alone would take more than the second
USER_FILES = r"etc/((passwd|group|g?shadow|sub[ug]id)-?|\.pwd\.lock|hosts)|home/hsiedge(/\..*)?|work"  # and an engine's hosts


def here(folder: Path, *words: object) -> None:
    """`hsiedge WORDS` on this machine."""
    subprocess.run([sys.executable, "-m", "hsiedge", *map(str, words)], cwd=folder, check=True, capture_output=True)


def test_each_says_the_version_of_this_checkout(dockerfiles: list[Path]) -> None:
    """The build refuses another: a label cannot read it from the wheel."""
    assert [path.name for path in dockerfiles] == ["jetson.Dockerfile", "pi.Dockerfile", "workstation.Dockerfile"]
    for path in dockerfiles:
        assert set(re.findall(r"^ARG VERSION=(.*)$", path.read_text(), re.M)) == {hsiedge.__version__}, path.name


def native_engine(image: Image, work: Path, data: Path) -> None:
    """Doctor finds the engine's library in the image, with kernels of its processor, and its labels right."""
    image.run("hsiedge", "doctor", "--json", "doctor.json", work=work, data=data)
    findings = json.loads((work / "doctor.json").read_text())["findings"]
    (native,) = (finding for finding in findings if finding["topic"] == "native engine")
    kernels = {"arm64": "dot neon plain", "amd64": " ".join(kernel_sets())}[image.arch]
    right = "the shipped INT8 model gives the labels that it should"
    assert (native["severity"], native["what"]) == ("good", f"{kernels}: {right}")


def facts(image: Image) -> None:
    config = image.config
    assert (config["architecture"], config["User"], config["WorkingDir"]) == (image.arch, "1000", "/work")
    assert config["Entrypoint"] == ["hsiedge"]
    assert "HSIEDGE_DATA=/data" in config["Env"]
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in config["Labels"].items()}
    assert (labels["version"], labels["base.name"], labels["licenses"]) == (hsiedge.__version__, image.base, "Apache-2.0")


def test_pi_facts(pi: Image) -> None:
    facts(pi)


def test_pi_adds_the_device_wing_and_its_user_alone(pi: Image) -> None:
    """No package manager's cache, no wheel, no compiler, no sources: nothing outside its own folder but the user."""
    added = pi.added()
    assert [path for path in sorted(added) if not re.fullmatch(rf"opt/hsiedge(/.*)?|{USER_FILES}", path)] == []
    packages = {path.split("/")[-1].split("-")[0].lower() for path in added if path.endswith(".dist-info")}
    assert {"hsiedge", "numpy", "onnxruntime", "typer"} <= packages
    assert not packages & {"torch", "onnx", "tensorflow", "scipy", "pip", "setuptools", "hatchling"}


def test_pi_size(pi: Image) -> None:
    """Below the limit, and about what README says."""
    stated = re.search(r"adds (?P<arm64>\d+) MB to its base \((?P<amd64>\d+) on amd64\)", (DOCKER / "README.md").read_text())
    assert stated is not None
    size = pi.added_mb
    print(f"{pi.tag} adds {size:.0f} MB to its base")
    assert size < PI_MB
    assert abs(size - int(stated[pi.arch])) < 5


def test_pi_commands(pi: Image, work: Path, data: Path) -> None:
    """As the user, on shipped models: results are those of this machine."""
    assert pi.run("id", "-u", work=work, data=data).strip() == "1000"
    assert pi.run("hsiedge", "--version", work=work, data=data).strip() == f"hsiedge {hsiedge.__version__}"
    bench = ["bench", PATCH, "--seconds", 0.1, "--runs", 3, "--batch", 1, "--json", "bench.json"]
    pi.run("hsiedge", *bench, work=work, data=data)
    report = json.loads((work / "bench.json").read_text())
    assert report["device"]["machine"] == MACHINES[pi.arch]
    assert [(result["model"], result["precision"]) for result in report["results"]] == [(PATCH, "int8")]
    pi.run("hsiedge", "eval", SCENE, "--json", "eval.json", work=work, data=data)
    here(work, "eval", SCENE, "--data-dir", data, "--json", "here.json")
    assert json.loads((work / "eval.json").read_text()) == json.loads((work / "here.json").read_text())


def test_pi_has_the_native_engine(pi: Image, work: Path, data: Path) -> None:
    native_engine(pi, work, data)


def test_pi_read_only(pi: Image, work: Path, data: Path) -> None:
    """Its root folder may be read-only: all that is written goes to the mounted folder, and belongs to the user there."""
    done = pi.run_read_only("classify", SCENE, "corner.npy", "--output", "map.npy", work=work, data=data)
    assert done.returncode == 0, done.stderr
    here(work, "classify", SCENE, "corner.npy", "--output", "here.npy")
    labels = np.load(work / "map.npy")
    assert np.array_equal(labels, np.load(work / "here.npy"))
    assert np.unique(labels).size > 3
    assert (work / "map.npy").stat().st_uid == 1000
    outside = pi.run_read_only("classify", SCENE, "corner.npy", "--output", "/opt/hsiedge/map.npy", work=work, data=data)
    assert (outside.returncode, outside.stderr.count("\n")) == (2, 1)
    assert "/opt/hsiedge" in outside.stderr


def test_workstation_facts(workstation: Image) -> None:
    facts(workstation)


def test_workstation_adds_the_toolkit_and_little_else(workstation: Image) -> None:
    added = workstation.added()
    packages = {path.split("/")[-1].split("-")[0].lower() for path in added if path.endswith(".dist-info")}
    assert {"torch", "onnx", "scipy", "h5py", "rasterio", "ai_edge_litert", "tensorly"} <= packages
    assert not packages & {"tensorflow", "pip", "hatchling"}
    assert not [path for path in added if re.search(r"\.cache|\.whl$|^src|^var/lib/apt/lists/.+_", path)]
    assert workstation.added_mb < WORKSTATION_MB


def test_workstation_has_the_native_engine(workstation: Image, work: Path, data: Path) -> None:
    native_engine(workstation, work, data)


def test_workstation_commands(workstation: Image, work: Path, data: Path) -> None:
    """From the shipped checkpoint to a GeoTIFF: torch, onnx, and rasterio with the library that it looks for in the system."""
    rasterio = pytest.importorskip("rasterio", reason="the map is a GeoTIFF, and rasterio is not installed")
    stem = "indian_pines-cnn2d-random-s0"
    for words in (
        ["export", "--scene-graph"],
        ["quantize", f"{stem}-scene.onnx", "--output", "made.onnx"],
        ["classify", "made.onnx", "corner.npy", "--output", "map.tif"],
    ):
        workstation.run("hsiedge", *words, work=work, data=data)
    here(work, "classify", "made.onnx", "corner.npy", "--output", "here.npy")
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning), rasterio.open(work / "map.tif") as opened:
        assert np.array_equal(opened.read(1), np.load(work / "here.npy"))
