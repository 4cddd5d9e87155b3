"""What a command takes when it is not told: the newest fitting file of the current folder, by `created` in the Cards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from hsiedge.cli import console
from hsiedge.errors import HsiedgeError
from hsiedge.shipped import shipped

if TYPE_CHECKING:
    from hsiedge.card import Card

Fits = Callable[["Card"], bool]


def newest(suffix: str, fits: Fits, folder: Path | None = None) -> Path | None:
    """The file with the latest Card that fits; files without a readable Card are passed over."""
    from hsiedge.runtimes import read_card

    found: list[tuple[str, Path]] = []
    for path in sorted((folder or Path()).glob(f"[!.]*{suffix}")):  # hidden ones are what a killed process left
        try:
            card = read_card(path)
        except (HsiedgeError, OSError):
            continue
        if card is not None and fits(card):
            found.append((card.created, path))
    return max(found)[1] if found else None


def checkpoint() -> Path:
    """The newest checkpoint here, else the shipped one."""
    return _told(newest(".safetensors", lambda card: card.kind == "checkpoint"), ".safetensors")


def float_model() -> Path:
    """The newest float ONNX here, else the shipped one."""
    return _told(newest(".onnx", is_float), ".onnx")


def any_model() -> Path:
    """The newest ONNX here, else the shipped INT8 one."""
    return _told(newest(".onnx", lambda card: card.kind != "checkpoint"), "-int8.onnx")


def bench_models() -> list[Path]:
    """The newest INT8 model here and the float one it was made from; else the newest model; else the shipped two."""
    integer = newest(".onnx", lambda card: card.precision == "int8")
    source = _made_from(integer) if integer else None
    alone = integer or newest(".onnx", lambda card: card.kind != "checkpoint")
    found = [source, integer] if source else [alone] if alone else [shipped(".onnx"), shipped("-int8.onnx")]
    models = [path for path in found if path is not None]
    console.say("no model was named: taking " + " and ".join(str(path) for path in models))
    return models


def _made_from(model: Path) -> Path | None:
    """The file of the same folder that the last step of a model's making took, by its digest."""
    from hsiedge import files
    from hsiedge.runtimes import require_card

    lineage = require_card(model).lineage
    parent = lineage[-1].parent if lineage else None
    return next((path for path in sorted(model.parent.glob("[!.]*.onnx")) if files.digest(path) == parent), None)


def is_float(card: Card) -> bool:
    """Whether a Card is that of a float patch graph, which can be quantized."""
    return card.kind == "patch" and card.quantization is None


def _told(path: Path | None, suffix: str) -> Path:
    if path is not None:
        console.say(f"no file was named: taking the newest, {path}")
        return path
    console.say(f"no file was named and none is here: taking the shipped {shipped(suffix).name}")
    return shipped(suffix)
