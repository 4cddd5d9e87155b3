"""Pictures and pages: what is drawn is what was measured."""

from __future__ import annotations

import io

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="maps need matplotlib")
pytest.importorskip("jinja2", reason="the page needs jinja2")

from matplotlib.image import imread

from hsiedge.mapping import palette
from hsiedge.report import maps

CLASSES = {1: "Grass", 10: "Woods & <water>", 14: "Soil"}


def test_each_label_has_its_colour_and_the_unlabelled_none() -> None:
    labels = np.array([[0, 1], [10, 14]], np.uint16)
    painted = palette.paint(labels, CLASSES)
    assert painted.shape == (2, 2, 3)
    assert len({tuple(colour) for colour in painted.reshape(-1, 3)}) == 4
    assert tuple(painted[0, 0]) == (0xE6, 0xE6, 0xE6)
    assert palette.colours(CLASSES)[10] == palette.PALETTE[1]


def test_the_palette_tells_twenty_classes_apart() -> None:
    assert len(set(palette.PALETTE)) == 20
    assert palette.UNLABELLED not in palette.PALETTE


def test_the_picture_holds_both_maps() -> None:
    truth = np.zeros((40, 50), np.uint16)
    truth[:20] = 1
    predicted = np.full((40, 50), 14, np.uint16)
    png = maps.comparison_png(truth, predicted, CLASSES, ("truth", "model"))
    picture = (imread(io.BytesIO(png))[..., :3] * 255).round().astype(int)
    for label in (1, 14):
        colour = tuple(int(palette.colours(CLASSES)[label][place : place + 2], 16) for place in (1, 3, 5))
        where = np.argwhere((picture == colour).all(-1))
        assert len(where) > 1000
        half = picture.shape[1] / 2
        assert (where[:, 1].mean() < half) == (label == 1)
