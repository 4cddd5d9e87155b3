"""Rows that are held as they come, and what surrounds them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hsiedge.card import Card
from hsiedge.runtimes import Model, load
from hsiedge.runtimes.row_buffer import RowBuffer
from hsiedge.scenes.scene import Scene

STORED = Path(__file__).parents[1] / "benchmark" / "data"


@pytest.fixture
def model(make_model: Callable[..., tuple[Path, np.ndarray]], make_card: Callable[..., Card], tiny_scene: Scene) -> Model:
    return load(make_model(make_card(tiny_scene, 7), 7)[0])


def surrounded(rows: np.ndarray, radius: int) -> np.ndarray:
    return np.pad(rows, ((radius, radius), (radius, radius), (0, 0)), mode="reflect")


@pytest.mark.parametrize("rows", [1, 2, 5, 40])
@pytest.mark.parametrize("width", [7, 8, 30])
def test_strips_are_the_scene_and_what_is_reflected(model: Model, tiny_scene: Scene, rows: int, width: int) -> None:
    cube = tiny_scene.cube[:, :width]
    whole, held, done = surrounded(cube, 3), RowBuffer(model, width), 0
    for first in range(0, 40, rows):
        held.push(cube[first : first + rows])
        due, came = len(held), min(first + rows, 40)
        assert done + due == max(0, came - 3)
        if due:
            np.testing.assert_array_equal(held.strip(due), whole[done : done + due + 6])
            done += due
    held.end()
    assert len(held) == 3
    np.testing.assert_array_equal(held.strip(1), whole[37:44])  # in pieces, as a caller likes
    np.testing.assert_array_equal(held.strip(2), whole[38:])


@pytest.mark.parametrize("above", [0, 1, 2])
def test_within_a_scene_no_more_is_reflected_than_is_said(model: Model, tiny_scene: Scene, above: int) -> None:
    held = RowBuffer(model, 30, above)
    held.push(tiny_scene.cube[:10])
    assert len(held) == 10 + above - 6
    whole = surrounded(tiny_scene.cube, 3)
    np.testing.assert_array_equal(held.strip(len(held)), whole[3 - above : 13])


@pytest.mark.parametrize("width", range(1, 7))
def test_rows_no_wider_than_the_radius_are_reflected_to_and_fro(model: Model, tiny_scene: Scene, width: int) -> None:
    """Of a camera they are none; but a graph's speed is asked for at any width."""
    rows, held = tiny_scene.cube[:20, :width], RowBuffer(model, width, 0)
    held.push(rows[:0])
    held.push(rows)
    np.testing.assert_array_equal(held.strip(14), np.pad(rows, ((0, 0), (3, 3), (0, 0)), mode="reflect"))


def test_a_spectrum_alone_has_no_surroundings(
    make_model: Callable[..., tuple[Path, np.ndarray]], make_card: Callable[..., Card], tiny_scene: Scene
) -> None:
    held = RowBuffer(load(make_model(make_card(tiny_scene, 1), 1)[0]), 30)
    held.push(tiny_scene.cube[:3])
    held.end()
    np.testing.assert_array_equal(held.strip(3), tiny_scene.cube[:3])
    assert len(held) == 0


def test_the_stored_rows_are_the_models_own(tiny_scene: Scene) -> None:
    """Integers are made in place; what the sensor's buffer holds next has no say."""
    model = load(STORED / "int8.onnx")
    buffer, held = tiny_scene.cube.copy(), RowBuffer(model, 30)
    held.push(buffer)
    buffer[:] = 0
    strip = held.strip(30)
    assert strip.dtype == model.prepared_dtype == np.uint8
    np.testing.assert_array_equal(strip, surrounded(model.prepare(tiny_scene.cube), 1)[:32])


def test_memory_is_that_of_a_push_and_of_a_patch(model: Model, tiny_scene: Scene) -> None:
    for rows in (1, 4, 20):
        held = RowBuffer(model, 30)
        for _ in range(50):
            held.push(tiny_scene.cube[:rows])
            held.strip(len(held))
            assert len(held._rows) <= 6 + max(rows, 6) + 3
