"""`hsiedge quantize`."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hsiedge.cli import choose, console, groups, options

if TYPE_CHECKING:
    from hsiedge.api.model import Model
    from hsiedge.card import Card
    from hsiedge.scenes.scene import Scene


@groups.expanded
def quantize_command(
    *,
    model: Annotated[
        Path | None, typer.Argument(help="Float ONNX model. Default: the newest in this folder that fits the scene.")
    ] = None,
    calib: Annotated[
        list[str] | None,
        typer.Option(
            "--calib",
            "--cube",
            metavar="SCENE",
            help="Scene to calibrate on: a catalog name, a file, or flights.toml. Default: the model's own.",
        ),
    ] = None,
    file_options: groups.FileOptions,
    recipe: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE",
            help="Recipe of quantization: default; avx2, 7-bit weights for x86 without VNNI; tensorrt; float16; or one of your"
            " own.",
        ),
    ] = "default",
    calib_patches: Annotated[int, typer.Option(help="Largest number of patches to calibrate on.")] = 1000,
    max_drop: Annotated[
        float,
        typer.Option(metavar="POINTS", help="Largest loss of OA to accept, in points. Layers stay in float until it is met."),
    ] = 0.5,
    explain: Annotated[bool, typer.Option("--explain", help="Print the signal-to-noise ratio of each layer.")] = False,
    masks: groups.ModelSplitOptions,
    units: options.UnitsOption = None,
    seed: options.SeedOption = 0,
    to: options.ToOption = None,
    tile: options.TileOption = None,
    target: options.TargetOption = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Model to write. Default: NAME-int8, ending in .onnx, .ort, .tflite or .c."),
    ] = None,
) -> None:
    """Quantizes a float ONNX model to INT8, calibrated on real patches.

    The loss of accuracy is measured on validation pixels. Layers that cost too much stay in float (--max-drop).

    --to tflite writes an all-integer file for LiteRT, --to ort a file for reduced builds of onnxruntime, and --to c the C99
    source of a scene graph.
    """
    from hsiedge import files
    from hsiedge.cli.export import write_c
    from hsiedge.cli.names import quantized_stem
    from hsiedge.errors import MissingExtraError, ModelError

    if importlib.util.find_spec("onnx") is None:
        raise MissingExtraError("quantizing", "quantize")
    from hsiedge.api.model import load
    from hsiedge.report.terminal.model import layer_table, ort_line
    from hsiedge.runtimes import require_card

    if not calib:
        source = model or choose.float_model()
        scene = groups.SceneOptions(**vars(file_options)).open_for(require_card(source))
    else:
        scene = (file_options if model is None else file_options.counting(require_card(model))).open_named(calib)
        source = model or _float_model_for(scene)
    card = require_card(source)
    split = masks.split_for(card, scene)
    kind, size = options.file_kind(to, output), options.parse_tile(tile)
    options.check_c(kind, target)
    if kind == "c" and card.kind != "scene":
        raise ModelError(f"{source}: C is made of a scene graph; hsiedge export --scene-graph makes one of this patch graph")
    path = output or Path(f"{quantized_stem(source.stem, recipe)}.{kind}")
    files.check_writable(path, [source])
    if path.exists():
        console.say(f"replacing {path}")
    floating = load(source)
    judged: dict[str, Any] = {"patches": calib_patches, "max_drop": max_drop, "seed": seed, "masks": split, "units": units}
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / f"{path.stem}.onnx" if kind == "c" else path
        with console.progress("calibrating") as tick:
            result = floating.quantize(scene, written, recipe=recipe, explain=explain, tile=size, progress=tick, **judged)
        quantized = result.known
        if kind == "c":
            write_c(result, scene, path, target)
    integers = quantized.lineage[-1].options.get("integers")
    if integers and kind != "c":
        console.say(f"in float16: a graph of integers does not go, {integers}")
        path = path if output else path.replace(path.with_name(f"{quantized_stem(source.stem, 'float16')}.{kind}"))
    if explain:
        console.stdout().print(layer_table(quantized))
    _tell_accuracy(quantized)
    if kind != "c":
        _tell_size(quantized, source, path)
    if recipe == "default" and kind not in ("tflite", "c"):
        _propose_seven_bits(quantized, floating, scene, judged)
    if kind == "ort":
        console.say(ort_line(quantized, scene.name))


def _propose_seven_bits(eight: Card, source: Model, scene: Scene, judged: dict[str, Any]) -> None:
    """Tries 7-bit weights, which need no exact mode, where 8-bit sums overflow, and proposes them if they lose nothing."""
    from hsiedge.device import int8
    from hsiedge.errors import CheckError
    from hsiedge.graphs.quantization.quantize import seven_bits_cost_nothing

    if not int8.overflows_here():
        return
    try:
        with tempfile.TemporaryDirectory() as folder, console.progress("trying 7-bit weights") as tick:
            seven = source.quantize(scene, Path(folder) / "avx2.onnx", recipe="avx2", progress=tick, **judged).known
    except CheckError:  # too much is lost: nothing to propose
        return
    if seven_bits_cost_nothing(eight, seven):
        assert seven.quantization is not None
        quantization = seven.quantization
        figure = (
            f"OA {quantization.oa_int8:.2f} %"
            if quantization.oa_int8 is not None
            else f"{quantization.agreement:.2f} % of float's labels"
        )
        console.say(
            f"7-bit weights are as good here ({figure}), and on this processor they need no exact mode, which takes time: "
            f"hsiedge quantize {source.path} --recipe avx2"
        )


def _float_model_for(scene: Scene) -> Path:
    """The newest float model made on this scene, or one that takes its bands where the scene is a stranger's cube."""
    from hsiedge.errors import ModelError
    from hsiedge.scenes.catalog import CATALOG
    from hsiedge.shipped import shipped

    model = choose.newest(".onnx", lambda card: choose.is_float(card) and card.scene.name == scene.name)
    if model is None and scene.name not in CATALOG:
        model = choose.newest(
            ".onnx",
            lambda card: (
                choose.is_float(card) and card.scene.bands == scene.bands and card.scene.dtype == scene.cube.dtype.name
            ),
        )
    if model is not None:
        console.say(f"no model was named: taking the newest that fits, {model}")
        return model
    if scene.name == "indian_pines":
        return shipped(".onnx")
    name = scene.name if scene.name in CATALOG else f"--cube {scene.source} --labels LABELS"
    takes = f"no float model that takes {scene.bands} bands of {scene.cube.dtype} ({scene.name}) is here"
    raise ModelError(f"{takes}; make one: hsiedge train {name} && hsiedge export")


def _tell_accuracy(card: Card) -> None:
    quantization = card.quantization
    assert quantization is not None
    if quantization.calibration["patches"]:
        console.say(f"calibrated on {quantization.calibration['patches']} patches: {quantization.calibration['pixels']}")
    if quantization.oa_int8 is None or quantization.oa_float is None:
        console.say(f"{quantization.pixels} held-out pixels: labels agree with float on {quantization.agreement:.2f} %")
    else:
        which = f", {quantization.calibration['judged']}" if "judged" in quantization.calibration else ""
        console.say(
            f"{quantization.pixels} validation pixels{which}: labels agree with float on {quantization.agreement:.2f} %, "
            f"OA {quantization.oa_float:.2f} -> {quantization.oa_int8:.2f} %"
        )
    for check in card.checks:
        if "oa_float" in check.figures:
            oas = f"OA {check.figures['oa_float']:.2f} -> {check.figures['oa']:.2f} %"
            console.say(f"{check.patches} labelled pixels, some of which may have trained the net: {oas}")
    if quantization.float_layers:
        console.say(f"left in float, for the drop would have been too large: {', '.join(quantization.float_layers)}")


def _tell_size(card: Card, source: Path, path: Path) -> None:
    assert card.quantization is not None
    before, after = source.stat().st_size, path.stat().st_size
    note = (
        "; float16 saves the file, not the time: weights are cast to float32 at load"
        if card.quantization.recipe == "float16"
        else ""
    )
    console.say(f"{path}  {after / 1000:.0f} kB, {after / before:.2f} of the float file{note}; next: hsiedge bench")
