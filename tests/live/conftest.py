"""A small model and the labels that a run must give; a registry of sources without those of other tests."""

from __future__ import annotations

import numpy as np
import pytest

from hsiedge.live.source import SOURCES
from hsiedge.mapping import classify
from hsiedge.runtimes import Model, load
from hsiedge.scenes.scene import Scene
from tests.mapping.cubes import STORED


@pytest.fixture(autouse=True)
def _no_sources_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SOURCES, "_files", {})
    monkeypatch.setattr(SOURCES, "_loaded", {})


@pytest.fixture(scope="module")
def model() -> Model:
    return load(STORED / "float.onnx", 1)


@pytest.fixture
def expected(model: Model, tiny_scene: Scene) -> np.ndarray:
    return classify(model, tiny_scene.cube)
