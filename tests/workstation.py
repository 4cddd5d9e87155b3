"""Small trained models on real pixels, made once for all tests that need one. Importing it needs torch."""

from __future__ import annotations

import dataclasses
import functools
import tempfile
from pathlib import Path
from typing import Any

from torch import nn

from hsiedge import files
from hsiedge.graphs.export.checkpoint import export, to_onnx
from hsiedge.graphs.quantization.quantize import quantize
from hsiedge.scenes.scene import Scene, open_scene
from hsiedge.scenes.splits import Split, draw
from hsiedge.training.checkpoint import Checkpoint, save_checkpoint
from hsiedge.training.fit import FitSettings
from hsiedge.training.train import train

SMALL = {
    "cnn1d": {"widths": (8, 32)},
    "cnn2d": {"widths": (24, 24, 24)},
    "cnn3d": {"widths": (4, 8)},
    "hybridsn": {"components": 14, "widths": (4, 4, 8, 16, 32, 16)},
    "dscnn": {"widths": (20, 32, 32, 32)},
}
PATCH = {"cnn1d": 1, "cnn2d": 7, "cnn3d": 5, "hybridsn": 9, "dscnn": 13}
_FOLDER = tempfile.TemporaryDirectory(prefix="hsiedge-tests-")


@functools.cache
def scene() -> Scene:
    """Indian Pines, whole."""
    return open_scene("indian_pines")


@functools.cache
def corner(side: int = 48) -> Scene:
    """A corner of Indian Pines, for tests that need real spectra and no accuracy."""
    whole = scene()
    labels = whole.labelled()[:side, :side]
    found = {label: title for label, title in whole.classes.items() if (labels == label).any()}
    return dataclasses.replace(whole, name="corner", cube=whole.cube[:side, :side], labels=labels, classes=found)


@functools.cache
def split() -> Split:
    return draw("random", scene(), 0)


@functools.cache
def checkpoint(net: str, epochs: int = 6) -> Checkpoint:
    """A small net of each kind, trained for some seconds."""
    return train(scene(), split(), net, PATCH[net], FitSettings(epochs=epochs), **SMALL[net])


@functools.cache
def folder() -> Path:
    """Where the files lie that are shared by tests; nobody writes into them."""
    return Path(_FOLDER.name)


@functools.cache
def checkpoint_file(net: str) -> Path:
    path = folder() / f"{net}.safetensors"
    save_checkpoint(path, checkpoint(net))
    return path


@functools.cache
def float_file(net: str) -> Path:
    path = folder() / f"{net}.onnx"
    export(checkpoint(net), scene(), path, files.digest(checkpoint_file(net)))
    return path


@functools.cache
def integer_file(net: str, recipe: str = "default") -> Path:
    path = folder() / f"{net}-{recipe}.onnx"
    quantize(float_file(net), scene(), path, recipe, max_drop=5)
    return path


def exported(module: nn.Module, bands: int, patch: int) -> Any:
    """A stranger's net, as its maker would export it: `onnx.ModelProto`, float32 in, no Card."""
    return to_onnx(module.eval(), bands, patch)
