"""Where the files of a study lie in its folder: models and parents' checkpoints, by names that a person can read."""

from __future__ import annotations

from pathlib import Path

from hsiedge.study.rows import Cell


def model_path(folder: Path, cell: Cell, precision: str) -> Path:
    """The model file of a form of a cell."""
    return folder / "models" / f"{_stem(cell)}-{_safe(precision)}.onnx"


def parent_path(folder: Path, cell: Cell) -> Path:
    """The checkpoint of the net that a cell starts from."""
    return folder / "parents" / f"{_stem(cell.parent)}.safetensors"


def _stem(cell: Cell) -> str:
    """SCENE-NET-SPLIT-sSEED[-METHOD-LEVEL]-KEY: the start of the key tells cells apart that differ in nothing else."""
    words = [Path(cell.scene).stem, cell.net, cell.split, f"s{cell.seed}"]
    if cell.method != "none":
        words += [cell.method, cell.level]
    return "-".join(_safe(word) for word in (*words, cell.key[:12]))


def _safe(word: str) -> str:
    kept = "".join(letter if letter.isalnum() or letter in "._" else "_" for letter in word)
    return kept.strip("._")[:60] or "x"
