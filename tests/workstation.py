"""Small trained models on real pixels, each made once a session by the worker that needs it first. Importing it needs torch."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

from torch import nn
from torch.onnx._internal.exporter._registration import ONNXRegistry

from hsiedge import files
from hsiedge.graphs.export.checkpoint import export, to_onnx
from hsiedge.graphs.quantization.quantize import quantize
from hsiedge.graphs.scene_graph.build import scene_graph
from hsiedge.scenes.open import open_scene
from hsiedge.scenes.scene import Scene
from hsiedge.scenes.splits import Split, draw
from hsiedge.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from hsiedge.training.fit import FitSettings
from hsiedge.training.train import train
from tests.once import made_once

# PyTorch reads its list of operators anew for every export, which takes a third of the time of a small net's.
ONNXRegistry.from_torchlib = staticmethod(functools.cache(ONNXRegistry.from_torchlib))

SMALL = {
    "cnn1d": {"widths": (8, 32)},
    "cnn2d": {"widths": (24, 24, 24)},
    "cnn3d": {"widths": (4, 8)},
    "hybridsn": {"components": 14, "widths": (4, 4, 8, 16, 32, 16)},
    "dscnn": {"widths": (20, 32, 32, 32)},
}
PATCH = {"cnn1d": 1, "cnn2d": 7, "cnn3d": 5, "hybridsn": 9, "dscnn": 13}


@functools.cache
def scene() -> Scene:
    """Indian Pines, whole."""
    return open_scene("indian_pines")


@functools.cache
def corner(side: int = 48) -> Scene:
    """A corner of Indian Pines, for tests that need real spectra and no accuracy."""
    whole = scene()
    labels = whole.labelled()[:side, :side]
    titles = {label: title for label, title in whole.classes.items() if (labels == label).any()}
    return dataclasses.replace(whole, name="corner", cube=whole.cube[:side, :side], labels=labels, classes=titles)


@functools.cache
def split() -> Split:
    return draw("random", scene(), 0)


def trained(net: str, epochs: int = 6) -> Checkpoint:
    """A small net of each kind, trained for some seconds, here and now."""
    return train(scene(), split(), net, PATCH[net], FitSettings(epochs=epochs), **SMALL[net])


@functools.cache
def checkpoint(net: str) -> Checkpoint:
    """The net of `checkpoint_file`, which no test may change."""
    return load_checkpoint(checkpoint_file(net))


@functools.cache
def checkpoint_file(net: str) -> Path:
    """A small net of each kind, trained for some seconds. Nobody writes into this file, or into those made of it."""
    return made_once(f"{net}.safetensors", lambda path: save_checkpoint(path, trained(net)))


@functools.cache
def float_file(net: str) -> Path:
    """Its float patch graph."""
    parent = files.digest(checkpoint_file(net))
    return made_once(f"{net}.onnx", lambda path: export(checkpoint(net), scene(), path, parent))


@functools.cache
def integer_file(net: str, recipe: str = "default") -> Path:
    """Its patch graph, quantized."""
    return made_once(f"{net}-{recipe}.onnx", lambda path: quantize(float_file(net), scene(), path, recipe, max_drop=5))


@functools.cache
def scene_file(net: str) -> Path:
    """Its float scene graph."""
    return made_once(f"{net}-scene.onnx", lambda path: scene_graph(float_file(net), scene(), path))


@functools.cache
def integer_scene_file(net: str) -> Path:
    """Its scene graph, quantized."""
    return made_once(f"{net}-int8-scene.onnx", lambda path: quantize(scene_file(net), scene(), path, max_drop=5))


def exported(module: nn.Module, bands: int, patch: int) -> Any:
    """A stranger's net, as its maker would export it: `onnx.ModelProto`, float32 in, no Card."""
    return to_onnx(module.eval(), bands, patch)
