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
from hsiedge.scenes.scene import Scene

STORED = Path(__file__).parents[1] / "bench" / "data"


def line_by_line(model: Model, cube: np.ndarray) -> np.ndarray:
    lines, labels = LineClassifier(model, cube.shape[1]), []
    radius, patch = model.known.radius, model.known.patch
    for count, line in enumerate(cube):
        due = lines.push(line)
        assert (due is None) == (count < radius)
        if due is not None:
            labels.append(due)
        assert len(lines._lines) <= patch
    return np.stack(labels + lines.finish())


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
    assert (line_by_line(stored, scene.cube) == pixels).all()


@pytest.mark.parametrize("patch", [1, 3, 5, 7])
def test_any_patch(
    make_model: Callable[..., tuple[Path, np.ndarray]], make_card: Callable[..., Card], tiny_scene: Scene, patch: int
) -> None:
    model = load(make_model(make_card(tiny_scene, patch), patch)[0])
    for height in (patch, patch + 1, 2 * patch + 1, 30):
        scene = crop(tiny_scene, height, 11)
        pixels = model.predict(scene, np.arange(height * 11)).reshape(height, 11)
        assert (line_by_line(model, scene.cube) == pixels).all()
        assert (classify(model, scene.cube) == pixels).all()


def test_the_integer_model_too(tiny_scene: Scene) -> None:
    model = load(STORED / "int8.onnx")
    pixels = model.predict(tiny_scene, np.arange(1200)).reshape(40, 30)
    assert (classify(model, tiny_scene.cube) == pixels).all()


def test_a_memory_map(stored: Model, tiny_scene: Scene, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", tiny_scene.cube)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert (classify(stored, mapped) == classify(stored, tiny_scene.cube)).all()


def test_memory_is_that_of_one_patch_height(stored: Model, tiny_scene: Scene) -> None:
    lines = LineClassifier(stored, 30)
    for _ in range(20):
        for line in tiny_scene.cube:
            lines.push(line)
    assert len(lines._lines) < 3
    assert len(lines.finish()) == 1


def test_a_line_that_is_overwritten_after_the_push(stored: Model, tiny_scene: Scene) -> None:
    lines, buffer, labels = LineClassifier(stored, 30), np.empty((30, 5), np.uint16), []
    for line in tiny_scene.cube:  # as a driver does that fills one buffer again and again
        buffer[:] = line
        due = lines.push(buffer)
        if due is not None:
            labels.append(due)
    assert (np.stack(labels + lines.finish()) == classify(stored, tiny_scene.cube)).all()


def test_progress(stored: Model, tiny_scene: Scene) -> None:
    ticks: list[float] = []
    classify(stored, tiny_scene.cube, ticks.append)
    assert ticks == [(row + 1) / 40 for row in range(40)]


def test_pixels_without_data_get_no_label(stored: Model, tiny_scene: Scene) -> None:
    cube = tiny_scene.cube.copy()
    cube[3:7, 10:12] = 65535
    cube[20, 20, 0] = 65535  # in one band only: that is a count
    labels = classify(stored, cube, nodata=65535)
    assert (labels[3:7, 10:12] == 0).all()
    assert int((labels == 0).sum()) == 8


def test_lines_that_do_not_fit(stored: Model, tiny_scene: Scene) -> None:
    lines = LineClassifier(stored, 30)
    for line in (
        tiny_scene.cube[0, :29],
        tiny_scene.cube[0, :, :4],
        tiny_scene.cube[0].astype(np.int16),
        tiny_scene.cube[0, 0],
    ):
        with pytest.raises(ModelError, match="the model takes uint16"):
            lines.push(line)
    with pytest.raises(ModelError, match="0 lines are fewer than the model's patch of 3"):
        lines.finish()
    lines.push(tiny_scene.cube[0])
    lines.push(tiny_scene.cube[1])
    with pytest.raises(ModelError, match="2 lines are fewer"):
        lines.finish()
    lines.push(tiny_scene.cube[2])
    assert len(lines.finish()) == 1
    assert lines.finish() == []
    with pytest.raises(ModelError, match="the scene has ended"):
        lines.push(tiny_scene.cube[3])


def test_scenes_that_do_not_fit(stored: Model, tiny_scene: Scene) -> None:
    for cube in (tiny_scene.cube[:2], tiny_scene.cube[:, :2]):
        with pytest.raises(SceneError, match="patch 3 is wider than the scene"):
            classify(stored, cube)
    with pytest.raises(SceneError, match="patch 3 is wider"):
        LineClassifier(stored, 2)
    for cube in (tiny_scene.cube[..., :4], tiny_scene.cube.astype(np.float32)):
        with pytest.raises(ModelError, match="the model takes uint16"):
            classify(stored, cube)


def test_without_a_card(tiny_scene: Scene) -> None:
    stranger = load(STORED / "stranger.onnx")
    with pytest.raises(CardError, match="has no Card"):
        classify(stranger, tiny_scene.cube)
    with pytest.raises(CardError, match="has no Card"):
        LineClassifier(stranger, 30)
