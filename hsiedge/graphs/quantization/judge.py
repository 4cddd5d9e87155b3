"""Judging: an artifact beside the float model that it was made of, on pixels that did not calibrate."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hsiedge import metrics
from hsiedge.card import Check
from hsiedge.graphs.artifact import Artifact
from hsiedge.graphs.quantization.session import FloatModel
from hsiedge.runtimes import load
from hsiedge.scenes import splits
from hsiedge.scenes.patches import touches_nodata

LABELLED = 2000  # pixels on which accuracy is reported, at most
MIN_AGREEMENT = 90.0  # percent; of an unlabelled cube, where agreement is reported and only ruin is refused


@dataclass(frozen=True)
class Judgement:
    """Comparison of an artifact with the float model on `pixels` judging pixels, in percent; OAs are None without labels."""

    pixels: int
    agreement: float
    oa_float: float | None
    oa: float | None

    def holds(self, max_drop: float) -> bool:
        """Whether at most `max_drop` points of OA are lost; without labels, whether `MIN_AGREEMENT` percent of labels stay."""
        if self.oa is None or self.oa_float is None:
            return self.agreement >= MIN_AGREEMENT
        return self.oa_float - self.oa <= max_drop

    def __str__(self) -> str:
        """Summary in words, for errors."""
        lost = f"OA {self.oa_float:.2f} -> {self.oa:.2f} %, " if self.oa is not None else ""
        return f"{lost}labels agree with float on {self.agreement:.2f} %"


def judge(source: FloatModel, artifact: Artifact) -> Judgement:
    """Labels of an artifact beside the float model's, on the judging pixels."""
    ours = run_artifact(artifact, source, source.pixels.judging).argmax(1)
    theirs = source.logits.argmax(1)
    agreement = 100 * float((ours == theirs).mean())
    truth = source.pixels.truth
    if truth is None:
        return Judgement(len(ours), agreement, None, None)
    ids = np.array([entry.id for entry in source.card.classes])
    oas = [metrics.accuracy(metrics.confusion_matrix(truth, ids[labels], list(ids))).oa for labels in (theirs, ours)]
    return Judgement(len(ours), agreement, oas[0], oas[1])


def judged_weights(source: FloatModel, judgement: Judgement) -> dict[str, str]:
    """Entry of a Card's calibration where other weights than the model's own were judged: a refit fits those to all pixels."""
    return {"judged": "weights before the refit"} if source.card.refitted and judgement.oa is not None else {}


def labelled_accuracy(source: FloatModel, artifact: Artifact) -> Check | None:
    """OA of both on labelled pixels, for a net whose split is not known: reported, and nothing is chosen by it.

    None where the split is known, or the scene has no label of the net's classes.
    """
    scene, ids = source.scene, [entry.id for entry in source.card.classes]
    if source.card.split is not None or scene.labels is None:
        return None
    labels = scene.labels.ravel()
    pixels = np.flatnonzero(np.isin(labels, ids))
    pixels = pixels[~touches_nodata(scene, pixels, source.card.patch)] if len(pixels) else pixels
    pixels = np.sort(pixels[np.argsort(splits.pixel_hash(0, 0, pixels), kind="stable")[:LABELLED]])
    if not len(pixels):
        return None
    logits = (load(source.path).logits_at(scene, pixels), run_artifact(artifact, source, pixels))
    predicted = [np.array(ids)[entry.argmax(1)] for entry in logits]
    oas = [metrics.accuracy(metrics.confusion_matrix(labels[pixels], entry, ids)).oa for entry in predicted]
    against = "labels, some of which may have trained the net"
    return Check("quantize", against, len(pixels), {"oa_float": oas[0], "oa": oas[1]})


def run_artifact(artifact: Artifact, source: FloatModel, pixels: NDArray[np.intp]) -> NDArray[np.float32]:
    """The logits `(n, classes)` of an artifact at flat `pixels`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"artifact{artifact.suffix}"
        artifact.write(path, artifact.card(source.card))
        return load(path).logits_at(source.scene, pixels)
