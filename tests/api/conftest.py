"""Models of the tiny scene, opened through the public API."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import hsiedge as he

MakeModel = Callable[..., tuple[Path, np.ndarray]]


@pytest.fixture
def model(make_model: MakeModel, make_card: Callable[..., he.Card], tiny_scene: he.Scene) -> he.Model:
    """A patch graph for the tiny scene, opened."""
    return he.load(make_model(make_card(tiny_scene, 3))[0])


@pytest.fixture
def split_model(make_model: MakeModel, make_card: Callable[..., he.Card], tiny_scene: he.Scene) -> he.Model:
    """The same graph, its Card telling of a random split with seed 3."""
    card = dataclasses.replace(make_card(tiny_scene, 3), split=tiny_scene.split(seed=3).facts)
    return he.load(make_model(card)[0])
