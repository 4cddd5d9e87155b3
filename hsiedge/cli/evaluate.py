"""`hsiedge eval`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hsiedge.cli import choose, console, options


@options.expanded
def eval_command(
    *,
    model: Annotated[
        Path | None, typer.Argument(help="An ONNX or TFLite model; left out, the newest here, else the shipped INT8 one.")
    ] = None,
    scene: Annotated[
        str | None, typer.Option("--scene", help="Catalog name or packed .npz; left out, the model's own.")
    ] = None,
    scene_options: options.SceneOptions,
    masks: options.MaskOptions,
    runtime: options.RuntimeOption = None,
    provider: options.ProviderOption = None,
    fast_int8: options.FastInt8Option = False,
    net: options.NetFileOption = None,
    threads: Annotated[int, typer.Option(help="Threads; 0 leaves it to the runtime.")] = 0,
    json: options.JsonOption = None,
) -> None:
    """Counts a model's hits on the test pixels of the split in its Card; on a scene it never saw, on all labelled pixels."""
    from hsiedge.api.model import load
    from hsiedge.report.terminal.model import accuracy_tables
    from hsiedge.runtimes import check_engine

    console.check_json(json)
    check_engine(runtime, model, provider)
    path = model or choose.any_model(runtime)
    loaded = load(path, threads=threads, runtime=runtime, provider=provider, fast_int8=fast_int8, net=net)
    opened = scene_options.open_for(loaded.known, scene)
    with console.progress("evaluating") as tick:
        result = loaded.evaluate(opened, masks=masks.split_for(loaded.known, opened), progress=tick)
    if result.split is None:
        own = loaded.known.scene.sha256 == opened.sha256
        why = "the Card tells of no split, so training pixels may be among them (hsiedge card --split tells of one)"
        console.say(f"all labelled pixels are counted: {why if own else f'the model never saw {opened.name}'}")
    if json is not None:
        console.write_json({**result.to_json(path.name), "warnings": loaded.warnings}, json)
    if json != "-":
        console.stdout().print(*accuracy_tables(result, path.name), sep="\n")
    console.warn(loaded.warnings)
