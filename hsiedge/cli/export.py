"""`hsiedge export`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hsiedge.cli import choose, console, groups, options

if TYPE_CHECKING:
    from hsiedge.api.checkpoint import Checkpoint
    from hsiedge.api.model import Model
    from hsiedge.card import Card
    from hsiedge.scenes.scene import Scene


@groups.expanded
def export_command(
    *,
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="Checkpoint; an ONNX model, with --scene-graph or --to ort, tflite or c; or FILE.py:FACTORY, a "
            "PyTorch net of your own. Default: the newest checkpoint in this folder, else the one that comes with hsiedge.",
        ),
    ] = None,
    scene_graph: Annotated[
        bool, typer.Option("--scene-graph", help="Write one graph that labels whole strips, with the labels of the patch net.")
    ] = False,
    approximate: Annotated[
        bool,
        typer.Option(
            "--approximate",
            help="Accept a scene graph whose labels differ, of a net that pads its patches with zeros: it sees neighbouring "
            "pixels instead.",
        ),
    ] = False,
    accept_labels: Annotated[
        float,
        typer.Option("--accept-labels", metavar="PERCENT", help="Least share of equal labels for --approximate, in percent."),
    ] = 90.0,
    net: options.NetFileOption = None,
    scene_options: groups.SceneOptions,
    weights: Annotated[Path | None, typer.Option(help="State dict of a net of your own, .pt or .safetensors.")] = None,
    bands: Annotated[int | None, typer.Option(help="Number of bands, passed to the factory of a net of your own.")] = None,
    patch: Annotated[
        int | None, typer.Option(metavar="PIXELS", help="Side of the square patch in pixels, passed to that factory.")
    ] = None,
    classes: Annotated[int | None, typer.Option(help="Number of classes, passed to that factory.")] = None,
    arg: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Another argument for that factory. May be repeated."),
    ] = None,
    to: options.ToOption = None,
    tile: options.TileOption = None,
    target: options.TargetOption = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Model to write. Default: SCENE-NET-SPLIT-sSEED(-scene), ending in .onnx, .ort, .tflite or .c.",
        ),
    ] = None,
) -> None:
    """Exports a checkpoint to ONNX, and verifies it on real patches.

    The ONNX model takes the sensor's own values and gives logits.

    --scene-graph turns a patch net into one graph for whole strips, which computes each convolution once. It also takes any
    float ONNX model with a Card (hsiedge card).

    --to tflite writes a float32 file for LiteRT, --to ort a file for reduced builds of onnxruntime, and --to c the C99 source
    of an INT8 scene graph.
    """
    from hsiedge import files
    from hsiedge.api.checkpoint import Checkpoint
    from hsiedge.api.model import load
    from hsiedge.cli.names import SCENE, stem
    from hsiedge.errors import OptionError
    from hsiedge.runtimes import require_card

    if model is not None and ".py:" in model:
        kind = options.file_kind(to, output)
        if kind != "onnx":
            raise OptionError(f"a net of your own becomes ONNX first; then hsiedge card, then --to {kind}")
        _factory(model, weights, (bands, patch, classes), factory_arguments(arg or []), scene_graph, output)
        return
    if (weights, bands, patch, classes) != (None,) * 4 or arg:
        raise OptionError("--weights, --bands, --patch, --classes and --arg go with a net of your own, FILE.py:FACTORY")
    if approximate and not scene_graph:
        raise OptionError("--approximate needs --scene-graph")
    source = Path(model) if model else choose.checkpoint()
    known = require_card(source)
    scene = scene_options.open_for(known)
    kind, size = options.file_kind(to, output), options.parse_tile(tile)
    options.check_c(kind, target)
    if size is not None and kind != "tflite":
        raise OptionError("--tile needs --to tflite: only TFLite scene graphs have a fixed size")
    path = output or Path(f"{source.stem if kind == 'c' else stem(known)}{'-' + SCENE if scene_graph else ''}.{kind}")
    files.check_writable(path, [source])
    with tempfile.TemporaryDirectory() as folder:
        between, patches = Path(folder), scene_graph or kind != "onnx"  # whether more is made of the patch graph
        if known.kind == "checkpoint" or not patches:
            checkpoint = Checkpoint.open(source, net=net)
            graph = _patch_graph(checkpoint, scene, between / "patch.onnx" if patches else path)
        else:
            graph = load(source)
        if scene_graph:
            graph = _scene_graph(graph, scene, path if kind == "onnx" else between / "scene.onnx", approximate, accept_labels)
        if kind == "tflite":
            _tflite(graph, scene, path, size)
        if kind == "ort":
            _ort(graph, scene, path)
        if kind == "c":
            write_c(graph, scene, path, target)
            return
    following = f"quantize{scene_options.again()}" if kind == "onnx" else "bench"
    console.say(f"{path}  {path.stat().st_size / 1000:.0f} kB; next: hsiedge {following}")


def factory_arguments(words: list[str]) -> dict[str, int | float | bool | str]:
    """Words NAME=VALUE as arguments: whole numbers, numbers, true and false, and words."""
    from hsiedge.errors import OptionError

    arguments: dict[str, int | float | bool | str] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name.isidentifier() or name in arguments:
            raise OptionError("NAME=VALUE is expected, each name once", option="arg", value=word)
        arguments[name] = _value(text)
    return arguments


def _value(text: str) -> int | float | bool | str:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def _factory(
    source: str,
    weights: Path | None,
    sizes: tuple[int | None, int | None, int | None],
    arguments: dict[str, int | float | bool | str],
    scene_graph: bool,
    output: Path | None,
) -> None:
    from hsiedge import files
    from hsiedge.cli.names import safe
    from hsiedge.errors import OptionError, needs_extra

    bands, patch, classes = sizes
    if bands is None or patch is None or classes is None:
        raise OptionError(f"{source}: say --bands, --patch and --classes")
    if scene_graph:
        raise OptionError("a scene graph is made of a model with a Card: export it, then hsiedge card, then --scene-graph")
    with needs_extra("exporting", "train"):
        from hsiedge.graphs.export.module import export_module

    path = output or Path(f"{safe(Path(source.rpartition(':')[0]).stem)}-{source.rpartition(':')[2]}.onnx")
    files.check_writable(path)
    with console.waiting("exporting"):
        lines: list[str] = []
        check = export_module(source, weights, bands, patch, classes, path, arguments=arguments, say=lines.append)
    for line in lines:
        console.say(line)
    console.say(
        f"onnxruntime against PyTorch on {check.patches} random patches: labels equal, "
        f"logits within {check.figures['logit_difference']:.1e} of their range"
    )
    console.say(f"{path}  {path.stat().st_size / 1000:.0f} kB; next: hsiedge card {path} --scene NAME --patch {patch}")


def _patch_graph(checkpoint: Checkpoint, scene: Scene, path: Path) -> Model:
    with console.waiting("exporting"):
        model = checkpoint.export(path, scene=scene)
    check = model.known.checks[-1]
    console.say(
        f"onnxruntime against PyTorch on {check.patches} patches of {scene.name}: labels equal, "
        f"logits within {check.figures['logit_difference']:.1e} of their range"
    )
    return model


def _scene_graph(graph: Model, scene: Scene, path: Path, approximate: bool, accept_labels: float) -> Model:
    with console.waiting("making the scene graph"):
        model = graph.to_scene_graph(path, scene=scene, approximate=approximate, accept_labels=accept_labels)
    _tell(graph.known, model.known)
    return model


def _tflite(graph: Model, scene: Scene, path: Path, tile: tuple[int, int] | None) -> None:
    with console.waiting("converting"):
        card = graph.to_tflite(path, scene=scene, tile=tile).known
    check, step = card.checks[-1], card.lineage[-1]
    console.say(
        f"LiteRT against onnxruntime on {check.patches} pixels of {scene.name}: labels equal, "
        f"logits within {check.figures['logit_difference']:.1e} of their range"
    )
    if card.kind == "scene":
        height, width = step.options["tile"]
        console.say(f"labels {height} x {width} pixels at a time; --tile ROWSxCOLUMNS sets it for cubes of another width")


def _ort(graph: Model, scene: Scene, path: Path) -> None:
    from hsiedge.report.terminal.model import ort_line

    with console.waiting("converting"):
        card = graph.to_ort(path, scene=scene).known
    console.say(ort_line(card, scene.name))
    if card.quantization is None:
        console.say("for any processor, so without the layout of float convolutions that onnxruntime has for x86 alone")


def write_c(graph: Model, scene: Scene, path: Path, target: str | None) -> None:
    """Writes an INT8 scene graph as C, and says what it takes."""
    from hsiedge.report.terminal.model import c_lines

    with console.waiting("compiling and running the C"):
        card = graph.to_c(path, scene=scene, target=target or "generic")
    check = card.checks[-1]
    console.say(
        f"C against onnxruntime on {check.patches} pixels of {scene.name}: labels equal, and all "
        f"{check.figures['integers']:,.0f} integers of {check.figures['tensors']:.0f} tensors"
    )
    for line in c_lines(card):
        console.say(line)
    console.say(f"{path}  {path.stat().st_size / 1000:.0f} kB, with its header and a test beside it")


def _tell(before: Card, card: Card) -> None:
    check, step = card.checks[-1], card.lineage[-1]
    for line in step.options.get("approximations", []):
        console.say(f"approximated: {line}")
    if step.options.get("approximations"):
        console.say(f"it sees {card.radius} pixels far, the patch graph {before.radius}")
    differ, share = int(check.figures["labels_differ"]), 1 - check.figures["labels_differ"] / check.patches
    same = "labels equal" if not differ else f"{100 * share:.2f} % of labels equal"
    console.say(
        f"scene graph against patch graph on {check.patches} pixels, a strip of the scene and random counts: {same}, "
        f"logits within {check.figures['logit_difference']:.1e} of their range"
    )
    hybrid = step.options.get("hybrid")
    if hybrid is not None:
        console.say(
            f"hybrid: {hybrid['dense_macs']:,} MACs a pixel on maps of the whole strip, then from {hybrid['first']} on "
            f"{hybrid['pixel_macs']:,} pixel by pixel, {hybrid['block']} pixels at a time"
            + (f", whose values take some {hybrid['block_bytes'] / 1e6:.1f} MB" if "block_bytes" in hybrid else "")
        )
        if not hybrid["dense_macs"]:
            console.say("nothing of it is dense: the file labels whole scenes, and takes the time of patches")
    if before.net is not None and card.net is not None:
        console.say(
            f"{before.net.macs_per_pixel / 1e6:.2f} -> {card.net.macs_per_pixel / 1e6:.3f} million MACs a pixel "
            f"({before.net.macs_per_pixel / max(1, card.net.macs_per_pixel):.0f} times fewer)"
        )
