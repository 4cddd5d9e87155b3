"""`hsiedge train`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hsiedge.cli import console, groups, options

if TYPE_CHECKING:
    from hsiedge.card import Card
    from hsiedge.scenes.scene import Scene
    from hsiedge.scenes.splits import Split


@groups.expanded
def train_command(
    *,
    scene: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SCENE",
            help="Scene of the catalog (hsiedge scenes list), a packed .npz, or a list of flights, flights.toml. Several are "
            "trained on together.",
        ),
    ] = None,
    scene_options: groups.SceneOptions,
    net: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Architecture: cnn1d, cnn2d, dscnn, cnn3d, hybridsn, mlp or liunet; or FILE.py:NAME, a PyTorch net of your "
            "own.",
        ),
    ] = "cnn2d",
    patch: Annotated[
        int | None, typer.Option(metavar="PIXELS", help="Side of the square patch in pixels, odd. Default: the net's own.")
    ] = None,
    widths: Annotated[
        str | None, typer.Option(metavar="N,N,...", help="Channels of each layer, as 64,64,64. Default: the net's own.")
    ] = None,
    split_options: groups.SplitOptions,
    epochs: Annotated[
        int | None,
        typer.Option(metavar="N", help="Epochs of training. Default: 30 for cnn2d without --widths, 600 for mlp, else 60."),
    ] = None,
    refit: Annotated[
        bool | None,
        typer.Option(
            "--refit/--no-refit",
            help="Train again on training and validation pixels together, for the number of epochs that validation chose. "
            "Default: only for published splits.",
        ),
    ] = None,
    run: groups.RunOptions,
    seed: options.SeedOption = 0,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Checkpoint to write. Default: SCENE-NET-SPLIT-sSEED, ending in .safetensors."),
    ] = None,
) -> None:
    """Trains a net on a labelled scene, and writes a checkpoint.

    The checkpoint is a safetensors file. Its Card inside says what it was trained on: scene, bands, classes, split, accuracy.
    """
    from hsiedge import nets
    from hsiedge.api import checkpoint
    from hsiedge.training import sleeping_threads

    sleeping_threads()
    name = nets.NETS.name_of(net)
    with console.waiting("reading, and drawing the split"):
        opened = scene_options.open(scene)
        drawn = split_options.draw(opened, seed)
    paths = [checkpoint.check_place(_place(output, opened.name, name, split, several=len(drawn) > 1)) for split in drawn]
    shape = options.widths_of(widths)
    for split, path in zip(drawn, paths):
        _say_split(opened, split)
        logged = replace(run, log=run.log and _with_fold(run.log, split, several=len(drawn) > 1))
        with logged.running(path), console.progress(f"training {name}") as tick:
            chosen: dict[str, Any] = {"net": name, "patch": patch, "epochs": epochs, "refit": refit}
            trained = checkpoint.train(opened, split, **chosen, progress=tick, **shape).save(path)
        _say_trained(trained.card)
        console.say(f"{path}; next: hsiedge export{scene_options.again(scene or [])}")


def _place(output: Path | None, scene: str, net: str, split: Split, *, several: bool) -> Path:
    """The checkpoint's file: the output, with the fold before its suffix where there are several."""
    from hsiedge.cli.names import file_stem

    if output is None:
        return Path(f"{file_stem(scene, net, split)}.safetensors")
    return _with_fold(output, split, several=several)


def _with_fold(path: Path, split: Split, *, several: bool) -> Path:
    return path.with_name(f"{path.stem}-f{split.fold}of{split.folds}{path.suffix}") if several else path


def _say_split(scene: Scene, split: Split) -> None:
    import numpy as np

    from hsiedge.scenes.cubes import spans_of

    facts = split.facts
    fold = f", fold {split.fold} of {split.folds}" if split.folds is not None else ""
    console.say(
        f"{scene.name}: {facts.kind} split{fold}, {facts.train} pixels train, {facts.validation} validate, {facts.test} test"
    )
    for flight, (top, height, _) in zip(scene.flights, spans_of(scene.cube)):
        train, validation, test = np.bincount(split.parts[top : top + height].ravel(), minlength=4)[1:]
        console.say(f"  {flight.name}: {train} train, {validation} validate, {test} test")
    if split.dropped:
        lacks = split.folds is not None or split.kind == "flights"
        why = "training lacks them, so they are not tested" if lacks else "they cannot be in every part"
        console.say(f"  left out, for {why}: {', '.join(scene.classes[label] for label in split.dropped)}")


def _say_trained(card: Card) -> None:
    facts, score = card.net, card.accuracy[0]
    assert facts is not None
    assert card.split is not None
    console.say(f"{facts.name}: {facts.parameters:,} parameters, {facts.macs_per_pixel / 1e6:.2f} million MACs a pixel")
    near = "" if card.split.kind == "random" else ", which lie near training pixels: expect less of the test"
    which = f", weights {score.weights}" if score.weights else ""
    console.say(f"validation pixels{which}: OA {score.oa:.2f} %, AA {score.aa:.2f} % of {score.n}{near}")
    if card.refitted:
        done = card.lineage[-1].options
        console.say(f"refitted on all {done['pixels']} training and validation pixels, {done['epochs']:g} epochs")
