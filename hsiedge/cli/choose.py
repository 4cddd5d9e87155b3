"""Default files of commands: the newest fitting file of the current folder, by `created` in the Cards."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from hsiedge.cli import console
from hsiedge.errors import HsiedgeError, ModelError
from hsiedge.shipped import shipped

if TYPE_CHECKING:
    from hsiedge.card import Card

Fits = Callable[["Card"], bool]


def newest(suffixes: str | tuple[str, ...], fits: Fits, folder: Path | None = None) -> Path | None:
    """The file with the latest Card that fits; files without a readable Card are passed over.

    So is the graph of a refitted net's weights from before, which export leaves beside its own: it is there to be judged with.
    """
    from hsiedge.graphs.refit import graph_before
    from hsiedge.runtimes import read_card

    candidates: list[tuple[str, Path]] = []
    before: set[Path | None] = set()
    for path in sorted((folder or Path()).glob("[!.]*")):  # hidden ones are what a killed process left
        if not path.name.endswith(suffixes):
            continue
        try:
            card = read_card(path)
        except (HsiedgeError, OSError):
            continue
        if card is not None and fits(card):
            candidates.append((card.created, path))
            with suppress(HsiedgeError, OSError):
                before.add(graph_before(path, card))
    return max((entry for entry in candidates if entry[1] not in before), default=("", None))[1]


def checkpoint() -> Path:
    """The newest checkpoint here, else the shipped one."""
    return _told(newest(".safetensors", lambda card: card.kind == "checkpoint"), ".safetensors")


def teacher() -> Path:
    """The newest checkpoint here that is no compressed one, else the shipped one."""
    small = ("prune", "distill", "qat")
    fits = newest(
        ".safetensors", lambda card: card.kind == "checkpoint" and not any(step.step in small for step in card.lineage)
    )
    return _told(fits, ".safetensors")


def float_model() -> Path:
    """The newest float ONNX here, else the shipped one. Raises ModelError where there is only a checkpoint."""
    return _told(_exported((".onnx",), is_float), ".onnx")


def any_model(runtime: str | None = None) -> Path:
    """The newest model here that an engine runs, else the shipped INT8 one. Raises ModelError if only a checkpoint is."""
    return checkpoint() if runtime == "torch" else _told(_exported(_run_by(runtime), _is_graph), _shipped_for(runtime))


def bench_models(runtime: str | None = None) -> list[Path]:
    """The newest model here, beside the float one it was made from, or the newest made from it; else the shipped two."""
    from hsiedge import files

    if runtime == "torch":
        return [checkpoint()]
    suffixes = _run_by(runtime)
    latest = newest(suffixes, _is_graph)
    if latest is None:
        suffix = _shipped_for(runtime)
        models = [shipped(".onnx")] * (suffix == "-int8.onnx") + [shipped(suffix)]
    else:
        digest = files.digest(latest)
        derived = newest(suffixes, lambda card: bool(card.lineage) and card.lineage[-1].parent == digest)
        models = [path for path in (_made_from(latest, suffixes), latest, derived) if path is not None]
    console.say("no model was named: taking " + " and ".join(str(path) for path in models))
    return models


def _is_graph(card: Card) -> bool:
    return card.kind != "checkpoint"


def _run_by(runtime: str | None) -> tuple[str, ...]:
    from hsiedge.runtimes import ENGINES, SUFFIXES, check_engine

    check_engine(runtime)
    return SUFFIXES if runtime is None else ENGINES.find(runtime).suffixes


def _shipped_for(runtime: str | None) -> str:
    from hsiedge.runtimes import ENGINES

    if runtime in ("litert", "tflm"):
        return "-int8.tflite"
    return "-int8-scene.onnx" if runtime == "native" or not ENGINES["ort"].installed else "-int8.onnx"


def _exported(suffixes: tuple[str, ...], fits: Fits) -> Path | None:
    """The newest that fits. Raises ModelError if only a checkpoint lies here: its owner means it, and no shipped model."""
    model = newest(suffixes, fits)
    checkpoint = newest(".safetensors", lambda card: card.kind == "checkpoint") if model is None else None
    if checkpoint is not None:
        raise ModelError(f"no model is here, but the checkpoint {checkpoint}; first: hsiedge export {checkpoint}")
    return model


def _made_from(model: Path, suffixes: tuple[str, ...]) -> Path | None:
    """The file of the same folder that the last step of a model's making took, by its digest."""
    from hsiedge import files
    from hsiedge.runtimes import require_card

    lineage = require_card(model).lineage
    parent = lineage[-1].parent if lineage else None
    beside = (path for path in sorted(model.parent.glob("[!.]*")) if path.name.endswith(suffixes))
    return next((path for path in beside if files.digest(path) == parent), None)


def is_float(card: Card) -> bool:
    """Whether a Card is that of a float graph, which can be quantized."""
    return card.kind != "checkpoint" and card.quantization is None


def _told(path: Path | None, suffix: str) -> Path:
    if path is not None:
        console.say(f"no file was named: taking the newest, {path}")
        return path
    console.say(f"no file was named and none is here: taking the shipped {shipped(suffix)}")
    return shipped(suffix)
