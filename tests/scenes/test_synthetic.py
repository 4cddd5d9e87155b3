from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from hsiedge.card import Card
from hsiedge.runtimes import require_card
from hsiedge.scenes.synthetic import draw_rows

DATA = Path(__file__).parents[1] / "benchmark" / "data"


@pytest.fixture(scope="module")
def card() -> Card:
    return require_card(DATA / "float.onnx")


def test_rows_lie_within_the_percentiles_of_each_band(card: Card) -> None:
    rows = draw_rows(card.scene, (3, 400), np.random.default_rng(1))
    assert rows.dtype == np.uint16
    low, high = (np.array(card.scene.percentiles[key]) for key in ("1", "99"))
    assert (rows >= low).all()
    assert (rows <= high).all()
    spread = np.ptp(rows.reshape(-1, 5), axis=0)
    assert (spread > 0.9 * (high - low)).all()
    np.testing.assert_array_equal(rows, draw_rows(card.scene, (3, 400), np.random.default_rng(1)))
    assert (rows != draw_rows(card.scene, (3, 400), np.random.default_rng(2))).any()


def test_rows_without_percentiles_are_counts_of_the_dtype(card: Card) -> None:
    bare = dataclasses.replace(card.scene, percentiles={}, dtype="float32")
    rows = draw_rows(bare, (3, 50), np.random.default_rng(1))
    assert rows.dtype == np.float32
    assert 0 <= rows.min() < 0.1 < 0.9 < rows.max() <= 1
