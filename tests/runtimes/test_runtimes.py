from __future__ import annotations

import dataclasses
import json
import pickle
import re
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hsiedge.card import KEY, Affine, Card, ClassFacts, SceneFacts
from hsiedge.cli import choose
from hsiedge.doctor.operators import operators_of
from hsiedge.errors import CardError, HsiedgeError, ModelError, OptionError, SceneError
from hsiedge.native.library import is_available
from hsiedge.runtimes import load, read_card, require_card
from hsiedge.runtimes.input_affine import InputAffine, WholeSteps, factors, middle
from hsiedge.runtimes.model import _largest
from hsiedge.scenes.pack import pack
from hsiedge.scenes.patches import extract
from hsiedge.scenes.scene import Scene
from hsiedge.shipped import shipped

MakeModel = Callable[..., tuple[Path, np.ndarray]]
MakeCard = Callable[..., Card]
STORED = Path(__file__).parents[1] / "benchmark" / "data"  # models that were made beforehand: these need no onnx


def refused(error: type[HsiedgeError], match: str, path: Path, *readers: Callable[[Path], object]) -> None:
    for reader in readers or (load, read_card):
        with pytest.raises(error, match=match) as caught:
            reader(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def by_hand(cube: np.ndarray, weights: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    return np.einsum("nbij,cbij->nc", extract(cube, pixels, weights.shape[-1]).astype(np.float64), weights)


class TestModel:
    @pytest.mark.parametrize("patch", [1, 3])
    def test_predict_is_what_the_weights_say(
        self, make_model: MakeModel, make_card: MakeCard, tiny_scene: Scene, patch: int
    ) -> None:
        path, weights = make_model(make_card(tiny_scene, patch), patch)
        pixels = np.random.default_rng(0).permutation(1200)[:700]
        ticks: list[float] = []
        labels = load(path).predict(tiny_scene, pixels, ticks.append)
        ids = np.array(list(tiny_scene.classes))
        assert (labels == ids[by_hand(tiny_scene.cube, weights, pixels).argmax(1)]).all()
        assert labels.dtype == np.uint16
        assert ticks == sorted(ticks)
        assert ticks[-1] == 1.0

    def test_logits(self, make_model: MakeModel, make_card: MakeCard, tiny_scene: Scene) -> None:
        path, weights = make_model(make_card(tiny_scene, 3))
        pixels = np.arange(0, 1200, 7)
        logits = load(path, threads=1).logits(extract(tiny_scene.cube, pixels, 3))
        assert logits.dtype == np.float32
        np.testing.assert_allclose(logits, by_hand(tiny_scene.cube, weights, pixels), rtol=1e-4, atol=1e-1)

    def test_an_affine_of_the_card_is_applied(self, tiny_scene: Scene) -> None:
        model, float_model = load(STORED / "int8.onnx"), load(STORED / "float.onnx")
        assert model.session.inputs[0].dtype == np.uint8
        pixels = np.arange(1200)
        affine = model.known.input_affine
        assert affine is not None
        patches = extract(tiny_scene.cube, pixels, 3)
        counts = (
            (patches.astype(float) - np.array(affine.offset)[:, None, None])
            * np.array(affine.scale)[:, None, None]
            / affine.step
        )
        expected = model.session.run([np.clip(np.rint(counts), 0, 255).astype(np.uint8)])
        np.testing.assert_allclose(model.logits(patches), expected, atol=0.01)  # halves: float32 there, float64 here
        assert len(np.unique(float_model.predict(tiny_scene, pixels))) > 1

    def test_classes_of_other_names_are_other_classes(
        self, make_model: MakeModel, make_card: MakeCard, tiny_scene: Scene
    ) -> None:
        path, _ = make_model(make_card(tiny_scene, 3))
        renamed = dataclasses.replace(tiny_scene, classes={**tiny_scene.classes, 10: "Water"})
        load(path).check_fits(renamed)  # "class 10" is no name, so it fits any
        path, _ = make_model(make_card(renamed, 3))
        with pytest.raises(ModelError, match="its class 10 is 'Water', that of tiny is 'Soil'"):
            load(path).check_fits(dataclasses.replace(tiny_scene, classes={**tiny_scene.classes, 10: "Soil"}))

    def test_its_session(self) -> None:
        model = load(STORED / "float.onnx", threads=1)
        assert model.session.runtime.startswith("onnxruntime ")
        assert model.session.provider == "CPUExecutionProvider"
        (spec,) = model.session.inputs
        assert (spec.shape, spec.dtype) == ((None, 5, 3, 3), np.uint16)

    def test_tensors_that_do_not_fit(self) -> None:
        model = load(STORED / "float.onnx")
        for patches in (np.zeros((2, 5, 3, 3), np.float32), np.zeros((2, 4, 3, 3), np.uint16), np.zeros((2, 5, 3), np.uint16)):
            with pytest.raises(ModelError, match="onnxruntime could not run the model"):
                model.logits(patches)

    @pytest.mark.parametrize("name", ["five_logits.onnx"])
    def test_a_graph_that_is_not_what_its_card_says(self, tiny_scene: Scene, name: str) -> None:
        with pytest.raises(ModelError, match=re.escape(f"{name}: its graph gives (1, ")):
            load(STORED / name).labels(extract(tiny_scene.cube, np.array([31]), 3))

    def test_a_scene_that_does_not_fit(self, tiny_scene: Scene) -> None:
        model, pixels = load(STORED / "float.onnx"), np.arange(9)

        def unfit(match: str, error: type[HsiedgeError] = ModelError, **changes: Any) -> None:
            with pytest.raises(error, match=match):
                model.predict(dataclasses.replace(tiny_scene, **changes), pixels)

        unfit("takes 5 bands .tiny., tiny has 4; it needs a model of its own", cube=tiny_scene.cube[..., :4])
        unfit("takes counts as uint16, tiny stores int16", cube=tiny_scene.cube.astype(np.int16))
        unfit(r"knows the classes \[1, 10, 11, 14\], tiny also has \[3\]", classes={1: "a", 3: "b"})
        unfit("patch 3 is wider", SceneError, cube=tiny_scene.cube[:2], labels=tiny_scene.labelled()[:2])
        assert len(model.predict(dataclasses.replace(tiny_scene, labels=None, classes={}), pixels)) == 9

    def test_without_a_card(self, tiny_scene: Scene) -> None:
        model = load(STORED / "stranger.onnx")
        assert model.card is None
        assert read_card(STORED / "stranger.onnx") is None
        for act in (lambda: model.known, lambda: model.predict(tiny_scene, np.arange(3)), lambda: require_card(model.path)):
            with pytest.raises(CardError, match=r"has no Card; hsiedge card .*stranger\.onnx scene=NAME patch=P"):
                act()


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
def test_the_input_affine_scales_rounds_and_clips(dtype: str) -> None:
    counts = np.array([0, 99, 100, 105, 110, 115, 6000], np.uint16).reshape(7, 1, 1, 1)
    integers = InputAffine(Affine([100.0, 0.0], [0.1, 0.001], dtype))(np.concatenate([counts, counts], 1))
    low = max(-10, np.iinfo(dtype).min)
    high = min(590, np.iinfo(dtype).max)
    assert integers.dtype == np.dtype(dtype)
    assert integers[:, 0, 0, 0].tolist() == [low, 0, 0, 1, 1, 2, high]  # halves up
    assert integers[:, 1, 0, 0].tolist() == [0, 0, 0, 0, 0, 0, 6]
    shifted = InputAffine(Affine([100.0], [0.1], dtype, 7))(counts)
    assert shifted[:, 0, 0, 0].tolist() == [max(-3, np.iinfo(dtype).min), 7, 7, 8, 8, 9, min(597, np.iinfo(dtype).max)]


def test_the_input_affine_counts_in_its_steps() -> None:
    counts = np.array([100, 104, 106, 115], np.uint16).reshape(4, 1, 1, 1)
    integers = InputAffine(Affine([100.0], [0.02], "uint8", 0, 0.2))(counts)
    assert integers.ravel().tolist() == [0, 0, 1, 2]  # a step is ten counts


@pytest.mark.parametrize("dtype", ["uint16", "int16", "int32", "float32", "float64"])
def test_the_input_affine_gives_rows_the_same_integers(dtype: str) -> None:
    rng = np.random.default_rng(4)
    affine = InputAffine(Affine(list(rng.normal(500, 9, 7)), list(rng.uniform(0.01, 0.1, 7)), "uint8", 120, 0.03))
    rows = rng.integers(0, 1200, (3, 9001, 7)).astype(dtype)  # more than are scaled at a time, and not a multiple of that
    planes = affine(rows.transpose(2, 0, 1))
    assert len(np.unique(planes)) > 200
    np.testing.assert_array_equal(affine.of_rows(rows), planes.transpose(1, 2, 0))
    np.testing.assert_array_equal(affine.of_rows(rows[:, ::2]), planes.transpose(1, 2, 0)[:, ::2])
    assert affine.of_rows(rows[:0]).shape == (0, 9001, 7)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
def test_the_input_affine_gives_no_number_the_zero_point(dtype: str) -> None:
    rows = np.array([[[np.nan, 100.0], [np.inf, np.nan], [-np.inf, 0.0]]], np.float32)
    integers = InputAffine(Affine([100.0, 100.0], [0.1, 0.1], dtype, 7)).of_rows(rows)
    limits = np.iinfo(dtype)
    assert integers.tolist() == [[[7, 7], [limits.max, 7], [limits.min, max(-3, limits.min)]]]


def whole_affine(dtype: str, seed: int, bands: int = 60) -> Affine:
    """One that 16-bit integers compute: any factor that there is, counts of 0 within what a band tells apart or below it."""
    rng = np.random.default_rng(seed)
    zero, fraction = int(rng.choice([52, 94, 112, 121, 157])), 0.000268
    factor = rng.choice(factors(zero), bands)
    first = rng.integers(-100, 30000, bands)
    lowest = int(np.iinfo(dtype).min)
    offset, scale = (first + middle(zero) / factor, (factor * fraction).astype(np.float32))
    assert len(set(factor)) > 10
    return Affine(offset.tolist(), [float(str(value)) for value in scale], dtype, zero + lowest, 256 * fraction)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("stored", ["uint16", "int16"])
@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_whole_steps_are_what_float32_gives_of_every_count(dtype: str, stored: str, seed: int) -> None:
    entry = whole_affine(dtype, seed)
    assert WholeSteps.of(entry, np.dtype(stored)) is not None
    limits, affine = np.iinfo(stored), InputAffine(entry)
    counts = np.repeat(np.arange(limits.min, limits.max + 1).astype(stored)[:, None], len(entry.offset), 1)
    whole, floats = affine.of_rows(counts), affine.of_rows(counts.astype(np.float32))
    assert len(np.unique(floats)) == 256
    np.testing.assert_array_equal(whole, floats)
    np.testing.assert_array_equal(affine(counts.T[:, :, None])[:, :, 0].T, floats)


@pytest.mark.parametrize("towards", [0, 1])
def test_whole_steps_forgive_a_step_its_last_bit(towards: int) -> None:
    """Runtimes compute it of the range's ends, in float32."""
    entry = whole_affine("uint8", 1)
    entry = dataclasses.replace(entry, step=float(np.nextafter(np.float32(entry.step), np.float32(towards))))
    assert WholeSteps.of(entry, np.dtype("uint16")) is not None
    counts = np.repeat(np.arange(1 << 16).astype(np.uint16)[:, None], len(entry.offset), 1)
    np.testing.assert_array_equal(InputAffine(entry).of_rows(counts), InputAffine(entry).of_rows(counts.astype(np.float32)))


@pytest.mark.parametrize("ruin", ["offset", "scale", "zero point", "bits", "beyond", "no number"])
def test_whole_steps_are_not_taken_where_float32_could_differ(ruin: str) -> None:
    entry = whole_affine("uint8", 0)
    offset, scale = np.array(entry.offset), np.array(entry.scale)
    if ruin == "offset":
        offset[7] += 0.5
    elif ruin == "scale":
        scale[7] *= 1.001
    elif ruin == "beyond":
        offset[7] += 70000
    elif ruin == "no number":
        scale[7] = 0.0
    elif ruin == "zero point":
        entry = dataclasses.replace(entry, zero_point=entry.zero_point + 1)
    card = dataclasses.replace(
        entry, offset=offset.tolist(), scale=scale.tolist(), dtype="uint16" if ruin == "bits" else "uint8"
    )
    assert WholeSteps.of(card, np.dtype("uint16")) is None
    counts = np.random.default_rng(0).integers(0, 1 << 16, (9000, len(offset))).astype(np.uint16)
    np.testing.assert_array_equal(InputAffine(card).of_rows(counts), InputAffine(card).of_rows(counts.astype(np.float32)))


@pytest.mark.parametrize("dtype", [np.float32, np.int8])
@pytest.mark.parametrize("shape", [(3, 1, 1), (16, 1, 500), (16, 40, 60), (300, 40, 60)])
def test_the_largest_logit_is_the_first_of_equals(shape: tuple[int, ...], dtype: type[np.generic]) -> None:
    """Few pixels or many, few classes or more than a byte counts."""
    planes = np.random.default_rng(0).integers(-3, 4, shape).astype(dtype)
    np.testing.assert_array_equal(_largest(planes), planes.argmax(0))


class TestCards:
    def test_of_a_model(self, make_model: MakeModel, make_card: MakeCard, tiny_scene: Scene) -> None:
        card = make_card(tiny_scene, 3)
        path, _ = make_model(card)
        assert load(path).card == read_card(path) == require_card(path) == card
        assert read_card(make_model(None)[0]) is None

    @pytest.mark.parametrize(
        "text",
        ["", "garbage", "{}", '{"schema": 99}', '{"schema": 1}', '{"schema": 1, "kind": "patch", "scene": ' + "[" * 9000],
        ids=lambda text: text[:15],
    )
    def test_garbage_in_its_place(self, make_model: MakeModel, text: str) -> None:
        refused(CardError, "its Card", make_model(text)[0])

    def test_metadata_that_is_not_text(self, tmp_path: Path) -> None:
        whole = (STORED / "float.onnx").read_bytes()
        for place in (whole.index(b'"tiny"') + 1, whole.index(KEY.encode())):
            path = tmp_path / "a.onnx"
            path.write_bytes(whole[:place] + b"\xff\xfe" + whole[place + 2 :])
            refused(CardError, "its metadata is not text", path)


class TestWhatIsNoModel:
    @pytest.mark.parametrize("content", [b"", b"garbage", b"<html>", bytes(1000), b"\x08\x0a" * 300, pickle.dumps({"a": 1})])
    @pytest.mark.parametrize("suffix", [".onnx", ".ort"])
    def test_garbage(self, tmp_path: Path, content: bytes, suffix: str) -> None:
        path = tmp_path / f"a{suffix}"
        path.write_bytes(content)
        refused(ModelError, r"onnxruntime \S+ does not load it|not an ONNX file", path)

    def test_truncated(self, tmp_path: Path) -> None:
        whole = (STORED / "float.onnx").read_bytes()
        path = tmp_path / "a.onnx"
        for length in (1, 50, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:length])
            refused(ModelError, "does not load it|not an ONNX file, or cut short", path)

    def test_missing_and_of_another_kind(self, tmp_path: Path) -> None:
        for name in ("a.onnx", "a.ort", "a.safetensors", "a.pt"):
            refused(ModelError, "no such file", tmp_path / name)
        (tmp_path / "folder.onnx").mkdir()
        refused(ModelError, "folder.onnx: a folder; a file is expected", tmp_path / "folder.onnx")
        (tmp_path / "a.pt").write_bytes(b"x")
        refused(ModelError, r"not a model that hsiedge runs \(.onnx, .ort, .tflite\)", tmp_path / "a.pt")


class TestSafetensors:
    """The header is read, and no tensor; nothing is unpickled."""

    card = Card("checkpoint", SceneFacts("a", "", None, 2, "uint16"), [ClassFacts(1, "a")], 3, "")

    def write(self, folder: Path, header: Any, tensors: bytes = b"", length: int | None = None) -> Path:
        path = folder / "a.safetensors"
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + tensors)
        return path

    def test_card(self, tmp_path: Path) -> None:
        weights = {"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
        path = self.write(tmp_path, {"__metadata__": {KEY: self.card.to_json()}, **weights}, bytes(4))
        assert read_card(path) == self.card
        assert read_card(self.write(tmp_path, weights, bytes(4))) is None
        assert read_card(self.write(tmp_path, {"__metadata__": {KEY: 3}})) is None

    def test_of_the_library_itself(self, tmp_path: Path) -> None:
        numpy_files = pytest.importorskip("safetensors.numpy", reason="safetensors writes the file, and is not installed")
        path = tmp_path / "a.safetensors"
        numpy_files.save_file({"w": np.zeros(3)}, str(path), {KEY: self.card.to_json()})
        assert read_card(path) == self.card

    @pytest.mark.parametrize("length", [0, 1, 3, 100, 2**24, 2**40, 2**63, 2**64 - 1])
    def test_a_length_that_lies(self, tmp_path: Path, length: int) -> None:
        path = self.write(tmp_path, {"__metadata__": {}}, b"", length)
        refused(ModelError, "not a safetensors file; hsiedge reads no pickled checkpoints", path, read_card)

    @pytest.mark.parametrize(
        "header", [b"[" * 50_000, b"\xff\xfe{}", b"no JSON", b'{"__metadata__": []}', b'{"__metadata__": 3}']
    )
    def test_headers_that_are_none(self, tmp_path: Path, header: bytes) -> None:
        refused(ModelError, "not a safetensors file", self.write(tmp_path, header), read_card)

    @pytest.mark.parametrize("content", [b"", b"\x02", bytes(8), bytes(9)])
    def test_too_short(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "a.safetensors").write_bytes(content)
        refused(ModelError, "not a safetensors file", tmp_path / "a.safetensors", read_card)

    def test_a_renamed_pickle_is_not_opened(self, tmp_path: Path) -> None:
        class Trap:
            def __reduce__(self) -> tuple[Any, ...]:
                return Path.touch, (tmp_path / "sprung",)

        path = tmp_path / "a.safetensors"
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            path.write_bytes(pickle.dumps({"state": Trap(), "more": list(range(5000))}, protocol))
            refused(ModelError, "no pickled checkpoints", path, read_card)
        assert not (tmp_path / "sprung").exists()

    def test_a_renamed_pt(self, tmp_path: Path) -> None:
        torch = pytest.importorskip("torch", reason="torch writes the .pt, and is not installed")
        torch.save({"w": torch.zeros(3)}, tmp_path / "a.pt")
        (tmp_path / "a.pt").rename(tmp_path / "a.safetensors")
        refused(ModelError, "no pickled checkpoints", tmp_path / "a.safetensors", read_card)

    def test_garbage_in_place_of_the_card(self, tmp_path: Path) -> None:
        path = self.write(tmp_path, {"__metadata__": {KEY: "garbage"}})
        refused(CardError, "its Card is not JSON", path, read_card)


def test_a_packed_scene_is_told_from_a_model(tmp_path, tiny_scene) -> None:
    pack(tiny_scene, tmp_path / "tiny.npz")
    for opens in (load, read_card):
        with pytest.raises(ModelError, match="may be a packed scene; use scene="):
            opens(tmp_path / "tiny.npz")


def test_nets_of_single_pixels_take_some_rows_at_a_time(
    make_scene_model: Any, make_card: Any, tiny_scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scene graph whose maps are many times as large as the strip: 40 rows of 30 pixels in pieces of 60 pixels."""
    monkeypatch.setattr("hsiedge.runtimes.model._PIXELS_AT_ONCE", 60)
    for patch, calls in ((1, 20), (3, 1)):
        model = load(make_scene_model(make_card(tiny_scene, patch), patch))
        heights: list[int] = []
        run = model.session.run
        monkeypatch.setattr(model.session, "run", lambda tensors, run=run, heights=heights: heights.append(1) or run(tensors))
        strip = model.strip(model.prepare(tiny_scene.cube))
        assert len(heights) == calls
        whole = model._scene(model.prepare(tiny_scene.cube))
        np.testing.assert_array_equal(strip, whole)


class TestWithoutOnnxruntime:
    """As on 32-bit boards, where it has no wheels."""

    @pytest.fixture(autouse=True)
    def _absent(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.chdir(tmp_path)
        if not is_available():
            pytest.skip("the native library was not built")
        for name in ("onnxruntime", "hsiedge.runtimes.ort"):
            monkeypatch.setitem(sys.modules, name, None)

    def test_int8_scene_graphs_run_in_the_native_engine(self) -> None:
        assert load(shipped("-int8-scene.onnx")).session.runtime.startswith("hsiedge native")
        assert choose.bench_models() == [shipped("-int8-scene.onnx")]
        assert choose.any_model() == shipped("-int8-scene.onnx")

    @pytest.mark.parametrize(("suffix", "runtime"), [(".onnx", None), ("-int8.onnx", None), ("-int8-scene.onnx", "ort")])
    def test_other_models_are_one_line(self, suffix: str, runtime: str | None) -> None:
        with pytest.raises(
            OptionError, match=r"runtime=ort: onnxruntime cannot be imported .*; without it INT8 scene graphs run"
        ):
            load(shipped(suffix), runtime=runtime)
        with pytest.raises(OptionError, match="onnxruntime cannot be imported"):
            operators_of(shipped(suffix))
