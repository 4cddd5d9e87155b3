"""`hsiedge show`, `hsiedge card`: reading a Card, writing one into a stranger's model; and `hsiedge try`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hsiedge.cli import console, groups, options

_STOPS = 3  # exit code of a trial in which a step stops


@groups.expanded
def show_command(
    file: Annotated[Path, typer.Argument(help="Checkpoint or model.")],
    json: options.JsonOption = None,
) -> None:
    """Prints the Card of a checkpoint or model: its scene, bands, classes, split, accuracy and history."""
    import json as codec

    from hsiedge.report.terminal.model import card_table
    from hsiedge.runtimes import require_card

    console.check_json(json, [file])
    card = require_card(file)
    console.show([card_table(card, file)], codec.loads(card.to_json()), json)


@groups.expanded
def card_command(
    *,
    model: Annotated[Path, typer.Argument(help="ONNX file without a Card.")],
    patch: Annotated[
        int | None,
        typer.Option(
            metavar="PIXELS",
            help="Side of the patches in pixels, of an input (N, bands, P, P). Default: that of the Card in the file, if it "
            "has one.",
        ),
    ] = None,
    scene: Annotated[
        str | None, typer.Option("--scene", metavar="SCENE", help="Catalog name of the scene that the net was trained on.")
    ] = None,
    scene_options: groups.SceneOptions,
    split: Annotated[
        str | None,
        typer.Option(metavar="random|blocks", help="Split that the net was trained on: random or blocks. Default: unknown."),
    ] = None,
    train_fraction: Annotated[
        float, typer.Option(metavar="SHARE", help="Share of each class that the net was trained on, between 0 and 1.")
    ] = 0.1,
    guard: Annotated[
        int | None,
        typer.Option(
            metavar="PIXELS", help="Least distance of test pixels from training pixels, in pixels (for blocks). Default: 6."
        ),
    ] = None,
    masks: groups.MaskOptions,
    seed: options.SeedOption = 0,
    logits: Annotated[
        str | None, typer.Option(help="Name of the output that holds the logits, if the graph has several outputs.")
    ] = None,
    keep_graph: Annotated[
        bool, typer.Option("--keep-graph", help="Leave the graph as it is. Its input must be (N, bands, P, P).")
    ] = False,
    standardize: Annotated[
        bool,
        typer.Option(
            "--standardize", help="Put a standardization of the bands in front of the graph, fitted on the training pixels."
        ),
    ] = False,
    pca: Annotated[
        int | None,
        typer.Option(metavar="K", help="Put a PCA with K components in front of the graph, fitted on the training pixels."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write. Default: MODEL itself is overwritten.")
    ] = None,
) -> None:
    """Adds a Card to an ONNX model from elsewhere, so that it can be evaluated and quantized.

    The model's outputs must be the scene's classes, in the order of their ids.

    The graph is normalized, and compared with what it was before: old opsets are converted, a batch size fixed at 1 is freed,
    constants, shapes and known branches are folded, and another layout of the patch gets a Transpose or Unsqueeze in front.

    A file that has a Card is written anew, if no scene is named. INT8 of hsiedge 0.1.0 is then exact on x86 without VNNI.
    """
    from hsiedge.errors import OptionError
    from hsiedge.graphs.export.attach_card import attach_card, rewrite
    from hsiedge.runtimes import read_card

    path, known = output or model, read_card(model)
    if known is not None and scene is None and not scene_options.cube:
        if patch not in (None, known.patch) or split is not None or masks.named:
            raise OptionError(f"{model} has a Card already; for another one, give --scene or --cube")
        rewrite(model, path)
        console.say(f"{path}: written anew, its Card as it was; next: hsiedge eval {path}")
        return
    patch = patch if patch is not None or known is None else known.patch
    if patch is None:
        raise OptionError(f"{model}: give --patch P, for its input (N, bands, P, P)")
    opened = scene_options.open(scene)
    if guard is not None and split is None:
        raise OptionError("goes with a split that is drawn", option="guard", value=guard, use={"split": "blocks"})
    drawn = masks.split(opened, seed)
    if drawn is None and split is not None:
        drawn = opened.split(split, train=train_fraction, seed=seed, guard=guard)
    card = attach_card(
        model, opened, patch, drawn, path, logits=logits, keep_graph=keep_graph, standardize=standardize, pca=pca
    )
    for line in card.lineage[-1].options["changes"]:
        console.say(line)
    console.say(f"{path}: a {card.kind} graph of {opened.name}, {len(card.classes)} classes; next: hsiedge eval {path}")


@groups.expanded
def try_command(
    *,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="ONNX file; or FILE.py:FACTORY, a PyTorch net of your own.")],
    patch: Annotated[int, typer.Option(metavar="PIXELS", help="Side of the square patch in pixels.")],
    scene: Annotated[
        str | None, typer.Option("--scene", metavar="SCENE", help="Catalog name of the scene to try the net on.")
    ] = None,
    scene_options: groups.SceneOptions,
    weights: Annotated[Path | None, typer.Option(help="State dict of a net of your own, .pt or .safetensors.")] = None,
    arg: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Argument for the factory of a net of your own. May be repeated."),
    ] = None,
    json: options.JsonOption = None,
) -> None:
    """Tries each step on a net, from export to INT8 and TFLite, and says where one stops.

    Nothing is written outside a temporary folder. The exit code is 0 if all steps work, and 3 if one stops.
    """
    from hsiedge.cli.export import factory_arguments
    from hsiedge.errors import OptionError, needs_extra

    with needs_extra("trying a net", "quantize"):
        from hsiedge.graphs.trial import try_net

    if ".py:" not in model and (weights is not None or arg):
        raise OptionError("--weights and --arg go with a net of your own, FILE.py:FACTORY")
    console.check_json(json, [model, weights, scene, *scene_options.files])
    opened = scene_options.open(scene)
    with console.waiting("trying"):
        steps = try_net(model, opened, patch, weights=weights, arguments=factory_arguments(arg or []))
    if json is not None:
        console.write_json({"model": model, "scene": opened.name, "steps": [step.data for step in steps]}, json)
    for step in steps if json != "-" else []:
        console.say(f"{step.name}: {'works' if step.works else 'stops'} ({step.seconds:.1f} s): {step.text}")
    if not all(step.works for step in steps):
        raise typer.Exit(_STOPS)
