"""One dead pixel beside the labelled ones does not spoil the integers of all others."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the nets are trained with torch")

import onnx
import onnxruntime

from hsiedge.graphs.onnx_io import read_onnx
from hsiedge.graphs.passes import apply, read
from hsiedge.graphs.passes.clip_outliers import FAR, ClipOutliers
from hsiedge.graphs.passes.extract_input_affine import affine_nodes, affine_values
from hsiedge.graphs.quantization.quantize import quantize
from hsiedge.scenes.patches import extract
from tests import workstation


def run(model: onnx.ModelProto, patches: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    logits: np.ndarray = session.run(None, {"counts": patches})[0]
    return logits


def test_a_dead_pixel_does_not_widen_the_input(tmp_path: Path) -> None:
    corner = workstation.corner()
    cube = corner.cube.copy()
    cube[24, 24, 3] = 65535
    dead = dataclasses.replace(corner, name="flight", cube=cube, labels=None, classes={})
    whole = dataclasses.replace(corner, name="flight", labels=None, classes={})
    steps, agreements = [], []
    for name, scene in (("dead", dead), ("whole", whole)):
        card = quantize(workstation.float_file("cnn2d"), scene, tmp_path / f"{name}.onnx")
        assert card.input_affine is not None
        assert card.quantization is not None
        assert card.quantization.float_layers == []
        steps.append(card.input_affine.step)
        agreements.append(card.quantization.agreement)
    assert steps[0] < 2 * steps[1]
    assert agreements[0] > agreements[1] - 4


def test_only_what_lies_far_outside_is_changed() -> None:
    scene, graph = workstation.scene(), read_onnx(workstation.float_file("cnn2d"))
    pixels = np.arange(0, 21025, 211)
    spectra = scene.cube.reshape(-1, 200)[pixels]
    clipped = apply(graph, ClipOutliers(spectra))
    patches = extract(scene.cube, pixels, 7)
    np.testing.assert_array_equal(run(clipped, patches), run(graph, patches))
    far, farther = patches.copy(), patches.copy()
    far[:, 3, 0, 0], farther[:, 3, 0, 0] = 40000, 65535
    assert np.abs(run(graph, far) - run(graph, farther)).max() > 0.1
    np.testing.assert_array_equal(run(clipped, far), run(clipped, farther))
    limits = {tensor.name: float(onnx.numpy_helper.to_array(tensor)) for tensor in clipped.graph.initializer if not tensor.dims}
    low, high = (next(value for name, value in limits.items() if name.endswith(end)) for end in ("_low", "_high"))
    offset, scale = affine_values(affine_nodes(read(graph).graph))
    core = np.percentile((spectra - np.array(offset)) * np.array(scale), [0.1, 99.9])
    np.testing.assert_allclose([low, high], FAR * core, rtol=1e-3)


def test_a_graph_that_begins_otherwise_is_left_alone() -> None:
    graph = read_onnx(workstation.integer_file("cnn2d"))
    assert apply(graph, ClipOutliers(workstation.scene().cube[:2, :2].reshape(-1, 200))) is graph
