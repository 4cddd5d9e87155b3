"""Quantization, step by step: FloatModel -> CalibratedModel -> QdqModel -> Artifact, all frozen, each made by one function.

    source = open_float(path, scene)        # the graph after the float passes, and the pixels that calibrate and judge
    calibrated = calibrate(source, recipe)  # the range of each value, and an input step that 16-bit integers compute
    qdq = quantize_layers(calibrated)       # QuantizeLinear and DequantizeLinear around layers
    artifact = deploy(qdq)                  # the graph after the integer passes, which takes integers where it can

`quantize` and `qat` go through the same four; `qat` trains between the last two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from onnx_ir.passes import PassBase

from hsiedge.card import Card
from hsiedge.errors import ModelError
from hsiedge.graphs.artifact import Artifact
from hsiedge.graphs.edit import LAYERS
from hsiedge.graphs.onnx_io import name_nodes, read_onnx
from hsiedge.graphs.passes import FLOAT, INTEGER, apply, read, run, write
from hsiedge.graphs.passes.extract_input_affine import input_affine
from hsiedge.graphs.passes.fixed_point_input import FixedPointInput, Ranges, adjusted_ranges
from hsiedge.graphs.passes.minify import Minify
from hsiedge.graphs.passes.standardize_input import StandardizeInput
from hsiedge.graphs.quantization.calibration import (
    CALIBRATION_PATCHES,
    OPERATORS,
    Pixels,
    choose_pixels,
    inferred,
    measured_ranges,
    tensors_data,
    tools,
)
from hsiedge.graphs.quantization.recipes import Recipe
from hsiedge.graphs.scene_graph.blocks import roll, without_blocks
from hsiedge.progress import Progress, silent
from hsiedge.quiet import quiet
from hsiedge.runtimes import load
from hsiedge.scenes.patches import check_patch, spectra_at
from hsiedge.scenes.scene import Scene
from hsiedge.scenes.splits import Split

if TYPE_CHECKING:
    from onnx import ModelProto


@dataclass(frozen=True)
class FloatModel:
    """A float model that can be calibrated.

    Attributes:
        path: of the file.
        graph: as the float passes leave it.
        card: of the file.
        pixels: those of the scene that calibrate, and those that judge.
        logits: the model's own `(n, classes)`, on the judging pixels.
        block: pixels that the end of a hybrid scene graph runs on at a time; `graph` runs on all at once. None for any other.
    """

    path: Path
    graph: ModelProto
    card: Card
    scene: Scene
    pixels: Pixels
    logits: NDArray[np.float32]
    block: int | None = None

    @property
    def calibration_spectra(self) -> NDArray[np.generic]:
        """Spectra `(n, bands)` of the pixels that calibrate, in the stored dtype."""
        return spectra_at(self.scene, self.pixels.calibration)


@dataclass(frozen=True)
class CalibratedModel:
    """A float model whose values have known ranges.

    Attributes:
        graph: its per-band affine is one that 16-bit integers compute, where graph and counts are fit for that.
        ranges: lowest and highest number of each value, by name.
        block: that of the source.
    """

    source: FloatModel
    graph: ModelProto
    ranges: Ranges
    recipe: Recipe
    block: int | None = None

    @property
    def layers(self) -> list[str]:
        """Names of the nodes that carry weights, in order."""
        return [node.name for node in self.graph.graph.node if node.op_type in LAYERS]


@dataclass(frozen=True)
class QdqModel:
    """A calibrated model with QuantizeLinear and DequantizeLinear around some layers; it takes counts still.

    Attributes:
        layers: names of those that are integer; the others are float.
    """

    calibrated: CalibratedModel
    graph: ModelProto
    layers: tuple[str, ...]


def open_float(
    path: Path, scene: Scene, *, count: int = CALIBRATION_PATCHES, seed: int = 0, masks: Split | None = None
) -> FloatModel:
    """A float patch or scene model, with the pixels that calibrate (at most `count`) and judge it.

    Raises:
        ModelError: a model that is quantized already, or does not fit the scene.
        CardError: a model without a Card.
        SplitError: the scene's labels are not those of the model's split.
        SceneError: the scene is too small.
    """
    model = load(path)
    card = model.known
    if card.quantization is not None:
        raise ModelError(f"{path}: is quantized already; give the float model that it was made from")
    flat, block = without_blocks(read_onnx(path))
    if any(node.op_type == "QuantizeLinear" for node in flat.graph.node):
        raise ModelError(f"{path}: is quantized already, by somebody else; give the float model that it was made from")
    if card.kind == "checkpoint" or card.input_affine is not None:
        raise ModelError(f"{path}: quantize takes a float graph, as hsiedge export writes it")
    model.check_fits(scene)
    check_patch(card.patch, scene.shape)
    pixels = choose_pixels(scene, card, count, seed, masks)
    graph = apply(name_nodes(flat), StandardizeInput(spectra_at(scene, pixels.calibration)), *FLOAT)
    return FloatModel(path, graph, card, scene, pixels, model.logits_at(scene, pixels.judging), block)


def calibrate(source: FloatModel, recipe: Recipe, *, all_values: bool = False, progress: Progress = silent) -> CalibratedModel:
    """Measures the range of each value, and lets the affine make whole steps of the range that it was found to need.

    Args:
        all_values: of what any operator gives, and not only of those that onnxruntime quantizes.
    """
    ranges = measured_ranges(
        source.graph, source.card, recipe, source.scene, source.pixels.calibration, progress, everything=all_values
    )
    if recipe.symmetric_activations:
        return CalibratedModel(source, source.graph, ranges, recipe, source.block)
    model = read(source.graph)
    modified = run(model, [FixedPointInput(ranges, source.calibration_spectra)])
    graph = write(model) if modified else source.graph
    return CalibratedModel(source, graph, adjusted_ranges(model, ranges), recipe, source.block)


def quantize_layers(calibrated: CalibratedModel, layers: Sequence[str] | None = None) -> QdqModel:
    """Puts QuantizeLinear and DequantizeLinear around layers, and what stands between them.

    Args:
        layers: names of those that become integer; left out, all.
    """
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    types, recipe = tools().QuantType, calibrated.recipe
    integer = tuple(calibrated.layers if layers is None else layers)
    quantizer = QDQQuantizer(
        inferred(calibrated.graph),
        recipe.per_channel,
        recipe.seven_bit_weights,
        types.QInt8,
        types.QUInt8 if recipe.activations == "uint8" else types.QInt8,
        tensors_data(calibrated.ranges),
        [],
        [name for name in calibrated.layers if name not in integer],
        OPERATORS,
        {
            "ActivationSymmetric": recipe.symmetric_activations,
            "WeightSymmetric": True,
            "QuantizeBias": recipe.integer_bias,
        },
    )
    with quiet():
        quantizer.quantize_model()
        quantizer.model.clean_initializers()
        quantizer.model.topological_sort()
    return QdqModel(calibrated, quantizer.model.model, integer)


def deploy(qdq: QdqModel) -> Artifact:
    """The graph as it runs: float logits, integers wherever values are only moved or averaged last, integer input."""
    return finished(qdq.graph, INTEGER, qdq.calibrated.block)


def finished(graph: ModelProto, passes: Sequence[PassBase], block: int | None) -> Artifact:
    """The graph after the last passes; the end of a hybrid one in blocks again, which `Minify` leaves as they are."""
    model = read(graph)
    run(model, passes if block is None else [step for step in passes if not isinstance(step, Minify)])
    affine = input_affine(model)
    if block is not None:
        roll(model, block)
    return Artifact(write(model), affine)
