"""Graphs on their way to become files: what is judged, and written if it holds."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from hsiedge import files
from hsiedge.card import Affine, Card
from hsiedge.graphs.files import write_onnx
from hsiedge.runtimes.tflite_file import with_card

_OUTSIDE = "per-band affine fitted on training pixels, in the Card: the runtime adapter makes the graph's integers with it"


@dataclass(frozen=True)
class Candidate:
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
class TfliteCandidate(Candidate):
    """The same of a TFLite flatbuffer, `graph` its bytes."""

    suffix: ClassVar[str] = ".tflite"

    def write(self, path: Path, card: Card) -> None:
        """As above. Raises OutputError."""
        files.write_bytes(path, with_card(self.graph, card.encode()))
