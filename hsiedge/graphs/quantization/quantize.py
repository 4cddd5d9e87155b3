"""Quantization: a float ONNX model and a scene in, a verified INT8 (or float16) model out. Needs onnx, and no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hsiedge import files
from hsiedge.card import Card, Quantization, Step, now
from hsiedge.errors import CheckError, ModelError, OptionError, needs_extra
from hsiedge.graphs.artifact import Artifact, OrtArtifact, TfliteArtifact
from hsiedge.graphs.export.ort import in_ort_format
from hsiedge.graphs.passes import apply
from hsiedge.graphs.passes.float16_weights import Float16Weights
from hsiedge.graphs.passes.minify import Minify
from hsiedge.graphs.passes.unroll_recurrent import UnrollRecurrent
from hsiedge.graphs.quantization.calibration import CALIBRATION_PATCHES
from hsiedge.graphs.quantization.judge import judge, judged_weights, labelled_accuracy
from hsiedge.graphs.quantization.recipes import RECIPES, Recipe, find_recipe
from hsiedge.graphs.quantization.search import Choice, search
from hsiedge.graphs.quantization.session import FloatModel, calibrate, deploy, finished, open_float, quantize_layers
from hsiedge.graphs.refit import graph_before
from hsiedge.progress import Progress, silent
from hsiedge.scenes.scene import Scene
from hsiedge.scenes.splits import Split


def quantize(
    model: str | Path,
    scene: Scene,
    output: str | Path,
    recipe: str | Recipe = "default",
    patches: int = CALIBRATION_PATCHES,
    max_drop: float = 0.5,
    seed: int = 0,
    explain: bool = False,
    masks: Split | None = None,
    tile: tuple[int, int] | None = None,
    progress: Progress = silent,
) -> Card:
    """Quantizes a float model with patches of a scene, and writes it once validation pixels have judged it.

    An output that ends in .tflite is for LiteRT: integers all through, in and out, and no layer goes back to float. Where
    that loses too much, or an operator has no integer kernel, weights are float16 instead, and the Card tells why. One that
    ends in .ort is the ONNX result in onnxruntime's own format (`ort_file`).

    On the model's own scene, training pixels calibrate, balanced over classes, and validation pixels judge. On any other
    cube, pixels drawn evenly over its area do, and label agreement with the float model takes the place of OA. Where the split
    is not known and labels are at hand, a Check in the Card tells the OA of both, and nothing is chosen by it.

    Validation pixels have trained a refitted net: they judge the graph of its weights from before, which export wrote beside
    it, and the layers chosen with that are taken for both. Where it is not there, agreement counts, on pixels in no part.

    If more than `max_drop` points are lost (without labels: if fewer than `MIN_AGREEMENT` percent agree), the layer
    whose quantization hurts the logits most goes back to float, then the next, until it holds; the Card lists them.

    Arguments and errors are those of `hsiedge.Model.quantize`; the Card in the written file is returned.
    """
    name, plan = find_recipe(recipe)
    if patches < 1:
        raise OptionError("must be 1 or more", option="patches", value=patches)
    if max_drop < 0:
        raise OptionError("must be 0 or more", option="max_drop", value=max_drop)
    to_tflite, to_ort = (Path(output).suffix == kind.suffix for kind in (TfliteArtifact, OrtArtifact))
    plan = tflite_plan(name, explain) if to_tflite else plan
    if tile is not None and not to_tflite:
        raise OptionError("a tile is fixed in TFLite scene graphs only; ONNX ones take any height and width")
    if to_ort and plan.weights == "float16":
        reason = "saves nothing in ORT format, which keeps the float32 that weights are cast to"
        raise OptionError(reason, option="recipe", value="float16")
    source = open_float(Path(model), scene, count=patches, seed=seed, masks=masks)
    drawn = {"count": patches, "seed": seed, "masks": masks}
    integers = ""
    try:
        choice = _chosen(source, plan, to_tflite, tile, max_drop, explain, progress, drawn)
        integers = "" if choice.judgement.holds(max_drop) else f"too much is lost ({choice.judgement})"
    except ModelError as error:
        if not to_tflite or plan.weights == "float16":
            raise
        integers = str(error)
    if integers and to_tflite and plan.weights != "float16":
        name, plan = "float16", tflite_plan("float16")
        choice = _chosen(source, plan, to_tflite, tile, max_drop, explain, progress, drawn)
    if not choice.judgement.holds(max_drop):
        reason = f"{name}: too much is lost ({choice.judgement}); nothing was written"
        raise CheckError(reason, option="max_drop", value=f"{max_drop:g}")
    described = _card(source, name, plan, choice, patches, seed, {"integers": integers} if integers else {})
    artifact, card = choice.artifact, choice.artifact.card(described)
    accuracy = labelled_accuracy(source, artifact)
    card = replace(card, checks=[*card.checks, *([accuracy] if accuracy else [])])
    if to_ort:
        artifact, card = in_ort_format(artifact, card, scene)
    artifact.write(Path(output), card)
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
        raise OptionError("is for onnxruntime; TFLite has the recipes default and float16", option="recipe", value=recipe)
    if explain:
        raise OptionError("shows single layers, and a TFLite graph is integer throughout", option="explain")
    return replace(RECIPES[recipe], activations="int8")


def _chosen(
    source: FloatModel,
    plan: Recipe,
    to_tflite: bool,
    tile: tuple[int, int] | None,
    max_drop: float,
    explain: bool,
    progress: Progress,
    options: Mapping[str, Any],
) -> Choice:
    """Artifact to write, judged: found by a search over layers where some may stay float, else the only one."""
    if to_tflite:
        artifact = _tflite(source, plan, tile, progress)
    elif plan.weights == "float16":
        artifact = finished(source.graph, [Float16Weights(), Minify()], source.block)
    else:
        return _searched(source, plan, max_drop, explain, progress, options)
    return Choice(artifact, judge(source, artifact))


def _searched(
    source: FloatModel, plan: Recipe, max_drop: float, explain: bool, progress: Progress, options: Mapping[str, Any]
) -> Choice:
    """The choice of layers; for a refitted net with the graph of its weights from before, where that is there."""
    calibrated, before = calibrate(source, plan, progress=progress), graph_before(source.path, source.card)
    if before is None:
        return search(calibrated, max_drop, explain=explain)
    choice = search(calibrate(open_float(before, source.scene, **options), plan), max_drop, explain=explain)
    layers = [layer for layer in calibrated.layers if layer not in choice.float_layers]
    return replace(choice, artifact=deploy(quantize_layers(calibrated, layers)))


def _tflite(source: FloatModel, plan: Recipe, tile: tuple[int, int] | None, progress: Progress) -> Artifact:
    with needs_extra("making TFLite files", "tflite"):
        from hsiedge.graphs.tflite import convert
    tile = convert.checked_tile(source.card, source.scene, tile)
    source = replace(source, graph=apply(source.graph, UnrollRecurrent()))
    if plan.weights == "float16":
        return convert.float_graph(source.graph, source.card, tile, "float16")
    calibrated = calibrate(source, plan, all_values=True, progress=progress)
    return convert.integer_graph(calibrated.graph, source.card, tile, calibrated.ranges)


def _card(
    source: FloatModel,
    recipe: str,
    plan: Recipe,
    choice: Choice,
    patches: int,
    seed: int,
    why: Mapping[str, str],
) -> Card:
    import onnxruntime

    judgement = choice.judgement
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
                {"recipe": recipe, "seed": seed, **why},
                files.digest(source.path),
                {"onnxruntime": onnxruntime.__version__, **choice.artifact.versions},
            ),
        ],
        quantization=Quantization(
            recipe=recipe,
            options=vars(plan),
            calibration={
                "patches": calibrated,
                "asked": patches,
                "pixels": source.pixels.source,
                "seed": seed,
                **judged_weights(source, judgement),
            },
            float_layers=choice.float_layers,
            pixels=judgement.pixels,
            agreement=judgement.agreement,
            oa_float=judgement.oa_float,
            oa_int8=judgement.oa,
            layer_snr_db={name: round(value, 1) for name, value in choice.snr.items()},
        ),
    )
