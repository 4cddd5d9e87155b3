"""Measuring models where they run. Needs no scene, no torch and no onnx; `hsiedge.bench` is its function `bench`."""

from __future__ import annotations

from hsiedge.benchmark.results import (
    Agreement,
    Comparison,
    Latency,
    OperatorTime,
    Profile,
    Recommendation,
    Report,
    Result,
    Sustained,
    Window,
)
from hsiedge.benchmark.runner import ALL, bench

__all__ = [
    "ALL",
    "Agreement",
    "Comparison",
    "Latency",
    "OperatorTime",
    "Profile",
    "Recommendation",
    "Report",
    "Result",
    "Sustained",
    "Window",
    "bench",
]
