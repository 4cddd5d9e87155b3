"""Live runs: labels equal those of `classify` for each source and any cut, whatever the sinks."""

from __future__ import annotations

import resource
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hsiedge.device import energy, facts
from hsiedge.errors import HsiedgeError, ModelError, OptionError, OutputError, SourceError
from hsiedge.live.buffer import LineBuffer
from hsiedge.live.latency import Latencies
from hsiedge.live.replay import Player
from hsiedge.live.runner import run
from hsiedge.live.sinks import MapSink, Sinks, Strip
from hsiedge.live.source import SOURCES, Source, SourceOptions, line_cube, open_source
from hsiedge.mapping import classify
from hsiedge.mapping.writers import MapFacts
from hsiedge.runtimes import ENGINES, Model, load
from hsiedge.scenes.io.cube import Cube
from hsiedge.scenes.scene import Scene
from hsiedge.shipped import shipped
from tests import plugin
from tests.live import cameras
from tests.live.cameras import RAW, Blocks, labels
from tests.mapping.cubes import STORED

HEADER = "ENVI\nsamples = 30\nlines = {lines}\nbands = 5\ndata type = 12\ninterleave = {interleave}\nbyte order = 0\n"


@pytest.mark.parametrize("seed", cameras.SEEDS)
@pytest.mark.parametrize("interleave", ["bil", "bip"])
@pytest.mark.parametrize("kind", ["-", "tcp", "tcp-listen", "file"])
def test_each_source_and_cut_gives_the_labels_of_classify(
    kind: str,
    interleave: str,
    seed: int,
    model: Model,
    tiny_scene: Scene,
    expected: np.ndarray,
    tmp_path: Path,
) -> None:
    with cameras.source(kind, tiny_scene.cube, interleave, seed, tmp_path) as (source, options):
        summary = run(model, source, tmp_path / "map.hdr", rows=1 + 4 * seed, **options)
    np.testing.assert_array_equal(labels(tmp_path / "map.hdr"), expected)
    assert (summary.lines_in, summary.labelled, summary.dropped, summary.pixels) == (40, 40, 0, 1200)
    assert summary.ended == "the source ended"
    assert 0 < summary.latency_ms["p50"] <= summary.latency_ms["p99"] <= summary.latency_ms["max"] < 5e3


@pytest.mark.slow
def test_replay_and_folder(model: Model, tiny_scene: Scene, expected: np.ndarray, tmp_path: Path) -> None:
    captures = tmp_path / "captures"
    captures.mkdir()
    np.save(captures / "a.npy", tiny_scene.cube)
    np.save(captures / "b.npy", tiny_scene.cube[::-1])
    np.savez(captures / "b.npz", cube=tiny_scene.cube[:, ::-1])
    (captures / "DARKREF_a.npy").write_bytes(b"no capture")
    summary = run(model, f"replay:{captures / 'a.npy'}@2000*2", tmp_path / "twice.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "twice.npy"), classify(model, np.concatenate([tiny_scene.cube] * 2)))
    assert summary.line_rate == 2000
    assert summary.seconds > 79 / 2000
    (captures / "broken.hdr").write_text("ENVI\nsamples = 30\n")
    with pytest.warns(UserWarning, match="left out"):
        summary = run(model, str(captures), tmp_path / "maps", idle=1.5)
    assert summary.captures == 3
    np.testing.assert_array_equal(labels(tmp_path / "maps" / "b.npz-map.hdr"), classify(model, tiny_scene.cube[:, ::-1]))
    np.testing.assert_array_equal(labels(tmp_path / "maps" / "a-map.hdr"), expected)
    np.testing.assert_array_equal(labels(tmp_path / "maps" / "b-map.hdr"), classify(model, tiny_scene.cube[::-1]))
    with pytest.raises(OptionError, match="name a folder"):
        run(model, str(captures), tmp_path / "one.hdr")
    with pytest.raises(OptionError, match="among the captures"):
        run(model, str(captures), captures)


def test_all_sinks_at_once(model: Model, tiny_scene: Scene, expected: np.ndarray, tmp_path: Path) -> None:
    outputs = [tmp_path / name for name in ("a.hdr", "a.npy", "a.jsonl")]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        chunks: list[bytes] = []

        def listen() -> None:
            connection, _ = listener.accept()
            with connection:
                while chunk := connection.recv(1 << 16):
                    chunks.append(chunk)

        thread = threading.Thread(target=listen)
        thread.start()
        host = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        summary = run(model, Blocks(tiny_scene.cube), [*outputs, host], tile=16)
        thread.join(5)
    np.testing.assert_array_equal(np.frombuffer(b"".join(chunks), np.uint8).reshape(40, 30), expected)
    np.testing.assert_array_equal(labels(outputs[0]), expected)
    np.testing.assert_array_equal(np.load(outputs[1]), expected)
    assert set(summary.written) == {tmp_path / name for name in ("a.hdr", "a.img", "a.npy")}
    assert len(outputs[2].read_text().splitlines()) == summary.events == 6


@pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
def test_geotiff_at_the_end(model: Model, tiny_scene: Scene, expected: np.ndarray, tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio", reason="rasterio writes the GeoTIFF")
    run(model, Blocks(tiny_scene.cube), tmp_path / "map.tif")
    with rasterio.open(tmp_path / "map.tif") as data:
        np.testing.assert_array_equal(data.read(1), expected)


def test_dropped_lines_are_no_data_in_their_place(model: Model, tiny_scene: Scene, tmp_path: Path) -> None:
    source = Blocks(tiny_scene.cube, size=40)  # at once, into a buffer of 16 lines
    summary = run(model, source, tmp_path / "map.hdr", late="drop", buffer=1)
    assert (summary.lines_in, summary.labelled, summary.dropped) == (40, 16, 24)
    assert any("24 lines were dropped" in text for text in summary.warnings)
    gone = tiny_scene.cube.copy()
    gone[16:] = 65535
    np.testing.assert_array_equal(labels(tmp_path / "map.hdr"), classify(model, gone, nodata=65535))
    assert source.closed == 1


def test_lines_after_a_gap_are_labelled(model: Model, tiny_scene: Scene, tmp_path: Path) -> None:
    class Bursts(Blocks):
        def lines(self) -> Iterator[np.ndarray]:
            yield self.array[:24]
            time.sleep(0.3)
            yield self.array[24:]

    summary = run(model, Bursts(tiny_scene.cube), tmp_path / "map.hdr", late="drop", buffer=1)
    assert (summary.labelled, summary.dropped) == (32, 8)
    gone = tiny_scene.cube.copy()
    gone[16:24] = 65535
    np.testing.assert_array_equal(labels(tmp_path / "map.hdr"), classify(model, gone, nodata=65535))


def test_lines_that_wait_are_all_labelled(model: Model, tiny_scene: Scene, expected: np.ndarray, tmp_path: Path) -> None:
    run(model, Blocks(tiny_scene.cube, size=40), tmp_path / "map.hdr", buffer=1)
    np.testing.assert_array_equal(labels(tmp_path / "map.hdr"), expected)


@pytest.mark.parametrize("extra", [0, 1, 299])
def test_a_growing_file_of_an_odd_number_of_lines(extra: int, model: Model, tiny_scene: Scene, tmp_path: Path) -> None:
    path, lines = tmp_path / "flight.hdr", tiny_scene.cube[:17]
    with cameras.recorder(path, HEADER.format(lines=999, interleave="bil"), cameras.raw(lines) + bytes(extra)):
        if extra:
            with pytest.raises(SourceError, match=f"in the middle of line 17, after {extra} of its 300 bytes"):
                run(model, str(path), tmp_path / "map.hdr", idle=0.3)
        else:
            assert run(model, str(path), tmp_path / "map.hdr", idle=0.3).labelled == 17
    np.testing.assert_array_equal(labels(tmp_path / "map.hdr"), classify(model, lines))


class Broken(Blocks):
    """A camera that gives nonsense after its first block."""

    nonsense: Any = None

    def lines(self) -> Iterator[np.ndarray]:
        yield self.array[:20]
        if isinstance(self.nonsense, Exception):
            raise self.nonsense
        yield self.nonsense


@pytest.mark.parametrize(
    ("nonsense", "message"),
    [
        (np.zeros((1, 30, 4), np.uint16), r"gives uint16 \(1, 30, 4\); uint16 \(n, 30, 5\) was expected"),
        (np.zeros((1, 30, 5), np.float64), r"gives float64 \(1, 30, 5\)"),
        ([1, 2], "gives list"),
        (RuntimeError("the cable\nfell out"), r"Broken: failed \(RuntimeError: the cable\)"),
        (ConnectionResetError(104, "reset"), r"failed \(ConnectionResetError"),
    ],
)
def test_nonsense_is_a_clear_message(nonsense: Any, message: str, model: Model, tiny_scene: Scene, tmp_path: Path) -> None:
    source = Broken(tiny_scene.cube)
    source.nonsense = nonsense
    with pytest.raises(SourceError, match=message):
        run(model, source, tmp_path / "map.hdr")
    np.testing.assert_array_equal(labels(tmp_path / "map.hdr"), classify(model, tiny_scene.cube[:20]))


def test_a_file_that_becomes_shorter(model: Model, tiny_scene: Scene, tmp_path: Path) -> None:
    path = tmp_path / "flight.hdr"
    path.write_text(HEADER.format(lines=40, interleave="bil"))
    data = path.with_suffix(".raw")
    data.write_bytes(cameras.raw(tiny_scene.cube))
    cut = threading.Timer(0.4, lambda: data.write_bytes(b""))
    cut.start()
    with pytest.raises(SourceError, match="has become shorter, from 12000 to 0 bytes"):
        run(model, str(path), tmp_path / "map.hdr", idle=5)
    cut.join()
    assert labels(tmp_path / "map.hdr").shape == (40, 30)


@pytest.mark.parametrize(
    ("source", "options", "error"),
    [
        ("-", {}, "raw lines do not tell their size"),
        ("-", {"columns": 0, "bands": 5}, "columns=0"),
        ("-", {**RAW, "dtype": "object"}, "dtype=object"),
        ("-", {"columns": 1 << 20, "bands": 1 << 16}, "over 256 MiB"),
        ("-", {**RAW, "interleave": "bsq"}, "interleave=bsq"),
        ("-", {**RAW, "late": "perhaps"}, "late=perhaps"),
        ("-", {**RAW, "rows": 0}, "rows=0"),
        ("-", {**RAW, "idle": 0.0}, "idle=0"),
        ("-", {**RAW, "drift": 0.0}, "drift=0"),
        ("-", {**RAW, "tile": 3}, "tile: class shares of tiles are written as events"),
        ("-", {**RAW, "watch": "sea > 20 % of 100 lines"}, "no class is called 'sea'; there are 1 class 1"),
        ("-", {**RAW, "watch": "class 1 is large"}, "'CLASS > 20 % of 100 lines' was expected"),
        ("tcp://nowhere", RAW, "HOST:PORT was expected"),
        ("tcp://127.0.0.1:1", RAW, "cannot be connected to"),
        ("usb://1", RAW, "no source is called 'usb'"),
        ("usb:1", RAW, "no source is called 'usb'; there are stdin, tcp, tcp-listen, replay, file, folder"),
        ("replay:x.npy", {}, "CUBE@RATE was expected"),
        ("missing.hdr", {}, "no such file"),
    ],
)
def test_what_cannot_be_done_is_said_before_the_first_line(
    source: str, options: dict[str, Any], error: str, model: Model, tmp_path: Path
) -> None:
    with pytest.raises(HsiedgeError, match=error.replace("(", r"\(")):
        run(model, source, [tmp_path / "map.hdr", *([] if "tile" in options else [tmp_path / "run.jsonl"])], **options)
    assert list(tmp_path.iterdir()) == []


def test_too_few_lines(model: Model, tiny_scene: Scene, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="1 rows are fewer than the model's patch"):
        run(model, Blocks(tiny_scene.cube[:1]), tmp_path / "map.hdr")
    assert list(tmp_path.iterdir()) == []


def test_a_sink_that_fails_is_left_out(model: Model, tiny_scene: Scene, expected: np.ndarray, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"tcp://127.0.0.1:{listener.getsockname()[1]}"

        class Hangup(Blocks):
            def lines(self) -> Iterator[np.ndarray]:
                connection, _ = listener.accept()
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                connection.close()
                for line in self.array:
                    yield line[None]
                    time.sleep(0.005)

        summary = run(model, Hangup(tiny_scene.cube), [address, tmp_path / "map.hdr"], rows=1)
        np.testing.assert_array_equal(labels(tmp_path / "map.hdr"), expected)
        assert any(f"went on without {address}" in text for text in summary.warnings)
        with pytest.raises(OutputError, match="tcp://"):
            run(model, Hangup(tiny_scene.cube), address, rows=1)


def test_a_disk_that_is_full_at_the_end_costs_no_other_map(tmp_path: Path) -> None:
    """What a map's spool still buffers is written as the run ends."""
    sinks = Sinks()
    for name in ("a.npy", "b.npy"):
        sinks.add(MapSink(tmp_path / name))
    sinks.begin(MapFacts((1, 50), {1: "x"}, None), "")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        for line in range(60):
            sinks.take(Strip(line, np.ones((1, 50), np.uint16)))
        sinks.end()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [text.partition(";")[0] for text in sinks.warnings] == [
        f"cannot write {tmp_path / name}: File too large" for name in ("a.npy", "b.npy")
    ]
    assert list(tmp_path.iterdir()) == []


def test_sources_are_found(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from hsiedge.live.source import Source, line_cube\n\n\nclass Camera(Source):\n"
        "    def __init__(self, address, options):\n        super().__init__(address, options)\n"
        "        self.cube = line_cube(address, 30, 5, 'uint16')\n\nNOT = 3\n"
    )
    camera = open_source(f"{tmp_path / 'mine.py'}:Camera:usb:1", SourceOptions())
    assert (camera.address, camera.cube.bands) == ("usb:1", 5)
    with pytest.raises(OptionError, match="a class derived from hsiedge"):
        open_source(f"{tmp_path / 'mine.py'}:NOT", SourceOptions())
    assert {"stdin", "tcp", "tcp-listen", "replay", "file", "folder"} <= set(SOURCES)
    assert all(issubclass(entry, Source) for _, entry in SOURCES.items())


def test_a_buffer_that_is_full_drops_until_half_is_free() -> None:
    buffer = LineBuffer(line_cube("x", 4, 2, "uint8"), 16 * 8, "drop")
    lines = np.arange(40, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 2), np.uint8)
    for line in lines[:18]:
        buffer.put(line[None])
    first = buffer.take(1, 5)
    assert first is not None
    assert first.lines[:, 0, 0].tolist() == [0, 1, 2, 3, 4]
    buffer.take(1, 1)  # gives back five places: not yet half
    buffer.put(lines[18:19])
    buffer.take(1, 4)
    buffer.put(lines[19:20])  # six are free, and four are lent
    buffer.take(1, 1)
    buffer.put(lines[20:30])
    buffer.end()
    rest = []
    while (batch := buffer.take(1, 99)) is not None:
        rest += [-batch.dropped] if batch.dropped else batch.lines[:, 0, 0].tolist()
    assert rest == [11, 12, 13, 14, 15, -4, *range(20, 30)]
    assert (buffer.lines_in, buffer.dropped) == (30, 4)


def test_quantiles_of_latencies() -> None:
    seconds, latencies = np.random.default_rng(0).lognormal(-5, 1, 5000), Latencies()
    for part in np.array_split(seconds, 70):
        latencies.add(part)
    for share in (0.01, 0.5, 0.99):
        assert latencies.quantile(share) == pytest.approx(np.quantile(seconds, share), rel=0.02)
    assert latencies.longest == seconds.max()


@pytest.mark.slow
def test_a_source_of_an_installed_package(model: Model, tmp_path: Path) -> None:
    site = plugin.install(tmp_path / "site")
    words = ("run", str(STORED / "float.onnx"), "-o", "map.npy", "--from")
    done = plugin.run(*words, "belt:700", site=site, folder=tmp_path)
    assert "belt:700: the source ended" in done.stderr
    expected = classify(model, np.full((12, 30, 5), 700, np.uint16))
    np.testing.assert_array_equal(np.load(tmp_path / "map.npy"), expected)
    done = plugin.run(*words, "belt:700", site=None, folder=tmp_path, code=2)
    assert "no source is called 'belt'" in done.stderr


@pytest.mark.parametrize("late", ["wait", "drop"])
def test_a_cubes_own_mask_counts(late: str, model: Model, tiny_scene: Scene, tmp_path: Path) -> None:
    mask = np.random.default_rng(0).random((40, 30)) > 0.2
    cube = replace(tiny_scene.as_cube(), valid=lambda first, count: mask[first : first + count], nodata=(500.0,) * 5)
    run(model, Player(cube, 4000, 2), tmp_path / "map.hdr", late=late)
    twice, masks = np.concatenate([tiny_scene.cube] * 2), np.concatenate([mask] * 2)
    twice[~masks] = 500
    np.testing.assert_array_equal(labels(tmp_path / "map.hdr"), classify(model, twice, nodata=500))


@pytest.mark.parametrize("late", ["wait", "drop"])
def test_the_native_engine_gives_the_labels_of_onnxruntime(late: str, indian_pines: Scene, tmp_path: Path) -> None:
    if not ENGINES["native"].installed:
        pytest.skip("the native engine was not built here")
    cube = np.array(indian_pines.cube[:100, :40])
    native = load(shipped("-int8-scene.onnx"), 1, "native")
    events: list[Any] = []
    watch = {"watch": "Corn-mintill > 5 % of 20 lines", "on_event": events.append}
    summary = run(native, Blocks(cube, size=40), tmp_path / "map.hdr", late=late, buffer=1, **watch)
    lines = labels(tmp_path / "map.hdr")
    gone = (lines == 0).all(1)
    assert (gone.sum() > 0) == (late == "drop")
    assert summary.dropped == gone.sum()
    cube[gone] = 65535
    np.testing.assert_array_equal(lines, classify(load(native.path, 1), cube, nodata=65535))
    assert events
    assert all(0 < event["confidence"] <= 1 for event in events if event["share"])


def test_a_growing_file_with_an_offset(model: Model, tiny_scene: Scene, expected: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "flight.hdr"
    header = HEADER.format(lines=0, interleave="bip") + "header offset = 1000\n"
    with cameras.recorder(path, header, bytes(1000) + cameras.raw(tiny_scene.cube, "bip")):
        run(model, str(path), tmp_path / "map.hdr", idle=0.3)
    np.testing.assert_array_equal(labels(tmp_path / "map.hdr"), expected)


def test_more_than_fits_into_memory_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=1 << 20))
    with pytest.raises(OptionError, match="16 lines take 15 MiB, 1 MiB are free"):
        LineBuffer(line_cube("x", 1000, 500, "uint16"), 16 << 20)


def test_what_the_board_tells(model: Model, tiny_scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Energy of a Jetson's files, and the temperature of its CPU zone; the summary has both, as text and JSON."""
    files = {
        "hwmon/hwmon1/name": "ina3221",
        "hwmon/hwmon1/in1_label": "VDD_IN",
        "hwmon/hwmon1/in1_input": "5000",
        "hwmon/hwmon1/curr1_input": "1200",
        "thermal/thermal_zone0/type": "cpu-thermal",
        "thermal/thermal_zone0/temp": "61250",
    }
    for name, text in files.items():
        place = tmp_path / "sys/class" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"{text}\n")
    monkeypatch.setattr(energy, "SAMPLE_SECONDS", 0.05)
    monkeypatch.setattr(energy, "find_meter", partial(energy.find_meter, tmp_path))
    monkeypatch.setattr(facts, "temperature_c", partial(facts.temperature_c, tmp_path))
    began = time.perf_counter()
    summary = run(model, Player(Cube.of_array(tiny_scene.cube), 100.0), tmp_path / "map.hdr")
    seconds = time.perf_counter() - began
    assert summary.energy is not None
    assert summary.energy["source"] == "INA3221, VDD_IN, read once a second"
    assert 6 * summary.seconds <= summary.energy["joules"] <= 6 * seconds
    assert summary.energy["mj_per_line"] == pytest.approx(1e3 * summary.energy["joules"] / 40)
    assert summary.to_json()["temperature_c"] == 61.25
    assert any("INA3221" in line for line in summary.text())
    assert summary.text()[0] == "replay of the array at 100 lines a second: the source ended"
    assert any("61" in line for line in summary.text())
