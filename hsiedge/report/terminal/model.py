"""Tables of models and what they score, in the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from hsiedge.card import Card, SplitFacts
from hsiedge.evaluation import Evaluation
from hsiedge.report.terminal.tables import add_numbers, name_table, plain_table, short_names
from hsiedge.words import LONGEST_LINE, shown

_BESIDE_MODEL = 50  # columns that precision and figures take beside a model's name
_TRAINED = ("train", "prune", "distill", "qat", "tune")  # steps whose Card names the GPU, where it was one


@dataclass(frozen=True)
class Shown:
    """A model in a report: file name, Card, size in bytes, and evaluation."""

    file: str
    card: Card
    bytes: int
    evaluation: Evaluation


def accuracy_tables(result: Evaluation, model: str) -> list[RenderableType]:
    """Tables of an evaluation: accuracy class by class, the confusion matrix, then the figures over all."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("class")
    add_numbers(table, "producer's %", "user's %", "F1 %", "pixels")
    for title, entry in zip(result.classes.values(), result.accuracy.per_class):
        table.add_row(shown(title), _percent(entry.pa), _percent(entry.ua), _percent(entry.f1), str(entry.n))
    accuracy = result.accuracy
    low, high = accuracy.oa_interval
    pixels = (
        f"{accuracy.n} test pixels of the {split_words(result.split)}" if result.split else f"all {accuracy.n} labelled pixels"
    )
    lines = [
        f"{model} on {shown(result.scene)}: {pixels}",
        f"OA {accuracy.oa:.2f} % (95 % interval {low:.2f} to {high:.2f}), AA {accuracy.aa:.2f} %, kappa {accuracy.kappa:.2f}",
    ]
    for flight in result.flights:
        part = "held out, no pixel of it trained" if flight.role == "test" else "other pixels of it trained"
        seen = f" ({part})" if result.split else ""
        figures = flight.accuracy
        lines.append(
            f"flight {shown(flight.name)}{seen}: OA {_percent(figures.oa)} %, AA {_percent(figures.aa)} % of {figures.n} pixels"
        )
    if result.split and result.split.dropped:
        lines.append(f"classes in no part of the split, and not in AA: {', '.join(map(str, result.split.dropped))}")
    return [table, _confusion_table(result), *lines]


def fold_lines(folds: Sequence[Evaluation]) -> list[str]:
    """Lines on each fold: its tested pixels, its OA, and the classes that its training lacks, which it does not test."""
    lines = []
    for entry in folds:
        assert entry.split is not None
        lacks = ", ".join(map(str, entry.split.dropped))
        without = f"; not tested, for training lacks them: classes {lacks}" if lacks else ""
        lines.append(f"fold {entry.split.fold}: {entry.n} pixels tested, OA {_percent(entry.oa)} %{without}")
    return lines


def _confusion_table(result: Evaluation) -> Table:
    """Confusion matrix by label id, rows the truth, columns the prediction; zeros left blank."""
    table = Table(box=None, padding=(0, 0, 0, 1), title="confusion: rows the truth, columns the prediction, by label id")
    table.add_column("", justify="right", style="bold")
    for label in result.classes:
        table.add_column(str(label), justify="right")
    for label, row in zip(result.classes, result.accuracy.confusion):
        table.add_row(str(label), *(str(count) if count else "" for count in row))
    return table


def split_words(split: SplitFacts) -> str:
    """Description of a split in a few words."""
    fraction = f" {100 * split.fraction:g} %" if split.fraction is not None else ""
    guard = f", guard {split.guard}" if split.guard is not None else ""
    fold = "" if split.folds is None else f", fold {split.fold} of {split.folds}" if split.fold else f", {split.folds} folds"
    return f"{shown(split.kind)}{fraction} split (seed {split.seed}{guard}{fold})"


def card_table(card: Card, file: Path) -> Table:
    """Table of a Card, a line a fact."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="bold")
    table.add_column()
    table.add_row("file", f"{file.name}, {file.stat().st_size:,} bytes, a {card.kind}, {card.precision}")
    table.add_row("created", shown(card.created))
    for name, words in chain(_scene_rows(card), _net_rows(card), _judged_rows(card), _quantization_rows(card)):
        table.add_row(name, words)
    for line in c_lines(card):
        table.add_row("C", Text(line))
    for name, words in _lineage_rows(card):
        table.add_row(name, words)
    return table


def _scene_rows(card: Card) -> Iterator[tuple[str, str]]:
    """Facts of what a model was made on."""
    scene, split = card.scene, card.split
    official = {True: "official", False: "NOT the official file", None: "not compared with a published one"}[scene.official]
    yield "scene", f"{shown(scene.name)} ({official}), {scene.bands} bands of {scene.dtype}, sha256 {scene.sha256[:16]}..."
    roles = split.roles if split and split.roles else [""] * len(scene.flights)
    for flight, role in zip(scene.flights, roles):
        yield "flight", f"{shown(flight.name)}, sha256 {shown(flight.sha256[:16])}...{f', {shown(role)}' if role else ''}"


def _net_rows(card: Card) -> Iterator[tuple[str, str]]:
    """Facts of what a model takes, computes and gives."""
    scene = card.scene
    yield "input", f"(N, {scene.bands}, {card.patch}, {card.patch}) {scene.dtype}; looks {card.radius} pixels around"
    yield "preprocessing", shown(card.preprocess, LONGEST_LINE) or "unknown"
    yield "classes", ", ".join(f"{entry.id} {shown(entry.name)}" for entry in card.classes)
    if net := card.net:
        options = "".join(f", {shown(name)} {shown(value)}" for name, value in net.options.items())
        yield "net", f"{shown(net.name)}{options}: {net.parameters:,} parameters, {net.macs_per_pixel:,} MACs a pixel"


def _judged_rows(card: Card) -> Iterator[tuple[str, str]]:
    """Facts of how right a model is: its split, its accuracy, and the checks of its making."""
    if split := card.split:
        yield "split", f"{split_words(split)}: {_parts(split, card.refitted)}"
        if split.dropped:
            yield "left out", f"classes {', '.join(map(str, split.dropped))}"
    for entry in card.accuracy:
        seeds = f"seed {entry.seeds[0]}" if len(entry.seeds) == 1 else f"seeds {', '.join(map(str, entry.seeds))}"
        spread = f" (standard deviation {entry.oa_std:.2f})" if entry.oa_std is not None else ""
        weights = f", weights {shown(entry.weights)}" if entry.weights else ""
        figures = f"OA {entry.oa:.2f} %{spread}, AA {entry.aa:.2f} %, kappa {entry.kappa:.2f}"
        yield "accuracy", f"{figures} on {entry.n} {shown(entry.part)} pixels, {seeds}{weights}"
    for check in card.checks:
        figures = ", ".join(f"{shown(name.replace('_', ' '))} {value:.2g}" for name, value in check.figures.items())
        yield "verified", f"{shown(check.step)} against {shown(check.against)} on {check.patches} patches: {figures}"


def _quantization_rows(card: Card) -> Iterator[tuple[str, str]]:
    quantization = card.quantization
    if quantization is None:
        return
    oa = ""
    if quantization.oa_float is not None and quantization.oa_int8 is not None:
        oa = f", OA {quantization.oa_float:.2f} -> {quantization.oa_int8:.2f} %"
    if "judged" in quantization.calibration:
        oa += f" ({shown(quantization.calibration['judged'])})"
    recipe = f"recipe {shown(quantization.recipe)}; {shown(quantization.calibration.get('patches'))} calibration patches"
    yield (
        "quantization",
        f"{recipe}; on {quantization.pixels} pixels {quantization.agreement:.2f} % of labels as in float{oa}",
    )
    yield "float layers", ", ".join(map(shown, quantization.float_layers)) or "none"


def _lineage_rows(card: Card) -> Iterator[tuple[str, str]]:
    for step in card.lineage:
        parent = f" from {step.parent[:16]}..." if step.parent else ""
        versions = ", ".join(f"{shown(name)} {shown(version)}" for name, version in step.versions.items())
        device = f" on {shown(step.options['device'])}" if "device" in step.options else " on a CPU" * (step.step in _TRAINED)
        yield "made by", f"{shown(step.step)}{device}{parent} ({versions})"


def _parts(split: SplitFacts, refitted: bool) -> str:
    """Numbers of pixels of a split's parts; after a refit those that validated have trained, too."""
    if refitted:
        trained = f"{split.train + split.validation} train ({split.validation} of them validated before the refit)"
        return f"{trained}, {split.test} test"
    return f"{split.train} train, {split.validation} validate, {split.test} test"


def c_lines(card: Card) -> list[str]:
    """Lines on what an exported C file takes, and where its kernels were run; none of another file."""
    lines = []
    for step in card.lineage[-1:]:
        facts = step.options
        if step.step == "c":
            stack = (
                f"{facts['stack_bytes']} bytes"
                if "stack_bytes" in facts
                else f"{facts.get('stack_bytes_here')} bytes on the exporter"
            )
            lines = [
                f"for {facts.get('target')}: {facts.get('kernels')}",
                f"flash {facts.get('flash_bytes')} bytes ({facts.get('compiler')}, -Os), RAM {facts.get('ram_bytes')} bytes at "
                f"{facts.get('columns')} columns, stack {stack}, {facts.get('macs_per_pixel')} MACs a pixel",
            ]
    return [shown(line, LONGEST_LINE) for line in lines]


def layer_table(card: Card) -> Table:
    """Table of the logits' signal-to-noise ratio when one layer alone is integer, most sensitive first."""
    quantization = card.quantization
    table = Table(box=box.SIMPLE_HEAD, title="logits' signal to noise when this layer alone is integer")
    table.add_column("layer")
    table.add_column("dB", justify="right")
    table.add_column("kept")
    for name, ratio in sorted(quantization.layer_snr_db.items(), key=lambda entry: entry[1]) if quantization else []:
        table.add_row(shown(name), f"{ratio:.1f}", "float" if quantization and name in quantization.float_layers else "integer")
    return table


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"


def summary_tables(models: Sequence[Shown], width: int = 80) -> list[Table]:
    """Tables of models side by side: precision, accuracy on test pixels, size; letters stand for names that do not fit."""
    names = short_names([model.file for model in models], width - _BESIDE_MODEL)
    legend = name_table(names, width - 3)
    for file, name in names.items():
        legend.add_row(name, file)
    table = plain_table()
    table.add_column("model", overflow="fold")
    table.add_column("precision", no_wrap=True)
    add_numbers(table, "OA %", "AA %", "kappa", "test\npixels", "bytes")
    for model in models:
        accuracy = model.evaluation.accuracy
        figures = (_percent(accuracy.oa), _percent(accuracy.aa), _percent(accuracy.kappa), str(accuracy.n), f"{model.bytes:,}")
        table.add_row(names[model.file], model.card.precision, *figures)
    return [table] if all(name == file for file, name in names.items()) else [legend, table]


def ort_line(card: Card, scene: str) -> str:
    """Line on the check of a file in ORT format, which is the last in its Card."""
    check = card.checks[-1]
    difference = check.figures["logit_difference"]
    same = f"logits within {difference:.1e} of their range" if difference else "logits equal to the bit"
    return f"ORT format against ONNX on {check.patches} pixels of {scene}: labels equal, {same}"
