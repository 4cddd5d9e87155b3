"""`hsiedge compress`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hsiedge.cli import console, options

if TYPE_CHECKING:
    from rich.table import Table

    from hsiedge.compression.budget import Compressed
    from hsiedge.scenes.scene import Scene
    from hsiedge.scenes.splits import Split


@options.expanded
def compress_command(
    *,
    scene: Annotated[str | None, typer.Argument(help="A scene of the catalog, or a packed .npz.")] = None,
    max_size: Annotated[
        str, typer.Option(help="Bytes of the INT8 file as written, Card included, at most: 16KiB, 20kB, 16384.")
    ] = "16KiB",
    max_drop: Annotated[float, typer.Option(help="Points of OA below the teacher's, on validation pixels.")] = 0.5,
    min_oa: Annotated[float | None, typer.Option(help="Least OA on validation pixels, percent.")] = None,
    teacher: Annotated[
        Path | None,
        typer.Option(help="Checkpoint of the teacher; left out, that of this scene and split here, else one is trained."),
    ] = None,
    net: options.NetFileOption = None,
    scene_options: options.SceneOptions,
    split_options: options.SplitOptions,
    seed: options.SeedOption = 0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The model; left out, SCENE-NET-SPLIT-sSEED-METHODS-int8.onnx.")
    ] = None,
) -> None:
    """Searches for the INT8 model that loses least within a budget of bytes; judges on validation pixels."""
    from hsiedge import files
    from hsiedge.cli.names import stem
    from hsiedge.errors import CheckError, needs_extra

    with needs_extra("compressing", "train"):
        from hsiedge.compression.budget import Budget, compress
        from hsiedge.training.checkpoint import load_checkpoint
    budget = Budget(files.parse_size(max_size), max_drop, min_oa)
    files.check_writable(output or Path("model.onnx"))
    with console.waiting("reading, and drawing the split"):
        opened = scene_options.open(scene)
        split = split_options.draw_one(opened, seed)
    source = _teacher(teacher, opened, split)
    search = compress(load_checkpoint(source, net=net), opened, split, budget, console.progress, files.digest(source))
    console.stdout().print(_table(search))
    nearest = search.nearest
    words = f"{' -> '.join(nearest.path)}: {nearest.size:,} bytes, OA {nearest.oa:.2f} % of validation pixels"
    if not search.met:
        raise CheckError(
            f"no file of at most {budget.size:,} bytes with OA {budget.floor(search.teacher):.2f} % or more was found; "
            f"nearest: {words}; nothing was written"
        )
    path = output or Path(f"{stem(nearest.card)}.onnx")
    files.write_bytes(path, nearest.model)
    console.say(words)
    console.say(f"{path}  {nearest.size:,} bytes of {budget.size:,}; next: hsiedge eval {path}")


def _teacher(path: Path | None, scene: Scene, split: Split) -> Path:
    """The teacher's file; it is trained and kept where there is none, so that a second run starts from it."""
    from hsiedge.api.checkpoint import train
    from hsiedge.cli.names import file_stem

    place = path or Path(f"{file_stem(scene.name, 'cnn2d', split)}.safetensors")
    trained = path is None and not place.exists()
    if trained:
        with console.progress("training the teacher, cnn2d") as tick:
            train(scene, split, net="cnn2d", progress=tick).save(place)
    console.say(f"teacher: {'trained, ' if trained else ''}{place}")
    return place


def _table(search: Compressed) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, title=f"teacher: OA {search.teacher:.2f} % of validation pixels", title_justify="left")
    table.add_column("what was tried")
    for title in ("bytes", "parameters", "OA %", "loss", ""):
        table.add_column(title, justify="right")
    for entry in search.tried:
        net = entry.checkpoint.card.net
        mark = "taken" if entry is search.best and search.met else ("" if entry.size <= search.budget.size else "too large")
        parameters = f"{net.parameters:,}" if net else ""
        table.add_row(" -> ".join(entry.path), f"{entry.size:,}", parameters, f"{entry.oa:.2f}", f"{entry.loss:.4f}", mark)
    return table
