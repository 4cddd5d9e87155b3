"""Models and what they score, in the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import RenderableType
from rich.table import Table

from hsiedge.card import Card, SplitFacts
from hsiedge.evaluation import Evaluation


@dataclass(frozen=True)
class Shown:
    """A model in a report: its file's name, its Card, its size, and what it scores."""

    file: str
    card: Card
    bytes: int
    evaluation: Evaluation


def accuracy_tables(result: Evaluation, model: str) -> list[RenderableType]:
    """Accuracy class by class, the confusion matrix, then the figures over all."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("class")
    for column in ("producer's %", "user's %", "F1 %", "pixels"):
        table.add_column(column, justify="right")
    for title, entry in zip(result.classes.values(), result.accuracy.per_class):
        table.add_row(title, _percent(entry.pa), _percent(entry.ua), _percent(entry.f1), str(entry.n))
    found = result.accuracy
    low, high = found.oa_interval
    where = f"{found.n} test pixels of the {split_words(result.split)}" if result.split else f"all {found.n} labelled pixels"
    lines = [
        f"{model} on {result.scene}: {where}",
        f"OA {found.oa:.2f} % (95 % interval {low:.2f} to {high:.2f}), AA {found.aa:.2f} %, kappa {found.kappa:.2f}",
    ]
    if result.split and result.split.dropped:
        lines.append(f"classes in no part of the split, and not in AA: {', '.join(map(str, result.split.dropped))}")
    return [table, _confusion_table(result), *lines]


def _confusion_table(result: Evaluation) -> Table:
    """Rows the truth, columns the prediction, by label id; zeros left blank."""
    table = Table(box=None, padding=(0, 0, 0, 1), title="confusion: rows the truth, columns the prediction, by label id")
    table.add_column("", justify="right", style="bold")
    for label in result.classes:
        table.add_column(str(label), justify="right")
    for label, row in zip(result.classes, result.accuracy.confusion):
        table.add_row(str(label), *(str(count) if count else "" for count in row))
    return table


def split_words(split: SplitFacts) -> str:
    """A split in a few words."""
    fraction = f" {100 * split.fraction:g} %" if split.fraction is not None else ""
    guard = f", guard {split.guard}" if split.guard is not None else ""
    return f"{split.kind}{fraction} split (seed {split.seed}{guard})"


def card_table(card: Card, file: Path) -> Table:
    """A Card, a line a fact."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="bold")
    table.add_column()
    scene, made, split = card.scene, card.quantization, card.split
    official = {True: "official", False: "NOT the official file", None: "not compared with a published one"}[scene.official]
    table.add_row("file", f"{file.name}, {file.stat().st_size:,} bytes, a {card.kind}, {card.precision}")
    table.add_row("created", card.created)
    table.add_row("scene", f"{scene.name} ({official}), {scene.bands} bands of {scene.dtype}, sha256 {scene.sha256[:16]}...")
    table.add_row("input", f"(N, {scene.bands}, {card.patch}, {card.patch}) {scene.dtype}; looks {card.radius} pixels around")
    table.add_row("preprocessing", card.preprocess or "unknown")
    table.add_row("classes", ", ".join(f"{entry.id} {entry.name}" for entry in card.classes))
    if card.net:
        options = "".join(f", {name} {value}" for name, value in card.net.options.items())
        table.add_row(
            "net", f"{card.net.name}{options}: {card.net.parameters:,} parameters, {card.net.macs_per_pixel:,} MACs a pixel"
        )
    if split:
        table.add_row("split", f"{split_words(split)}: {split.train} train, {split.validation} validate, {split.test} test")
        if split.dropped:
            table.add_row("left out", f"classes {', '.join(map(str, split.dropped))}")
    for entry in card.accuracy:
        seeds = f"seed {entry.seeds[0]}" if len(entry.seeds) == 1 else f"seeds {', '.join(map(str, entry.seeds))}"
        spread = f" (standard deviation {entry.oa_std:.2f})" if entry.oa_std is not None else ""
        table.add_row(
            "accuracy",
            f"OA {entry.oa:.2f} %{spread}, AA {entry.aa:.2f} %, kappa {entry.kappa:.2f} "
            f"on {entry.n} {entry.part} pixels, {seeds}",
        )
    for check in card.checks:
        figures = ", ".join(f"{name.replace('_', ' ')} {value:.2g}" for name, value in check.figures.items())
        table.add_row("verified", f"{check.step} against {check.against} on {check.patches} patches: {figures}")
    if made:
        oa = (
            f", OA {made.oa_float:.2f} -> {made.oa_int8:.2f} %"
            if made.oa_float is not None and made.oa_int8 is not None
            else ""
        )
        table.add_row(
            "quantization",
            f"recipe {made.recipe}; {made.calibration.get('patches')} calibration patches; on {made.pixels} pixels "
            f"{made.agreement:.2f} % of labels as in float{oa}",
        )
        table.add_row("float layers", ", ".join(made.float_layers) or "none")
    for step in card.lineage:
        parent = f" from {step.parent[:16]}..." if step.parent else ""
        versions = ", ".join(f"{name} {version}" for name, version in step.versions.items())
        table.add_row("made by", f"{step.step}{parent} ({versions})")
    return table


def layer_table(card: Card) -> Table:
    """Signal-to-noise ratio of the logits when one layer alone is integer, most sensitive first."""
    made = card.quantization
    table = Table(box=box.SIMPLE_HEAD, title="logits' signal to noise when this layer alone is integer")
    table.add_column("layer")
    table.add_column("dB", justify="right")
    table.add_column("kept")
    for name, ratio in sorted(made.layer_snr_db.items(), key=lambda entry: entry[1]) if made else []:
        table.add_row(name, f"{ratio:.1f}", "float" if made and name in made.float_layers else "integer")
    return table


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"


def summary_table(models: Sequence[Shown]) -> Table:
    """Models side by side: precision, accuracy on test pixels, size."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("model", overflow="fold")
    for column in ("precision", "OA %", "AA %", "kappa", "test pixels", "bytes"):
        table.add_column(column, justify="right")
    for model in models:
        found = model.evaluation.accuracy
        figures = (_percent(found.oa), _percent(found.aa), _percent(found.kappa), str(found.n), f"{model.bytes:,}")
        table.add_row(model.file, model.card.precision, *figures)
    return table


def ort_line(card: Card, scene: str) -> str:
    """What the check of a file in ORT format came to, which its Card tells last."""
    check = card.checks[-1]
    found = check.figures["logit_difference"]
    same = f"logits within {found:.1e} of their range" if found else "logits equal to the bit"
    return f"ORT format against ONNX on {check.patches} pixels of {scene}: labels equal, {same}"
