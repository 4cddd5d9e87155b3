"""A small scene of random spectra, which the nets of strangers are tried on."""

from __future__ import annotations

import numpy as np
import pytest

from hsiedge.scenes.open import open_scene
from hsiedge.scenes.scene import Scene

BANDS, CLASSES = 12, 4


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    folder, rng = tmp_path_factory.mktemp("scene"), np.random.default_rng(0)
    np.save(folder / "cube.npy", rng.normal(size=(24, 22, BANDS)).astype(np.float32))
    np.save(folder / "labels.npy", (np.arange(24 * 22).reshape(24, 22) % (CLASSES + 1)).astype(np.uint8))
    return open_scene(folder / "cube.npy", labels=folder / "labels.npy")
