"""Quantization-aware training, beside its control: as many steps in float, quantized afterwards."""

from __future__ import annotations

import copy
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hsiedge.card import Card, Check, Quantization, Step, now
from hsiedge.compression.qdq import QdqNet
from hsiedge.errors import CheckError, OptionError
from hsiedge.graphs.artifact import Artifact
from hsiedge.graphs.export.checkpoint import check_pixels, export
from hsiedge.graphs.passes import apply
from hsiedge.graphs.passes.conv3d_to_conv2d import raised
from hsiedge.graphs.passes.float_logits import FloatLogits
from hsiedge.graphs.quantization.calibration import CALIBRATION_PATCHES, calibrate
from hsiedge.graphs.quantization.quantize import (
    FloatModel,
    Judgement,
    finished,
    give_ranges,
    judge,
    layers,
    open_float,
    qdq_graph,
    run_artifact,
)
from hsiedge.graphs.quantization.recipes import RECIPES
from hsiedge.progress import Progress, silent
from hsiedge.runtimes.input_affine import InputAffine
from hsiedge.scenes.patches import batches
from hsiedge.scenes.scene import Scene
from hsiedge.scenes.splits import Split
from hsiedge.training.checkpoint import Checkpoint
from hsiedge.training.conditioning import conditioned
from hsiedge.training.dataset import TrainingSet
from hsiedge.training.finetune import derived, finetune, finetuned, training_set_for
from hsiedge.training.fit import FitSettings
from hsiedge.training.train import versions

BITS = (8, 6, 4, 3, 2)
SETTINGS = FitSettings(epochs=20, rate=5e-4)
"""A quarter of the peak rate of training: BatchNorm is folded, and nothing catches a net that is thrown off."""
CHECKED = 2000
MIN_AGREEMENT = 99.9  # percent, of the labels of the simulated net and of onnxruntime
_TRAINING = 0.45  # of the whole time; the control takes as much


@dataclass(frozen=True)
class Qat:
    """What quantization-aware training made, and its control.

    Attributes:
        checkpoint: float weights that lie on the grid of the integers; activations are float in it.
        model: the ONNX, its Card inside: 8-bit integers that take 2 ** bits - 1 values.
        card: of the model.
        judged, control_judged: both on validation pixels, beside the float net that training started from.
        control: the ONNX of the control: as many steps of the same kind in float, then quantized to the same bits.
    """

    checkpoint: Checkpoint
    model: bytes
    card: Card
    judged: Judgement
    control: bytes
    control_judged: Judgement


def qat(
    checkpoint: Checkpoint,
    scene: Scene,
    split: Split,
    bits: int = 8,
    settings: FitSettings | None = None,
    parent: str | None = None,
    progress: Progress = silent,
) -> Qat:
    """Trains on in the arithmetic of the quantized graph.

    Ranges of activations come from training pixels, as in post-training quantization, and stay; weights, biases and the
    weights' steps learn. At 8 bits the graph is what runs; at fewer the weights take fewer values but keep their bytes, so
    that accuracy is real and size is not: such a model is called simulated wherever it is shown.

    Args:
        bits: of the weights, one of BITS. Activations keep 8.
        parent: sha256 of the checkpoint's file.

    Raises:
        OptionError: other bits.
        ModelError: a scene or split that is not the checkpoint's, or a graph with an operator that is not known.
        CheckError: onnxruntime gives other labels than were simulated.
    """
    if bits not in BITS:
        raise OptionError(f"{bits} bits: choose among {', '.join(map(str, BITS))}")
    settings = settings or SETTINGS
    lesson = training_set_for(checkpoint, scene, split)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start = _float_model(checkpoint, scene, split, folder)
        start.ranges = calibrate(start.graph, start.card, RECIPES["default"], scene, start.pixels.calibration)
        net = _quantized_net(start, bits)
        with conditioned(net, lesson.axes):
            finetune(net, lesson, checkpoint.card.patch, settings, lambda share: progress(_TRAINING * share))
        candidate, check = _verified(net, start, lesson)
        floats = finetuned(checkpoint, scene, split, settings, lambda share: progress(_TRAINING * (1 + share)))
        after = _float_model(floats, scene, split, folder)
        give_ranges(after, RECIPES["default"])
        control = finished(_quantized_net(after, bits).write())
        judged = judge(start, candidate)
        beside = replace(judge(after, control), oa_float=judged.oa_float)
        said = {"bits": bits, "control_oa": beside.oa, **vars(settings)}
        step = Step("qat", now(), said, parent, versions())
        card = _card(start, judged, candidate, [*checkpoint.card.lineage, step], bits, [check])
        beside_card = _card(after, beside, control, floats.card.lineage, bits, [])
        return Qat(
            checkpoint=derived(checkpoint, _on_grid(net, checkpoint), scene, split, "qat", said, parent),
            model=_bytes(folder, candidate, card),
            card=card,
            judged=judged,
            control=_bytes(folder, control, beside_card),
            control_judged=beside,
        )


def _float_model(checkpoint: Checkpoint, scene: Scene, split: Split, folder: Path) -> FloatModel:
    """The checkpoint as an ONNX graph."""
    path = folder / "float.onnx"
    export(checkpoint, scene, path)
    masks = split if split.kind == "masks" else None
    return open_float(path, scene, CALIBRATION_PATCHES, split.seed, masks)


def _quantized_net(source: FloatModel, bits: int) -> QdqNet:
    """Untrained, this is post-training quantization."""
    graph = apply(qdq_graph(source, RECIPES["default"], layers(source.graph)), FloatLogits())
    return QdqNet(graph, source.graph, bits)


def _verified(net: QdqNet, source: FloatModel, lesson: TrainingSet) -> tuple[Artifact, Check]:
    """What is deployed, once onnxruntime gives the labels that were simulated.

    A label may differ only where the two best logits lie within one step of one of the last layer's inputs: there the
    rounding of a sum decides.
    """
    candidate = finished(net.write())
    pixels = check_pixels(lesson.scene, source.card, CHECKED)
    theirs = run_artifact(candidate, source, pixels)
    ours = _simulated(net, candidate, lesson, source.card.patch, pixels, torch.float32)
    doubtful = np.flatnonzero(ours.argmax(1) != theirs.argmax(1))  # by the rounding of float32 sums, perhaps
    if len(doubtful):
        ours[doubtful] = _simulated(net, candidate, lesson, source.card.patch, pixels[doubtful], torch.float64)
    places = np.flatnonzero(ours.argmax(1) != theirs.argmax(1))
    gaps = ours[places].max(1) - ours[places, theirs[places].argmax(1)]
    ties = gaps <= net.output_step
    agreement = 100 * (1 - len(places) / len(pixels))
    if agreement < MIN_AGREEMENT or not ties.all():
        raise CheckError(
            f"onnxruntime does not do what was simulated: {len(places)} of {len(pixels)} labels differ, "
            f"{int((~ties).sum())} of them by more than one step of the output"
        )
    return candidate, Check("qat", "the simulated net", len(pixels), {"labels_differ": len(places), "ties": int(ties.sum())})


def _simulated(
    net: nn.Module, candidate: Artifact, lesson: TrainingSet, patch: int, pixels: NDArray[np.intp], dtype: torch.dtype
) -> NDArray[np.float32]:
    """The net's logits at flat `pixels`, computed in `dtype`."""
    pieces = []
    for _, counts in batches(lesson.scene.cube, pixels, patch):
        spectra = torch.from_numpy(_deployed_input(candidate, lesson, counts)).to(dtype)
        with torch.no_grad():
            pieces.append(net(spectra).to(torch.float32).numpy())
    return np.concatenate(pieces)


def _deployed_input(candidate: Artifact, lesson: TrainingSet, counts: NDArray[Any]) -> NDArray[np.float32]:
    """What the graph sees of counts `(n, bands, p, p)`: where it takes integers, those that the runtime adapter makes."""
    if candidate.affine is None:
        return lesson.affine(counts.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    steps = InputAffine(candidate.affine)(counts).astype(np.float32) - np.float32(candidate.affine.zero_point)
    return steps * np.float32(candidate.affine.step)


def _card(
    source: FloatModel, judged: Judgement, candidate: Artifact, lineage: list[Step], bits: int, checks: list[Check]
) -> Card:
    plan: dict[str, Any] = {**vars(RECIPES["default"]), "weight_bits": bits, "simulated": bits < 8}
    quantization = Quantization(
        recipe="qat",
        options=plan,
        calibration={"patches": len(source.pixels.calibration), "pixels": source.pixels.source},
        float_layers=[],
        pixels=len(source.pixels.judging),
        agreement=judged.agreement,
        oa_float=judged.oa_float,
        oa_int8=judged.oa,
    )
    card = replace(source.card, created=now(), lineage=lineage, checks=checks, accuracy=[], quantization=quantization)
    return candidate.card(card)


def _bytes(folder: Path, candidate: Artifact, card: Card) -> bytes:
    path = folder / "quantized.onnx"
    candidate.write(path, card)
    return path.read_bytes()


def _on_grid(trained: QdqNet, checkpoint: Checkpoint) -> Any:
    """The checkpoint's net with the weights of the trained graph; its BatchNorms, folded in the graph, do nothing but add."""
    net = copy.deepcopy(checkpoint.classifier.net)
    modules, norms = dict(net.named_modules()), _norms(net, checkpoint.card)
    for name, weight, bias in trained.weights():
        layer = modules[name]
        norm = norms.get(name)
        with torch.no_grad():
            layer.weight.copy_(
                torch.from_numpy(raised(weight.numpy(), layer.weight.shape)) if layer.weight.ndim in (3, 5) else weight
            )
            if norm is not None:
                norm.reset_parameters()
                norm.running_var.fill_(1 - norm.eps)
                norm.bias.copy_(bias)
                if layer.bias is not None:
                    layer.bias.zero_()
            elif layer.bias is not None:
                layer.bias.copy_(bias)
    return net


def _norms(net: nn.Module, card: Card) -> dict[str, Any]:
    """The BatchNorm that takes what a layer puts out, by the layer's name."""
    outputs: list[tuple[str, Tensor]] = []
    norms: dict[str, Any] = {}

    def watch(name: str, module: nn.Module) -> Any:
        def after(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                norms.update({layer: module for layer, features in outputs if features is inputs[0]})
            elif hasattr(module, "weight"):
                outputs.append((name, output))

        return module.register_forward_hook(after)

    handles = [watch(name, module) for name, module in net.named_modules()]
    with torch.no_grad():
        net.eval()(torch.zeros(1, card.scene.bands, card.patch, card.patch))
    for handle in handles:
        handle.remove()
    return norms
