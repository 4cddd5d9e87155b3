"""What is watched: shares over a window and over tiles are those of the map, and drift is seen where it begins and ends."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hsiedge.errors import OptionError
from hsiedge.live.runner import run
from hsiedge.live.sinks import Strip
from hsiedge.live.watch import ClassCounts, Condition, Drift, Tiles, Watch, event_line
from hsiedge.mapping import classify
from hsiedge.runtimes import load
from hsiedge.scenes.io.reader import read_labels
from hsiedge.scenes.scene import Scene
from tests.live.cameras import Blocks
from tests.mapping.cubes import STORED

CLASSES = {3: "water", 10: "Tall grass", 11: "12"}


def events(conditions: str, labels: np.ndarray, cut: int, confidence: np.ndarray | None = None) -> list[Any]:
    counts = ClassCounts(CLASSES)
    watch = Watch(Condition.parse(conditions, CLASSES), counts)
    result: list[Any] = []
    for first in range(0, len(labels), cut):
        part = slice(first, first + cut)
        strip = Strip(first, labels[part], None if confidence is None else confidence[part])
        result += watch.take(strip, counts.of(strip))
    return result


@pytest.mark.parametrize("cut", [1, 7, 100])
def test_a_condition_begins_and_ends(cut: int) -> None:
    rng = np.random.default_rng(0)
    labels = rng.choice([0, 10, 11], (100, 20)).astype(np.uint16)
    labels[40:60, :8] = 3
    confidence = rng.random(labels.shape, np.float32)
    windows = [labels[line - 9 : line + 1] for line in range(9, 100)]
    shares = np.array([(part == 3).sum() / (part > 0).sum() for part in windows])
    holds = np.flatnonzero(np.diff(shares > 0.25)) + 10
    assert len(holds) == 2
    begin, end = events("water > 25 % of 10 lines", labels, cut, confidence)
    assert ([begin["lines"][1], end["lines"][1]], begin["state"], end["state"]) == (holds.tolist(), "begins", "ends")
    window = slice(begin["lines"][0], begin["lines"][1] + 1)
    assert begin["lines"][1] - begin["lines"][0] == 9
    part, sure = labels[window], confidence[window]
    assert begin["share"] == pytest.approx((part == 3).sum() / (part > 0).sum(), abs=1e-5) == begin["shares"]["water"]
    assert sum(begin["shares"].values()) == pytest.approx(1, abs=1e-5)
    assert begin["confidence"] == pytest.approx(sure[part == 3].mean(), rel=1e-4)
    assert event_line(begin) == f"water > 25 % of 10 lines: begins at line {holds[0]}, {begin['share']:.1%}"
    assert events("3 >= 25% of 10 lines", labels, cut)[0]["confidence"] is None


def test_a_window_that_is_not_full_and_one_without_data_decide_nothing() -> None:
    empty = np.zeros((30, 4), np.uint16)
    assert events("water < 50 % of 5 lines", empty, 3) == []
    empty[:] = 10
    first, *rest = events("water < 50 % of 5 lines", empty, 3)
    assert (first["lines"], rest) == ([0, 4], [])


def test_a_pixel_whose_confidence_is_no_number_counts_as_none() -> None:
    """A logit that overflows gives such a one; it must not stay in the sums once its line has left the window."""
    labels = np.array([10, 10, 11, 11, 10, 10], np.uint16)[:, None].repeat(4, 1)
    confidence = np.full(labels.shape, 0.9, np.float32)
    confidence[1] = np.nan
    first, _, second = events("tall grass > 20 % of 2 lines", labels, 1, confidence)
    assert (first["confidence"], second["confidence"]) == (pytest.approx(0.45), pytest.approx(0.9))


def test_names_of_classes() -> None:
    assert Condition.parse("tall GRASS<=5.5 % of 1 line", CLASSES).column == 2
    assert Condition.parse("12 > 1 % of 2 lines", CLASSES).column == 3
    assert Condition.parse("10 > 1 % of 2 lines", CLASSES).column == 2


@pytest.mark.parametrize("cut", [1, 5, 64])
def test_tiles_hold_the_shares_of_the_map(cut: int) -> None:
    labels = np.random.default_rng(1).choice([0, 3, 10, 11], (37, 23)).astype(np.uint16)
    tiles = Tiles(16, 23, ClassCounts(CLASSES))
    result: list[Any] = []
    for first in range(0, 37, cut):
        result += tiles.take(Strip(first, labels[first : first + cut]))
    result += tiles.end()
    assert [(*event["lines"], *event["columns"]) for event in result] == [
        (top, min(top + 15, 36), left, min(left + 15, 22)) for top in (0, 16, 32) for left in (0, 16)
    ]
    for event in result:
        (top, bottom), (left, right) = event["lines"], event["columns"]
        part = labels[top : bottom + 1, left : right + 1]
        assert event["no_data"] == pytest.approx((part == 0).mean(), abs=1e-5)
        for name, label in (("water", 3), ("Tall grass", 10), ("12", 11)):
            assert event["shares"][name] == pytest.approx((part == label).sum() / (part > 0).sum(), abs=1e-5)


def test_drift_is_marked_where_it_is() -> None:
    model = load(STORED / "int8.onnx", 1)
    card = model.known
    affine = card.input_affine
    assert affine is not None
    limits = np.iinfo(affine.dtype)
    integer = (limits.min + limits.max) // 2 - affine.zero_point
    middle = np.rint(np.array(affine.offset) + integer * affine.step / np.array(affine.scale)).astype(np.uint16)
    lines = np.tile(middle, (900, 30, 1))
    lines[300:600, ::2] = 65535
    source = Blocks(lines)
    drift = Drift(model, source.cube, "stored", 0.05)
    result: list[Any] = []
    for first in range(0, 900, 13):
        result += drift.take(lines[first : first + 13], first)
    assert [event["state"] for event in result] == ["begins", "ends"]
    ((begin, end),) = drift.marked
    assert begin <= 304
    assert begin >= 200
    assert 592 <= end <= 712
    assert drift.outside == pytest.approx(1 / 6, abs=0.01)
    assert list(Drift(load(STORED / "float.onnx", 1), source.cube, "stored", 0.05).take(lines, 0)) == []


@pytest.mark.parametrize("name", ["map.hdr", "map.img", "map.npy", "map.tif"])
def test_maps_mark_lines_of_drift(name: str, tiny_scene: Scene, tmp_path: Path) -> None:
    """Labels stay as they are; a second map marks the lines, and is gone where the next run has no drift."""
    if name == "map.tif":
        pytest.importorskip("rasterio", reason="GeoTIFFs are written with rasterio")
    model = load(STORED / "int8.onnx", 1)
    cube = np.concatenate([tiny_scene.cube] * 5 + [np.full_like(tiny_scene.cube, 65535)] * 2 + [tiny_scene.cube] * 5)
    summary = run(model, Blocks(cube), tmp_path / name)
    place = tmp_path / f"map-drift{Path(name).suffix}"
    ((first, last),) = summary.drift
    assert first <= 200 < 279 <= last < len(cube)
    assert {tmp_path / name, place} <= {path.with_suffix(Path(name).suffix) for path in summary.written}
    marks = read_labels(place).array
    np.testing.assert_array_equal(np.flatnonzero(marks.all(1)), np.arange(first, last + 1))
    assert marks.sum() == (last - first + 1) * 30
    np.testing.assert_array_equal(read_labels(tmp_path / name).array, classify(model, cube))
    if name in ("map.hdr", "map.img"):
        assert (tmp_path / "map.hdr").read_text().endswith(f"drift lines = {{{first}-{last}}}\n")
    if name == "map.tif":
        import rasterio

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it lies nowhere
            data = rasterio.open(tmp_path / name)
        with data:
            assert data.tags()["drift_lines"] == f"{first}-{last}"
    run(model, Blocks(tiny_scene.cube), tmp_path / name)
    assert not list(tmp_path.glob("map-drift*"))


def test_drift_that_lasts_to_the_end_is_marked_to_the_end(tiny_scene: Scene, tmp_path: Path) -> None:
    cube = np.concatenate([tiny_scene.cube] * 3 + [np.full_like(tiny_scene.cube, 65535)] * 3)[:235]
    summary = run(load(STORED / "int8.onnx", 1), Blocks(cube), tmp_path / "map.npy")
    assert summary.drift[0][1] == 234
    assert np.load(tmp_path / "map-drift.npy")[-1].all()


def test_the_map_of_drift_needs_its_place(tiny_scene: Scene, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="two maps would be written there"):
        run(load(STORED / "int8.onnx", 1), Blocks(tiny_scene.cube), [tmp_path / "map.hdr", tmp_path / "map-drift.img"])
    assert list(tmp_path.iterdir()) == []


def test_events_of_a_run(tiny_scene: Scene, tmp_path: Path) -> None:
    model = load(STORED / "int8.onnx", 1)
    cube = np.concatenate([tiny_scene.cube, np.full_like(tiny_scene.cube, 65535), tiny_scene.cube] * 3)
    expected = classify(model, cube)
    shares = np.array([(expected[line - 19 : line + 1] == 10).mean() for line in range(19, len(cube))])
    limit = round(100 * float(np.median(shares)), 1)
    heard: list[Any] = []
    summary = run(
        model,
        Blocks(cube),
        [tmp_path / "map.hdr", tmp_path / "run.jsonl"],
        watch=f"class 10 > {limit} % of 20 lines",
        tile=30,
        on_event=heard.append,
    )
    np.testing.assert_array_equal(read_labels(tmp_path / "map.hdr").array, expected)  # that confidence is kept changes no label
    written = [json.loads(line) for line in (tmp_path / "run.jsonl").read_text().splitlines()]
    assert written == heard
    assert summary.events == len(written)
    kinds = [event["event"] for event in written]
    assert kinds.count("tile") == 12
    assert kinds.count("watch") == np.count_nonzero(np.diff(np.r_[False, shares > limit / 100]))
    assert all(0 < event["confidence"] <= 1 for event in written if event["event"] == "watch")
    assert summary.drift
    assert any("calibrated range" in text for text in summary.warnings)
    assert summary.outside_range is not None
    assert summary.outside_range > 0.2
