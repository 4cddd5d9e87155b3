"""Makes the inputs that lie here: `python -m tests.graphs.data.make`. Needs torch, which the test of the pipelines does not.

Float graphs of the five nets, small and untrained; two of strangers; three of scenes; ranges of their values; spectra.
Made anew, they differ in their weights: the digests in `digests.json` are then to be renewed, too (`test_pipelines`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn
from torch.nn import functional

from hsiedge import nets
from hsiedge.graphs.export.attach_card import take_dtype
from hsiedge.graphs.export.checkpoint import to_onnx
from hsiedge.graphs.scene_graph.densify import densify
from hsiedge.scenes.preprocess import fit_affine
from hsiedge.training.classifier import Classifier
from tests.graphs.float_passes import float_passes

FOLDER = Path(__file__).parent
BANDS, CLASSES, PIXELS = 40, 4, 96
NETS: dict[str, tuple[int, dict[str, Any]]] = {
    "cnn1d": (1, {"widths": (4, 6)}),
    "cnn2d": (5, {"widths": (6, 5, 4)}),
    "cnn3d": (5, {"widths": (2, 3)}),
    "hybridsn": (9, {"components": 14, "widths": (2, 2, 3, 4, 6, 5)}),
    "dscnn": (9, {"widths": (5, 6, 6, 6)}),
}


class Dividing(nn.Module):
    """A net of somebody else's, which takes reflectances: counts over 10,000."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Conv2d(BANDS, 5, 3), nn.Linear(5, CLASSES)

    def forward(self, counts: Tensor) -> Tensor:
        features: Tensor = self.head(torch.relu(self.first(counts / 10000)).amax((2, 3)))
        return features


class PooledLine(nn.Module):
    """A line's convolution behind a per-band affine, pooled by three: a kernel that is longer than the window."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv1d(1, 4, 9), nn.Linear(40, CLASSES)
        affine = fit_affine(spectra())
        self.register_buffer("offset", torch.from_numpy(affine.offset)[:, None, None])
        self.register_buffer("scale", torch.from_numpy(affine.scale)[:, None, None])

    def forward(self, counts: Tensor) -> Tensor:
        line = ((counts - self.offset) * self.scale)[:, :, 0, 0].unsqueeze(1)
        features = functional.max_pool1d(torch.tanh(self.conv(line)), 3)
        logits: Tensor = self.head(features.flatten(1))
        return logits


def spectra() -> np.ndarray[Any, np.dtype[np.uint16]]:
    """Counts `(PIXELS, BANDS)`: a smooth curve, brighter and darker, and noise."""
    rng = np.random.default_rng(0)
    curve = 3000 + 1500 * np.sin(np.arange(BANDS) / 6)
    values = curve * rng.uniform(0.5, 1.5, (PIXELS, 1)) + rng.normal(0, 40, (PIXELS, BANDS))
    return values.astype(np.uint16)


def with_statistics(module: nn.Module, counts: Tensor) -> nn.Module:
    """The net with the BatchNorm statistics of these counts, in evaluation mode."""
    module.train()
    with torch.no_grad():
        for _ in range(30):
            module(counts)
    return module.eval()


def of_net(name: str) -> Any:
    """The `onnx.ModelProto` of a small net, from uint16 counts to logits."""
    patch, options = NETS[name]
    torch.manual_seed(0)
    classifier = Classifier(nets.build(name, BANDS, CLASSES, patch, **options), fit_affine(spectra()))
    counts = torch.from_numpy(patches(patch).astype(np.float32))
    return to_onnx(with_statistics(classifier, counts), BANDS, patch, "uint16")


def patches(size: int) -> np.ndarray[Any, Any]:
    """`(PIXELS, BANDS, size, size)`: each pixel of a patch is one of the spectra."""
    places = np.random.default_rng(1).integers(0, PIXELS, (PIXELS, size, size))
    return np.ascontiguousarray(spectra()[places].transpose(0, 3, 1, 2))


def ranges(model: Any, pieces: Iterable[np.ndarray[Any, Any]]) -> dict[str, list[float]]:
    """Least and greatest of each float value, by name, over what the graph is given piece by piece."""
    watched = onnx.shape_inference.infer_shapes(model)
    kept = {entry.name for entry in watched.graph.output}
    watched.graph.output.extend(entry for entry in watched.graph.value_info if entry.name not in kept)
    session = onnxruntime.InferenceSession(watched.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_outputs() if entry.type == "tensor(float)"]
    limits: dict[str, list[float]] = {}
    for piece in pieces:
        for name, values in zip(names, session.run(names, {model.graph.input[0].name: piece})):
            low, high = limits.get(name, [np.inf, -np.inf])
            limits[name] = [min(low, float(values.min())), max(high, float(values.max()))]
    return limits


def main() -> None:
    """Writes all of it."""
    np.save(FOLDER / "spectra.npy", spectra())
    torch.manual_seed(0)
    models = {name: (of_net(name), patch) for name, (patch, _) in NETS.items()}
    models["dividing"] = (take_dtype(to_onnx(Dividing().eval(), BANDS, 5), np.dtype(np.uint16)), 5)
    models["pooled-line"] = (take_dtype(to_onnx(PooledLine().eval(), BANDS, 1), np.dtype(np.uint16)), 1)
    models |= {f"{name}-scene": (densify(models[name][0]).model, models[name][1]) for name in ("cnn1d", "cnn2d", "dscnn")}
    limits = {}
    for name, (model, size) in models.items():
        onnx.save(model, FOLDER / f"{name}.onnx")
        limits[name] = ranges(float_passes(model, spectra()), (patch[None] for patch in patches(size)))
    (FOLDER / "ranges.json").write_text(json.dumps(limits, indent=0) + "\n")


if __name__ == "__main__":
    main()
