"""`hsiedge export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hsiedge.cli import choose, console, options


def export_command(
    checkpoint: Annotated[
        Path | None, typer.Argument(help="A checkpoint; left out, the newest here, else the shipped one.")
    ] = None,
    cube: options.CubeOption = None,
    labels: options.LabelsOption = None,
    cube_key: options.CubeKeyOption = None,
    labels_key: options.LabelsKeyOption = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The model; left out, SCENE-NET-SPLIT-sSEED.onnx.")
    ] = None,
    data_dir: options.DataDirOption = None,
) -> None:
    """Exports a checkpoint to ONNX, from the sensor's counts to logits, verified against PyTorch on real patches."""
    from hsiedge import files
    from hsiedge.cli.names import stem
    from hsiedge.errors import MissingExtraError

    try:
        from hsiedge.graphs.export import export
        from hsiedge.training.checkpoint import load_checkpoint
    except ImportError as error:
        raise MissingExtraError("exporting", "train") from error

    source = checkpoint or choose.checkpoint()
    loaded = load_checkpoint(source)
    scene = options.Given(None, cube, labels, cube_key, labels_key, data_dir).open_for(loaded.card)
    path = output or Path(f"{stem(loaded.card)}.onnx")
    files.check_writable(path)
    with console.waiting("exporting"):
        card = export(loaded, scene, path, files.digest(source))
    check = card.checks[-1]
    console.say(
        f"onnxruntime against PyTorch on {check.patches} patches of {scene.name}: labels equal, "
        f"logits within {check.figures['logit_difference']:.1e} of their range"
    )
    console.say(f"{path}  {path.stat().st_size / 1000:.0f} kB; next: hsiedge quantize")
