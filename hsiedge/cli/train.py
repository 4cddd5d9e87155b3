"""`hsiedge train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hsiedge.cli import console, options


@options.expanded
def train_command(
    *,
    scene: Annotated[str | None, typer.Argument(help="A scene of the catalog, or a packed .npz.")] = None,
    scene_options: options.SceneOptions,
    net: Annotated[
        str, typer.Option(help="Architecture: cnn1d, cnn2d, dscnn, cnn3d or hybridsn; or your own, FILE.py:NAME.")
    ] = "cnn2d",
    patch: Annotated[int | None, typer.Option(help="Side of the patch, odd; left out, the net's own.")] = None,
    widths: Annotated[str | None, typer.Option(help="Widths of the layers, as 64,64,64; left out, the net's own.")] = None,
    split_options: options.SplitOptions,
    epochs: Annotated[int, typer.Option(help="Passes over the training pixels.")] = 60,
    seed: options.SeedOption = 0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The checkpoint; left out, SCENE-NET-SPLIT-sSEED.safetensors.")
    ] = None,
) -> None:
    """Trains a net on a scene's training pixels, and leaves a checkpoint (safetensors, with its Card inside)."""
    from hsiedge import nets
    from hsiedge.api import checkpoint
    from hsiedge.cli.names import file_stem

    name = nets.NETS.name_of(net)
    with console.waiting("reading, and drawing the split"):
        opened = scene_options.open(scene)
        split = split_options.draw(opened, seed)
    path = checkpoint.check_place(output or Path(f"{file_stem(opened.name, name, split)}.safetensors"))
    facts = split.facts
    console.say(
        f"{opened.name}: {facts.kind} split, {facts.train} pixels train, {facts.validation} validate, {facts.test} test"
    )
    if split.dropped:
        console.say(
            f"  left out, for they cannot be in every part: {', '.join(opened.classes[label] for label in split.dropped)}"
        )
    with console.progress(f"training {name}") as tick:
        shape = options.widths_of(widths)
        card = checkpoint.train(opened, split, net=name, patch=patch, epochs=epochs, progress=tick, **shape).save(path).card
    net_facts, score = card.net, card.accuracy[0]
    assert net_facts is not None
    console.say(
        f"{net_facts.name}: {net_facts.parameters:,} parameters, {net_facts.macs_per_pixel / 1e6:.2f} million MACs a pixel"
    )
    near = "" if facts.kind == "random" else ", which lie near training pixels: expect less of the test"
    console.say(f"validation pixels: OA {score.oa:.2f} %, AA {score.aa:.2f} % of {score.n}{near}")
    console.say(f"{path}; next: hsiedge export")
