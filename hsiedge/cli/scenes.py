"""`hsiedge scenes`: list, show, fetch, pack."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hsiedge.cli import console, groups, options
from hsiedge.cli.help import Command, Group

app = typer.Typer(cls=Group, help="Lists, shows, downloads and packs scenes.", no_args_is_help=True)

NameArgument = Annotated[str | None, typer.Argument(help="Scene of the catalog, or a packed .npz.")]


@app.command("list", cls=Command)
@groups.expanded
def list_command(data_dir: options.DataDirOption = None) -> None:
    """Lists the catalog, and which of its scenes are on this machine."""
    from hsiedge.report.terminal.scene import catalog_table
    from hsiedge.scenes.catalog import CATALOG
    from hsiedge.scenes.open import locate

    console.stdout().print(catalog_table({entry: locate(entry, data_dir) for entry in CATALOG.values()}))


@app.command("show", cls=Command)
@groups.expanded
def show_command(
    *,
    name: NameArgument = None,
    scene_options: groups.SceneOptions,
    seed: options.SeedOption = 0,
) -> None:
    """Shows a scene's size, bands and classes, and how many pixels of each class the splits train, validate and test on."""
    from hsiedge.report.terminal.scene import scene_tables
    from hsiedge.scenes.splits import draw_all

    with console.waiting("reading, and drawing splits"):
        scene = scene_options.open(name)
        tables = scene_tables(scene, draw_all(scene, seed))
    console.stdout().print(*tables, sep="\n")


@app.command("fetch", cls=Command)
@groups.expanded
def fetch_command(
    name: Annotated[str, typer.Argument(help="Scene of the catalog (hsiedge scenes list).")],
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", metavar="FOLDER", help="Folder to download to. Default: the user's cache.")
    ] = None,
) -> None:
    """Downloads a scene from its publisher, verifies it, and prints where it is."""
    from hsiedge.scenes.catalog import lookup
    from hsiedge.scenes.fetch import fetch
    from hsiedge.scenes.open import cache_dir

    folder = data_dir or cache_dir()
    with console.progress(f"fetching {name}") as tick:
        for path in fetch(lookup(name), folder, tick):
            console.say(f"{path}  {path.stat().st_size / 2**20:.1f} MiB")


@app.command("pack", cls=Command)
@groups.expanded
def pack_command(
    *,
    name: NameArgument = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write. Default: NAME.npz.")] = None,
    scene_options: groups.SceneOptions,
) -> None:
    """Packs cube, labels and metadata into one .npz, which a board reads without further packages."""
    from hsiedge import files
    from hsiedge.cli.names import safe
    from hsiedge.scenes.pack import pack

    scene = scene_options.open(name)
    path = output or Path(f"{safe(scene.name)}.npz")
    files.check_writable(path, [*([Path(name)] if name else []), *(scene_options.cube or []), *(scene_options.labels or [])])
    pack(scene, path)
    console.say(f"{path}  {path.stat().st_size / 2**20:.1f} MiB; on the device: hsiedge eval MODEL --scene {path}")
