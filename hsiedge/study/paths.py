"""Paths of a study's files: its scenes, and in its folder models and parents' checkpoints, by names that a person can read."""

from __future__ import annotations

from pathlib import Path

from hsiedge.study.rows import Cell


def scene_place(name: str, base: str | Path) -> str:
    """Place of a scene, by its name in a config: a path, led from the config's folder, or a name of the catalog."""
    return str(Path(base, name)) if "/" in name or Path(name).suffix else name


def model_path(folder: Path, cell: Cell, precision: str) -> Path:
    """Path of the model file of a form of a cell."""
    return folder / "models" / f"{_stem(cell)}-{_safe(precision)}.onnx"


def parent_path(folder: Path, cell: Cell) -> Path:
    """Path of the checkpoint of the net that a cell starts from."""
    return folder / "parents" / f"{_stem(cell.parent)}.safetensors"


def _stem(cell: Cell) -> str:
    """Stem SCENE-NET-SPLIT-sSEED[-METHOD-LEVEL]-KEY: the start of the key tells cells apart that differ in nothing else."""
    words = [Path(cell.scene).stem, cell.net, cell.split, f"s{cell.seed}"]
    if cell.method != "none":
        words += [cell.method, cell.level]
    return "-".join(_safe(word) for word in (*words, cell.key[:12]))


def _safe(word: str) -> str:
    kept = "".join(letter if letter.isalnum() or letter in "._" else "_" for letter in word)
    return kept.strip("._")[:60] or "x"
