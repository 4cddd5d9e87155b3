"""A cube as a file, classified by strips: the labels of the whole, from every format, in bounded memory, or nothing."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hsiedge.card import Card
from hsiedge.errors import HsiedgeError, ModelError, OptionError, SceneError
from hsiedge.mapping import classify, stream
from hsiedge.mapping.stream import (
    ClassificationStats,
    ClassifyOptions,
    Counts,
    Strip,
    StripSize,
    _softmax,
    classify_rows,
    strip_size,
    strips,
)
from hsiedge.mapping.writers import MapFacts, writer
from hsiedge.native.library import is_available
from hsiedge.runtimes import Model, load
from hsiedge.scenes.io.georeference import Georeference, from_envi
from hsiedge.scenes.io.reader import open_cube, read_labels
from hsiedge.scenes.scene import Scene
from hsiedge.shipped import shipped
from tests.mapping.cubes import STORED, envi, geotiff, hdf


@pytest.fixture
def stored() -> Model:
    return load(STORED / "float.onnx")


def mapped(model: Model, path: Path, **options: Any) -> tuple[np.ndarray, ClassificationStats, list[Strip]]:
    pieces: list[Strip] = []
    memory = {"memory": options.pop("memory")} if "memory" in options else {}
    with open_cube(path) as source:
        stats = classify_rows(model, source, pieces.append, ClassifyOptions(**options), **memory)
    return np.concatenate([strip.labels for strip in pieces]), stats, pieces


@pytest.mark.parametrize("interleave", ["bil", "bip", "bsq"])
def test_envi(stored: Model, tiny_scene: Scene, tmp_path: Path, interleave: str) -> None:
    labels, stats, _ = mapped(stored, envi(tmp_path, tiny_scene.cube, interleave), memory=200_000)
    np.testing.assert_array_equal(labels, stored.predict(tiny_scene, np.arange(1200)).reshape(40, 30))
    assert (stats.pixels, stats.empty, stats.unknown, stats.outside) == (1200, 0, 0, None)


@pytest.mark.parametrize("patch", [1, 3, 7])
def test_any_height_of_strips_and_any_part(
    make_model: Any, make_scene_model: Any, make_card: Any, tiny_scene: Scene, tmp_path: Path, patch: int
) -> None:
    model = load(make_model(make_card(tiny_scene, patch), patch)[0])
    whole = load(make_scene_model(make_card(tiny_scene, patch), patch))
    expected = model.predict(tiny_scene, np.arange(1200)).reshape(40, 30)
    read: list[int] = []

    def counted(first: int, count: int) -> np.ndarray:
        read.extend(range(first, first + count))
        return np.ascontiguousarray(tiny_scene.cube[first : first + count])

    with open_cube(envi(tmp_path, tiny_scene.cube)) as opened:
        source = dataclasses.replace(opened, read=counted)
    for rows, columns in ((1, 30), (2, 30), (7, 30), (39, 30), (100, 30), (7, 11), (39, 29), (40, 1)):
        for cuts in ((0, 40), (0, 1, 2, 40), (0, 14, 35, 39, 40)):
            read.clear()
            parts = [range(*pair) for pair in itertools.pairwise(cuts)]
            size, asked = StripSize(rows, columns, 3), ClassifyOptions()
            pieces = [strip for part in parts for strip in strips(whole, source, part, size, asked, Counts())]
            np.testing.assert_array_equal(np.concatenate([strip.labels for strip in pieces]), expected)
            assert max(len(strip.labels) for strip in pieces) <= rows
            if len(parts) == 1:
                assert read == list(range(40))  # each row once


def test_probabilities_are_the_same_to_the_bit_at_any_height_of_strips() -> None:
    lines = [np.random.default_rng(row).normal(0, 1, (60, 16)).astype(np.float32).T for row in range(40)]
    whole = _softmax(np.stack(lines, axis=1))  # as a patch graph's logits lie
    by_row = [_softmax(np.stack([line], axis=1)) for line in lines]
    np.testing.assert_array_equal(np.concatenate(by_row, axis=1), whole)


def test_the_other_formats(stored: Model, tiny_scene: Scene, tmp_path: Path) -> None:
    expected = classify(stored, tiny_scene.cube)
    np.save(tmp_path / "cube.npy", tiny_scene.cube)
    np.savez(tmp_path / "cube.npz", cube=tiny_scene.cube)
    paths = [tmp_path / "cube.npy", tmp_path / "cube.npz", hdf(tmp_path, tiny_scene.cube), geotiff(tmp_path, tiny_scene.cube)]
    for path in paths:
        labels, _, _ = mapped(stored, path)
        np.testing.assert_array_equal(labels, expected)


def test_no_data_is_0_and_does_not_reach_its_neighbours(
    make_model: Any, make_card: Any, tiny_scene: Scene, tmp_path: Path
) -> None:
    card = make_card(tiny_scene, 3)
    median = [400.0] * 5
    card = dataclasses.replace(card, scene=dataclasses.replace(card.scene, percentiles={"50": median}))
    model = load(make_model(card, 3)[0])
    holes, patched = tiny_scene.cube.copy(), tiny_scene.cube.copy()
    holes[3:7, 10:12], patched[3:7, 10:12] = 65535, 400
    expected = classify(model, patched)
    expected[3:7, 10:12] = 0
    labels, stats, _ = mapped(model, envi(tmp_path, holes, data_ignore_value=65535), memory=200_000)
    np.testing.assert_array_equal(labels, expected)
    assert stats.empty == 8
    np.testing.assert_array_equal(classify(model, holes, nodata=65535), expected)


def test_what_is_no_number_is_no_data(make_model: Any, make_card: Any, tiny_scene: Scene, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx changes the input of this test's model, and is not installed")
    card = make_card(dataclasses.replace(tiny_scene, cube=tiny_scene.cube.astype(np.float32)), 3)
    path = make_model(card, 3)[0]
    graph = onnx.load(path)
    graph.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    onnx.save(graph, path)
    cube = tiny_scene.cube.astype(np.float32)
    cube[5, 5, 2], cube[9, 9, 0] = np.nan, np.inf
    labels, stats, _ = mapped(load(path), envi(tmp_path, cube))
    assert (labels[5, 5], labels[9, 9], stats.empty) == (0, 0, 2)


def test_probabilities_and_rejection(stored: Model, tiny_scene: Scene, tmp_path: Path) -> None:
    path = envi(tmp_path, tiny_scene.cube)
    labels, _, shares = mapped(stored, path, probabilities=True)
    likely = np.concatenate([strip.probabilities for strip in shares], axis=1)
    assert likely.shape == (4, 40, 30)
    np.testing.assert_allclose(likely.sum(0), 1, atol=1e-5)
    ids = np.array([entry.id for entry in stored.known.classes])
    np.testing.assert_array_equal(ids[likely.argmax(0)], labels)
    limit = float(np.median(likely.max(0)))
    unsure, stats, _ = mapped(stored, path, reject=limit)
    np.testing.assert_array_equal(unsure == 0, likely.max(0) < limit)
    assert stats.unknown == (unsure == 0).sum() > 100
    with pytest.raises(OptionError, match="a probability"):
        mapped(stored, path, reject=1.5)


def test_values_outside_the_calibrated_range_are_counted(tiny_scene: Scene, tmp_path: Path) -> None:
    model = load(STORED / "int8.onnx")
    _, stats, _ = mapped(model, envi(tmp_path, tiny_scene.cube))
    assert stats.outside is not None
    bright = np.minimum(tiny_scene.cube.astype(int) * 40, 65535).astype(np.uint16)
    _, far, _ = mapped(model, envi(tmp_path, bright))
    assert far.outside is not None
    assert far.outside > stats.outside + 0.2


def with_waves(card: Card, waves: list[float], units: str = "") -> Card:
    return dataclasses.replace(card, scene=dataclasses.replace(card.scene, wavelengths=waves, units=units))


@pytest.fixture
def by_wave(make_model: Callable[..., tuple[Path, np.ndarray]], make_card: Callable[..., Card], tiny_scene: Scene) -> Model:
    return load(make_model(with_waves(make_card(tiny_scene, 3), [500.0, 510, 520, 530, 540], "counts"), 3)[0])


def test_bands_are_matched_by_wavelength(by_wave: Model, tiny_scene: Scene, tmp_path: Path) -> None:
    expected = classify(by_wave, tiny_scene.cube)
    spread = np.full((40, 30, 8), 7, np.uint16)
    spread[:, :, [6, 5, 3, 2, 0]] = tiny_scene.cube  # the other way round, others between
    waves = "{541.0, 900.0, 529.0, 521.0, 700.0, 510.5, 499.0, 450.0}"
    labels, _, _ = mapped(by_wave, envi(tmp_path, spread, wavelength=waves, wavelength_units="Nanometers"))
    np.testing.assert_array_equal(labels, expected)
    micro = "{0.541, 0.9, 0.529, 0.521, 0.7, 0.5105, 0.499, 0.45}"
    labels, _, _ = mapped(by_wave, envi(tmp_path, spread, wavelength=micro, wavelength_units="Micrometers"))
    np.testing.assert_array_equal(labels, expected)
    labels, _, _ = mapped(by_wave, geotiff(tmp_path, spread, [541.0, 900.0, 529.0, 521.0, 700.0, 510.5, 499.0, 450.0]))
    np.testing.assert_array_equal(labels, expected)


def test_a_bad_band_is_not_taken(by_wave: Model, stored: Model, tiny_scene: Scene, tmp_path: Path) -> None:
    six = np.concatenate([tiny_scene.cube[:, :, :2], np.full((40, 30, 1), 9, np.uint16), tiny_scene.cube[:, :, 2:]], axis=2)
    path = envi(tmp_path, six, bbl="{1, 1, 0, 1, 1, 1}")
    np.testing.assert_array_equal(mapped(stored, path)[0], classify(stored, tiny_scene.cube))
    np.testing.assert_array_equal(
        mapped(stored, geotiff(tmp_path, six, bbl=[1, 1, 0, 1, 1, 1]))[0], classify(stored, tiny_scene.cube)
    )
    waves = "{500, 510, 519, 520, 530, 540}"
    bad = envi(tmp_path, six, wavelength=waves, bbl="{1, 1, 1, 0, 1, 1}")
    labels, _, _ = mapped(by_wave, bad)  # 520 nm is bad: 519 stands in
    assert (labels != classify(by_wave, tiny_scene.cube)).any()


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"wavelength": "{500, 510, 520, 530, 560}"}, "no good band within 5.0 nm of the model's 540.0 nm"),
        (
            {"data units": "reflectance", "wavelength": "{500, 510, 520, 530, 540}"},
            "is in 'reflectance', the model takes 'counts'",
        ),
    ],
)
def test_bands_and_units_that_do_not_fit(
    by_wave: Model, tiny_scene: Scene, tmp_path: Path, header: dict[str, str], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        mapped(by_wave, envi(tmp_path, tiny_scene.cube, **{name.replace(" ", "_"): value for name, value in header.items()}))


def test_cubes_that_do_not_fit(stored: Model, tiny_scene: Scene, tmp_path: Path) -> None:
    def refused(path: Path, error: type[HsiedgeError], message: str) -> None:
        with pytest.raises(error, match=message):
            mapped(stored, path)

    refused(
        envi(tmp_path, tiny_scene.cube[:, :, :4]), ModelError, "has 4 bands, the model takes 5, and no wavelengths tell which"
    )
    refused(envi(tmp_path, tiny_scene.cube.astype(np.float32)), ModelError, "holds float32, the model takes uint16")
    refused(envi(tmp_path, -tiny_scene.cube.astype(np.int16)), ModelError, "holds values that uint16")
    refused(envi(tmp_path, tiny_scene.cube[:2]), SceneError, r"patch 3 is wider than .*[.](hdr|img)")
    refused(tmp_path / "none.hdr", SceneError, "no such file")
    (tmp_path / "text.nc").write_text("no cube")
    refused(tmp_path / "text.nc", HsiedgeError, "not a NetCDF-4 or HDF5 file|needs a package")
    np.testing.assert_array_equal(
        mapped(stored, envi(tmp_path, tiny_scene.cube.astype(np.int16)))[0], classify(stored, tiny_scene.cube)
    )


def test_hdf5_with_more_than_one_cube_or_none(stored: Model, tiny_scene: Scene, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="h5py writes HDF5, and is not installed")
    path = hdf(tmp_path, tiny_scene.cube, _FillValue=np.uint16(9))
    with h5py.File(path, "r+") as file:
        file["mask/second"] = tiny_scene.cube
        file["elsewhere"] = h5py.ExternalLink("other.h5", "/data")
        file.create_group("sensor_band_parameters")["wavelengths"] = np.arange(5.0) + 400
        file["sensor_band_parameters"]["good_wavelengths"] = np.array([1, 1, 1, 1, 0])
    with pytest.raises(SceneError, match=r"name the variable; it has mask/second 40x30x5, reflectance 40x30x5"):
        mapped(stored, path)
    with open_cube(path, "mask/second") as source:
        assert (source.shape, source.wavelengths, source.good) == ((40, 30), (400, 401, 402, 403, 404), (True,) * 4 + (False,))
    with open_cube(path, "reflectance") as source:
        assert source.nodata == (9,) * 5
    with pytest.raises(SceneError, match="has no cube 'elsewhere'"), open_cube(path, "elsewhere"):
        pass


FACTS = MapFacts(
    (40, 30),
    {1: "Corn", 10: "Soy & oats", 14: "Woods, {old}"},
    Georeference((30, 0, 380000, 0, -30, 5810000), "EPSG:32633"),
)


def written(path: Path, labels: np.ndarray, facts: MapFacts = FACTS) -> None:
    with writer(path, facts) as take:
        for first in range(0, 40, 7):
            take(labels[first : first + 7])


@pytest.fixture
def labels() -> np.ndarray:
    return np.random.default_rng(0).choice(np.array([0, 1, 10, 14], np.uint16), (40, 30))


def test_geotiff_map(tmp_path: Path, labels: np.ndarray) -> None:
    rasterio = pytest.importorskip("rasterio", reason="rasterio writes GeoTIFF, and is not installed")
    written(tmp_path / "map.tif", labels)
    with rasterio.open(tmp_path / "map.tif") as data:
        np.testing.assert_array_equal(data.read(1), labels)
        assert (str(data.crs), data.nodata, data.dtypes) == ("EPSG:32633", 0, ("uint8",))
        assert tuple(data.transform)[:6] == (30, 0, 380000, 0, -30, 5810000)
        assert data.profile["tiled"]
        assert data.colormap(1)[10] == (0xF5, 0xA6, 0x23, 255)
    side_car = (tmp_path / "map.tif.aux.xml").read_text()
    assert side_car.count("<Category>") == 15
    assert "<Category>Soy &amp; oats</Category>" in side_car
    again = read_labels(tmp_path / "map.tif")  # a map can be somebody's labels
    assert {label: again.class_names[label] for label in FACTS.classes} == FACTS.classes
    assert set(again.class_names) == set(FACTS.classes)
    wide = dataclasses.replace(FACTS, classes={**FACTS.classes, 300: "Far"})
    written(tmp_path / "wide.tif", labels, wide)
    with rasterio.open(tmp_path / "wide.tif") as data:
        assert data.dtypes == ("uint16",)
        np.testing.assert_array_equal(data.read(1), labels)


def test_envi_map(tmp_path: Path, labels: np.ndarray) -> None:
    io = pytest.importorskip("spectral.io.envi", reason="spectral reads the map, and is not installed")

    written(
        tmp_path / "map.hdr",
        labels,
        dataclasses.replace(
            FACTS, georeference=from_envi({"map info": "{UTM, 1, 1, 380000, 5810000, 30, 30, 33, North, WGS-84}"})
        ),
    )
    image = io.open(str(tmp_path / "map.hdr"))
    np.testing.assert_array_equal(np.asarray(image.open_memmap())[:, :, 0], labels)
    names = image.metadata["class names"]
    assert (len(names), names[0], names[10], names[14]) == (15, "Unclassified", "Soy & oats", "Woods; (old)")
    assert image.metadata["map info"][0] == "UTM"
    assert len(image.metadata["class lookup"]) == 45


def test_npy_and_png_maps(tmp_path: Path, labels: np.ndarray) -> None:
    written(tmp_path / "map.npy", labels)
    np.testing.assert_array_equal(np.load(tmp_path / "map.npy"), labels)
    pytest.importorskip("matplotlib", reason="pictures need matplotlib")
    from matplotlib.image import imread

    written(tmp_path / "map.png", labels)
    picture = (imread(tmp_path / "map.png")[..., :3] * 255).round().astype(int)
    for colour in ((0xE6, 0x19, 0x4B), (0xF5, 0xA6, 0x23), (0xFF, 0xD9, 0x3B)):
        assert (picture == colour).all(-1).sum() > 1000


def test_probability_maps(tmp_path: Path) -> None:
    likely = np.random.default_rng(0).random((3, 40, 30)).astype(np.float32)
    facts = dataclasses.replace(FACTS, bands=("Corn", "Soy", "Woods"))
    for name in ("p.npy", "p.tif"):
        if name == "p.tif":
            pytest.importorskip("rasterio", reason="rasterio writes GeoTIFF, and is not installed")
        with writer(tmp_path / name, facts) as take:
            for first in range(0, 40, 7):
                take(likely[:, first : first + 7])
    np.testing.assert_array_equal(np.load(tmp_path / "p.npy"), likely.transpose(1, 2, 0))
    import rasterio

    with rasterio.open(tmp_path / "p.tif") as data:
        np.testing.assert_array_equal(data.read(), likely)
        assert data.descriptions == ("Corn", "Soy", "Woods")
    with pytest.raises(OptionError, match=r"probabilities are written as one of .tif, .tiff, .npy"):
        writer(tmp_path / "p.png", facts).__enter__()


@pytest.mark.parametrize("name", ["map.tif", "map.hdr", "map.npy", "map.png"])
def test_a_map_that_is_not_finished_is_not_there(tmp_path: Path, labels: np.ndarray, name: str) -> None:
    if name == "map.tif":
        pytest.importorskip("rasterio", reason="rasterio writes GeoTIFF, and is not installed")
    if name == "map.png":
        pytest.importorskip("matplotlib", reason="pictures need matplotlib")
    with pytest.raises(KeyboardInterrupt), writer(tmp_path / name, FACTS) as take:  # noqa: PT012
        take(labels[:20])
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_command(tiny_scene: Scene, tmp_path: Path) -> None:
    path = envi(tmp_path, tiny_scene.cube)
    command = [sys.executable, "-m", "hsiedge", "classify", str(STORED / "int8.onnx"), str(path), "-o", str(tmp_path / "a.npy")]
    done = subprocess.run([*command, "-o", str(tmp_path / "b.hdr"), "--json", "-"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert [(cube["shape"], cube["without_data"]) for cube in result["cubes"]] == [([40, 30], 0)]
    expected = classify(load(STORED / "int8.onnx"), tiny_scene.cube)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), expected)
    assert np.fromfile(tmp_path / "b.img", np.uint8).reshape(40, 30).tolist() == expected.tolist()
    for arguments, line in (
        (["-o", str(tmp_path / "map.gif")], "a map is written as one of .tif"),
        (["-o", str(path)], "is what is read"),
        (["--memory", "much"], "much: not a size"),
    ):
        failed = subprocess.run([*command[:6], *arguments], capture_output=True, text=True, check=False)
        assert (failed.returncode, failed.stderr.count("\n")) == (2, 1)
        assert line in failed.stderr


@pytest.mark.slow
def test_memory_does_not_grow_with_the_flight(tmp_path: Path) -> None:
    """Peak anonymous memory of a flight of 1,600 rows, and of one ten times as long."""
    code = (
        "import sys, resource; from pathlib import Path; from hsiedge.mapping.stream import classify_rows, _anonymous;"
        "from hsiedge.runtimes import load; from hsiedge.scenes.io.reader import open_cube; m = load(sys.argv[1], 1); "
        "peak = [0]\n"
        "def take(strip): peak[0] = max(peak[0], _anonymous())\n"
        "with open_cube(Path(sys.argv[2])) as source: classify_rows(m, source, take, memory=1 << 22)\n"
        "print(peak[0])"
    )
    peaks = []
    for rows in (1600, 16000):
        cube = np.random.default_rng(0).integers(0, 900, (rows, 200, 5)).astype(np.uint16)
        path = envi(tmp_path, cube)
        done = subprocess.run(
            [sys.executable, "-c", code, str(STORED / "int8.onnx"), str(path)], capture_output=True, text=True, check=True
        )
        peaks.append(int(done.stdout))
    assert peaks[1] < 1.05 * peaks[0]


def test_strips_of_a_graph_with_a_tile_are_whole_tiles() -> None:
    """A lower one would be filled up, and cost as much."""
    pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed")
    model = load(shipped("-int8-scene.tflite"), 1)
    assert model.tile is not None
    high = model.tile[0]
    rows = [strip_size(model, width, memory << 20).rows for width, memory in ((145, 64), (1000, 64), (1000, 32), (1240, 32))]
    assert [count % high for count in rows] == [0, 0, 0, 0]
    assert rows[0] > high == rows[2] == rows[3]


@pytest.mark.parametrize("grown", [0.5, 4], ids=["integer kernels", "exact mode"])
def test_little_memory_takes_part_of_the_columns_and_not_few_rows(monkeypatch: pytest.MonkeyPatch, grown: float) -> None:
    """Of strips of a few rows most is halo, which is computed again and again: 12 rows of it for each strip of this model.

    What onnxruntime takes for a row more is stated, in MiB: measured, it depends on what earlier tests left free.
    """
    monkeypatch.setattr(stream, "_grown", lambda model, width: grown * (1 << 20))
    model, width = load(shipped("-int8-scene.onnx"), 1), 1000
    assert model.known.patch == 13
    large, small = (strip_size(model, width, memory << 20) for memory in (256, 32))
    work = [(size.rows + 12) / size.rows * -(-width // size.columns) * (size.columns + 12) / width for size in (large, small)]
    assert work[1] < 1.6 * work[0]
    assert small.columns < width
    assert small.rows >= 16
    assert small.rows * width * 200 < 24 << 20  # what is held of it, a byte a value


def test_an_engine_that_takes_much_a_pixel_gets_narrower_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """As onnxruntime's exact mode does: a whole row of it would be more than the memory."""
    monkeypatch.setattr(stream, "_grown", lambda model, width: 4 << 20)
    size = strip_size(load(shipped("-int8-scene.onnx"), 1), 512, 8 << 20)
    assert 1 < size.columns < 512


def test_memory_that_holds_no_row_is_an_error(stored: Model) -> None:
    assert strip_size(stored, 30).rows > 1
    with pytest.raises(OptionError, match=r"memory: rows of 30000 pixels take some [0-9]+ MiB at least"):
        strip_size(stored, 30000, 100_000)


@pytest.mark.skipif(not is_available(), reason="the native library was not built: there was no C compiler")
def test_rows_that_are_streamed_lie_in_memory_once(tmp_path: Path) -> None:
    """A row as it is stored, its integers, and what is counted in them: less than two and a quarter of the first."""
    cube = np.random.default_rng(0).integers(0, 5000, (30, 1000, 200)).astype(np.uint16)
    model = load(shipped("-int8-scene.onnx"), 1, "native")
    with open_cube(envi(tmp_path, cube)) as source:
        classify_rows(model, source, lambda strip: None)
        tracemalloc.start()
        classify_rows(model, source, lambda strip: None)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert strip_size(model, 1000).rows == 1
    assert 1.5 < peak / cube[0].nbytes < 2.25


@pytest.mark.slow
def test_killed_it_leaves_nothing(tmp_path: Path) -> None:
    cube = np.zeros((20000, 200, 5), np.uint16)
    path = envi(tmp_path, cube)
    before = {entry.name for entry in tmp_path.iterdir()}
    command = [
        sys.executable,
        "-m",
        "hsiedge",
        "classify",
        str(STORED / "float.onnx"),
        str(path),
        "-o",
        str(tmp_path / "map.npy"),
    ]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while {entry.name for entry in tmp_path.iterdir()} == before and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    # 130; CPython dies of the signal itself, after all was put right, where that fell into a string that is executed
    assert process.wait(timeout=60) in (130, -signal.SIGINT)
    assert {entry.name for entry in tmp_path.iterdir()} == before
    assert os.path.exists(path)
