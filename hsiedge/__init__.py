"""hsiedge: hyperspectral classifiers on small computers.

The public API is imported on first use, so that `import hsiedge` (and `hsiedge --help`) load nothing else.
"""

from __future__ import annotations

import importlib
import logging
import os
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

# onnxruntime's wheels from 1.29 on send usage data home unless told not to before their import. A user's own setting wins.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
logging.getLogger(__name__).addHandler(logging.NullHandler())  # who uses the library decides what is shown

if TYPE_CHECKING:
    from hsiedge import errors
    from hsiedge.api.checkpoint import Checkpoint, train
    from hsiedge.api.functions import classify, evaluate, quantize
    from hsiedge.api.label_map import LabelMap
    from hsiedge.api.model import Model, load
    from hsiedge.api.scene import join_flights, open_scene
    from hsiedge.api.training_run import training_run
    from hsiedge.benchmark.results import Report
    from hsiedge.benchmark.runner import bench
    from hsiedge.card import Card
    from hsiedge.evaluation import Evaluation
    from hsiedge.graphs.quantization.recipes import Recipe
    from hsiedge.live.runner import run
    from hsiedge.live.summary import RunSummary
    from hsiedge.mapping import LineClassifier
    from hsiedge.scenes.references import References
    from hsiedge.scenes.scene import Scene
    from hsiedge.scenes.splits import Split

_HOMES = {
    "Card": "hsiedge.card",
    "Checkpoint": "hsiedge.api.checkpoint",
    "Evaluation": "hsiedge.evaluation",
    "LabelMap": "hsiedge.api.label_map",
    "LineClassifier": "hsiedge.mapping",
    "Model": "hsiedge.api.model",
    "Recipe": "hsiedge.graphs.quantization.recipes",
    "References": "hsiedge.scenes.references",
    "Report": "hsiedge.benchmark.results",
    "RunSummary": "hsiedge.live.summary",
    "Scene": "hsiedge.scenes.scene",
    "Split": "hsiedge.scenes.splits",
    "bench": "hsiedge.benchmark.runner",
    "classify": "hsiedge.api.functions",
    "evaluate": "hsiedge.api.functions",
    "join_flights": "hsiedge.api.scene",
    "load": "hsiedge.api.model",
    "open_scene": "hsiedge.api.scene",
    "quantize": "hsiedge.api.functions",
    "run": "hsiedge.live.runner",
    "train": "hsiedge.api.checkpoint",
    "training_run": "hsiedge.api.training_run",
}

__all__ = [
    "Card",
    "Checkpoint",
    "Evaluation",
    "LabelMap",
    "LineClassifier",
    "Model",
    "Recipe",
    "References",
    "Report",
    "RunSummary",
    "Scene",
    "Split",
    "bench",
    "classify",
    "errors",
    "evaluate",
    "join_flights",
    "load",
    "open_scene",
    "quantize",
    "run",
    "train",
    "training_run",
]


def __getattr__(name: str) -> Any:
    if name == "errors":
        return importlib.import_module("hsiedge.errors")
    if name not in _HOMES:
        raise AttributeError(f"module 'hsiedge' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
