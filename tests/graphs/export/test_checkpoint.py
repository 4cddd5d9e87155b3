"""Export: every net, the stored dtype, what an older onnxruntime loads; and a graph that is not the net is refused."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="export needs torch")
onnx = pytest.importorskip("onnx", reason="export needs onnx")
pytest.importorskip("tensorly", reason="Indian Pines comes with tensorly")

from hsiedge import files  # noqa: E402
from hsiedge.errors import CheckError, ModelError, SplitError  # noqa: E402
from hsiedge.graphs.export.checkpoint import check_pixels, compare, export, to_onnx  # noqa: E402
from hsiedge.runtimes import load  # noqa: E402
from hsiedge.scenes.patches import extract  # noqa: E402
from hsiedge.scenes.splits import TEST, draw, redraw  # noqa: E402
from hsiedge.training.checkpoint import Checkpoint  # noqa: E402
from hsiedge.training.fit import FitSettings  # noqa: E402
from hsiedge.training.train import train  # noqa: E402
from tests import workstation  # noqa: E402


@pytest.mark.parametrize("net", list(workstation.SMALL))
def test_the_graph_does_what_the_net_does(net: str) -> None:
    path = workstation.float_file(net)
    model, trained = load(path), workstation.checkpoint(net)
    pixels = np.random.default_rng(5).integers(0, 145 * 145, 300)
    patches = extract(workstation.scene().cube, pixels, trained.card.patch)
    ours = model.logits(patches)
    with torch.no_grad():
        theirs = trained.classifier(torch.from_numpy(patches)).numpy()
    assert (ours.argmax(1) == theirs.argmax(1)).all()
    assert np.abs(ours - theirs).max() <= 1e-4 * np.ptp(theirs)
    np.testing.assert_allclose(model.logits(patches[:1]), ours[:1], rtol=1e-4, atol=1e-4)  # the batch is free


@pytest.mark.parametrize("net", list(workstation.SMALL))
def test_one_file_that_onnxruntime_1_18_loads(net: str) -> None:
    model = onnx.load(workstation.float_file(net), load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    assert model.ir_version <= 10
    assert {entry.domain for entry in model.opset_import} == {""}
    assert model.opset_import[0].version <= 21
    assert not any(onnx.external_data_helper.uses_external_data(tensor) for tensor in model.graph.initializer)
    assert model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT16


def test_batchnorm_is_folded_and_layers_are_named_after_modules() -> None:
    graph = onnx.load(workstation.float_file("cnn2d")).graph
    assert not [node for node in graph.node if node.op_type == "BatchNormalization"]
    named = [node.name for node in graph.node if node.op_type in ("Conv", "Gemm")]
    assert named == ["spectral", "spatial.0", "spatial.1", "classifier"]


@pytest.mark.parametrize("dtype", ["int16", "float32", "uint8"])
def test_the_stored_dtype_goes_in(dtype: str, tmp_path: Path) -> None:
    corner = workstation.corner()
    scene = dataclasses.replace(corner, cube=(np.asarray(corner.cube) // 64).astype(dtype))
    trained = train(scene, draw("random", scene, 0), "cnn2d", 3, FitSettings(epochs=1), widths=(8, 8))
    export(trained, scene, tmp_path / "a.onnx")
    assert load(tmp_path / "a.onnx").session.inputs[0].dtype == np.dtype(dtype)


def test_lineage_and_check_are_in_the_card() -> None:
    card = load(workstation.float_file("cnn2d")).known
    assert [step.step for step in card.lineage] == ["train", "export"]
    assert card.lineage[1].parent == files.digest(workstation.checkpoint_file("cnn2d"))
    assert card.checks[0].patches >= 256
    assert card.checks[0].figures["logit_difference"] <= 1e-4


def test_a_graph_that_is_not_the_net_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One weight of the exported graph is changed: a hundredth of it must be enough to be noticed, and nothing written."""
    trained, scene = workstation.checkpoint("cnn2d"), workstation.scene()
    model = to_onnx(trained.classifier, trained.card.scene.bands, trained.card.patch, trained.card.scene.dtype)
    card = dataclasses.replace(trained.card, kind="patch")
    patches = extract(scene.cube, check_pixels(scene, trained.card), trained.card.patch)
    compare(model, card, trained.classifier, patches)
    spoilt = copy.deepcopy(model)
    bias = next(tensor for tensor in spoilt.graph.initializer if tensor.name == "net.classifier.bias")
    values = onnx.numpy_helper.to_array(bias) + np.float32(0.01)
    bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
    with pytest.raises(CheckError, match="is not the net"):
        compare(spoilt, card, trained.classifier, patches)
    monkeypatch.setattr("hsiedge.graphs.export.checkpoint.to_onnx", lambda *_: spoilt)
    with pytest.raises(CheckError):
        export(trained, scene, tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


def test_the_check_looks_at_no_test_pixels() -> None:
    pixels = check_pixels(workstation.scene(), workstation.checkpoint("cnn2d").card)
    assert len(np.unique(pixels)) >= 256
    assert not (workstation.split().parts.ravel()[pixels] == TEST).any()


def test_a_split_of_ones_own_needs_no_file_to_export() -> None:
    """No Card runs a file, so its test pixels are not known here: unlabelled ones are looked at first."""
    card, scene = workstation.checkpoint("cnn2d").card, workstation.scene()
    assert card.split is not None
    mine = dataclasses.replace(card, split=dataclasses.replace(card.split, kind="mine.py:MINE"))
    with pytest.raises(SplitError, match="not known here"):
        redraw(scene, mine.split)  # type: ignore[arg-type]
    assert (scene.labelled().ravel()[check_pixels(scene, mine)] == 0).all()


def test_another_scene_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not the cube"):
        export(workstation.checkpoint("cnn2d"), workstation.corner(), tmp_path / "a.onnx")


def test_exporting_leaves_the_checkpoint_as_it_was() -> None:
    trained = workstation.checkpoint("cnn2d")
    before = {name: tensor.clone() for name, tensor in trained.classifier.state_dict().items()}
    to_onnx(trained.classifier, trained.card.scene.bands, trained.card.patch)
    assert isinstance(trained, Checkpoint)
    assert all(torch.equal(before[name], tensor) for name, tensor in trained.classifier.state_dict().items())
