"""hsiedge: hyperspectral classifiers on small computers.

The public API is imported on first use, so that `import hsiedge` (and `hsiedge --help`) load nothing else.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# onnxruntime's wheels from 1.29 on send usage data home unless told not to before their import. A user's own setting wins.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from hsiedge.benchmark.runner import bench
    from hsiedge.card import Card
    from hsiedge.evaluation import evaluate
    from hsiedge.graphs.quantization.quantize import quantize
    from hsiedge.mapping import LineClassifier, classify
    from hsiedge.runtimes import load
    from hsiedge.scenes.scene import Scene
    from hsiedge.scenes.splits import Split

_HOMES = {
    "Card": "hsiedge.card",
    "LineClassifier": "hsiedge.mapping",
    "Scene": "hsiedge.scenes.scene",
    "Split": "hsiedge.scenes.splits",
    "bench": "hsiedge.benchmark.runner",
    "classify": "hsiedge.mapping",
    "evaluate": "hsiedge.evaluation",
    "load": "hsiedge.runtimes",
    "quantize": "hsiedge.graphs.quantization.quantize",
}

__all__ = ["Card", "LineClassifier", "Scene", "Split", "bench", "classify", "evaluate", "load", "quantize"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'hsiedge' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
