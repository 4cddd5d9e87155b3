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
from hsiedge.graphs.passes import apply, read
from hsiedge.graphs.passes.conv3d_to_conv2d import raised
from hsiedge.graphs.passes.extract_input_affine import affine_nodes, affine_values
from hsiedge.graphs.passes.float_logits import FloatLogits
from hsiedge.graphs.quantization.judge import Judgement, judge, judged_weights, run_artifact
from hsiedge.graphs.quantization.recipes import RECIPES
from hsiedge.graphs.quantization.session import (
    CalibratedModel,
    FloatModel,
    QdqModel,
    calibrate,
    deploy,
    open_float,
    quantize_layers,
)
from hsiedge.progress import Progress, silent
from hsiedge.runtimes.input_affine import InputAffine
from hsiedge.scenes.patches import batches
from hsiedge.scenes.preprocess import BandAffine
from hsiedge.scenes.scene import Scene
from hsiedge.scenes.splits import Split
from hsiedge.training.checkpoint import Checkpoint
from hsiedge.training.classifier import Classifier
from hsiedge.training.conditioning import conditioned
from hsiedge.training.dataset import TrainingSet
from hsiedge.training.finetune import derived, finetune, finetuned, training_set_for
from hsiedge.training.fit import FitSettings
from hsiedge.training.run import current
from hsiedge.training.train import both_weights, versions

BITS = (8, 6, 4, 3, 2)
SETTINGS = FitSettings(epochs=20, rate=5e-4)
"""A quarter of the peak rate of training: BatchNorm is folded, and nothing catches a net that is thrown off."""
CHECKED = 2000
MIN_AGREEMENT = 99.9  # percent, of the labels of the simulated net and of onnxruntime
_TRAINING = 0.45  # of the whole time; the control takes as much


@dataclass(frozen=True)
class Qat:
    """Result of quantization-aware training, and its control.

    Attributes:
        checkpoint: float weights that lie on the grid of the integers; activations are float in it.
        model: the ONNX, its Card inside: 8-bit integers that take 2 ** bits - 1 values.
        card: of the model.
        judged, control_judged: both on validation pixels, beside the float net that training started from.
        control: the ONNX of the control: as many steps of the same kind in float, then quantized to the same bits.
        before: of a refitted checkpoint, the ONNX of its weights from before, which is what was judged; else None.
    """

    checkpoint: Checkpoint
    model: bytes
    card: Card
    judged: Judgement
    control: bytes
    control_judged: Judgement
    before: bytes | None = None


def qat(
    checkpoint: Checkpoint,
    scene: Scene,
    split: Split,
    bits: int = 8,
    settings: FitSettings | None = None,
    parent: str | None = None,
    progress: Progress = silent,
    *,
    control: Checkpoint | None = None,
) -> Qat:
    """Trains on in the arithmetic of the quantized graph.

    Ranges of activations come from training pixels, as in post-training quantization, and stay; weights, biases and the
    weights' steps learn. At 8 bits the graph is what runs; at fewer the weights take fewer values but keep their bytes, so
    that accuracy is real and size is not: such a model is called simulated wherever it is shown.

    Arguments and errors are those of `hsiedge.Checkpoint.qat`; `parent` is the sha256 of the checkpoint's file. `control`: the
    checkpoint after as many more steps in float, where it was never refitted (`finetuned` with the same settings); left out,
    it is trained here.
    """
    if bits not in BITS:
        raise OptionError(f"{bits} bits: choose among {', '.join(map(str, BITS))}")
    settings = settings or SETTINGS
    if checkpoint.before is None:
        return _trained(checkpoint, scene, split, bits, settings, parent, progress, control=control)
    earlier, own = checkpoint.views()
    before = _trained(earlier, scene, split, bits, settings, parent, lambda share: progress(share / 2))
    judgements = (before.judged, before.control_judged)
    after = _trained(own, scene, split, bits, settings, parent, lambda share: progress((1 + share) / 2), judgements)
    return replace(after, checkpoint=both_weights(before.checkpoint, after.checkpoint), before=before.model)


def _trained(
    checkpoint: Checkpoint,
    scene: Scene,
    split: Split,
    bits: int,
    settings: FitSettings,
    parent: str | None,
    progress: Progress,
    judgements: tuple[Judgement, Judgement] | None = None,
    control: Checkpoint | None = None,
) -> Qat:
    """Trains one net; `judgements` are those of the weights from before, where its own cannot be judged any more."""
    training_set = training_set_for(checkpoint, scene, split)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start = _calibrated(checkpoint, scene, split, folder)
        training_set = _behind_affine(training_set, start)
        qdq = _float_logits(quantize_layers(start))
        net = QdqNet(qdq.graph, start.graph, bits)
        with conditioned(net, training_set.axes):
            finetune(net, training_set, checkpoint.card.patch, settings, lambda share: progress(_TRAINING * share), title="qat")
        artifact, check = _verified(net, qdq, training_set)
        floats = control or finetuned(checkpoint, scene, split, settings, lambda share: progress(_TRAINING * (1 + share)))
        after = _calibrated(floats, scene, split, folder)
        untrained = deploy(_untrained(after, bits))
        judged, beside = judgements or (judge(start.source, artifact), judge(after.source, untrained))
        beside = replace(beside, oa_float=judged.oa_float)
        options = {"bits": bits, "control_oa": beside.oa, **vars(settings), **current().facts}
        step = Step("qat", now(), options, parent, versions())
        card = _card(start.source, judged, artifact, [*checkpoint.card.lineage, step], bits, [check])
        beside_card = _card(after.source, beside, untrained, floats.card.lineage, bits, [])
        on_grid = Checkpoint(Classifier(_on_grid(net, checkpoint), training_set.affine), checkpoint.card)
        return Qat(
            checkpoint=derived(on_grid, on_grid.classifier.net, scene, split, "qat", options, parent),
            model=_bytes(folder, artifact, card),
            card=card,
            judged=judged,
            control=_bytes(folder, untrained, beside_card),
            control_judged=beside,
        )


def _calibrated(checkpoint: Checkpoint, scene: Scene, split: Split, folder: Path) -> CalibratedModel:
    """The checkpoint as an ONNX graph with known ranges."""
    path = folder / "float.onnx"
    export(checkpoint, scene, path)
    masks = split if split.kind == "masks" else None
    return calibrate(open_float(path, scene, seed=split.seed, masks=masks), RECIPES["default"])


def _behind_affine(training_set: TrainingSet, model: CalibratedModel) -> TrainingSet:
    """Training set standardized as the calibrated graph does it, which 16-bit integers compute.

    Its first layer has undone the difference, W to W D; so do the axes, A to A D, that W = V A is trained behind.
    """
    nodes = affine_nodes(read(model.graph).graph)
    if nodes is None:
        return training_set
    offset, scale = (np.array(values, np.float32) for values in affine_values(nodes))
    old = training_set.affine.scale
    ratio = np.divide(old, scale, out=np.ones_like(old), where=scale != 0)
    return replace(training_set, affine=BandAffine(offset, scale), axes=training_set.axes * torch.from_numpy(ratio))


def _float_logits(qdq: QdqModel) -> QdqModel:
    """The graph as it is trained: its logits are not rounded, as they are not when it is deployed."""
    return replace(qdq, graph=apply(qdq.graph, FloatLogits()))


def _untrained(model: CalibratedModel, bits: int) -> QdqModel:
    """Post-training quantization to `bits` bits."""
    qdq = _float_logits(quantize_layers(model))
    return replace(qdq, graph=QdqNet(qdq.graph, model.graph, bits).write())


def _verified(net: QdqNet, qdq: QdqModel, training_set: TrainingSet) -> tuple[Artifact, Check]:
    """Artifact to deploy of a trained graph, once onnxruntime gives the labels that were simulated.

    A label may differ only where the two best logits lie within one step of one of the last layer's inputs: there the
    rounding of a sum decides.
    """
    artifact, source = deploy(replace(qdq, graph=net.write())), qdq.calibrated.source
    pixels = check_pixels(training_set.scene, source.card, CHECKED)
    theirs = run_artifact(artifact, source, pixels)
    ours = _simulated(net, artifact, training_set, source.card.patch, pixels, torch.float32)
    doubtful = np.flatnonzero(ours.argmax(1) != theirs.argmax(1))  # by the rounding of float32 sums, perhaps
    if len(doubtful):
        ours[doubtful] = _simulated(net, artifact, training_set, source.card.patch, pixels[doubtful], torch.float64)
    places = np.flatnonzero(ours.argmax(1) != theirs.argmax(1))
    gaps = ours[places].max(1) - ours[places, theirs[places].argmax(1)]
    ties = gaps <= net.output_step
    agreement = 100 * (1 - len(places) / len(pixels))
    if agreement < MIN_AGREEMENT or not ties.all():
        raise CheckError(
            f"onnxruntime does not do what was simulated: {len(places)} of {len(pixels)} labels differ, "
            f"{int((~ties).sum())} of them by more than one step of the output"
        )
    return artifact, Check("qat", "the simulated net", len(pixels), {"labels_differ": len(places), "ties": int(ties.sum())})


def _simulated(
    net: nn.Module, artifact: Artifact, training_set: TrainingSet, patch: int, pixels: NDArray[np.intp], dtype: torch.dtype
) -> NDArray[np.float32]:
    """The net's logits at flat `pixels`, computed in `dtype`."""
    pieces = []
    for _, counts in batches(training_set.scene.cube, pixels, patch):
        spectra = torch.from_numpy(_deployed_input(artifact, training_set, counts)).to(dtype)
        with torch.no_grad():
            pieces.append(net(spectra).to(torch.float32).numpy())
    return np.concatenate(pieces)


def _deployed_input(artifact: Artifact, training_set: TrainingSet, counts: NDArray[Any]) -> NDArray[np.float32]:
    """Input of the graph for counts `(n, bands, p, p)`: where it takes integers, those that the runtime adapter makes."""
    if artifact.affine is None:
        return training_set.affine(counts.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    steps = InputAffine(artifact.affine)(counts).astype(np.float32) - np.float32(artifact.affine.zero_point)
    return steps * np.float32(artifact.affine.step)


def _card(
    source: FloatModel, judged: Judgement, artifact: Artifact, lineage: list[Step], bits: int, checks: list[Check]
) -> Card:
    plan: dict[str, Any] = {**vars(RECIPES["default"]), "weight_bits": bits, "simulated": bits < 8}
    calibration = {"patches": len(source.pixels.calibration), "pixels": source.pixels.source}
    quantization = Quantization(
        recipe="qat",
        options=plan,
        calibration={**calibration, **judged_weights(source, judged)},
        float_layers=[],
        pixels=judged.pixels,
        agreement=judged.agreement,
        oa_float=judged.oa_float,
        oa_int8=judged.oa,
    )
    card = replace(source.card, created=now(), lineage=lineage, checks=checks, accuracy=[], quantization=quantization)
    return artifact.card(card)


def _bytes(folder: Path, artifact: Artifact, card: Card) -> bytes:
    path = folder / "quantized.onnx"
    artifact.write(path, card)
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
