"""Trial of anyone's net: what each step would make of it, and where it would stop."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from hsiedge.card import Card
from hsiedge.errors import HsiedgeError
from hsiedge.graphs.code_lines import code_lines, line_in
from hsiedge.graphs.export.attach_card import attach_card
from hsiedge.graphs.onnx_io import read_onnx
from hsiedge.graphs.quantization.quantize import quantize
from hsiedge.graphs.scene_graph.build import scene_graph
from hsiedge.runtimes import load
from hsiedge.scenes.scene import Scene
from hsiedge.scenes.splits import scattered

_CALIBRATED_ON, _LABELLED = 64, 256  # patches, and pixels: enough to see where a step stops


@dataclass(frozen=True)
class TrialStep:
    """One step of a trial.

    Attributes:
        name: "export", "card", "classify", "quantize", "scene graph", "tflite" or "tflite int8".
        works: False where it stops, or was not reached.
        text: what it did, or why it stops: the node's name and the reason, and the line of code where torch kept it.
        seconds: that it took.
    """

    name: str
    works: bool
    text: str
    seconds: float

    @property
    def data(self) -> dict[str, Any]:
        """The fields as plain data."""
        return asdict(self)


def try_net(
    source: str,
    scene: Scene,
    patch: int,
    *,
    weights: Path | None = None,
    arguments: Mapping[str, int | float | bool | str] | None = None,
) -> list[TrialStep]:
    """Takes a net through each step on a scene; all that is written lies in a temporary folder, and goes.

    Args:
        source: an ONNX file, or FILE.py:FACTORY, which is run.
        patch: side of the patches that it takes, in pixels.
        weights: of a net from a factory; None to leave them as it made them.
        arguments: what parameters of the factory are given beside bands, classes and patch.
    """
    with tempfile.TemporaryDirectory() as folder:
        return _Trial(Path(folder), scene, patch).run(source, weights, arguments or {})


class _Trial:
    """The steps, in order; those that need a file that was not made are not reached."""

    def __init__(self, folder: Path, scene: Scene, patch: int) -> None:
        self._folder, self._scene, self._patch = folder, scene, patch
        self._steps: list[TrialStep] = []
        self._lines: dict[str, str] = {}

    def run(self, source: str, weights: Path | None, arguments: Mapping[str, int | float | bool | str]) -> list[TrialStep]:
        """All steps of one net."""
        model, card, scene = Path(source), self._folder / "card.onnx", self._scene
        if ".py:" in source:
            model = self._folder / "exported.onnx"
            self._step("export", None, lambda: self._exported(source, weights, arguments, model))
        if model.is_file():
            self._lines = code_lines(_read(model))
        self._step("card", model, lambda: _changes(attach_card(model, scene, self._patch, None, card)))
        self._step("classify", card, lambda: self._classified(card))
        int8, lite = self._folder / "int8.onnx", self._folder / "a.tflite"
        self._step("quantize", card, lambda: _kept(quantize(card, scene, int8, patches=_CALIBRATED_ON)))
        self._step("scene graph", card, lambda: _parts(scene_graph(card, scene, self._folder / "scene.onnx")))
        self._step("tflite", card, lambda: self._converted(card, lite))
        int8_lite = self._folder / "int8.tflite"
        self._step("tflite int8", card, lambda: _kept(quantize(card, scene, int8_lite, patches=_CALIBRATED_ON)))
        return self._steps

    def _step(self, name: str, needed: Path | None, work: Callable[[], str]) -> None:
        start, works = time.perf_counter(), False
        if needed is not None and needed.is_relative_to(self._folder) and not needed.exists():
            self._steps.append(TrialStep(name, False, "not reached", 0.0))
            return
        try:
            text, works = work(), True
        except HsiedgeError as error:
            text = str(error)
        except Exception as error:  # a fault of ours: the trial is there to show it
            text = f"unexpected {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        text = text.replace(f"{self._folder}/", "")
        line = line_in(text, self._lines)
        text += f" ({line})" if line else ""
        self._steps.append(TrialStep(name, works, text, time.perf_counter() - start))

    def _exported(
        self, source: str, weights: Path | None, arguments: Mapping[str, int | float | bool | str], model: Path
    ) -> str:
        from hsiedge.graphs.export.module import export_module

        lines: list[str] = []
        sizes = self._scene.bands, self._patch, len(self._scene.classes)
        check = export_module(source, weights, *sizes, model, arguments=arguments, say=lines.append, stacks=True)
        return "; ".join([*lines, f"logits within {check.figures['logit_difference']:.1e} of PyTorch's"])

    def _classified(self, card: Path) -> str:
        pixels = scattered(self._scene.shape, _LABELLED, 0)
        labels = load(card).predict(self._scene, pixels)
        return f"{len(pixels)} pixels in {len(np.unique(labels))} of {len(self._scene.classes)} classes"

    def _converted(self, card: Path, output: Path) -> str:
        from hsiedge.errors import needs_extra

        with needs_extra("making TFLite files", "tflite"):
            from hsiedge.graphs.tflite.convert import tflite
        return _equal(tflite(card, self._scene, output))


def _read(model: Path) -> onnx.ModelProto:
    """The graph; an empty one where it cannot be read, which the first step tells."""
    try:
        return read_onnx(model)
    except HsiedgeError:
        return onnx.ModelProto()


def _changes(card: Card) -> str:
    return "; ".join(card.lineage[-1].options["changes"]) or "the graph is taken as it is"


def _kept(card: Card) -> str:
    assert card.quantization is not None
    left, integer = card.quantization.float_layers, card.lineage[-1].options.get("integers")
    return (
        f"{card.quantization.agreement:.2f} % of labels stay"
        + (f"; left in float: {', '.join(left)}" if left else "")
        + (f"; in float16, for integers do not go: {integer}" if integer else "")
    )


def _parts(card: Card) -> str:
    """Parts of a scene graph: nodes that run once for all pixels, and nodes that run for each."""
    hybrid = card.hybrid
    each = f"; from {hybrid['first']} on pixel by pixel" if hybrid is not None else "; dense to its end"
    return _equal(card) + each


def _equal(card: Card) -> str:
    check = card.checks[-1]
    return f"labels equal on {check.patches} pixels, logits within {check.figures['logit_difference']:.1e} of their range"
