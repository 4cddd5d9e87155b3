"""Graphs on their way to become files: what is judged, and written if it holds."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from hsiedge import files
from hsiedge.card import Affine, Card, Check
from hsiedge.errors import CheckError
from hsiedge.graphs.onnx_io import write_onnx
from hsiedge.runtimes import Model, load
from hsiedge.runtimes.tflite_file import with_card
from hsiedge.scenes import splits
from hsiedge.scenes.scene import Scene

CHECK_PIXELS = 512

_OUTSIDE = "per-band affine fitted on training pixels, in the Card: the runtime adapter makes the graph's integers with it"


@dataclass(frozen=True)
class Artifact:
    """An ONNX graph, the affine that makes its input where that is integer, and versions of what it was made with."""

    graph: Any
    affine: Affine | None = None
    versions: dict[str, str] = field(default_factory=dict)
    suffix: ClassVar[str] = ".onnx"

    def card(self, card: Card) -> Card:
        """`card`, telling of the affine and of where it is applied."""
        return card if self.affine is None else replace(card, input_affine=self.affine, preprocess=_OUTSIDE)

    def write(self, path: Path, card: Card) -> None:
        """Writes graph and Card as one file, whole or not at all. Raises CheckError or OutputError."""
        write_onnx(path, self.graph, card)


@dataclass(frozen=True)
class TfliteArtifact(Artifact):
    """The same of a TFLite flatbuffer, `graph` its bytes."""

    suffix: ClassVar[str] = ".tflite"

    def write(self, path: Path, card: Card) -> None:
        """As above. Raises OutputError."""
        files.write_bytes(path, with_card(self.graph, card.encode()))


@dataclass(frozen=True)
class OrtArtifact(Artifact):
    """An ONNX graph that is written in ORT format, optimized as far as every processor goes along (`save_optimized`).

    Float convolutions miss the NCHWc layout on x86, where the ONNX file gets it when it is loaded; integer ones lose nothing.

    Attributes:
        exact: make integer layers exact on processors whose 8-bit sums overflow, at the price of time on others.
    """

    exact: bool = False
    suffix: ClassVar[str] = ".ort"

    def write(self, path: Path, card: Card) -> None:
        """As above, and ModelError where onnxruntime does not convert it."""
        from hsiedge.runtimes.ort import save_optimized

        with tempfile.TemporaryDirectory() as folder:
            source, made = Path(folder) / "model.onnx", Path(folder) / "made.ort"
            write_onnx(source, self.graph, card)
            save_optimized(source, made, exact=self.exact)
            files.write_bytes(path, made.read_bytes())


def compared(made: Artifact, card: Card, source: Model, scene: Scene, step: str, limit: float) -> Check:
    """A candidate beside the ONNX model that it was made of, on pixels drawn evenly over a scene; labels are not looked at.

    Args:
        step: that made it, for the Check.
        limit: by how much logits may differ, as a share of their range.

    Raises:
        CheckError: a label differs, or logits by more than `limit`.
    """
    pixels = splits.scattered(scene.shape, CHECK_PIXELS, 0)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"made{made.suffix}"
        made.write(file, card)
        ours, theirs = load(file).logits_at(scene, pixels), source.logits_at(scene, pixels)
    difference = float(np.abs(ours - theirs).max() / max(np.ptp(theirs), 1e-30))
    differ = int((ours.argmax(1) != theirs.argmax(1)).sum())
    if differ or not difference <= limit:
        raise CheckError(
            f"the {made.suffix} file is not the net: {differ} of {len(pixels)} labels differ, logits by {difference:.1e}"
        )
    return Check(step, "ONNX", len(pixels), {"labels_differ": differ, "logit_difference": difference})
