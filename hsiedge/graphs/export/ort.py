"""ORT format: an ONNX model as onnxruntime keeps it for itself, optimized beforehand; what its reduced builds read.

Optimizing chooses the kernels of integer layers. A file that was made on a processor whose 8-bit sums overflow
(`hsiedge.device.int8`) holds those that are exact everywhere; one that was made on another holds the faster ones, whose sums
overflow on the former.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import onnxruntime

from hsiedge import files
from hsiedge.card import Card, Step, now
from hsiedge.device import int8
from hsiedge.errors import ModelError
from hsiedge.graphs.artifact import Artifact, OrtArtifact, compared
from hsiedge.graphs.onnx_io import read_onnx
from hsiedge.runtimes import load
from hsiedge.scenes.patches import check_patch
from hsiedge.scenes.scene import Scene

FLOAT_LIMIT = 1e-5  # of the logits' range; integers are equal to the bit


def ort_file(model: str | Path, scene: Scene, output: str | Path) -> Card:
    """Writes an ONNX model in ORT format, once both gave the same logits (`in_ort_format`).

    Arguments and errors are those of `hsiedge.Model.to_ort`; the Card in the file is returned.
    """
    path = Path(model)
    if path.suffix != ".onnx":
        raise ModelError(f"{path}: ORT format is made of an ONNX file")
    source = load(path)
    source.check_fits(scene)
    check_patch(source.known.patch, scene.shape)
    artifact, card = in_ort_format(Artifact(read_onnx(path)), source.known, scene, files.digest(path))
    artifact.write(Path(output), card)
    return card


def in_ort_format(artifact: Artifact, card: Card, scene: Scene, parent: str | None = None) -> tuple[OrtArtifact, Card]:
    """The artifact that writes an ONNX one in ORT format, and the Card for it, once both forms gave the same.

    Args:
        card: of the ONNX artifact.
        parent: sha256 of its file, if it has one.

    Raises:
        CheckError: a label differs, or a logit: of a graph that is integer all through by a bit, of others by more than 1e-5 of
            their range.
    """
    exact = int8.overflows_here() and _is_wide(card)
    ort = OrtArtifact(artifact.graph, artifact.affine, artifact.versions, exact)
    step = Step("ort", now(), {"exact_int8": True} if exact else {}, parent, {"onnxruntime": onnxruntime.__version__})
    ort_card = replace(card, created=now(), accuracy=[], lineage=[*card.lineage, step])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "source.onnx"
        artifact.write(file, card)
        check = compared(ort, ort_card, load(file), scene, "ort", 0.0 if _is_integer(card) else FLOAT_LIMIT)
    return ort, replace(ort_card, checks=[*ort_card.checks, check])


def _is_wide(card: Card) -> bool:
    """Whether a model has integer layers whose weights take more than 7 bits."""
    return card.precision == "int8" and card.quantization is not None and not card.quantization.options.get("seven_bit_weights")


def _is_integer(card: Card) -> bool:
    """Whether all layers of a model are integer, biases too."""
    quantization = card.quantization
    if quantization is None or card.precision == "float16":
        return False
    return quantization.options.get("integer_bias") is True and not quantization.float_layers
