"""`hsiedge show`, `hsiedge card`: reading a Card, writing one into a stranger's model; and `hsiedge try`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hsiedge.cli import console, options

_STOPS = 3  # exit code of a trial in which a step stops


def show_command(
    file: Annotated[Path, typer.Argument(help="A checkpoint or a model.")],
    json: options.JsonOption = None,
) -> None:
    """Shows what a file says of itself: its Card."""
    import json as codec

    from hsiedge.report.terminal.model import card_table
    from hsiedge.runtimes import require_card

    card = require_card(file)
    console.show([card_table(card, file)], codec.loads(card.to_json()), json)


@options.expanded
def card_command(
    *,
    model: Annotated[Path, typer.Argument(help="An ONNX file, as a rule without a Card.")],
    patch: Annotated[
        int | None,
        typer.Option(help="Patch that the graph takes: (N, bands, patch, patch); left out, that of the Card in it."),
    ] = None,
    scene: Annotated[str | None, typer.Option("--scene", help="Catalog name of the scene that it was trained on.")] = None,
    scene_options: options.SceneOptions,
    split: Annotated[
        str | None, typer.Option(help="Split that it was trained on: random or blocks; left out, unknown.")
    ] = None,
    train_fraction: Annotated[float, typer.Option(help="Share of each class that trained in that split.")] = 0.1,
    guard: Annotated[
        int, typer.Option(help="Pixels between test and training pixels in that split, if it is one of blocks.")
    ] = 6,
    masks: options.MaskOptions,
    seed: options.SeedOption = 0,
    logits: Annotated[str | None, typer.Option(help="Output that holds the logits, where the graph has several.")] = None,
    keep_graph: Annotated[
        bool, typer.Option("--keep-graph", help="Leave the graph as it is; it must take (N, bands, patch, patch) then.")
    ] = False,
    standardize: Annotated[
        bool, typer.Option("--standardize", help="It takes standardized bands: fitted on the training pixels, put in front.")
    ] = False,
    pca: Annotated[
        int | None, typer.Option(metavar="K", help="It takes K principal components: fitted on the training pixels, in front.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The file to write; left out, MODEL itself.")] = None,
) -> None:
    """Writes a Card into a stranger's ONNX, to evaluate and quantize it; its outputs must be the scene's classes, in order.

    The graph is normalized, and compared with what it was: old opsets are converted, a batch fixed at 1 is freed, constants,
    shapes and known branches are folded, other layouts of the patch get a Transpose or Unsqueeze in front.

    A file that has a Card is written anew where no scene is named: an INT8 one of hsiedge 0.1.0 then opens in the exact mode
    that onnxruntime needs on x86 without VNNI.
    """
    from hsiedge.errors import OptionError
    from hsiedge.graphs.export.attach_card import attach_card, rewrite
    from hsiedge.runtimes import read_card

    path, known = output or model, read_card(model)
    if known is not None and scene is None and not scene_options.cube:
        if patch not in (None, known.patch) or split is not None or masks.named:
            raise OptionError(f"{model} has a Card, and is written anew with it; another Card takes --scene or --cube")
        rewrite(model, path)
        console.say(f"{path}: written anew, its Card as it was; next: hsiedge eval {path}")
        return
    patch = patch if patch is not None or known is None else known.patch
    if patch is None:
        raise OptionError(f"{model}: say --patch P, of the patches (N, bands, P, P) that it takes")
    opened = scene_options.open(scene)
    drawn = masks.split(opened, seed)
    if drawn is None and split is not None:
        drawn = opened.split(split, train=train_fraction, seed=seed, guard=guard)
    card = attach_card(
        model, opened, patch, drawn, path, logits=logits, keep_graph=keep_graph, standardize=standardize, pca=pca
    )
    for line in card.lineage[-1].options["changes"]:
        console.say(line)
    console.say(f"{path}: a {card.kind} graph of {opened.name}, {len(card.classes)} classes; next: hsiedge eval {path}")


@options.expanded
def try_command(
    *,
    model: Annotated[
        str, typer.Argument(metavar="MODEL.onnx|FILE.py:FACTORY", help="An ONNX file, or a PyTorch net of your own.")
    ],
    patch: Annotated[int, typer.Option(help="Side of the patches that it takes.")],
    scene: Annotated[str | None, typer.Option("--scene", help="Catalog name of the scene to try it on.")] = None,
    scene_options: options.SceneOptions,
    weights: Annotated[Path | None, typer.Option(help="Weights of a net of your own: its state_dict.")] = None,
    arg: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="A parameter of its factory; may be given several times.")
    ] = None,
    json: options.JsonOption = None,
) -> None:
    """Tells what each step would make of a net, and where it would stop; nothing is written but in a temporary folder.

    The exit code is 0 where each step works, and 3 where one stops.
    """
    from hsiedge.cli.export import factory_arguments
    from hsiedge.errors import OptionError, needs_extra

    with needs_extra("trying a net", "quantize"):
        from hsiedge.graphs.trial import try_net

    if ".py:" not in model and (weights is not None or arg):
        raise OptionError("--weights and --arg go with a net of your own, FILE.py:FACTORY")
    console.check_json(json)
    opened = scene_options.open(scene)
    with console.waiting("trying"):
        steps = try_net(model, opened, patch, weights=weights, arguments=factory_arguments(arg or []))
    if json is not None:
        console.write_json({"model": model, "scene": opened.name, "steps": [step.data for step in steps]}, json)
    for step in steps if json != "-" else []:
        console.say(f"{step.name}: {'works' if step.works else 'stops'} ({step.seconds:.1f} s): {step.text}")
    if not all(step.works for step in steps):
        raise typer.Exit(_STOPS)
