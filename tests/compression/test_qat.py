"""Quantization-aware training: what was simulated is what runs."""

from __future__ import annotations

import functools

import numpy as np
import pytest

pytest.importorskip("torch", reason="quantization-aware training needs torch")

import onnx
import torch
from onnx import numpy_helper

from hsiedge.compression import qat as module
from hsiedge.compression.qat import Qat, qat
from hsiedge.compression.qdq import GridWeights
from hsiedge.errors import CheckError, OptionError
from hsiedge.graphs.artifact import Artifact
from hsiedge.graphs.quantization.quantize import quantize
from hsiedge.runtimes import load
from hsiedge.runtimes.input_affine import WholeSteps
from hsiedge.runtimes.model import InputAffine
from hsiedge.scenes.patches import extract
from hsiedge.scenes.splits import VALIDATION
from hsiedge.training.finetune import training_set_for
from hsiedge.training.fit import FitSettings
from tests import workstation

BRIEF = FitSettings(epochs=1, rate=5e-4)
NETS = ("cnn1d", "cnn2d", "cnn3d", "hybridsn")


@functools.cache
def trained(net: str, bits: int = 8) -> Qat:
    return qat(workstation.checkpoint(net), workstation.scene(), workstation.split(), bits, BRIEF, "f00")


def integers(model: bytes) -> dict[str, np.ndarray]:
    """The 8-bit weights of a model."""
    graph = onnx.load_from_string(model).graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    return {name: array for name, array in arrays.items() if array.dtype == np.int8 and array.ndim > 1}


@pytest.mark.parametrize("net", NETS)
def test_onnxruntime_gives_the_labels_that_were_simulated(net) -> None:
    check = trained(net).card.checks[-1]
    assert (check.step, check.patches) == ("qat", 2000)
    assert check.figures["labels_differ"] <= 2
    assert check.figures["ties"] == check.figures["labels_differ"]


def test_what_is_simulated_begins_with_the_adapters_integers() -> None:
    affine, scene = trained("cnn2d").card.input_affine, workstation.scene()
    counts = extract(scene.cube, workstation.split().pixels(VALIDATION)[:50], 13)
    dataset = training_set_for(workstation.checkpoint("cnn2d"), scene, workstation.split())
    steps = module._deployed_input(Artifact(None, affine), dataset, counts) / np.float32(affine.step)
    np.testing.assert_array_equal(np.rint(steps), InputAffine(affine)(counts).astype(int) - affine.zero_point)
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-4)


def test_quantize_qat_and_its_control_have_an_input_step_of_16_bit_integers(tmp_path) -> None:
    result, dtype = trained("cnn2d"), workstation.scene().cube.dtype
    for name, model in (("qat", result.model), ("control", result.control)):
        (tmp_path / f"{name}.onnx").write_bytes(model)
    quantize(workstation.float_file("cnn2d"), workstation.scene(), tmp_path / "quantize.onnx", max_drop=100)
    for name in ("quantize", "qat", "control"):
        affine = load(tmp_path / f"{name}.onnx").known.input_affine
        assert affine is not None, name
        assert WholeSteps.of(affine, dtype) is not None, name


def test_the_float_checkpoint_is_standardized_as_the_model_is() -> None:
    affine, classifier = trained("cnn2d").card.input_affine, trained("cnn2d").checkpoint.classifier
    np.testing.assert_array_equal(classifier.offset.ravel().numpy(), np.array(affine.offset, np.float32))
    np.testing.assert_array_equal(classifier.scale.ravel().numpy(), np.array(affine.scale, np.float32))


@pytest.mark.parametrize("net", NETS)
def test_weights_are_integers_and_the_model_opens(net, tmp_path) -> None:
    result, whole = trained(net), workstation.checkpoint(net)
    layers = sum(isinstance(layer, torch.nn.Linear | torch.nn.modules.conv._ConvNd) for layer in whole.classifier.modules())
    assert len(integers(result.model)) == layers
    (tmp_path / "model.onnx").write_bytes(result.model)
    opened = load(tmp_path / "model.onnx")
    assert opened.known.precision == "int8"
    assert (opened.known.input_affine is None) == (opened.known.patch == 1)
    assert [step.step for step in opened.known.lineage][-1:] == ["qat"]
    assert opened.known.lineage[-1].parent == "f00"
    pixels = workstation.split().pixels(VALIDATION)
    hits = opened.predict(workstation.scene(), pixels) == workstation.scene().labels.ravel()[pixels]
    assert 100 * hits.mean() == pytest.approx(result.judged.oa)


@pytest.mark.parametrize(("bits", "values"), [(4, 15), (2, 3)])
def test_few_bits_are_few_values_and_are_called_simulated(bits, values) -> None:
    result = trained("cnn2d", bits)
    for name, array in integers(result.model).items():
        assert np.abs(array).max() <= values // 2, name
    assert any(len(np.unique(array)) == values for array in integers(result.model).values())
    assert result.card.precision == f"int{bits} (simulated)"
    grid = result.checkpoint.classifier.net.spatial[0].weight.detach().numpy()
    assert max(len(np.unique(channel.round(6))) for channel in grid) <= values


def test_the_control_is_post_training_quantization_of_as_many_float_steps(tmp_path) -> None:
    """At 8 bits the untrained graph is, to the bit of its weights, what `hsiedge quantize` makes of the same net."""
    from hsiedge.training.finetune import finetuned

    floats = finetuned(workstation.checkpoint("cnn2d"), workstation.scene(), workstation.split(), BRIEF)
    from hsiedge.graphs.export.checkpoint import export

    export(floats, workstation.scene(), tmp_path / "float.onnx")
    quantize(tmp_path / "float.onnx", workstation.scene(), tmp_path / "int8.onnx", max_drop=100)
    theirs, ours = integers((tmp_path / "int8.onnx").read_bytes()), integers(trained("cnn2d").control)
    assert [array.shape for array in ours.values()] == [array.shape for array in theirs.values()]
    for mine, other in zip(ours.values(), theirs.values()):
        assert (np.abs(mine.astype(int) - other) <= 1).all()
        assert (mine != other).mean() < 0.01  # halves, which may fall either way


def test_training_moved_the_weights() -> None:
    ours, control = (integers(model) for model in (trained("cnn2d").model, trained("cnn2d").control))
    assert any((a != b).mean() > 0.05 for a, b in zip(ours.values(), control.values()))


def test_zeros_stay_zero() -> None:
    weight = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    weight[:, 0] = 0
    grid = GridWeights(weight, 4)
    with torch.no_grad():
        grid.weight += 1
    assert (grid()[:, 0] == 0).all()
    assert (grid()[:, 1:] != 0).any()


def test_steps_have_the_gradient_of_learned_step_size_quantization() -> None:
    weight = torch.tensor([[0.26, -0.9, 0.1]])
    grid = GridWeights(weight, 3)
    grid.base.fill_(0.2)
    grid().sum().backward()
    # inside: round(w / s) - w / s; beyond the ends: +-top; times s, for growth is the logarithm of the step
    expected = 0.2 * ((1 - 1.3) + (-3) + (0 - 0.5))
    torch.testing.assert_close(grid.growth.grad, torch.tensor([expected]))


def test_a_graph_that_does_something_else_is_refused(monkeypatch) -> None:
    right = module._simulated
    monkeypatch.setattr(module, "_simulated", lambda *arguments: right(*arguments)[:, ::-1])
    with pytest.raises(CheckError, match="does not do what was simulated"):
        qat(workstation.checkpoint("cnn1d"), workstation.scene(), workstation.split(), 8, BRIEF)


@pytest.mark.parametrize("bits", [1, 5, 16])
def test_other_bits(bits) -> None:
    with pytest.raises(OptionError, match="choose among 8, 6, 4, 3, 2"):
        qat(workstation.checkpoint("cnn2d"), workstation.scene(), workstation.split(), bits)
