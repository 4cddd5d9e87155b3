"""The packages of examples/, installed by pip and used by hsiedge as any other, and the tests that each brings."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from hsiedge.registry import run_file
from hsiedge.scenes.io.reader import CUBE_READERS, LABEL_READERS, open_cube, read_labels
from hsiedge.scenes.scene import Scene
from hsiedge.shipped import shipped
from tests.plugin import ROOT, run

EXAMPLES = ROOT / "examples"
if not EXAMPLES.is_dir():
    pytest.skip("the examples lie in a checkout, not beside an installed wheel", allow_module_level=True)
for package in ("hatchling", "onnx", "rasterio", "torch"):
    pytest.importorskip(package, reason="the examples are built by hatchling, and need their own packages")
pytestmark = pytest.mark.slow
KINDS = ("net", "reader", "runtime", "source")
MODEL = shipped("-int8-scene.onnx")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip has installed the four, offline."""
    folder = tmp_path_factory.mktemp("site")
    copies = [shutil.copytree(EXAMPLES / kind, folder / "sources" / kind) for kind in KINDS]
    options = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--no-cache-dir"]
    words = [sys.executable, "-m", "pip", "install", *options, "--target", str(folder / "site"), *map(str, copies)]
    subprocess.run(words, check=True, timeout=300)
    return folder / "site"


@pytest.mark.parametrize("kind", KINDS)
def test_its_own_tests_pass(kind: str, tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES / kind, tmp_path / kind)
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        words, cwd=tmp_path / kind, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_the_net_is_trained_and_becomes_a_scene_graph(site: Path, tmp_path: Path) -> None:
    run("train", "indian_pines", "--net", "dilated", "--epochs", "3", site=site, folder=tmp_path)
    run("export", "--scene-graph", site=site, folder=tmp_path)
    run("quantize", "--max-drop", "100", site=site, folder=tmp_path)
    assert (tmp_path / "indian_pines-dilated-random-s0-int8-scene.onnx").is_file()


class TestReader:
    @pytest.fixture(autouse=True)
    def _known_here_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for registry in (CUBE_READERS, LABEL_READERS):
            monkeypatch.setattr(registry, "_files", {})
            monkeypatch.setattr(registry, "_loaded", {})
            registry.name_of(f"{EXAMPLES}/reader/erdas_lan_reader.py:READER")

    @pytest.fixture
    def folder(self, indian_pines: Scene, tmp_path: Path) -> Path:
        """flight.lan and labels.gis of Indian Pines, as GDAL writes them."""
        import rasterio

        labels = indian_pines.labelled()
        for name, array in (("flight.lan", indian_pines.cube.astype(np.int16)), ("labels.gis", labels.astype(np.uint8))):
            bands = np.atleast_3d(array).transpose(2, 0, 1)
            facts = {"driver": "LAN", "count": len(bands), "height": 145, "width": 145, "dtype": array.dtype}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
                with rasterio.open(tmp_path / name, "w", **facts) as file:
                    file.write(bands)
        return tmp_path

    def test_files_of_gdal_are_read_as_gdal_means_them(self, folder: Path, indian_pines: Scene) -> None:
        with open_cube(folder / "flight.lan") as cube:
            np.testing.assert_array_equal(cube.read(0, 145), indian_pines.cube)
        np.testing.assert_array_equal(read_labels(folder / "labels.gis").array, indian_pines.labelled())

    def test_the_commands_take_them(self, site: Path, folder: Path) -> None:
        words = ["--cube", "flight.lan", "--labels", "labels.gis"]
        run("train", *words, "--net", "cnn1d", "--epochs", "1", site=site, folder=folder)
        done = run("classify", str(MODEL), "flight.lan", "-o", "map.npy", "--json", "-", site=site, folder=folder)
        assert json.loads(done.stdout)["cubes"][0]["shape"] == [145, 145]
        labels = np.load(folder / "map.npy")
        truth = read_labels(folder / "labels.gis").array
        assert (labels == truth)[truth > 0].mean() > 0.98

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (b"HEAD74", "shorter than the header"),
            (b"HEADER".ljust(200, b"\0"), "not an ERDAS 7.4 file"),
            (b"HEAD74\1".ljust(200, b"\0"), "values of 4 bits are not read"),
            (b"HEAD74\0\0\3\0".ljust(16, b"\0") + b"\xff" * 8 + bytes(200), "its header tells of"),
        ],
    )
    def test_a_broken_file_is_an_error(self, data: bytes, reason: str, tmp_path: Path) -> None:
        (tmp_path / "a.lan").write_bytes(data)
        done = run(
            "classify", str(MODEL), "a.lan", "-o", "map.npy", "--cube-reader", f"{EXAMPLES}/reader/erdas_lan_reader.py:READER",
            site=None, folder=tmp_path, code=2,
        )  # fmt: skip
        assert reason in done.stderr


def test_the_runtime_gives_the_labels_of_onnxruntime(site: Path, tmp_path: Path) -> None:
    import hsiedge as he

    scene = he.open_scene("indian_pines")
    np.save(tmp_path / "strip.npy", scene.cube[:20, :40])
    for runtime in ("reference", "ort"):
        run(
            "classify",
            str(shipped("-int8.onnx")),
            "strip.npy",
            "-o",
            f"{runtime}.npy",
            "--runtime",
            runtime,
            site=site,
            folder=tmp_path,
        )
    np.testing.assert_array_equal(np.load(tmp_path / "reference.npy"), np.load(tmp_path / "ort.npy"))


def test_the_source_is_run_and_lost_lines_have_no_labels(site: Path, indian_pines: Scene, tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    lost = range(40, 60)
    sender = threading.Thread(target=_send_once_heard, args=(indian_pines.cube, port, lost), daemon=True)
    sender.start()
    words = ["--columns", "145", "--bands", "200", "-o", "map.npy", "--json", "-"]
    done = run("run", str(MODEL), "--from", f"udp:{port}", *words, site=site, folder=tmp_path)
    assert json.loads(done.stdout)["lines_in"] == 145
    labels = np.load(tmp_path / "map.npy")
    assert not labels[lost.start : lost.stop].any()
    np.save(tmp_path / "whole.npy", indian_pines.cube)
    run("classify", str(MODEL), "whole.npy", "-o", "expected.npy", site=site, folder=tmp_path)
    expected = np.load(tmp_path / "expected.npy")
    for surrounded in (slice(0, lost.start - 6), slice(lost.stop + 6, None)):  # lines all of whose patches came
        np.testing.assert_array_equal(labels[surrounded], expected[surrounded])


def _send_once_heard(cube: np.ndarray, port: int, lost: range) -> None:
    """Sends a cube by the example's own function, as soon as a process listens on the port."""
    while f":{port:04X} " not in Path("/proc/net/udp").read_text():
        time.sleep(0.05)
    run_file(EXAMPLES / "source" / "udp_source.py")[0].send(cube, "127.0.0.1", port, 200.0, lost)
