from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hsiedge.card import Card
from hsiedge.errors import CardError, ModelError, SceneError
from hsiedge.mapping import LineClassifier, classify
from hsiedge.runtimes import Model, load
from hsiedge.scenes.patches import extract
from hsiedge.scenes.scene import Scene

STORED = Path(__file__).parents[1] / "benchmark" / "data"


def pushed(model: Model, cube: np.ndarray, rows: int = 1) -> np.ndarray:
    """The map, of so many rows at a time."""
    lines, labels = LineClassifier(model, cube.shape[1]), []
    radius, patch = model.known.radius, model.known.patch
    for first in range(0, len(cube), rows):
        labels.append(lines.push(cube[first : first + rows]))
        came = min(first + rows, len(cube))
        assert sum(map(len, labels)) == (came - radius if came > radius else 0)
        assert len(lines._rows._rows) <= max(rows, patch) + 2 * patch  # however many came
    return np.concatenate([*labels, lines.finish()])


@pytest.fixture
def stored() -> Model:
    return load(STORED / "float.onnx")


def crop(scene: Scene, height: int, width: int) -> Scene:
    return dataclasses.replace(scene, cube=scene.cube[:height, :width], labels=None, classes={})


@pytest.mark.parametrize(("height", "width"), [(40, 30), (3, 30), (3, 3), (4, 5), (17, 3)])
def test_lines_scene_and_pixels_agree(stored: Model, tiny_scene: Scene, height: int, width: int) -> None:
    scene = crop(tiny_scene, height, width)
    pixels = stored.predict(scene, np.arange(height * width)).reshape(height, width)
    labels = classify(stored, scene.cube)
    assert labels.dtype == np.uint16
    assert len(np.unique(labels)) > 1
    assert (labels == pixels).all()
    for rows in (1, 2, 7, 100):
        assert (pushed(stored, scene.cube, rows) == pixels).all()


@pytest.mark.parametrize("patch", [1, 3, 5, 7])
def test_any_patch(
    make_model: Callable[..., tuple[Path, np.ndarray]], make_card: Callable[..., Card], tiny_scene: Scene, patch: int
) -> None:
    model = load(make_model(make_card(tiny_scene, patch), patch)[0])
    for height in (patch, patch + 1, 2 * patch + 1, 30):
        scene = crop(tiny_scene, height, 11)
        pixels = model.predict(scene, np.arange(height * 11)).reshape(height, 11)
        for rows in (1, 3, 100):
            assert (pushed(model, scene.cube, rows) == pixels).all()
        assert (classify(model, scene.cube) == pixels).all()


def test_the_integer_model_too(tiny_scene: Scene) -> None:
    model = load(STORED / "int8.onnx")
    pixels = model.predict(tiny_scene, np.arange(1200)).reshape(40, 30)
    assert (classify(model, tiny_scene.cube) == pixels).all()


def test_a_memory_map(stored: Model, tiny_scene: Scene, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", tiny_scene.cube)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert (classify(stored, mapped) == classify(stored, tiny_scene.cube)).all()


def test_rows_that_are_overwritten_after_the_push(stored: Model, tiny_scene: Scene) -> None:
    lines, buffer, labels = LineClassifier(stored, 30), np.empty((1, 30, 5), np.uint16), []
    for line in tiny_scene.cube:  # as a driver does that fills one buffer again and again
        buffer[0] = line
        labels.append(lines.push(buffer))
    assert (np.concatenate([*labels, lines.finish()]) == classify(stored, tiny_scene.cube)).all()


def test_a_scene_graph_gives_the_labels_of_its_patch_graph(make_model, make_scene_model, make_card, tiny_scene: Scene) -> None:
    for patch in (1, 3, 5):
        patches = load(make_model(make_card(tiny_scene, patch), patch)[0])
        whole = load(make_scene_model(make_card(tiny_scene, patch), patch))
        pixels = np.arange(1200)
        expected = patches.predict(tiny_scene, pixels)
        assert len(np.unique(expected)) > 1
        np.testing.assert_array_equal(whole.predict(tiny_scene, pixels), expected)
        some = np.array([1199, 3, 700, 701, 5])
        np.testing.assert_array_equal(whole.predict(tiny_scene, some), expected[some])
        np.testing.assert_array_equal(classify(whole, tiny_scene.cube), expected.reshape(40, 30))
        for rows in (1, 7, 100):
            np.testing.assert_array_equal(pushed(whole, tiny_scene.cube, rows), expected.reshape(40, 30))
        one = extract(tiny_scene.cube, some, patch)
        np.testing.assert_allclose(whole.logits(one), patches.logits(one), rtol=1e-4, atol=1e-2)


def test_strips_are_cut_where_a_scene_is_wide(monkeypatch, make_scene_model, make_card, tiny_scene: Scene) -> None:
    model = load(make_scene_model(make_card(tiny_scene, 3), 3))
    expected = classify(model, tiny_scene.cube).ravel()
    for pixels in (1, 31, 90):
        monkeypatch.setattr("hsiedge.runtimes.model.STRIP_PIXELS", pixels)
        np.testing.assert_array_equal(model.predict(tiny_scene, np.arange(1200)), expected)


def test_progress(stored: Model, tiny_scene: Scene) -> None:
    ticks: list[float] = []
    classify(stored, tiny_scene.cube, ticks.append)
    assert ticks == [1.0]
    tall = np.concatenate([tiny_scene.cube] * 8)
    ticks.clear()
    classify(stored, tall, ticks.append)
    assert ticks == sorted(ticks)
    assert len(ticks) == 2
    assert ticks[-1] == 1.0


def test_pixels_without_data_get_no_label(stored: Model, tiny_scene: Scene) -> None:
    cube = tiny_scene.cube.copy()
    cube[3:7, 10:12] = 65535
    cube[20, 20, 0] = 65535  # one band is enough: the model takes all
    labels = classify(stored, cube, nodata=65535)
    assert (labels[3:7, 10:12] == 0).all()
    assert labels[20, 20] == 0
    assert int((labels == 0).sum()) == 9


def test_lines_that_do_not_fit(stored: Model, tiny_scene: Scene) -> None:
    lines = LineClassifier(stored, 30)
    for rows in (
        tiny_scene.cube[:1, :29],
        tiny_scene.cube[:1, :, :4],
        tiny_scene.cube[:1].astype(np.int16),
        tiny_scene.cube[0],
    ):
        with pytest.raises(ModelError, match="the model takes uint16"):
            lines.push(rows)
    with pytest.raises(ModelError, match="0 rows are fewer than the model's patch of 3"):
        lines.finish()
    lines.push(tiny_scene.cube[:2])
    with pytest.raises(ModelError, match="2 rows are fewer"):
        lines.finish()
    lines.push(tiny_scene.cube[2:3])
    assert len(lines.finish()) == 1
    assert len(lines.finish()) == 0
    with pytest.raises(ModelError, match="the scene has ended"):
        lines.push(tiny_scene.cube[3:4])


def test_scenes_that_do_not_fit(stored: Model, tiny_scene: Scene) -> None:
    for cube in (tiny_scene.cube[:2], tiny_scene.cube[:, :2]):
        with pytest.raises(SceneError, match="patch 3 is wider than the cube"):
            classify(stored, cube)
    with pytest.raises(SceneError, match="patch 3 is wider"):
        LineClassifier(stored, 2)
    with pytest.raises(ModelError, match="the cube has 4 bands, the model takes 5"):
        classify(stored, tiny_scene.cube[..., :4])
    with pytest.raises(ModelError, match="the cube holds float32, the model takes uint16"):
        classify(stored, tiny_scene.cube.astype(np.float32))
    with pytest.raises(SceneError, match=r"an array of \(40, 30\) is no cube"):
        classify(stored, tiny_scene.cube[..., 0])


def test_without_a_card(tiny_scene: Scene) -> None:
    stranger = load(STORED / "stranger.onnx")
    with pytest.raises(CardError, match="has no Card"):
        classify(stranger, tiny_scene.cube)
    with pytest.raises(CardError, match="has no Card"):
        LineClassifier(stranger, 30)
