"""Shipped models, inside an installed package or beside it in a checkout."""

from __future__ import annotations

from pathlib import Path

from hsiedge.errors import ModelError

_STEM = "indian_pines-cnn2d-random-s0"


def shipped(suffix: str) -> Path:
    """Path of a shipped model: ".safetensors", ".onnx", "-int8.onnx", "-int8-scene.onnx", "-int8.tflite", "-int8-scene.tflite".

    Raises:
        ModelError: this installation carries none.
    """
    package = Path(__file__).parent
    for folder in (package / "models", package.parent / "models"):
        if (folder / f"{_STEM}{suffix}").is_file():
            return folder / f"{_STEM}{suffix}"
    raise ModelError("this installation carries no shipped models; name a model file")
