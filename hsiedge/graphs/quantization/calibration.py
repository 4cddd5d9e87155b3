"""Calibration: which pixels of a scene calibrate and which judge, and the ranges of a graph's tensors."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.card import Card
from hsiedge.errors import ModelError, SceneError, needs_extra
from hsiedge.graphs.edit import LAYERS, MOVES
from hsiedge.graphs.passes import apply
from hsiedge.graphs.passes.clip_outliers import ClipOutliers
from hsiedge.graphs.passes.fixed_point_input import Ranges
from hsiedge.graphs.passes.tanh_lut import STEPS
from hsiedge.graphs.quantization.recipes import Recipe
from hsiedge.progress import Progress, silent
from hsiedge.scenes import splits
from hsiedge.scenes.catalog import CATALOG
from hsiedge.scenes.patches import batches, spectra_at, touches_nodata
from hsiedge.scenes.scene import Scene
from hsiedge.scenes.splits import Split

if TYPE_CHECKING:
    from onnx import ModelProto
    from onnxruntime.quantization.calibrate import TensorsData

CALIBRATION_PATCHES = 1000
HELD_OUT = 1000  # of an unlabelled cube: pixels that judge, none of which calibrates
SHARE = 0.6  # of the time of quantizing, or so; the rest is judging
OPERATORS = [*LAYERS, "Relu", "MaxPool", "Reshape", "Flatten", "Unsqueeze", "Squeeze", "Transpose"]
_BATCH = 64


@dataclass(frozen=True)
class Pixels:
    """Pixels of a scene for quantization: flat indices that calibrate, and others that judge.

    `truth` holds the label ids of the judging pixels; None where the cube has no labels of the model's own split.
    """

    calibration: NDArray[np.intp]
    judging: NDArray[np.intp]
    truth: NDArray[np.uint16] | None
    source: str


def choose_pixels(scene: Scene, card: Card, count: int, seed: int, masks: Split | None = None) -> Pixels:
    """The pixels that calibrate and those that judge; never test pixels.

    Raises:
        SplitError: the scene is the model's own, and its labels or masks are not.
        SceneError: an unlabelled cube too small to judge with.
    """
    own = scene.sha256 == card.scene.sha256
    if own and card.split is not None:
        if scene.labels is None:
            raise SceneError(
                f"{scene.name} is the model's own scene: give its labels, lest test pixels calibrate", use={"labels": "FILE"}
            )
        split = splits.redraw(scene, card.split, masks)
        labels = split.labels_on(scene)
        if card.refitted:  # on validation pixels, too: only pixels whose labels it never saw tell what INT8 changes
            free = np.flatnonzero(split.parts == 0)
            judging = free[np.argsort(splits.pixel_hash(seed, 0, free), kind="stable")]
            judging = judging[~touches_nodata(scene, judging, card.patch)][:HELD_OUT]
            if len(judging) == 0:
                raise SceneError(
                    f"{scene.name}: no pixel is outside of the split's parts, and a refitted net needs some to judge"
                )
            calibration = splits.balanced(labels, split.pixels(splits.TRAIN), count, seed)
            return Pixels(calibration, judging, None, "training pixels, balanced over classes")
        judging = split.pixels(splits.VALIDATION)
        calibration = splits.balanced(labels, split.pixels(splits.TRAIN), count, seed)
        return Pixels(calibration, judging, labels.ravel()[judging], "training pixels, balanced over classes")
    if not own and scene.name == card.scene.name and scene.name in CATALOG:
        raise ModelError(
            f"this {scene.name} is not the cube that the model was trained on; retrain: hsiedge train {scene.name}"
        )
    drawn = splits.scattered(scene.shape, count + HELD_OUT, seed)
    drawn = drawn[~touches_nodata(scene, drawn, card.patch)]
    held = min(HELD_OUT, len(drawn) // 2)
    if held == 0:
        raise SceneError(f"{scene.name}: too few pixels to calibrate and judge with")
    return Pixels(drawn[held:][:count], drawn[:held], None, "pixels drawn evenly over the cube, no labels used")


def measured_ranges(
    graph: ModelProto,
    card: Card,
    plan: Recipe,
    scene: Scene,
    pixels: NDArray[np.intp],
    progress: Progress = silent,
    everything: bool = False,
) -> Ranges:
    """The range of each tensor, min and max over all patches but for outliers, streamed: memory is that of one batch.

    Args:
        everything: of what any operator gives, and not only of those that onnxruntime quantizes.
    """
    quantization = tools()

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self._pieces = self._stream()

        def _stream(self) -> Iterator[dict[str, NDArray[Any]]]:
            done = 0
            for piece, patches in batches(scene.cube, pixels, card.patch, _BATCH):
                for tensor in patches[:, None] if card.kind == "scene" else [patches]:  # a scene graph takes one patch
                    yield {graph.graph.input[0].name: tensor}
                done += len(piece)
                progress(SHARE * done / len(pixels))

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            return next(self._pieces, None)

    from onnxruntime.quantization.calibrate import create_calibrator

    with tempfile.TemporaryDirectory() as folder:
        original = Path(folder) / "float.onnx"
        original.write_bytes(inferred(apply(graph, ClipOutliers(spectra_at(scene, pixels)))).SerializeToString())
        # CalibMaxIntermediateOutputs is left alone: onnxruntime drops what it has seen each time the limit is reached.
        # Without it two scalars a tensor and batch are kept, which is nothing.
        calibrator = create_calibrator(
            original,
            None if everything else OPERATORS,
            augmented_model_path=str(Path(folder) / "augmented.onnx"),
            extra_options={"symmetric": plan.symmetric_activations},
        )
        calibrator.collect_data(Reader())
        limits = {name: entry.range_value for name, entry in calibrator.compute_data().data.items()}
    ranges = {name: (float(np.ravel(low)[0]), float(np.ravel(high)[0])) for name, (low, high) in limits.items()}
    return fixed_tanh(graph, ranges) if plan.activations == "uint8" else ranges


def fixed_tanh(graph: ModelProto, ranges: Ranges) -> Ranges:
    """The ranges, but that of which a quantizer makes `STEPS` steps a unit for what Tanh gives, moved or not."""
    values: set[str] = set()
    for node in graph.graph.node:
        if node.op_type == "Tanh" or (node.op_type in MOVES and node.input[0] in values):
            values.add(node.output[0])
    return {**ranges, **dict.fromkeys(values & {*ranges}, (-1.0, (255 - STEPS) / STEPS))}


def tensors_data(ranges: Ranges) -> TensorsData:
    """Ranges as onnxruntime takes them, `TensorsData` of float32 numbers."""
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorData, TensorsData

    entries = {
        name: TensorData(lowest=np.array(low, np.float32), highest=np.array(high, np.float32))
        for name, (low, high) in ranges.items()
    }
    return TensorsData(CalibrationMethod.MinMax, entries)


def inferred(graph: ModelProto) -> ModelProto:
    """A copy that knows the sizes of its values."""
    import onnx

    return onnx.shape_inference.infer_shapes(copy.deepcopy(graph))


def tools() -> ModuleType:
    """The module of quantization that onnxruntime has. Raises MissingExtraError."""
    with needs_extra("quantizing", "quantize"):
        import onnxruntime.quantization as quantization
    module: ModuleType = quantization
    return module
