"""Dark and white references: counts become reflectance by column and band, alike in every command, whatever spoils a line."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hsiedge
from hsiedge.card import Card
from hsiedge.errors import HsiedgeError, OptionError, SceneError
from hsiedge.live.runner import run
from hsiedge.mapping.model_rows import ModelRows
from hsiedge.mapping.stream import classify_rows
from hsiedge.native.library import KERNELS, is_available, kernel_sets
from hsiedge.runtimes import Model, load
from hsiedge.scenes.adapt import adapt, adapted_scene
from hsiedge.scenes.io.cube import Cube
from hsiedge.scenes.io.reader import open_cube, read_labels
from hsiedge.scenes.open import open_scene
from hsiedge.scenes.patches import touches_nodata
from hsiedge.scenes.references import (
    BESIDE,
    NODATA,
    Calibration,
    References,
    calibration_for,
    references_beside,
    with_references,
)
from tests.live import cameras
from tests.live.cameras import Blocks
from tests.mapping.cubes import STORED

WIDTH, BANDS = 30, 5
RNG = np.random.default_rng(0)
DARK = RNG.uniform(90, 110, (WIDTH, BANDS))
WHITE = RNG.uniform(2500, 3500, (WIDTH, BANDS))


def envi(path: Path, cube: np.ndarray, **entries: Any) -> Path:
    text = f"ENVI\nsamples = {cube.shape[1]}\nlines = {len(cube)}\nbands = {cube.shape[2]}\ndata type = 12\ninterleave = bil\n"
    path.write_text(
        text + "byte order = 0\n" + "".join(f"{name.replace('_', ' ')} = {value}\n" for name, value in entries.items())
    )
    path.with_suffix(".raw").write_bytes(cameras.raw(cube))
    return path


def lines_of(mean: np.ndarray, count: int, noise: float = 3.0) -> np.ndarray:
    return np.rint(mean + RNG.normal(0, noise, (count, *mean.shape))).astype(np.uint16)


@pytest.fixture
def counts(tiny_scene: hsiedge.Scene) -> np.ndarray:
    """Raw counts whose reflectance is some 0.1 times the tiny scene's values over 1000."""
    shade = tiny_scene.cube / 10000
    return np.rint(DARK + shade * (WHITE - DARK)).astype(np.uint16)


@pytest.fixture
def capture(counts: np.ndarray, tmp_path: Path) -> Path:
    envi(tmp_path / "dark.hdr", lines_of(DARK, 40))
    envi(tmp_path / "white.hdr", lines_of(WHITE, 40))
    return envi(tmp_path / "flight.hdr", counts)


@pytest.fixture
def references(capture: Path) -> References:
    return References(capture.with_name("dark.hdr"), capture.with_name("white.hdr"))


@pytest.fixture(scope="module")
def reflectance_model() -> Model:
    """A model of reflectance in steps of 0.0001."""
    model = load(STORED / "int8.onnx", 1)
    card: Card = model.known
    facts = replace(card.scene, scales=[1e-4] * BANDS, offsets=[0.0] * BANDS, quantity="reflectance", units="")
    return replace(model, card=replace(card, scene=facts))


def calibrated(path: Path, references: Any, **options: Any) -> tuple[np.ndarray, Cube]:
    with open_cube(path) as cube:
        reflectance = with_references(cube, references, **options)
        return reflectance.read(0, reflectance.shape[0]), reflectance


def test_reflectance_by_column_and_band(capture: Path, references: References, tiny_scene: hsiedge.Scene) -> None:
    values, cube = calibrated(capture, references)
    assert (cube.dtype, cube.scale, cube.quantity) == (np.uint16, (1e-4,) * BANDS, "reflectance")
    assert (
        np.abs(values.astype(int) - tiny_scene.cube).max() <= 8
    )  # counts are whole: half of one is 0.0002, and noise of 40 lines
    half, _ = calibrated(capture, replace(references, panel=0.5))
    assert np.abs(half.astype(int) * 2 - values).max() <= 2


def test_the_arithmetic_is_that_of_float32_rounded_once(counts: np.ndarray) -> None:
    cube = Cube.of_array(counts)
    dark, white = DARK.astype(np.float32), WHITE.astype(np.float32)
    gain = (np.float64(1e4) / (WHITE - DARK)).astype(np.float32)
    none = np.zeros((2, 0), np.intp)
    calibration = Calibration(dark, gain, none, none, np.zeros((2, 0), np.float32), np.zeros(0, np.intp), ())
    expected = np.clip(np.floor((counts.astype(np.float32) - dark) * gain + np.float32(0.5)), 0, 32767).astype(np.uint16)
    np.testing.assert_array_equal(calibration.apply(counts), expected)
    parts = [calibration.apply(part) for part in np.array_split(counts, 7)]
    np.testing.assert_array_equal(np.concatenate(parts), expected)
    extremes = np.array([0, 65535], np.uint16)[:, None, None] * np.ones((1, WIDTH, BANDS), np.uint16)
    assert (calibration.apply(extremes)[0] == 0).all()
    assert (calibration.apply(extremes)[1] == 32767).all()
    assert cube.dtype == np.uint16
    assert white.dtype == np.float32


def test_spoilt_lines_of_a_reference_do_not_count(capture: Path, references: References, tmp_path: Path) -> None:
    before, _ = calibrated(capture, references)
    white = lines_of(WHITE, 40)
    white[:5], white[20:24] = 200, 65535  # a hand before the panel, a flash
    envi(tmp_path / "white.hdr", white)
    after, _ = calibrated(capture, references)
    assert np.abs(after.astype(int) - before).max() <= 12


def test_dead_elements_are_interpolated_and_counted(capture: Path, references: References, tmp_path: Path) -> None:
    before, _ = calibrated(capture, references)
    white, dark = lines_of(WHITE, 40), lines_of(DARK, 40)
    for column, band in ((3, 2), (4, 0), (5, 4), (5, 3)):
        white[:, column, band] = dark[:, column, band] = 77
    white[:, 9] = dark[:, 9] = 77
    envi(tmp_path / "white.hdr", white)
    envi(tmp_path / "dark.hdr", dark)
    values, cube = calibrated(capture, references)
    assert any("9 of 150 elements of its detector are dead" in note for note in cube.notes)
    assert any("1 of its columns have no live element" in note for note in cube.notes)
    expected = values.astype(int)
    assert np.abs(expected[:, 3, 2] - (expected[:, 3, 1] + expected[:, 3, 3]) / 2).max() <= 0.5
    np.testing.assert_array_equal(values[:, 4, 0], values[:, 4, 1])
    np.testing.assert_array_equal(values[:, 5, 3], values[:, 5, 2])
    np.testing.assert_array_equal(values[:, 5, 4], values[:, 5, 2])
    assert (values[:, 9] == NODATA).all()
    assert cube.without_data(values, 0)[:, 9].all()
    assert not cube.without_data(values, 0)[:, :9].any()
    assert np.abs(values[:, 10:].astype(int) - before[:, 10:]).max() <= 12


def test_exposure_times_count(capture: Path, counts: np.ndarray, references: References, tmp_path: Path) -> None:
    before, _ = calibrated(capture, references)
    with open_cube(tmp_path / "white.hdr") as white:
        envi(tmp_path / "white.hdr", white.read(0, 40), tint=5.0)
    values, cube = calibrated(capture, references)
    assert any("flight.hdr does not tell its exposure time" in note for note in cube.notes)
    np.testing.assert_array_equal(values, before)
    envi(capture, counts, tint=10.0)
    values, cube = calibrated(capture, references)
    assert cube.exposure == 10
    assert np.abs(values.astype(int) * 2 - before).max() <= 2
    with open_cube(tmp_path / "dark.hdr") as dark:
        envi(tmp_path / "dark.hdr", dark.read(0, 40), tint=10.0)
    assert any("exposures differ: 10 of the dark reference, 5" in note for note in calibrated(capture, references)[1].notes)


def test_no_data_stays_so(capture: Path, counts: np.ndarray, references: References) -> None:
    counts[4, 5] = 60000
    envi(capture, counts, data_ignore_value=60000)
    values, cube = calibrated(capture, references)
    assert (values[4, 5] == NODATA).all()
    assert cube.without_data(values, 0).sum() == 1


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda folder: envi(folder / "dark.hdr", lines_of(DARK[:-1], 5)),
            "has 29 columns and 5 bands, flight.hdr has 30 and 5",
        ),
        (lambda folder: envi(folder / "dark.hdr", lines_of(WHITE + 500, 5)), "no brighter than the dark reference in 100%"),
        (lambda folder: (folder / "dark.hdr").unlink(), "no such file"),
        (lambda folder: envi(folder / "flight.hdr", lines_of(WHITE, 9), reflectance_scale_factor=10000), "holds reflectance"),
        (lambda folder: envi(folder / "white.hdr", lines_of(WHITE, 9), data_gain_values="{2, 2, 2, 2, 2}"), "another scale"),
    ],
)
def test_references_that_do_not_fit(spoil: Any, message: str, capture: Path, references: References, tmp_path: Path) -> None:
    spoil(tmp_path)
    with pytest.raises(SceneError, match=message):
        calibrated(capture, references)


def test_wavelengths_of_another_camera(capture: Path, references: References, counts: np.ndarray) -> None:
    for path, first in ((capture, 400), (references.dark, 400.5), (references.white, 600)):
        header = path.read_text() + "wavelength = {" + ", ".join(str(first + 10 * band) for band in range(BANDS)) + "}\n"
        path.write_text(header)
    with pytest.raises(SceneError, match=r"white\.hdr: its wavelengths are not those of flight\.hdr"):
        calibrated(capture, references)


def test_options_that_do_not_go_together(capture: Path, references: References) -> None:
    with pytest.raises(OptionError, match="panel=0"):
        replace(references, panel=0)
    with pytest.raises(OptionError, match="references=near"):
        calibrated(capture, "near")
    with pytest.raises(OptionError, match="a cube of your own"):
        open_scene("indian_pines", references=references)


def test_references_beside_a_capture(capture: Path, references: References, counts: np.ndarray, tmp_path: Path) -> None:
    raw, cube = calibrated(capture, "beside")
    assert cube.quantity == ""
    named = calibrated(capture, references)[0]
    for kind in ("dark", "white"):
        for suffix in (".hdr", ".raw"):
            (tmp_path / f"{kind}{suffix}").rename(tmp_path / f"{kind.upper()}REF_flight{suffix}")
    assert references_beside(capture) == References(tmp_path / "DARKREF_flight.hdr", tmp_path / "WHITEREF_flight.hdr")
    values, cube = calibrated(capture, "beside")
    np.testing.assert_array_equal(values, named)
    assert "calibrated to reflectance with DARKREF_flight.hdr and WHITEREF_flight.hdr, which lie beside it" in cube.notes
    for reference in (tmp_path / "DARKREF_flight.hdr", tmp_path / "WHITEREF_flight.hdr"):
        assert references_beside(reference) is None
    values, cube = calibrated(capture, "beside", quantity="counts")
    np.testing.assert_array_equal(values, raw)
    assert any("are not used: the model takes counts" in note for note in cube.notes)
    np.testing.assert_array_equal(calibrated(capture, None)[0], raw)


def test_memory_does_not_grow_with_the_references(capture: Path, references: References, tmp_path: Path) -> None:
    peaks = []
    for count in (600, 6000):
        np.save(tmp_path / "white.npy", lines_of(WHITE, count))
        tracemalloc.start()
        calibrated(capture, replace(references, white=tmp_path / "white.npy"))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.2


def test_classify_eval_and_run_agree_to_the_bit(
    capture: Path,
    references: References,
    reflectance_model: Model,
    tiny_scene: hsiedge.Scene,
    tmp_path: Path,
    counts: np.ndarray,
) -> None:
    model = hsiedge.Model.of(reflectance_model)
    expected = model.classify(calibrated(capture, references)[0], units="stored").labels
    assert len(np.unique(expected)) > 1
    np.testing.assert_array_equal(model.classify(capture, references=references).labels, expected)
    scene = open_scene(capture, references=references)
    np.testing.assert_array_equal(model.predict(scene, np.arange(1200)).reshape(40, 30), expected)
    for source in (str(capture), f"replay:{capture}@9000", Blocks(counts)):
        summary = run(model, source, tmp_path / "map.hdr", references=references, idle=0.2)
        np.testing.assert_array_equal(read_labels(tmp_path / "map.hdr").array, expected)
        assert summary.outside_range is not None
    for kind in ("dark", "white"):
        for suffix in (".hdr", ".raw"):
            (tmp_path / f"{kind}{suffix}").rename(tmp_path / f"{kind.upper()}REF_flight{suffix}")
    np.testing.assert_array_equal(model.classify(capture).labels, expected)
    summary = run(model, str(capture), tmp_path / "map.hdr", idle=0.2)
    np.testing.assert_array_equal(read_labels(tmp_path / "map.hdr").array, expected)
    assert any("which lie beside it" in text for text in summary.warnings)


@pytest.mark.parametrize(
    ("kind", "interleave", "seed"),
    [*product(["-", "tcp", "tcp-listen", "file"], ["bil", "bip"], cameras.SEEDS), ("folder", "bil", 0)],
)
def test_each_source_and_cut_gives_the_labels_of_classify(
    kind: str,
    interleave: str,
    seed: int,
    capture: Path,
    references: References,
    reflectance_model: Model,
    counts: np.ndarray,
    tmp_path: Path,
) -> None:
    model = hsiedge.Model.of(reflectance_model)
    expected, flight = model.classify(capture, references=references).labels, tmp_path / "flight"
    flight.mkdir()
    if kind == "folder":
        for path in (capture, capture.with_suffix(".raw")):
            path.rename(flight / path.name)
        run(model, str(flight), tmp_path / "maps", references=references, idle=1.1)
        np.testing.assert_array_equal(read_labels(tmp_path / "maps" / "flight-map.hdr").array, expected)
        return
    with cameras.source(kind, counts, interleave, seed, flight) as (source, options):
        run(model, source, tmp_path / "map.hdr", references=references, rows=1 + 4 * seed, **options)
    np.testing.assert_array_equal(read_labels(tmp_path / "map.hdr").array, expected)


def test_a_model_of_counts_leaves_alone_what_lies_beside(capture: Path, counts: np.ndarray, tmp_path: Path) -> None:
    for kind in ("dark", "white"):
        for suffix in (".hdr", ".raw"):
            (tmp_path / f"{kind}{suffix}").rename(tmp_path / f"{kind.upper()}REF_flight{suffix}")
    model = hsiedge.load(STORED / "float.onnx")
    np.testing.assert_array_equal(model.classify(capture).labels, model.classify(counts).labels)


@pytest.mark.slow
def test_train_quantize_eval_classify_and_run_from_the_command_line(
    capture: Path, tiny_scene: hsiedge.Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(capture.parent)
    for name in ("torch", "onnx"):
        pytest.importorskip(name, reason=f"training needs {name}")
    from typer.testing import CliRunner

    from hsiedge.cli.app import app

    np.save(tmp_path / "labels.npy", tiny_scene.labels)

    def command(*words: str) -> str:
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, (words, done.output, done.exception)
        return done.output

    panel = ("--dark", "dark.hdr", "--white", "white.hdr", "--panel", "0.98")
    scene = ("--labels", "labels.npy", *panel)
    command("train", "--cube", "flight.hdr", *scene, "--patch", "3", "--epochs", "1", "--widths", "8,8", "-o", "a.safetensors")
    command("export", "a.safetensors", "--cube", "flight.hdr", *scene, "-o", "a.onnx")
    command("quantize", "a.onnx", "--calib", "./flight.hdr", *scene, "--max-drop", "100", "-o", "b.onnx")
    command("eval", "b.onnx", "--cube", "flight.hdr", *scene)
    assert load(tmp_path / "b.onnx").known.scene.quantity == "reflectance"
    command("classify", "b.onnx", "flight.hdr", *panel, "-o", "map.npy")
    command("run", "b.onnx", "--from", "flight.hdr", *panel, "-o", "live.hdr", "--idle", "0.2")
    np.testing.assert_array_equal(read_labels(tmp_path / "live.hdr").array, np.load(tmp_path / "map.npy"))
    for words in (["--dark", "dark.hdr"], ["--panel", "0.9"], [*panel, "--raw"]):
        done = CliRunner().invoke(app, ["classify", "b.onnx", "flight.hdr", *words])
        assert isinstance(done.exception, HsiedgeError), words


STUDENT = Path(__file__).parents[1] / "native" / "data" / "student-int8-scene.onnx"
WAYS = [(kernels, threads) for kernels in (kernel_sets() if is_available() else []) for threads in (1, 2)]


@pytest.fixture(scope="module")
def flight(tmp_path_factory: pytest.TempPathFactory, indian_pines: hsiedge.Scene) -> Path:
    """Raw counts of 203 bands, three of them bad, whose reflectance is Indian Pines; dead elements, a dark column, no data."""
    folder, rng = tmp_path_factory.mktemp("flight"), np.random.default_rng(1)
    scene = np.insert(indian_pines.cube[:40, :130], [3, 90, 200], 5, axis=2)
    dark = rng.uniform(90, 110, scene.shape[1:])
    white = rng.uniform(9000, 12000, scene.shape[1:])
    raw = np.rint(dark + scene / 10000 * (white - dark)).astype(np.uint16)
    places = ([3, 3, 60, 61, 90, 129], [0, 1, 100, 202, 3, 77])
    dark[places] = white[places] = 77
    dark[44] = white[44] = 77
    raw[9, 20], raw[30, 100:110] = 65535, 65535
    good = np.ones(203, int)
    good[[3, 91, 202]] = 0
    bad_bands = "{" + ", ".join(map(str, good)) + "}"
    for name, lines in (("DARKREF_flight", [np.rint(dark)] * 3), ("WHITEREF_flight", [np.rint(white)] * 3)):
        envi(folder / f"{name}.hdr", np.array(lines).astype(np.uint16), bbl=bad_bands)
    return envi(folder / "flight.hdr", raw, bbl=bad_bands, data_ignore_value=65535)


def of_reflectance(model: Model) -> Model:
    card: Card = model.known
    facts = replace(card.scene, scales=[1e-4] * 200, offsets=[0.0] * 200, quantity="reflectance", units="", wavelengths=[])
    return replace(model, card=replace(card, scene=facts))


@pytest.fixture(scope="module")
def two_steps(flight: Path) -> np.ndarray:
    """Labels of reflectance that numpy has computed, as a file would hold it."""
    with open_cube(flight) as cube:
        calibration, calibrated = calibration_for(cube, BESIDE, "reflectance", flight)
        assert calibration is not None
        assert calibration.dead_elements == 6
        stored = cube.read(0, 40)
        values = calibration.apply_numpy(stored, cube.without_data(stored, 0))
    file = replace(
        Cube.of_array(values), scale=calibrated.scale, nodata=calibrated.nodata, quantity="reflectance", good=cube.good
    )
    strips: list[np.ndarray] = []
    classify_rows(of_reflectance(load(STUDENT, 1)), file, lambda strip: strips.append(strip.labels))
    labels = np.concatenate(strips)
    assert (labels == 0).sum() == 40 + 11
    assert len(np.unique(labels)) > 5
    return labels


@pytest.mark.filterwarnings("ignore::hsiedge.scenes.io.cube.SceneWarning")
@pytest.mark.parametrize(("kernels", "threads"), [*WAYS, ("onnxruntime", 1), ("no library", 1)])
def test_one_pass_gives_the_labels_of_two(
    kernels: str, threads: int, flight: Path, two_steps: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of run, classify and eval, in each engine and kernel set: with bad bands, dead elements and pixels without data."""
    engine = None if kernels in ("onnxruntime", "no library") else "native"
    if engine is not None:
        monkeypatch.setenv(KERNELS, kernels)
        monkeypatch.setattr("hsiedge.runtimes.native._SMALLEST", 0)
    if kernels == "no library":
        monkeypatch.setattr("hsiedge.native.input_step.is_available", lambda: False)
    model = of_reflectance(load(STUDENT, threads, engine))
    with open_cube(flight) as cube:
        rows = ModelRows(model, adapt(model.known, with_references(cube)))
        assert (rows.references is None) == (kernels == "no library")
    whole = hsiedge.Model.of(model)
    np.testing.assert_array_equal(whole.classify(flight).labels, two_steps)
    np.testing.assert_array_equal(whole.classify(flight, reject=1e-9).labels, two_steps)
    scene = adapted_scene(model.known, open_scene(flight))
    tested = np.arange(40 * 130)
    tested = tested[~touches_nodata(scene, tested, model.known.patch)]  # as those of every split
    assert len(tested) > 2000
    np.testing.assert_array_equal(model.predict(scene, tested), two_steps.ravel()[tested])
    for number, options in enumerate(({}, {"rows": 3}, {"watch": "1 > 50 % of 5 lines"})):
        run(model, f"replay:{flight}@9000", tmp_path / f"{number}.hdr", **options)
        np.testing.assert_array_equal(read_labels(tmp_path / f"{number}.hdr").array, two_steps)
