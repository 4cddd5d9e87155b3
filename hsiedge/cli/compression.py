"""`hsiedge prune`, `distill`, `qat`: a checkpoint in, a smaller checkpoint out; and `compress`, which searches among them."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hsiedge.cli import choose, console, groups, options

if TYPE_CHECKING:
    from rich.table import Table

    from hsiedge.api.checkpoint import Checkpoint
    from hsiedge.card import Card
    from hsiedge.compression.budget import Compressed
    from hsiedge.scenes.scene import Scene
    from hsiedge.scenes.splits import Split

CheckpointArgument = Annotated[
    Path | None,
    typer.Argument(help="Checkpoint to start from. Default: the newest in this folder, else the one that comes with hsiedge."),
]
EpochsOption = Annotated[int, typer.Option(help="Epochs of fine-tuning.")]


@dataclass(frozen=True)
class TrainedOptions(groups.RunOptions, groups.SceneOptions, groups.ModelSplitOptions):
    """Options of a checkpoint that is trained on: its net, its scene, its split, and where the result goes."""

    net: options.NetFileOption = None
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Checkpoint to write. Default: SCENE-NET-SPLIT-sSEED and the method, ending in .safetensors."
        ),
    ] = None

    def opened(self, path: Path) -> tuple[Checkpoint, dict[str, Any]]:
        """The checkpoint of a file, and the scene and the split of mask files that its methods are to take."""
        from hsiedge.api.checkpoint import Checkpoint, check_place

        source = Checkpoint.open(path, net=self.net)
        with console.waiting("reading"):
            scene = self.open_for(source.card)
            split = self.split_for(source.card, scene)
        check_place(self.output or Path("checkpoint.safetensors"), inputs=[path])
        return source, {"scene": scene, "split": split}

    def training(self, source: Checkpoint, step: str) -> AbstractContextManager[None]:
        """The block in which a step is trained and saved; its output's name is known only afterwards, where none is given."""
        from hsiedge.cli.names import stem

        return self.running(self.output or Path(f"{stem(source.card)}-{step}"))


@groups.expanded
def prune_command(
    *,
    checkpoint: CheckpointArgument = None,
    method: Annotated[
        str,
        typer.Option(
            metavar="structured|magnitude",
            help="Pruning method: structured removes whole channels; magnitude sets single weights to zero.",
        ),
    ] = "structured",
    ratio: Annotated[
        float, typer.Option(metavar="SHARE", help="Share of the channels or weights to prune, between 0 and 1.")
    ] = 0.5,
    scope: Annotated[
        str | None,
        typer.Option(
            metavar="global|layer",
            help="Scope of --ratio: global, over the whole net; layer, in each layer. Default: layer for structured, global "
            "for magnitude.",
        ),
    ] = None,
    criterion: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Importance of a channel, for structured: l1, l2, taylor or batchnorm. Default: l1."),
    ] = None,
    epochs: EpochsOption = 20,
    trained: TrainedOptions,
) -> None:
    """Prunes a trained net, and fine-tunes it.

    A net that loses channels is smaller and faster. Weights set to zero one by one make it neither, in today's runtimes.
    """
    source, own = trained.opened(checkpoint or choose.checkpoint())
    with trained.training(source, "prune"):
        with console.progress(f"pruning {ratio:g}, {method}") as tick:
            chosen: dict[str, Any] = {
                "method": method,
                "ratio": ratio,
                "criterion": criterion,
                "scope": scope,
                "epochs": epochs,
            }
            pruned = source.prune(**chosen, **own, progress=tick)
        path = _save(pruned, trained.output)
    _tell_pruned(source, pruned)
    _tell_validation(source.card, pruned.card)
    console.say(f"{path}; next: hsiedge export {path}")


@groups.expanded
def distill_command(
    *,
    teacher: Annotated[
        Path | None,
        typer.Argument(
            help="Checkpoint of the teacher. Default: the newest in this folder that is not compressed, else the one that "
            "comes with hsiedge."
        ),
    ] = None,
    student: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Net of the student: cnn1d, cnn2d, dscnn, cnn3d, hybridsn, mlp or liunet; or FILE.py:NAME, a PyTorch net of "
            "your own.",
        ),
    ] = "dscnn",
    widths: Annotated[
        str | None,
        typer.Option(metavar="N,N,...", help="Channels of each of the student's layers, as 20,32,32. Default: the net's own."),
    ] = None,
    patch: Annotated[
        int | None,
        typer.Option(metavar="PIXELS", help="Side of the student's square patch in pixels, odd. Default: the teacher's."),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            metavar="logits|features|attention", help="Output of the teacher to learn from: its logits, features or attention."
        ),
    ] = "logits",
    temperature: Annotated[
        float, typer.Option(metavar="T", help="Temperature of the softmax of teacher and student (for logits).")
    ] = 4.0,
    weight: Annotated[
        float,
        typer.Option(
            metavar="SHARE", help="Weight of the teacher's term in the loss, between 0 and 1. The labels' term has the rest."
        ),
    ] = 0.2,
    unlabelled: Annotated[
        bool, typer.Option("--unlabelled", help="Learn from unlabelled pixels, too. The Card then says transductive.")
    ] = False,
    epochs: Annotated[int, typer.Option(help="Epochs of training.")] = 120,
    trained: TrainedOptions,
) -> None:
    """Trains a small net, the student, on the labels and on the outputs of a trained one, the teacher."""
    source, own = trained.opened(teacher or choose.teacher())
    with trained.training(source, "distill"):
        with console.progress(f"distilling into {student}") as tick:
            taught = source.distill(
                student,
                method=method,
                patch=patch,
                temperature=temperature,
                weight=weight,
                unlabelled=unlabelled,
                epochs=epochs,
                **own,
                progress=tick,
                **options.widths_of(widths),
            )
        path = _save(taught, trained.output)
    before, after = source.card.net, taught.card.net
    assert before is not None
    assert after is not None
    console.say(f"{before.name} -> {after.name}: {_smaller(source.card, taught.card)}")
    _tell_validation(source.card, taught.card)
    console.say(f"{path}; next: hsiedge export {path}")


@groups.expanded
def qat_command(
    *,
    checkpoint: CheckpointArgument = None,
    bits: Annotated[
        int, typer.Option(metavar="8|6|4|3|2", help="Bits of the weights: 8; or 6, 4, 3, 2, which are only simulated.")
    ] = 8,
    epochs: EpochsOption = 20,
    trained: TrainedOptions,
) -> None:
    """Fine-tunes a net in simulated INT8 arithmetic (quantization-aware training).

    Writes a checkpoint, and the quantized ONNX model that was simulated.
    """
    from hsiedge.cli.names import qat_stems

    source, own = trained.opened(checkpoint or choose.checkpoint())
    names = qat_stems(source.card, bits)
    path = trained.output or Path(f"{names[0]}.safetensors")
    model = path.with_suffix(".onnx") if trained.output else Path(f"{names[1]}.onnx")
    with trained.running(path), console.progress(f"training in {bits} bits, and its control in float") as tick:
        card = source.qat(model, bits=bits, epochs=epochs, checkpoint=path, **own, progress=tick).known
    check, judged, control = card.checks[-1], card.quantization, card.lineage[-1].options["control_oa"]
    assert judged is not None
    differ = check.figures["labels_differ"]
    words = f"{differ:g} labels differ, each a tie" if differ else "labels equal"
    console.say(f"onnxruntime against the simulation on {check.patches} patches: {words}")
    which = f", {judged.calibration['judged']}" if "judged" in judged.calibration else ""
    console.say(
        f"validation pixels{which}: OA {judged.oa_int8:.2f} %; control (as many steps in float, then quantized to "
        f"{bits} bits): {control:.2f} %; before both: {judged.oa_float:.2f} % in float"
    )
    if bits < 8:
        console.say(f"{bits} bits are simulated: the weights take {2**bits - 1} values, and a byte each in the file")
    console.say(f"{path}, {model}  {model.stat().st_size / 1000:.0f} kB; next: hsiedge eval {model}")


def _save(checkpoint: Checkpoint, output: Path | None) -> Path:
    from hsiedge.cli.names import stem

    path = output or Path(f"{stem(checkpoint.card)}.safetensors")
    checkpoint.save(path)
    return path


def _tell_pruned(source: Checkpoint, pruned: Checkpoint) -> None:
    facts = pruned.card.lineage[-1].options
    if facts["method"] == "magnitude":
        assert source.path is not None
        assert pruned.path is not None
        share = 100 * facts["zeros"] / facts["weights"]
        console.say(
            f"{facts['zeros']:,} of {facts['weights']:,} weights are 0 ({share:.1f} %); the file takes "
            f"{pruned.path.stat().st_size / 1000:.0f} kB, compressed {_compressed(pruned.path) / 1000:.0f} kB "
            f"(before: {_compressed(source.path) / 1000:.0f} kB)"
        )
        console.say("a dense runtime multiplies zeros as it does all else: this net is no faster, and no smaller when loaded")
        return
    console.say(f"{facts['removed']} of {facts['channels']} channels are gone: {_smaller(source.card, pruned.card)}")
    if facts["removed"] < facts["asked"]:
        console.say(f"  less than asked: {facts['asked']} were to go, but each layer keeps one")


def _smaller(before: Card, after: Card) -> str:
    assert before.net is not None
    assert after.net is not None
    return (
        f"{before.net.parameters:,} -> {after.net.parameters:,} parameters, "
        f"{before.net.macs_per_pixel / 1e6:.2f} -> {after.net.macs_per_pixel / 1e6:.2f} million MACs a pixel"
    )


def _compressed(path: Path) -> int:
    import gzip

    return len(gzip.compress(path.read_bytes(), 9))


def _tell_validation(before: Card, after: Card) -> None:
    had = next((entry for entry in before.accuracy if entry.part == "validation"), None)
    has = after.accuracy[0]
    which = f", weights {has.weights}" if has.weights else ""
    oa = f"{f'{had.oa:.2f} -> ' if had else ''}{has.oa:.2f}"
    console.say(f"validation pixels{which}: OA {oa} %, AA {has.aa:.2f} % of {has.n}")


@groups.expanded
def compress_command(
    *,
    scene: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SCENE",
            help="Scene of the catalog (hsiedge scenes list), a packed .npz, or a list of flights, flights.toml. Several are "
            "trained on together.",
        ),
    ] = None,
    max_size: Annotated[
        str,
        typer.Option(
            metavar="SIZE", help="Largest INT8 file to accept, as written and with its Card: 16KiB, 20kB or 16384 (bytes)."
        ),
    ] = "16KiB",
    max_drop: Annotated[
        float,
        typer.Option(metavar="POINTS", help="Largest loss of OA to accept, in points below the teacher, on validation pixels."),
    ] = 0.5,
    min_oa: Annotated[
        float | None, typer.Option(metavar="PERCENT", help="Least OA to accept on validation pixels, in percent.")
    ] = None,
    teacher: Annotated[
        Path | None,
        typer.Option(
            help="Checkpoint of the teacher. Default: that of this scene and split in this folder; if there is none, one is "
            "trained."
        ),
    ] = None,
    net: options.NetFileOption = None,
    scene_options: groups.SceneOptions,
    split_options: groups.SplitOptions,
    seed: options.SeedOption = 0,
    run: groups.RunOptions,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Model to write. Default: SCENE-NET-SPLIT-sSEED-METHODS-int8.onnx.")
    ] = None,
) -> None:
    """Searches for the most accurate INT8 model within a budget of bytes.

    It prunes, distills and fine-tunes in INT8 arithmetic. Accuracy is that on validation pixels; test pixels choose nothing.
    """
    from hsiedge import files
    from hsiedge.cli.names import stem
    from hsiedge.errors import CheckError, OptionError, needs_extra
    from hsiedge.training import sleeping_threads

    sleeping_threads()
    with needs_extra("compressing", "train"):
        from hsiedge.compression.budget import Budget, compress
        from hsiedge.training.checkpoint import load_checkpoint
    budget = Budget(files.parse_size(max_size, "max_size"), max_drop, min_oa)
    if output is not None and output.suffix != ".onnx":
        raise OptionError("a model is written as .onnx", option="output", value=str(output))
    files.check_writable(output or Path("model.onnx"), [] if teacher is None else [teacher])
    with console.waiting("reading, and drawing the split"):
        opened = scene_options.open(scene)
        split = split_options.draw_one(opened, seed)
    source = _teacher(teacher, opened, split, run)
    start = load_checkpoint(source, net=net)
    with run.running(output or Path(f"{stem(start.card)}-compress")):
        search = compress(start, opened, split, budget, console.progress, files.digest(source))
        path = output or Path(f"{stem(search.nearest.card)}.onnx")
        if search.met:
            files.write_bytes(path, search.nearest.model)
    console.stdout().print(_table(search))
    nearest = search.nearest
    words = f"{' -> '.join(nearest.path)}: {nearest.size:,} bytes, OA {nearest.oa:.2f} % of validation pixels"
    if not search.met:
        raise CheckError(
            f"no file of at most {budget.size:,} bytes with OA {budget.floor(search.teacher):.2f} % or more was found; "
            f"nearest: {words}; nothing was written"
        )
    console.say(words)
    console.say(f"{path}  {nearest.size:,} bytes of {budget.size:,}; next: hsiedge eval {path}")


def _teacher(path: Path | None, scene: Scene, split: Split, run: groups.RunOptions) -> Path:
    """The teacher's file; it is trained and kept where there is none, so that a second run starts from it."""
    from hsiedge.api.checkpoint import train
    from hsiedge.cli.names import file_stem

    place = path or Path(f"{file_stem(scene.name, 'cnn2d', split)}.safetensors")
    trained = path is None and not place.exists()
    if trained:
        with replace(run, log=None).running(place), console.progress("training the teacher, cnn2d") as tick:
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
