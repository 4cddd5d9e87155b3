"""Cubes on a Dask cluster of real processes: the map is that of one piece, whatever becomes of a worker."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("distributed", reason="a cluster is one of Dask")

from distributed import Client

from hsiedge import cluster as joining
from hsiedge.errors import ClusterError, ModelError, OptionError, SceneError
from hsiedge.mapping import classify, dask
from hsiedge.mapping.stream import ClassificationStats, ClassifyOptions, Strip, StripSize, classify_rows
from hsiedge.native.library import is_available
from hsiedge.progress import silent
from hsiedge.runtimes import Model, load
from hsiedge.scenes.io.reader import open_cube
from hsiedge.scenes.scene import Scene
from hsiedge.shipped import shipped
from tests.dask_cluster import STRANGER, cluster
from tests.mapping.cubes import STORED, envi
from tests.once import made_once

MEMORY = 64 << 20
ROWS = 20  # of a strip, in these tests
PLAIN = ClassifyOptions()


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the workers run in."""
    return tmp_path_factory.mktemp("elsewhere")


@pytest.fixture(scope="module")
def address(elsewhere: Path) -> Iterator[str]:
    with cluster(2, elsewhere) as (scheduler, _):
        yield scheduler


@pytest.fixture
def flight(indian_pines: Scene, tmp_path: Path) -> Path:
    """Indian Pines one and a half times, 60 columns of it, with some pixels without data on each side of row 80."""
    cube = np.concatenate([indian_pines.cube, indian_pines.cube[:73]])[:, :60].copy()
    cube[76:84, 20:30] = 0
    return envi(tmp_path, cube, data_ignore_value=0)


@pytest.fixture
def low(monkeypatch: pytest.MonkeyPatch) -> None:
    """Strips of 20 rows, blocks of 40 rows of 60 pixels."""
    monkeypatch.setattr(dask, "strip_size", lambda *_: StripSize(ROWS, 60, ROWS))
    monkeypatch.setattr(dask, "_BLOCK_PIXELS", 2 * ROWS * 60)


def model_file(kind: str) -> Path:
    """The shipped net, as patch graph, and made a scene graph."""
    patches = shipped(".onnx")
    if kind == "patch":
        return patches
    pytest.importorskip("onnx_ir", reason="scene graphs are made with onnx-ir")
    from hsiedge.graphs.scene_graph.build import scene_graph
    from hsiedge.scenes.open import open_scene

    return made_once("shipped-scene.onnx", lambda path: scene_graph(patches, open_scene("indian_pines"), path))


@pytest.fixture(params=["patch", "scene"])
def model(request: pytest.FixtureRequest) -> Model:
    return load(model_file(request.param), 1)


def in_one_piece(model: Model, path: Path, asked: ClassifyOptions) -> tuple[list[Strip], ClassificationStats]:
    pieces: list[Strip] = []
    with open_cube(path) as source:
        return pieces, classify_rows(model, source, pieces.append, asked)


def on_cluster(
    address: str, model: Model, path: Path, asked: ClassifyOptions = PLAIN, each: Any = None
) -> tuple[list[Strip], ClassificationStats]:
    """`each` is called with a strip when it comes."""
    pieces: list[Strip] = []

    def take(strip: Strip) -> None:
        pieces.append(strip)
        if each is not None:
            each(strip)

    with dask.on_cluster(address, model, [path], None, asked, MEMORY, 1) as classified, open_cube(path) as source:
        return pieces, classified(source, take, silent)


def joined(strips: list[Strip]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([strip.labels for strip in strips]), np.concatenate([strip.probabilities for strip in strips], axis=1)


@pytest.mark.usefixtures("low")
def test_labels_and_probabilities_are_those_of_one_piece(address: str, model: Model, flight: Path, indian_pines: Scene) -> None:
    asked = ClassifyOptions(reject=0.7, probabilities=True)
    whole, stats = in_one_piece(model, flight, asked)
    mapped, also = on_cluster(address, model, flight, asked)
    assert [len(strip.labels) for strip in mapped] == [40, 40, 40, 40, 40, 18]
    for ours, theirs in zip(joined(mapped), joined(whole)):
        np.testing.assert_array_equal(ours, theirs)
    assert (
        (also.pixels, also.empty, also.unknown) == (stats.pixels, stats.empty, stats.unknown) == (218 * 60, 80, stats.unknown)
    )
    assert 0 < stats.unknown < stats.pixels / 2
    # and a block without its halo is another: what was compared could have differed
    alone = classify(model, indian_pines.cube[80:120, :60])
    assert (
        alone[[*range(6), *range(34, 40)]] != on_cluster(address, model, flight)[0][2].labels[[*range(6), *range(34, 40)]]
    ).any()


@pytest.mark.skipif(not is_available(), reason="the native library was not built: there was no C compiler")
@pytest.mark.usefixtures("low")
def test_the_native_engine_on_a_cluster(address: str, flight: Path) -> None:
    path, asked = shipped("-int8-scene.onnx"), ClassifyOptions(reject=0.7, probabilities=True)
    model = load(path, 1, "native")
    assert dask._plan(model, flight, None, asked, MEMORY, 1).runtime == "native"
    mapped, _ = on_cluster(address, model, flight, asked)
    whole, stats = in_one_piece(model, flight, asked)
    for ours, theirs in zip(joined(mapped), joined(whole)):
        np.testing.assert_array_equal(ours, theirs)
    assert 0 < stats.unknown < stats.pixels / 2
    theirs, _ = in_one_piece(load(path, 1, "ort"), flight, PLAIN)
    ours, _ = on_cluster(address, model, flight)
    assert len(ours) == 6
    np.testing.assert_array_equal(np.concatenate([s.labels for s in ours]), np.concatenate([s.labels for s in theirs]))


@pytest.mark.slow
@pytest.mark.usefixtures("low")
def test_a_hybrid_graph_on_a_cluster(address: str, flight: Path, indian_pines: Scene, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="the net is PyTorch's")
    pytest.importorskip("onnx_ir", reason="scene graphs are made with onnx-ir")
    from hsiedge.graphs.export.attach_card import attach_card
    from hsiedge.graphs.scene_graph.build import scene_graph
    from tests.graphs.strangers import Padded, seeded
    from tests.workstation import exported

    net = seeded(Padded)
    net.convs[0], net.head = torch.nn.Conv2d(200, 8, 3, padding=1), torch.nn.Linear(8, len(indian_pines.classes))
    torch.nn.init.normal_(net.head.weight, std=0.003)  # of counts in thousands: probabilities between 0 and 1
    patches, named, whole = (tmp_path / name for name in ("net.onnx", "patches.onnx", "scene.onnx"))
    patches.write_bytes(exported(net, 200, 7).SerializeToString())
    attach_card(patches, indian_pines, 7, None, named)
    assert scene_graph(named, indian_pines, whole).hybrid is not None
    asked = ClassifyOptions(probabilities=True)
    expected, _ = in_one_piece(load(named, 1), flight, asked)
    mapped, _ = on_cluster(address, load(whole, 1), flight, asked)
    (labels, probabilities), (truth, chances) = joined(mapped), joined(expected)
    np.testing.assert_array_equal(labels, truth)
    np.testing.assert_allclose(probabilities, chances, atol=1e-4)
    assert np.ptp(probabilities[:, labels > 0], axis=1).max() > 0.01  # from pixel to pixel: no constant was compared


def test_blocks_are_whole_strips_and_as_many_as_threads(flight: Path) -> None:
    for height, rows, threads in itertools.product((13, 218, 5000), (1, 7, 256), (1, 3, 64)):
        plan = dask.Plan(flight, None, (height, 1000), 200, "uint16", StripSize(rows, 1000, 8), ClassifyOptions(), 1)
        parts = [block.part for block in dask._blocks(plan, threads)]
        assert [row for part in parts for row in part] == list(range(height))
        assert all(part.start % rows == 0 for part in parts)
        assert max(map(len, parts)) <= max(rows, 262)
        assert len(parts) >= min(threads, -(-height // rows))


@pytest.mark.usefixtures("low")
def test_no_more_is_under_way_than_the_cluster_works_on(address: str, flight: Path) -> None:
    model, seen = load(STORED / "int8.onnx"), []
    cube = np.random.default_rng(0).integers(0, 900, (2000, 60, 5)).astype(np.uint16)
    with joining.quiet(), Client(address) as client:
        mapped, stats = on_cluster(address, model, envi(flight.parent, cube), each=lambda strip: seen.append(tasks(client)))
    assert len(seen) == 50
    assert max(seen) <= 2 * 2 + 1  # two blocks a thread, and the model
    np.testing.assert_array_equal(np.concatenate([strip.labels for strip in mapped]), classify(model, cube))
    assert stats.outside is not None
    assert stats.outside > 0


def tasks(client: Client) -> int:
    """How many the scheduler holds."""
    return int(client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)))


@pytest.mark.usefixtures("low")
def test_a_killed_worker_changes_nothing(flight: Path, elsewhere: Path) -> None:
    model = load(shipped("-int8.onnx"), 1)
    whole, _ = in_one_piece(model, flight, ClassifyOptions(probabilities=True))
    with cluster(2, elsewhere) as (address, workers):
        mapped, _ = on_cluster(
            address, model, flight, ClassifyOptions(probabilities=True), each=lambda strip: workers[0].kill()
        )
    for ours, theirs in zip(joined(mapped), joined(whole)):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.usefixtures("low")
def test_the_last_worker_the_scheduler_and_neither(flight: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(shipped("-int8.onnx"), 1)
    with cluster(1, elsewhere) as (address, workers):
        with Client(address) as client:
            client.wait_for_workers(1)
        monkeypatch.setattr(joining, "PATIENCE_SECONDS", 1.0)
        with pytest.raises(ClusterError, match=f"scheduler={address}: all its workers are gone"):
            on_cluster(address, model, flight, each=lambda strip: workers[0].kill())
        with pytest.raises(ClusterError, match=f"scheduler={address}: has no workers; start some with: dask worker {address}"):
            on_cluster(address, model, flight)
    with pytest.raises(ClusterError, match="no Dask scheduler answers there; as tcp://HOST:8786"):
        on_cluster(address, model, flight)


def test_a_worker_without_hsiedge(flight: Path, elsewhere: Path) -> None:
    with (
        cluster(1, elsewhere, STRANGER) as (address, _),
        pytest.raises(ClusterError, match=r"has no hsiedge, here it is .*pip install"),
    ):
        on_cluster(address, load(shipped("-int8.onnx"), 1), flight)


def test_what_a_worker_does_not_find(address: str, flight: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(flight.parent)
    here = Path("/proc/self/cwd/cube.hdr")  # another folder for each process
    if not here.is_file():
        pytest.skip("needs Linux's /proc")
    model = load(shipped("-int8.onnx"), 1)
    with pytest.raises(
        SceneError, match=rf"worker tcp://\S+ on \S+: {here}: no such file there; a cube has to lie at the same path"
    ):
        on_cluster(address, model, here)
    envi(elsewhere, np.zeros((30, 60, 200), np.uint16))
    with pytest.raises(SceneError, match=rf"worker tcp://\S+ on \S+: {here}: another cube lies there, \(30, 60\)"):
        on_cluster(address, model, here)


def test_cubes_that_do_not_fit_are_told_before_a_cluster_is_asked(tiny_scene: Scene, tmp_path: Path) -> None:
    model = load(STORED / "float.onnx")
    np.savez(tmp_path / "cube.npz", cube=tiny_scene.cube)
    with pytest.raises(OptionError, match=r"cube.npz cannot be read by rows"):
        on_cluster("tcp://nobody:1", model, tmp_path / "cube.npz")
    with pytest.raises(ModelError, match="has 4 bands, the model takes 5"):
        on_cluster("tcp://nobody:1", model, envi(tmp_path, tiny_scene.cube[..., :4]))


def test_several_cubes_of_one_call(address: str, tiny_scene: Scene, tmp_path: Path) -> None:
    cubes = []
    for name, cube in (("a", tiny_scene.cube), ("b", tiny_scene.cube[:25, ::-1]), ("c", tiny_scene.cube[:, :11])):
        (tmp_path / name).mkdir()
        cubes.append(envi(tmp_path / name, cube).rename(tmp_path / name / f"{name}.hdr"))
        (tmp_path / name / "cube.raw").rename(tmp_path / name / f"{name}.raw")
    words = ["classify", str(STORED / "float.onnx"), *map(str, cubes), "--format", "npy", "--format", "hdr"]
    for folder, more in (("here", []), ("there", ["--scheduler", address])):
        command = [sys.executable, "-m", "hsiedge", *words, "-o", folder, "--probabilities", folder, *more]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "3 cubes: 2,390 pixels in " in done.stderr
    names = sorted(path.name for path in (tmp_path / "here").iterdir())
    assert names == sorted(
        f"{name}-{what}" for name in "abc" for what in ("map.npy", "map.hdr", "map.img", "probabilities.npy")
    )
    for name in names:
        assert (tmp_path / "there" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()
    np.testing.assert_array_equal(
        np.load(tmp_path / "there" / "a-map.npy"), classify(load(STORED / "float.onnx"), tiny_scene.cube)
    )


def test_stopped_it_leaves_nothing_here_or_on_the_cluster(address: str, tmp_path: Path) -> None:
    path = envi(tmp_path, np.zeros((20000, 200, 5), np.uint16))
    before = {entry.name for entry in tmp_path.iterdir()}
    words = ["classify", str(STORED / "float.onnx"), str(path), "-o", str(tmp_path / "map.npy"), "--scheduler", address]
    process = subprocess.Popen([sys.executable, "-m", "hsiedge", *words], stderr=subprocess.PIPE, text=True)
    with joining.quiet(), Client(address) as client:
        deadline = time.monotonic() + 60
        while tasks(client) < 3 and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (130, "stopped; nothing was left half-written\n")
        assert {entry.name for entry in tmp_path.iterdir()} == before
        while tasks(client) and time.monotonic() < deadline + 60:
            time.sleep(0.05)
        assert tasks(client) == 0


def test_without_dask_the_extra_is_named(tiny_scene: Scene, tmp_path: Path) -> None:
    path = envi(tmp_path, tiny_scene.cube)
    blocked = "import sys; sys.modules['distributed'] = None; from hsiedge.cli.main import main; main()"
    words = ["classify", str(STORED / "float.onnx"), str(path), "-o", str(tmp_path / "map.npy")]
    command = [sys.executable, "-c", blocked, *words]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    done = subprocess.run([*command, "--scheduler", "tcp://nobody:1"], capture_output=True, text=True, check=False)
    line = "hsiedge: error: a Dask cluster needs a package that is not installed: pip install 'hsiedge[dask]'\n"
    assert (done.returncode, done.stderr) == (2, line)
