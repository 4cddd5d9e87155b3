"""Memory of `hsiedge classify` on a board, all in: Python, onnxruntime and every library count."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hsiedge.scenes.scene import Scene
from tests.arm.board import A76, Boards

PAVIA = (610, 340, 103)
LIMIT_MIB = 150


def model_of_pavias_bands(folder: Path) -> Path:
    """An INT8 scene graph of the default net for 103 bands. It has learnt next to nothing: memory is the same."""
    pytest.importorskip("torch", reason="torch makes the net of this test, and is not installed")
    from hsiedge.graphs.export.checkpoint import export
    from hsiedge.graphs.quantization.quantize import quantize
    from hsiedge.graphs.scene_graph.build import scene_graph
    from hsiedge.scenes.splits import draw
    from hsiedge.training.fit import FitSettings
    from hsiedge.training.train import train

    labels = (np.arange(60 * 60).reshape(60, 60) % 9 + 1).astype(np.uint16)
    spectra = np.random.default_rng(0).integers(500, 4000, (10, PAVIA[2]))
    noise = np.random.default_rng(1).integers(0, 100, (60, 60, PAVIA[2]))
    scene = Scene("nine_classes", (spectra[labels] + noise).astype(np.uint16), labels, {i: f"class {i}" for i in range(1, 10)})
    trained = train(scene, draw("random", scene, 0), settings=FitSettings(epochs=1))
    paths = [folder / f"{name}.onnx" for name in ("patch", "scene", "scene-int8")]
    export(trained, scene, paths[0], "0" * 64)
    scene_graph(paths[0], scene, paths[1])
    quantize(paths[1], scene, paths[2], max_drop=100)
    return paths[2]


def test_classify_a_cube_of_pavias_size(arm: Boards, tmp_path: Path) -> None:
    from spectral.io import envi

    (arm.work / "pavia.onnx").write_bytes(model_of_pavias_bands(tmp_path).read_bytes())
    cube = np.random.default_rng(0).integers(500, 4100, PAVIA, np.uint16)
    for name, rows in (("warm", 40), ("pavia", PAVIA[0])):
        envi.save_image(str(arm.work / f"{name}.hdr"), cube[:rows], dtype=np.uint16, interleave="bil", force=True)
    peak = float(arm.python(A76, "memory.py", "pavia.onnx", "warm.hdr", "pavia.hdr").splitlines()[-1])
    labels = np.load(arm.work / "classified.npy")
    print(f"{peak:.1f} MiB at most")
    assert labels.shape == PAVIA[:2]
    assert 40 < peak <= LIMIT_MIB
