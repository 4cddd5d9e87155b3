"""Graphs on their way to become files: what is judged, and written if it holds."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hsiedge import files
from hsiedge.card import Affine, Card, Check
from hsiedge.errors import CheckError
from hsiedge.graphs.onnx_io import write_onnx
from hsiedge.runtimes import Model, load, seal
from hsiedge.runtimes.onnx_file import read_onnx_file
from hsiedge.runtimes.tflite_file import with_card
from hsiedge.scenes import splits
from hsiedge.scenes.scene import Scene

_LOG = logging.getLogger(__name__)

if TYPE_CHECKING:
    from onnx import ModelProto

CHECK_PIXELS = 512

_OUTSIDE = "per-band affine fitted on training pixels, in the Card: the runtime adapter makes the graph's integers with it"


@dataclass(frozen=True)
class Artifact:
    """An ONNX graph that is judged, and written as a file if it holds.

    Attributes:
        affine: makes its input of counts, where that is integer.
        versions: of the libraries that it was made with, by name.
    """

    graph: ModelProto
    affine: Affine | None = None
    versions: dict[str, str] = field(default_factory=dict)
    suffix: ClassVar[str] = ".onnx"

    def card(self, card: Card) -> Card:
        """The Card of the file: `card`, with the affine, and where it is applied."""
        return card if self.affine is None else replace(card, input_affine=self.affine, preprocess=_OUTSIDE)

    def write(self, path: Path, card: Card) -> None:
        """Writes graph and Card as one file, whole or not at all. Raises CheckError or OutputError."""
        write_onnx(path, self.graph, card)


@dataclass(frozen=True)
class TfliteArtifact(Artifact):
    """A TFLite flatbuffer that is judged, and written as a file if it holds.

    Attributes:
        graph: the flatbuffer's bytes.
    """

    graph: bytes
    suffix: ClassVar[str] = ".tflite"

    def write(self, path: Path, card: Card) -> None:
        """Writes flatbuffer and Card as one file, whole or not at all. Raises OutputError."""
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
        """Writes graph and Card as one file, whole or not at all.

        Raises:
            ModelError: onnxruntime does not convert the graph.
            CheckError: onnx.checker finds fault with it.
            OutputError: the place cannot be written to.
        """
        from hsiedge.runtimes.ort import save_optimized

        with tempfile.TemporaryDirectory() as folder:
            source, optimized = Path(folder) / "model.onnx", Path(folder) / "optimized.ort"
            write_onnx(source, self.graph, card)
            save_optimized(source, optimized, exact=self.exact)
            place = read_onnx_file(source).metadata[seal.KEY]  # onnxruntime takes it along
            files.write_bytes(path, seal.sealed(optimized.read_bytes(), place))


def compared(artifact: Artifact, card: Card, source: Model, scene: Scene, step: str, limit: float) -> Check:
    """Compares an artifact with the ONNX model that it was made of, on pixels drawn evenly over a scene, labels unseen.

    Args:
        step: that made it, for the Check.
        limit: by how much logits may differ, as a share of their range.

    Raises:
        CheckError: a label differs, or logits by more than `limit`.
    """
    pixels = splits.scattered(scene.shape, CHECK_PIXELS, 0)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"artifact{artifact.suffix}"
        artifact.write(file, card)
        ours, theirs = load(file).logits_at(scene, pixels), source.logits_at(scene, pixels)
    return verified(f"the {artifact.suffix} file", step, "ONNX", (ours, theirs), limit)


def verified(what: str, step: str, against: str, logits: tuple[NDArray[Any], NDArray[Any]], limit: float) -> Check:
    """The Check of a step whose logits `(n, classes)` are those of what it started from.

    Args:
        what: the step made, for the error.
        logits: of what was made, and those that it should give.
        limit: by how much they may differ, as a share of their range.

    Raises:
        CheckError: a label differs, or logits by more than `limit`.
    """
    ours, theirs = logits
    difference = float(np.abs(ours - theirs).max() / max(np.ptp(theirs), 1e-30))
    differ = int((ours.argmax(1) != theirs.argmax(1)).sum())
    if differ or not difference <= limit:
        raise CheckError(f"{what} is not the net: {differ} of {len(ours)} labels differ, logits by {difference:.1e}")
    check = Check(step, against, len(ours), {"labels_differ": differ, "logit_difference": difference})
    _LOG.info("%s", check)
    return check
