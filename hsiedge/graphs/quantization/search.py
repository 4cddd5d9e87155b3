"""Search: which layers stay float, for an accuracy that may fall by no more than so much."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import numpy as np

from hsiedge.errors import CheckError, ModelError
from hsiedge.graphs.artifact import Artifact
from hsiedge.graphs.quantization.judge import Judgement, judge, run_artifact
from hsiedge.graphs.quantization.session import CalibratedModel, deploy, quantize_layers

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Choice:
    """An artifact that is to be written.

    Attributes:
        float_layers: names of the layers that were given back to float.
        snr: signal-to-noise ratio of the logits in dB, by the layer that alone is integer; empty where nobody asked.
    """

    artifact: Artifact
    judgement: Judgement
    float_layers: list[str] = field(default_factory=list)
    snr: dict[str, float] = field(default_factory=dict)


def search(calibrated: CalibratedModel, max_drop: float, *, explain: bool = False) -> Choice:
    """The graph with as many integer layers as `max_drop` points of OA allow; the most sensitive go back to float first.

    Args:
        explain: measure each layer's signal-to-noise ratio even where all layers can be integer.

    Raises:
        ModelError: the graph has no layer that could be quantized.
        CheckError: no layer can be integer.
    """
    path, layers = calibrated.source.path, calibrated.layers
    if not layers:
        raise ModelError(f"{path}: has no layer that could be quantized")
    ratios = layer_snr(calibrated) if explain else {}
    artifact, judgement = _judged(calibrated, layers)
    if judgement.holds(max_drop):
        return Choice(artifact, judgement, [], ratios)
    sensitivity = ratios or layer_snr(calibrated)
    for name in sorted(layers, key=lambda layer: sensitivity[layer])[:-1]:
        layers = [layer for layer in layers if layer != name]
        _LOG.info("%s, the most sensitive layer with %.1f dB, stays float", name, sensitivity[name])
        artifact, judgement = _judged(calibrated, layers)
        if judgement.holds(max_drop):
            return Choice(artifact, judgement, [layer for layer in calibrated.layers if layer not in layers], ratios)
    reason = f"{path}: no layer can be integer; nothing was written"
    raise CheckError(reason, option="max_drop", value=f"{max_drop:g}")


def layer_snr(calibrated: CalibratedModel) -> dict[str, float]:
    """Signal-to-noise ratio of the logits, in dB, when one layer alone is integer: the lowest is the most sensitive."""
    source = calibrated.source
    signal = source.logits - source.logits.mean(0)
    power = float((signal.astype(np.float64) ** 2).mean())
    ratios = {}
    for name in calibrated.layers:
        noise = run_artifact(deploy(quantize_layers(calibrated, [name])), source, source.pixels.judging) - source.logits
        ratios[name] = 10 * float(np.log10(power / max(float((noise.astype(np.float64) ** 2).mean()), 1e-30)))
    return ratios


def _judged(calibrated: CalibratedModel, layers: list[str]) -> tuple[Artifact, Judgement]:
    artifact = deploy(quantize_layers(calibrated, layers))
    judgement = judge(calibrated.source, artifact)
    _LOG.info("%d of %d layers are integer: %s", len(layers), len(calibrated.layers), judgement)
    return artifact, judgement
