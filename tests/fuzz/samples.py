"""Sound files of every kind that hsiedge opens, small, and what is done with each."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np

import hsiedge
from hsiedge.card import Card
from hsiedge.native import library
from hsiedge.progress import silent
from hsiedge.remote import agent
from hsiedge.remote.address import parse_address
from hsiedge.remote.connection import Connection
from hsiedge.remote.host import _expect, _follow
from hsiedge.runtimes import require_card, seal
from hsiedge.runtimes.c_file import CARD, literals
from hsiedge.runtimes.tflite_file import graph_of, with_card
from hsiedge.scenes.scene import Scene
from hsiedge.shipped import shipped
from tests.fuzz.harness import Sample
from tests.native import programs

DATA = Path(__file__).parents[1] / "benchmark" / "data"
MODEL, INTEGER = "sound.onnx", "int8.onnx"
_SHAPE, _BANDS, _IDS = (12, 16), 5, (1, 10, 11, 14)
_WARM = (
    "scipy.io", "scipy.sparse", "h5py", "rasterio", "rasterio._io", "rasterio.features", "pyogrio", "shapely", "PIL.Image",
    "onnxruntime", "ai_edge_litert.interpreter", "hsiedge.cli.app", "hsiedge.mapping.writers", "hsiedge.scenes.open",
    "hsiedge.report.terminal.scene", "hsiedge.report.terminal.model", "hsiedge.report.terminal.compare", "hsiedge.runtimes.ort",
    "hsiedge.runtimes.litert", "hsiedge.benchmark.across_devices", "hsiedge.graphs.quantization.recipes", "hsiedge.study.store",
    "hsiedge.study.config", "hsiedge.scenes.splits", "hsiedge.cli.groups", "hsiedge.mapping.stream", "hsiedge.card_packing",
    "hsiedge.scenes.flights",
)  # fmt: skip
"""Modules that the parent imports, where they are installed, so that no child has to."""


def warm() -> set[str]:
    """Imports what children need; the names of modules that are here."""
    here = set()
    for name in _WARM:
        try:
            importlib.import_module(name)
            here.add(name)
        except ImportError:
            continue
    return here


def write(folder: Path) -> list[Sample]:
    """Writes the sound files into `folder`, and says what is done with each; a format whose package is missing is left out."""
    here = warm()
    counts = np.random.default_rng(0).integers(0, 1000, (*_SHAPE, _BANDS), np.uint16)
    labels = np.resize(np.repeat(np.array([0, *_IDS], np.uint8), 9), _SHAPE)
    shutil.copy(DATA / "float.onnx", folder / MODEL)
    shutil.copy(DATA / "int8.onnx", folder / INTEGER)
    np.save(folder / "cube.npy", counts)
    np.save(folder / "labels.npy", labels)
    cubes = [*_plain_cubes(folder, counts, labels)]
    maps: list[tuple[str, str, bool]] = [("label npy", "labels.npy", False)]
    if "rasterio" in here:
        cubes += _geotiff(folder, counts)
        maps += _label_rasters(folder, labels)
    if "h5py" in here:
        cubes += _hdf5(folder, counts)
    if "scipy.io" in here:
        cubes += _matlab(folder, counts)
        maps += _label_matlab(folder, labels)
    if "PIL.Image" in here:
        maps += _label_picture(folder, labels)
    samples = []
    for name, file, text in cubes:
        path = file.replace(".img", ".hdr")
        samples.append(Sample(name, file, ("classify", MODEL, path, "-o", "map.npy"), text))
        samples.append(Sample(name, file, ("scenes", "show", "--cube", path, "--labels", "sound-labels.npy"), text))
    for name, file, text in maps:
        path = file.removesuffix(".aux.xml")
        samples.append(Sample(name, file, ("scenes", "show", "--cube", "sound.npy", "--labels", path), text))
    if {"rasterio", "pyogrio", "shapely"} <= here:
        shutil.copy(folder / "strips.tif", folder / "ground.tif")
        fields = ("--cube", "ground.tif", "--labels", "fields.geojson", "--class-field", "crop")
        samples.append(Sample("polygons", "fields.geojson", ("scenes", "show", *fields), True))
    shutil.copy(folder / "cube.npy", folder / "sound.npy")
    shutil.copy(folder / "labels.npy", folder / "sound-labels.npy")
    return [
        *samples,
        *_packs(folder, counts, labels),
        *_models(folder, here),
        *_texts(folder, here),
        *_programs(folder),
        *_remote(folder),
        *_flights(folder),
        *_c_file(folder),
    ]


def _plain_cubes(folder: Path, counts: np.ndarray, labels: np.ndarray) -> list[tuple[str, str, bool]]:
    np.savez_compressed(folder / "cube.npz", cube=counts, other=labels)
    np.savez(folder / "stored.npz", cube=counts)
    (folder / "envi.img").write_bytes(counts.transpose(2, 0, 1).tobytes())
    (folder / "envi.hdr").write_text(
        f"ENVI\ndescription = {{made\n for tests}}\nsamples = {_SHAPE[1]}\nlines = {_SHAPE[0]}\nbands = {_BANDS}\n"
        "header offset = 0\nfile type = ENVI Standard\ndata type = 12\ninterleave = bsq\nbyte order = 0\n"
        "map info = {UTM, 1, 1, 500000, 5800000, 30, 30, 33, North, WGS-84}\nwavelength units = Nanometers\n"
        "wavelength = {400, 500, 600, 700, 800}\nfwhm = {9, 9, 9, 9, 9}\nbbl = {1, 1, 1, 1, 1}\ndata ignore value = 65535\n"
        "reflectance scale factor = 1\nband names = {a, b, c, d, e}\n"
    )
    return [
        ("npy", "cube.npy", False),
        ("npz", "cube.npz", False),
        ("npz, stored", "stored.npz", False),
        ("envi data", "envi.img", False),
        ("envi header", "envi.hdr", True),
        ("envi header", "envi.hdr", True),
    ]


def _geotiff(folder: Path, counts: np.ndarray) -> list[tuple[str, str, bool]]:
    import rasterio

    kinds = {"strips.tif": {}, "tiles.tif": {"tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "deflate"}}
    kinds["lzw.tif"] = {"compress": "lzw", "interleave": "pixel", "predictor": 2}
    for name, options in kinds.items():
        facts = {"height": _SHAPE[0], "width": _SHAPE[1], "count": _BANDS, "dtype": "uint16", "nodata": 65535}
        place = {"crs": "EPSG:32633", "transform": rasterio.Affine(30, 0, 500000, 0, -30, 5800000)}
        with rasterio.open(folder / name, "w", driver="GTiff", **facts, **place, **options) as file:
            file.write(counts.transpose(2, 0, 1))
            for band in range(1, _BANDS + 1):
                file.update_tags(band, wavelength=f"{300 + 100 * band}", wavelength_units="Nanometers")
    return [("geotiff", name, False) for name in kinds]


def _label_rasters(folder: Path, labels: np.ndarray) -> list[tuple[str, str, bool]]:
    import rasterio

    for name in ("labels.tif", "named.tif"):
        with rasterio.open(
            folder / name, "w", driver="GTiff", height=_SHAPE[0], width=_SHAPE[1], count=1, dtype="uint8"
        ) as file:
            file.write(labels, 1)
    names = "".join(f"<Category>{name}</Category>" for name in ("", "water", "trees &amp; more"))
    (folder / "named.tif.aux.xml").write_text(
        f'<PAMDataset><PAMRasterBand band="1"><CategoryNames>{names}</CategoryNames></PAMRasterBand></PAMDataset>'
    )
    west, north = 500000, 5800000
    shape = [[[west + 30 * x, north - 30 * y] for x, y in ((0, 0), (8, 0), (8, 6), (0, 6), (0, 0))]]
    feature = {"type": "Feature", "properties": {"crop": "wheat"}, "geometry": {"type": "Polygon", "coordinates": shape}}
    (folder / "fields.geojson").write_text(
        json.dumps(
            {"type": "FeatureCollection", "crs": {"type": "name", "properties": {"name": "EPSG:32633"}}, "features": [feature]}
        )
    )
    return [
        ("label geotiff", "labels.tif", False),
        ("side-car", "named.tif.aux.xml", True),
    ]


def _hdf5(folder: Path, counts: np.ndarray) -> list[tuple[str, str, bool]]:
    import h5py

    for name, options in (("plain.h5", {}), ("packed.nc", {"chunks": (4, 16, 5), "compression": "gzip", "shuffle": True})):
        with h5py.File(folder / name, "w") as file:
            cube = file.create_dataset("group/cube", data=counts, **options)
            cube.attrs["_FillValue"] = np.uint16(65535)
            cube.attrs["units"] = "counts"
            for axis, (scale, size) in enumerate((("y", _SHAPE[0]), ("x", _SHAPE[1]), ("wavelength", _BANDS))):
                file[scale] = np.linspace(400, 800, size)
                file[scale].make_scale(scale)
                cube.dims[axis].attach_scale(file[scale])
    with h5py.File(folder / "v73.mat", "w", userblock_size=512) as file:
        file["cube"] = counts.T
    with (folder / "v73.mat").open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(116) + bytes(8) + b"\x00\x02IM")
    return [("hdf5", "plain.h5", False), ("netcdf", "packed.nc", False), ("mat v7.3", "v73.mat", False)]


def _matlab(folder: Path, counts: np.ndarray) -> list[tuple[str, str, bool]]:
    import scipy.io

    extra = {"names": np.array(["a", "bc"], object), "facts": {"a": 1, "b": "text"}}
    scipy.io.savemat(folder / "cube.mat", {"cube": counts, **extra})
    scipy.io.savemat(folder / "packed.mat", {**extra, "cube": counts}, do_compression=True)
    return [("mat", "cube.mat", False), ("mat, packed", "packed.mat", False)]


def _label_matlab(folder: Path, labels: np.ndarray) -> list[tuple[str, str, bool]]:
    import scipy.io
    import scipy.sparse

    scipy.io.savemat(folder / "labels.mat", {"labels": scipy.sparse.csc_matrix(labels.astype(float))})
    scipy.io.savemat(folder / "v4.mat", {"labels": labels}, format="4")
    return [("label mat, sparse", "labels.mat", False), ("label mat v4", "v4.mat", False)]


def _label_picture(folder: Path, labels: np.ndarray) -> list[tuple[str, str, bool]]:
    from PIL import Image

    picture = Image.fromarray(labels, "P")
    picture.putpalette([value for colour in range(256) for value in (colour, 255 - colour, 7)])
    picture.save(folder / "labels.png")
    return [("label png", "labels.png", False)]


def _packs(folder: Path, counts: np.ndarray, labels: np.ndarray) -> list[Sample]:
    from hsiedge.scenes.pack import pack

    pack(Scene("tiny", counts, labels.astype(np.uint16), {label: f"class {label}" for label in _IDS}), folder / "pack.npz")
    return [
        Sample("pack", "pack.npz", ("scenes", "show", "pack.npz")),
        Sample("pack", "pack.npz", ("eval", MODEL, "--scene", "pack.npz")),
    ]


def _models(folder: Path, here: set[str]) -> list[Sample]:
    samples = []
    run = ("-o", "map.npy")
    shutil.copy(shipped("-int8.onnx"), folder / "sealed.onnx")
    shutil.copy(shipped(".safetensors"), folder / "whole.safetensors")
    shutil.copy(DATA / "float.onnx", folder / "float.onnx")
    shutil.copy(DATA / "stranger.onnx", folder / "stranger.onnx")
    samples += [
        Sample("onnx, sealed", "sealed.onnx", ("show", "sealed.onnx")),
        Sample("onnx", "float.onnx", ("classify", "float.onnx", "sound.npy", *run)),
        Sample("onnx", "float.onnx", ("show", "float.onnx")),
        Sample("onnx, int8", INTEGER, ("classify", INTEGER, "sound.npy", *run)),
        Sample("onnx of a stranger", "stranger.onnx", ("doctor", "stranger.onnx")),
        Sample("checkpoint", "whole.safetensors", ("show", "whole.safetensors")),
    ]
    if "ai_edge_litert.interpreter" in here:
        source = shipped("-int8.tflite")
        graph, text = graph_of(source), require_card(source).encode()
        (folder / "sealed.tflite").write_bytes(with_card(graph, text))
        small = with_card(b"\x1c\0\0\0TFL3" + bytes(200), text)
        (folder / "card.tflite").write_bytes(small.replace(seal.KEY.encode(), b"another.sha256"))
        samples += [
            Sample("tflite, sealed", "sealed.tflite", ("show", "sealed.tflite")),
            Sample("tflite, its Card", "card.tflite", ("show", "card.tflite")),
        ]
    return samples


def _texts(folder: Path, here: set[str]) -> list[Sample]:
    """Cards, packed and plain, results, configs and recipes."""
    card = require_card(DATA / "int8.onnx")
    full = require_card(shipped("-int8.onnx"))
    (folder / "card.json").write_text(full.to_json(2))
    (folder / "small.json").write_text(card.to_json())
    (folder / "card.packed").write_text(full.encode())
    samples = [Sample("card", name, _decode, True) for name in ("card.json", "card.json", "small.json", "card.packed")]
    result = DATA.parents[1] / "fuzz" / "bench.json"
    for name in ("a.json", "b.json"):
        shutil.copy(result, folder / name)
    samples.append(Sample("result", "b.json", ("compare", "a.json", "b.json"), True))
    if "hsiedge.study.config" in here:
        (folder / "study.toml").write_text(_STUDY)
        samples.append(Sample("study", "study.toml", _config, True))
    if "hsiedge.graphs.quantization.recipes" in here:
        (folder / "recipe.toml").write_text('title = "mine"\nweights = "int8"\nper_channel = true\nseven_bit_weights = false\n')
        samples.append(Sample("recipe", "recipe.toml", _recipe, True))
    return samples


_STUDY = """title = "a study"
scenes = ["indian_pines", "pack.npz"]
splits = ["random", "blocks"]
seeds = [0, 1]
epochs = 3
fraction = 0.1

[nets.cnn2d]
widths = [8, 8]

[methods]
magnitude = [0.5, 0.9]
structured = { levels = [0.5], criterion = "l2" }
distill = ["dscnn:8,8"]
qat = [8, 4]
"""


def _programs(folder: Path) -> list[Sample]:
    """What the native engine's library is given, where it was built."""
    if not library.is_available():
        return []
    (folder / "small.program").write_bytes(programs.small().to_bytes())
    return [Sample("native program", "small.program", lambda path: programs.run(path.read_bytes()))]


def _flights(folder: Path) -> list[Sample]:
    (folder / "flights.toml").write_text(_FLIGHTS)
    np.save(folder / "june.npy", np.load(folder / "cube.npy")[::-1])
    return [Sample("flights", "flights.toml", ("scenes", "show", "flights.toml"), True)]


_FLIGHTS = """name = "farm"

[[flight]]
cube = "sound.npy"
labels = "sound-labels.npy"
role = "train"

[[flight]]
name = "June"
cube = "june.npy"
labels = "sound-labels.npy"
units = "stored"
role = "test"
references = false

[classes]
1 = "corn"
10 = "wheat"
"""


def _c_file(folder: Path) -> list[Sample]:
    """What is read of exported C: the Card in it."""
    lines = "".join(f"    {literal},\n" for literal in literals(require_card(DATA / "int8.onnx").encode()))
    (folder / "net.c").write_text(f"const char *const net_card[] = {{ {CARD}\n{lines}    NULL}};\n")
    return [Sample("c, its Card", "net.c", ("show", "net.c"), True)]


def _decode(path: Path) -> None:
    text = path.read_text(encoding="utf-8", errors="replace")
    card = Card.decode(text, path.name)
    json.loads(card.to_json())
    Card.decode(card.encode(), path.name)


def _config(path: Path) -> None:
    from hsiedge.study.config import read_config

    read_config(path)


def _recipe(path: Path) -> None:
    from hsiedge.graphs.quantization.recipes import find_recipe

    find_recipe(str(path))


def _remote(folder: Path) -> list[Sample]:
    """What a machine says to who runs `bench --on` there: its frames, one behind another."""
    frames = [
        agent.frame_line("hello", 0, python="3.11.2", machine="aarch64", hsiedge=hsiedge.__version__),
        agent.frame_line("beat", 0),
        agent.frame_line("say", 12) + b"measuring it",
        agent.frame_line("say", 23) + b"hsiedge-progress 0.5000",
        agent.frame_line("done", 12, code=0) + b'{"schema":1}',
    ]
    (folder / "frames").write_bytes(b"".join(frames))
    (folder / "orders").write_bytes(
        agent.frame_line("file", 4, name="a.onnx", where="files")
        + b"data"
        + agent.frame_line("run", 0, name=None, words=["show"])
    )
    return [Sample("remote, its answers", "frames", _answers, True), Sample("remote, its orders", "orders", _orders, True)]


def _answers(path: Path) -> None:
    connection = Connection.__new__(Connection)
    connection.address, connection._python = parse_address("board"), "python3"
    connection._stdout = os.open(path, os.O_RDONLY)
    connection._stdin = open(os.devnull, "wb", buffering=0)  # noqa: SIM115
    connection._buffer, connection._deadline, connection._heard = bytearray(), None, time.monotonic()
    connection._begun = None
    connection._sending = threading.Lock()
    connection._process = SimpleNamespace(wait=lambda within: 1)  # type: ignore[assignment]
    connection._stderr = SimpleNamespace(text=lambda: "")  # type: ignore[assignment]
    _expect(connection, "hello")
    _follow(connection, [], lambda line: None, silent)


def _orders(path: Path) -> None:
    """As the agent reads them: ValueError is its answer to what is no frame."""
    with path.open("rb") as source:
        try:
            while (facts := agent.read_frame(source, 1 << 20)) is not None:
                source.read(facts["bytes"])
        except ValueError:
            return
