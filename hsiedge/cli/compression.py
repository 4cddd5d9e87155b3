"""`hsiedge prune`, `distill` and `qat`: a checkpoint in, a smaller checkpoint out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hsiedge.cli import choose, console, options

if TYPE_CHECKING:
    from hsiedge.card import Card
    from hsiedge.scenes.scene import Scene
    from hsiedge.scenes.splits import Split
    from hsiedge.training.checkpoint import Checkpoint

CheckpointArgument = Annotated[
    Path | None, typer.Argument(help="A checkpoint; left out, the newest here, else the shipped one.")
]
OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", help="The checkpoint; left out, SCENE-NET-SPLIT-sSEED-METHOD.safetensors.")
]
EpochsOption = Annotated[int, typer.Option(help="Passes over the training pixels afterwards.")]


@options.expanded
def prune_command(
    *,
    checkpoint: CheckpointArgument = None,
    method: Annotated[
        str, typer.Option(help="Way of pruning: structured, whole channels; magnitude, single weights.")
    ] = "structured",
    ratio: Annotated[float, typer.Option(help="Share of the channels, or of the weights, that go.")] = 0.5,
    scope: Annotated[
        str | None,
        typer.Option(help="Reach of the share: global, the net; layer, each layer; left out, structured counts by layer."),
    ] = None,
    criterion: Annotated[
        str | None, typer.Option(help="Worth of a channel, structured: l1, l2, taylor or batchnorm; left out, l1.")
    ] = None,
    epochs: EpochsOption = 20,
    net: options.NetFileOption = None,
    scene_options: options.SceneOptions,
    masks: options.MaskOptions,
    output: OutputOption = None,
) -> None:
    """Prunes a trained net and trains it on: whole channels (smaller and faster) or single weights (neither, when run)."""
    from hsiedge import files
    from hsiedge.errors import MissingExtraError, OptionError

    try:
        from hsiedge.compression.prune import prune_magnitude, prune_structured
        from hsiedge.training.finetune import TUNING
    except ImportError as error:
        raise MissingExtraError("pruning", "train") from error
    if method not in ("structured", "magnitude"):
        raise OptionError(f"no method is called {method!r}; there are structured and magnitude")
    if method == "magnitude" and criterion is not None:
        raise OptionError("--criterion goes with --method structured; magnitude prunes by the weights' sizes alone")
    source, loaded, scene, split = _open(checkpoint, scene_options, masks, net)
    _check_output(output)
    settings = replace(TUNING, epochs=epochs)
    with console.progress(f"pruning {ratio:g}, {method}") as tick:
        if method == "magnitude":
            pruned = prune_magnitude(
                loaded, scene, split, ratio, scope or "global", settings, parent=files.digest(source), progress=tick
            )
        else:
            pruned = prune_structured(
                loaded, scene, split, ratio, criterion or "l1", scope or "layer", settings, files.digest(source), tick
            )
    path = _save(pruned, output)
    _tell_pruned(loaded.card, pruned.card, source, path)
    _tell_validation(loaded.card, pruned.card)
    console.say(f"{path}; next: hsiedge export {path}")


@options.expanded
def distill_command(
    *,
    teacher: Annotated[
        Path | None,
        typer.Argument(help="The teacher's checkpoint; left out, the newest uncompressed one here, else the shipped one."),
    ] = None,
    student: Annotated[
        str, typer.Option(help="Net of the student: cnn1d, cnn2d, dscnn, cnn3d or hybridsn; or your own, FILE.py:NAME.")
    ] = "dscnn",
    widths: Annotated[
        str | None, typer.Option(help="Widths of the student's layers, as 20,32,32; left out, the net's own.")
    ] = None,
    patch: Annotated[int | None, typer.Option(help="Side of the student's patch, odd; left out, the teacher's.")] = None,
    method: Annotated[str, typer.Option(help="Source of the lesson: the teacher's logits, features or attention.")] = "logits",
    temperature: Annotated[float, typer.Option(help="Temperature that softens the logits of both, with logits.")] = 4.0,
    weight: Annotated[float, typer.Option(help="Share of the teacher's part in the loss; the labels have the rest.")] = 0.2,
    unlabelled: Annotated[
        bool, typer.Option("--unlabelled", help="Learn from pixels without a label too; the Card says transductive.")
    ] = False,
    epochs: Annotated[int, typer.Option(help="Passes over the training pixels.")] = 120,
    net: options.NetFileOption = None,
    scene_options: options.SceneOptions,
    masks: options.MaskOptions,
    output: OutputOption = None,
) -> None:
    """Trains a small net on the labels and on what a trained one makes of the same patches."""
    from hsiedge import files, nets
    from hsiedge.cli.train import check_own_net
    from hsiedge.errors import MissingExtraError

    try:
        from hsiedge.compression.distill import distill
        from hsiedge.training.fit import FitSettings
    except ImportError as error:
        raise MissingExtraError("distilling", "train") from error
    shape: dict[str, Any] = {} if widths is None else {"widths": options.parse_widths(widths)}
    name = nets.NETS.name_of(student)
    source, loaded, scene, split = _open(teacher or choose.teacher(), scene_options, masks, net)
    _check_output(output)
    check_own_net(name, scene, patch, **shape)
    with console.progress(f"distilling into {name}") as tick:
        taught = distill(
            loaded,
            scene,
            split,
            name,
            method,
            patch,
            temperature,
            weight,
            unlabelled,
            FitSettings(epochs=epochs),
            files.digest(source),
            tick,
            **shape,
        )
    path = _save(taught, output)
    before, after = loaded.card.net, taught.card.net
    assert before is not None
    assert after is not None
    console.say(
        f"{before.name} -> {after.name}: {before.parameters:,} -> {after.parameters:,} parameters, "
        f"{before.macs_per_pixel / 1e6:.2f} -> {after.macs_per_pixel / 1e6:.2f} million MACs a pixel"
    )
    _tell_validation(loaded.card, taught.card)
    console.say(f"{path}; next: hsiedge export {path}")


@options.expanded
def qat_command(
    *,
    checkpoint: CheckpointArgument = None,
    bits: Annotated[int, typer.Option(help="Bits of the weights: 8; or 6, 4, 3, 2, which are simulated.")] = 8,
    epochs: EpochsOption = 20,
    net: options.NetFileOption = None,
    scene_options: options.SceneOptions,
    masks: options.MaskOptions,
    output: OutputOption = None,
) -> None:
    """Trains on in the arithmetic of the quantized graph; leaves a checkpoint, and the ONNX whose labels were simulated."""
    from hsiedge import files
    from hsiedge.cli.names import stem
    from hsiedge.errors import MissingExtraError

    try:
        from hsiedge.compression.qat import SETTINGS, qat
    except ImportError as error:
        raise MissingExtraError("quantization-aware training", "train") from error
    source, loaded, scene, split = _open(checkpoint, scene_options, masks, net)
    _check_output(output)
    with console.progress(f"training in {bits} bits, and its control in float") as tick:
        result = qat(loaded, scene, split, bits, replace(SETTINGS, epochs=epochs), files.digest(source), tick)
    path = _save(result.checkpoint, output)
    model = path.with_suffix(".onnx") if output else Path(f"{stem(result.card)}.onnx")
    files.write_bytes(model, result.model)
    check = result.card.checks[-1]
    differ = check.figures["labels_differ"]
    words = f"{differ:g} labels differ, each a tie" if differ else "labels equal"
    console.say(f"onnxruntime against the simulation on {check.patches} patches: {words}")
    judged, control = result.judged, result.control_judged
    console.say(
        f"validation pixels: OA {judged.oa:.2f} %; control (as many steps in float, then quantized to {bits} bits): "
        f"{control.oa:.2f} %; before both: {judged.oa_float:.2f} % in float"
    )
    if bits < 8:
        console.say(f"{bits} bits are simulated: the weights take {2**bits - 1} values, and a byte each in the file")
    console.say(f"{path}, {model}  {model.stat().st_size / 1000:.0f} kB; next: hsiedge eval {model}")


def _open(
    checkpoint: Path | None, scene_options: options.SceneOptions, masks: options.MaskOptions, net: str | None
) -> tuple[Path, Checkpoint, Scene, Split]:
    """The checkpoint's path and content, its scene, and its split drawn again."""
    from hsiedge.training.checkpoint import load_checkpoint
    from hsiedge.training.dataset import own_split

    source = checkpoint or choose.checkpoint()
    loaded = load_checkpoint(source, net=net)
    with console.waiting("reading, and drawing the split"):
        scene = scene_options.open_for(loaded.card)
        return source, loaded, scene, own_split(loaded.card, scene, masks.split_for(loaded.card, scene))


def _check_output(output: Path | None) -> None:
    from hsiedge import files

    files.check_writable(output or Path("checkpoint.safetensors"))


def _save(checkpoint: Checkpoint, output: Path | None) -> Path:
    from hsiedge.cli.names import stem
    from hsiedge.training.checkpoint import save_checkpoint

    path = output or Path(f"{stem(checkpoint.card)}.safetensors")
    save_checkpoint(path, checkpoint)
    return path


def _tell_pruned(before: Card, after: Card, source: Path, path: Path) -> None:
    facts = after.lineage[-1].options
    if facts["method"] == "magnitude":
        share = 100 * facts["zeros"] / facts["weights"]
        console.say(
            f"{facts['zeros']:,} of {facts['weights']:,} weights are 0 ({share:.1f} %); the file takes "
            f"{path.stat().st_size / 1000:.0f} kB, compressed {_compressed(path) / 1000:.0f} kB "
            f"(before: {_compressed(source) / 1000:.0f} kB)"
        )
        console.say("a dense runtime multiplies zeros as it does all else: this net is no faster, and no smaller when loaded")
        return
    assert before.net is not None
    assert after.net is not None
    console.say(
        f"{facts['removed']} of {facts['channels']} channels are gone: "
        f"{before.net.parameters:,} -> {after.net.parameters:,} parameters, "
        f"{before.net.macs_per_pixel / 1e6:.2f} -> {after.net.macs_per_pixel / 1e6:.2f} million MACs a pixel"
    )
    if facts["removed"] < facts["asked"]:
        console.say(f"  less than asked: {facts['asked']} were to go, but each layer keeps one")


def _compressed(path: Path) -> int:
    import gzip

    return len(gzip.compress(path.read_bytes(), 9))


def _tell_validation(before: Card, after: Card) -> None:
    had = next((entry for entry in before.accuracy if entry.part == "validation"), None)
    has = after.accuracy[0]
    console.say(f"validation pixels: OA {f'{had.oa:.2f} -> ' if had else ''}{has.oa:.2f} %, AA {has.aa:.2f} % of {has.n}")
