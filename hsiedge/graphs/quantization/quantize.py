"""Quantization: a float ONNX model and a scene in, a verified INT8 (or float16) model out. Needs onnx, and no torch."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge import files, metrics
from hsiedge.card import Card, Quantization, Step, now
from hsiedge.errors import CheckError, MissingExtraError, ModelError, OptionError
from hsiedge.graphs.artifact import Artifact, OrtArtifact, TfliteArtifact
from hsiedge.graphs.export.ort import in_ort_format
from hsiedge.graphs.onnx_io import name_nodes, read_onnx
from hsiedge.graphs.passes import FLOAT, INTEGER, apply, read, run, write
from hsiedge.graphs.passes.edit import LAYERS
from hsiedge.graphs.passes.extract_input_affine import input_affine
from hsiedge.graphs.passes.fixed_point_input import FixedPointInput, Ranges, adjusted_ranges
from hsiedge.graphs.passes.float16_weights import Float16Weights
from hsiedge.graphs.passes.minify import Minify
from hsiedge.graphs.passes.standardize_input import StandardizeInput
from hsiedge.graphs.quantization.calibration import (
    CALIBRATION_PATCHES,
    OPERATORS,
    Pixels,
    calibrate,
    choose_pixels,
    inferred,
    spectra,
    tensors_data,
    tools,
)
from hsiedge.graphs.quantization.recipes import RECIPES, Recipe
from hsiedge.progress import Progress, silent
from hsiedge.quiet import quiet
from hsiedge.runtimes import load
from hsiedge.scenes.patches import check_patch
from hsiedge.scenes.scene import Scene
from hsiedge.scenes.splits import Split

MIN_AGREEMENT = 90.0  # percent; of an unlabelled cube, where agreement is reported and only ruin is refused


@dataclass(frozen=True)
class Judgement:
    """A candidate beside the float model, on the judging pixels, in percent; OAs are None without labels."""

    agreement: float
    oa_float: float | None
    oa: float | None

    def holds(self, max_drop: float) -> bool:
        """Whether at most `max_drop` points of OA are lost; without labels, whether `MIN_AGREEMENT` percent of labels stay."""
        if self.oa is None or self.oa_float is None:
            return self.agreement >= MIN_AGREEMENT
        return self.oa_float - self.oa <= max_drop

    def __str__(self) -> str:
        """In words, for errors."""
        lost = f"OA {self.oa_float:.2f} -> {self.oa:.2f} %, " if self.oa is not None else ""
        return f"{lost}labels agree with float on {self.agreement:.2f} %"


@dataclass
class FloatModel:
    """The float model in hand: its graph, its Card, its answers on the judging pixels, and the ranges of its tensors."""

    path: Path
    graph: Any
    card: Card
    scene: Scene
    pixels: Pixels
    logits: NDArray[np.float32]
    ranges: Ranges = field(default_factory=dict)


def quantize(
    model: str | Path,
    scene: Scene,
    output: str | Path,
    recipe: str = "default",
    patches: int = CALIBRATION_PATCHES,
    max_drop: float = 0.5,
    seed: int = 0,
    explain: bool = False,
    masks: Split | None = None,
    tile: tuple[int, int] | None = None,
    progress: Progress = silent,
) -> Card:
    """Quantizes a float model with patches of a scene, and writes it once validation pixels have judged it.

    An output that ends in .tflite is for LiteRT: integers all through, in and out, and no layer goes back to float. One that
    ends in .ort is the ONNX result in onnxruntime's own format (`ort_file`).

    On the model's own scene, training pixels calibrate, balanced over classes, and validation pixels judge. On any other
    cube, pixels drawn evenly over its area do, and label agreement with the float model takes the place of OA.

    If more than `max_drop` points are lost (without labels: if fewer than `MIN_AGREEMENT` percent agree), the layer
    whose quantization hurts the logits most goes back to float, then the next, until it holds; the Card lists them.

    Args:
        recipe: a name in `RECIPES`.
        patches: how many calibrate, at most.
        explain: put each layer's signal-to-noise ratio into the Card.
        masks: the split, for a model whose split came from mask files.
        tile: pixels `(height, width)` that a TFLite scene graph labels at a time; left out, rows as wide as the scene.

    Returns:
        The Card in the written file.

    Raises:
        OptionError: unknown recipe, no patches, a negative drop; what TFLite has not; a tile for any other graph; float16 for
            ORT format.
        ModelError: a model that is quantized already, or does not fit the scene.
        CardError: a model without a Card.
        SplitError: the scene's labels are not those of the model's split.
        CheckError: the result fails its own verification; nothing was written.
        OutputError: `output` cannot be written.
        MissingExtraError: TensorFlow is not installed, which TFLite files are made with.
    """
    if recipe not in RECIPES:
        raise OptionError(f"no recipe is called {recipe!r}; there are {', '.join(RECIPES)}")
    if patches < 1 or max_drop < 0:
        raise OptionError(f"patches {patches}, max-drop {max_drop}: at least 1, and 0 or more")
    to_tflite, to_ort = (Path(output).suffix == kind.suffix for kind in (TfliteArtifact, OrtArtifact))
    plan = tflite_plan(recipe, explain) if to_tflite else RECIPES[recipe]
    if tile is not None and not to_tflite:
        raise OptionError("a tile is fixed in TFLite scene graphs only; ONNX ones take any height and width")
    if to_ort and plan.weights == "float16":
        raise OptionError("--recipe float16 saves nothing in ORT format, which keeps the float32 that weights are cast to")
    source = open_float(Path(model), scene, patches, seed, masks)
    floats: list[str] = []
    snr: dict[str, float] = {}
    if to_tflite or plan.weights == "float16":
        candidate = (
            _tflite(source, plan, tile, progress) if to_tflite else Artifact(apply(source.graph, Float16Weights(), Minify()))
        )
        judgement = judge(source, candidate)
    else:
        give_ranges(source, plan, progress)
        snr = layer_snr(source, plan) if explain else {}
        candidate, floats, judgement = _search(source, plan, max_drop, snr)
    if not judgement.holds(max_drop):
        raise CheckError(f"{recipe}: too much is lost ({judgement}); nothing was written; --max-drop {max_drop:g} decides")
    card = candidate.card(_card(source, recipe, plan, candidate, judgement, floats, snr, patches, seed))
    if to_ort:
        candidate, card = in_ort_format(candidate, card, scene)
    candidate.write(Path(output), card)
    progress(1.0)
    return card


def seven_bits_cost_nothing(card: Card, other: Card) -> bool:
    """Whether a quantized model is as good as another on the judging pixels: by OA, or without labels by agreement with float.

    Args:
        card: of the 8-bit model.
        other: of one made by the recipe avx2 of the same float model, on the same pixels.
    """
    eight, seven = card.quantization, other.quantization
    assert eight is not None
    assert seven is not None
    if len(seven.float_layers) > len(eight.float_layers):
        return False
    if eight.oa_int8 is None or seven.oa_int8 is None:
        return seven.agreement >= eight.agreement
    return seven.oa_int8 >= eight.oa_int8


def tflite_plan(recipe: str, explain: bool = False) -> Recipe:
    """The recipe as LiteRT has it. Raises OptionError for one of onnxruntime's own, and for what only its graphs tell."""
    if recipe not in ("default", "float16"):
        raise OptionError(f"--recipe {recipe} is for onnxruntime; for TFLite there are default and float16")
    if explain:
        raise OptionError("--explain tells of single layers; a TFLite graph is integer all through")
    return replace(RECIPES[recipe], activations="int8")


def _tflite(source: FloatModel, plan: Recipe, tile: tuple[int, int] | None, progress: Progress) -> Artifact:
    try:
        from hsiedge.graphs.tflite import convert
    except ImportError as error:
        raise MissingExtraError("making TFLite files", "tflite") from error
    tile = convert.checked_tile(source.card, source.scene, tile)
    if plan.weights == "float16":
        return convert.float_graph(source.graph, source.card, tile, "float16")
    give_ranges(source, plan, progress, everything=True)
    return convert.integer_graph(source.graph, source.card, tile, source.ranges)


def give_ranges(source: FloatModel, plan: Recipe, progress: Progress = silent, everything: bool = False) -> None:
    """Calibrates, and lets the affine make whole steps of the range that it was found to need. See `calibrate`."""
    source.ranges = calibrate(source.graph, source.card, plan, source.scene, source.pixels.calibration, progress, everything)
    if not plan.symmetric_activations:
        model = read(source.graph)
        if run(model, [FixedPointInput(source.ranges, spectra(source.scene, source.pixels.calibration))]):
            source.graph, source.ranges = write(model), adjusted_ranges(model, source.ranges)


def layers(graph: Any) -> list[str]:
    """Names of the nodes that carry weights, in order."""
    return [node.name for node in graph.graph.node if node.op_type in LAYERS]


def integer_graph(source: FloatModel, plan: Recipe, chosen: Sequence[str]) -> Artifact:
    """The graph with the `chosen` layers, and what stands between them, in QDQ form; it takes integers where it can."""
    return finished(qdq_graph(source, plan, chosen))


def finished(graph: Any) -> Artifact:
    """A QDQ graph as it is deployed: float logits, integers wherever values are only moved or averaged last, integer input."""
    model = read(graph)
    run(model, INTEGER)
    return Artifact(write(model), input_affine(model))


def qdq_graph(source: FloatModel, plan: Recipe, chosen: Sequence[str]) -> Any:
    """The graph, still taking counts, with QuantizeLinear and DequantizeLinear around the `chosen` layers."""
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    types = tools().QuantType
    kept_float = [name for name in layers(source.graph) if name not in chosen]
    quantizer = QDQQuantizer(
        inferred(source.graph),
        plan.per_channel,
        plan.seven_bit_weights,
        types.QInt8,
        types.QUInt8 if plan.activations == "uint8" else types.QInt8,
        tensors_data(source.ranges),
        [],
        kept_float,
        OPERATORS,
        {
            "ActivationSymmetric": plan.symmetric_activations,
            "WeightSymmetric": True,
            "QuantizeBias": plan.integer_bias,
        },
    )
    with quiet():
        quantizer.quantize_model()
        quantizer.model.clean_initializers()
        quantizer.model.topological_sort()
    return quantizer.model.model


def judge(source: FloatModel, candidate: Artifact) -> Judgement:
    """Labels of a candidate beside the float model's, on the judging pixels."""
    ours = run_artifact(candidate, source, source.pixels.judging).argmax(1)
    theirs = source.logits.argmax(1)
    agreement = 100 * float((ours == theirs).mean())
    if source.pixels.truth is None:
        return Judgement(agreement, None, None)
    ids = np.array([entry.id for entry in source.card.classes])
    oas = [
        metrics.accuracy(metrics.confusion_matrix(source.pixels.truth, ids[found], list(ids))).oa for found in (theirs, ours)
    ]
    return Judgement(agreement, oas[0], oas[1])


def layer_snr(source: FloatModel, plan: Recipe) -> dict[str, float]:
    """Signal-to-noise ratio of the logits, in dB, when one layer alone is integer: the lowest is the most sensitive."""
    signal = source.logits - source.logits.mean(0)
    result = {}
    for name in layers(source.graph):
        noise = run_artifact(integer_graph(source, plan, [name]), source, source.pixels.judging) - source.logits
        power = float((noise.astype(np.float64) ** 2).mean())
        result[name] = 10 * float(np.log10(float((signal.astype(np.float64) ** 2).mean()) / max(power, 1e-30)))
    return result


def _search(source: FloatModel, plan: Recipe, max_drop: float, snr: dict[str, float]) -> tuple[Artifact, list[str], Judgement]:
    """The graph with as many integer layers as `max_drop` allows, and the names of those given back to float."""
    chosen = layers(source.graph)
    if not chosen:
        raise ModelError(f"{source.path}: has no layer that could be quantized")
    candidate = integer_graph(source, plan, chosen)
    judgement = judge(source, candidate)
    if not judgement.holds(max_drop):
        ratios = snr or layer_snr(source, plan)
        for name in sorted(ratios, key=lambda entry: ratios[entry]):
            chosen = [entry for entry in chosen if entry != name]
            candidate = integer_graph(source, plan, chosen)
            judgement = judge(source, candidate)
            if not chosen or judgement.holds(max_drop):
                break
    if not chosen:
        raise CheckError(f"{source.path}: no layer can be integer within --max-drop {max_drop:g}; nothing was written")
    return candidate, [name for name in layers(source.graph) if name not in chosen], judgement


def open_float(path: Path, scene: Scene, count: int, seed: int, masks: Split | None = None) -> FloatModel:
    """A float patch model, with the pixels that calibrate (at most `count`) and judge it.

    Raises:
        ModelError, CardError, SplitError, SceneError: see `quantize`.
    """
    model = load(path)
    card = model.known
    if card.quantization is not None:
        raise ModelError(f"{path}: is quantized already; give the float model that it was made from")
    if card.kind == "checkpoint" or card.input_affine is not None:
        raise ModelError(f"{path}: quantize takes a float graph, as hsiedge export writes it")
    model.check_fits(scene)
    check_patch(card.patch, scene.shape)
    pixels = choose_pixels(scene, card, count, seed, masks)
    graph = apply(name_nodes(read_onnx(path)), StandardizeInput(spectra(scene, pixels.calibration)), *FLOAT)
    return FloatModel(path, graph, card, scene, pixels, model.logits_at(scene, pixels.judging))


def _card(
    source: FloatModel,
    recipe: str,
    plan: Recipe,
    candidate: Artifact,
    judgement: Judgement,
    floats: list[str],
    snr: dict[str, float],
    patches: int,
    seed: int,
) -> Card:
    import onnxruntime

    calibrated = 0 if plan.weights == "float16" else len(source.pixels.calibration)
    return replace(
        source.card,
        created=now(),
        accuracy=[],
        lineage=[
            *source.card.lineage,
            Step(
                "quantize",
                now(),
                {"recipe": recipe, "seed": seed},
                files.digest(source.path),
                {"onnxruntime": onnxruntime.__version__, **candidate.versions},
            ),
        ],
        quantization=Quantization(
            recipe=recipe,
            options=vars(plan),
            calibration={"patches": calibrated, "asked": patches, "pixels": source.pixels.source, "seed": seed},
            float_layers=floats,
            pixels=len(source.pixels.judging),
            agreement=judgement.agreement,
            oa_float=judgement.oa_float,
            oa_int8=judgement.oa,
            layer_snr_db={name: round(value, 1) for name, value in snr.items()},
        ),
    )


def run_artifact(candidate: Artifact, source: FloatModel, pixels: NDArray[np.intp]) -> NDArray[np.float32]:
    """A candidate's logits `(n, classes)` at flat `pixels`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"candidate{candidate.suffix}"
        candidate.write(path, candidate.card(source.card))
        return load(path).logits_at(source.scene, pixels)
