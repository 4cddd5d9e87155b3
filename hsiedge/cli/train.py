"""`hsiedge train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hsiedge.cli import console, options


def train_command(
    scene: Annotated[str | None, typer.Argument(help="A scene of the catalog, or a packed .npz.")] = None,
    cube: options.CubeOption = None,
    labels: options.LabelsOption = None,
    cube_key: options.CubeKeyOption = None,
    labels_key: options.LabelsKeyOption = None,
    net: Annotated[str, typer.Option(help="cnn1d, cnn2d, cnn3d or hybridsn.")] = "cnn2d",
    patch: Annotated[int | None, typer.Option(help="Patch, odd; left out, the net's own.")] = None,
    widths: Annotated[str | None, typer.Option(help="Widths of the layers, as 64,64,64; left out, the net's own.")] = None,
    split: Annotated[
        str, typer.Option(help="random; blocks: test pixels far from training pixels; lists: a mosaic's own.")
    ] = "random",
    train_fraction: Annotated[float, typer.Option(help="Of each class; half as much again validates, the rest tests.")] = 0.1,
    guard: Annotated[int, typer.Option(help="blocks: pixels between test and training pixels.")] = 6,
    train_mask: options.TrainMaskOption = None,
    test_mask: options.TestMaskOption = None,
    epochs: Annotated[int, typer.Option(help="Passes over the training pixels.")] = 60,
    seed: options.SeedOption = 0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The checkpoint; left out, SCENE-NET-SPLIT-sSEED.safetensors.")
    ] = None,
    data_dir: options.DataDirOption = None,
) -> None:
    """Trains a net on a scene's training pixels, and leaves a checkpoint (safetensors, with its Card inside)."""
    from hsiedge import files
    from hsiedge.cli.names import file_stem
    from hsiedge.errors import MissingExtraError
    from hsiedge.scenes import splits

    try:
        from hsiedge.training.checkpoint import save_checkpoint
        from hsiedge.training.fit import FitSettings
        from hsiedge.training.train import train
    except ImportError as error:
        raise MissingExtraError("training", "train") from error

    with console.waiting("reading, and drawing the split"):
        opened = options.SceneOptions(scene, cube, labels, cube_key, labels_key, data_dir).open()
        masks = options.open_masks(opened, train_mask, test_mask, seed)
        drawn = masks or splits.draw(split, opened, seed, train_fraction, guard)
    path = output or Path(f"{file_stem(opened.name, net, drawn)}.safetensors")
    files.check_writable(path)
    facts = drawn.facts
    console.say(
        f"{opened.name}: {facts.kind} split, {facts.train} pixels train, {facts.validation} validate, {facts.test} test"
    )
    if drawn.dropped:
        console.say(
            f"  left out, for they cannot be in every part: {', '.join(opened.classes[label] for label in drawn.dropped)}"
        )
    shape: dict[str, Any] = {} if widths is None else {"widths": options.parse_widths(widths)}
    with console.progress(f"training {net}") as tick:
        checkpoint = train(opened, drawn, net, patch, FitSettings(epochs=epochs), tick, **shape)
    save_checkpoint(path, checkpoint)
    made, score = checkpoint.card.net, checkpoint.card.accuracy[0]
    assert made is not None
    console.say(f"{made.name}: {made.parameters:,} parameters, {made.macs_per_pixel / 1e6:.2f} million MACs a pixel")
    near = "" if facts.kind == "random" else ", which lie near training pixels: expect less of the test"
    console.say(f"validation pixels: OA {score.oa:.2f} %, AA {score.aa:.2f} % of {score.n}{near}")
    console.say(f"{path}; next: hsiedge export")
