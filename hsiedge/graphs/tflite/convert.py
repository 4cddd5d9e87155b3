"""Conversion: a float ONNX model as a TFLite file, float or integer, its Card inside."""

from __future__ import annotations

import math
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from hsiedge import files
from hsiedge.card import Affine, Card, Step, now
from hsiedge.errors import ModelError, OptionError
from hsiedge.graphs.artifact import TfliteArtifact, compared
from hsiedge.graphs.onnx_io import name_nodes, read_onnx
from hsiedge.graphs.passes import apply, read
from hsiedge.graphs.passes.conv3d_to_conv2d import Conv3dToConv2d
from hsiedge.graphs.passes.extract_input_affine import affine_nodes, affine_values, shortest
from hsiedge.graphs.passes.split_offset import SplitOffset
from hsiedge.graphs.passes.unroll_recurrent import UnrollRecurrent
from hsiedge.graphs.scene_graph.blocks import at_size, without_blocks
from hsiedge.graphs.tflite.lower import Ranges, Start, converted, lowered, versions
from hsiedge.runtimes import load
from hsiedge.runtimes.litert import LitertSession
from hsiedge.runtimes.model import STRIP_PIXELS
from hsiedge.scenes.patches import check_patch
from hsiedge.scenes.scene import Scene

LOGIT_LIMIT = 1e-4  # of the logits' range
Tile = tuple[int, int]


def tflite(model: str | Path, scene: Scene, output: str | Path, tile: Tile | None = None) -> Card:
    """Converts a float ONNX model to a float32 TFLite file, and writes it once both gave the same logits.

    Arguments and errors are those of `hsiedge.Model.to_tflite`; the Card in the file is returned.
    """
    path = Path(model)
    source = load(path)
    card = source.known
    if card.kind not in ("patch", "scene") or card.quantization is not None or card.input_affine is not None:
        raise ModelError(f"{path}: takes a float graph, as hsiedge export writes it; quantizing makes TFLite files of its own")
    source.check_fits(scene)
    check_patch(card.patch, scene.shape)
    graph = name_nodes(read_onnx(path))
    tile = checked_tile(card, scene, tile)
    graph = apply(graph, Conv3dToConv2d()) if card.kind == "patch" else without_blocks(graph)[0]
    artifact = float_graph(apply(graph, UnrollRecurrent()), card, tile, "float32")
    options = {} if tile is None else {"tile": list(tile)}
    step = Step("tflite", now(), options, files.digest(path), artifact.versions)
    card = replace(card, created=now(), accuracy=[], lineage=[*card.lineage, step])
    card = replace(card, checks=[*card.checks, compared(artifact, card, source, scene, "tflite", LOGIT_LIMIT)])
    artifact.write(Path(output), card)
    return card


def default_tile(scene: Scene) -> Tile:
    """Rows as wide as the scene, some thousand pixels of them."""
    height, width = scene.shape
    return max(1, min(height, STRIP_PIXELS // width)), width


def checked_tile(card: Card, scene: Scene, tile: Tile | None) -> Tile | None:
    """The tile that a graph is made for; None for a patch graph.

    Left out, some rows; of a graph whose end runs pixel by pixel a square, which has the least halo, of as many pixels as a
    block has: memory is bounded by it.

    Raises:
        OptionError: a tile for a patch graph, or one without a pixel.
    """
    if card.kind == "patch":
        if tile is not None:
            raise OptionError("only a scene graph has a tile; this is a patch graph", option="tile")
        return None
    if tile is not None and min(tile) < 1:
        raise OptionError("at least one pixel", option="tile", value=f"{tile[0]}x{tile[1]}")
    if tile is None and card.hybrid is not None:
        side = max(1, math.isqrt(card.hybrid["block"]))
        return min(side, scene.shape[0]), min(side, scene.shape[1])
    return tile or default_tile(scene)


def float_graph(graph: onnx.ModelProto, card: Card, tile: Tile | None, precision: str) -> TfliteArtifact:
    """The TFLite graph of a float ONNX graph without 3-D convolutions; it takes counts as float32.

    Args:
        precision: "float32" or "float16".
    """
    if precision == "float16":
        graph = apply(graph, SplitOffset())
    start = _start(graph.graph.input[0].name, card, tile)
    return TfliteArtifact(converted(lowered(_fixed(graph, start), start, None), precision), None, versions())


def integer_graph(graph: onnx.ModelProto, card: Card, tile: Tile | None, ranges: Ranges) -> TfliteArtifact:
    """The TFLite graph as integers all through, in and out, with the affine that makes its input of counts."""
    values = read(graph).graph
    nodes, takers = affine_nodes(values), values.inputs[0].consumers()
    before = nodes or [node for node in takers if len(takers) == 1 and node.op_type == "Cast"]  # counts themselves, cast
    name = str(before[-1].outputs[0].name) if before else graph.graph.input[0].name
    start = _start(name, card, tile)
    data = converted(lowered(_fixed(graph, start), start, ranges), "int8")
    offset, scale = affine_values(nodes) if nodes else ([0.0] * card.scene.bands, [1.0] * card.scene.bands)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "integer.tflite"
        file.write_bytes(data)
        step, zero_point = LitertSession(file, 1).scales[0]
    return TfliteArtifact(data, Affine(offset, scale, "int8", zero_point, shortest(np.float32(step))), versions())


def _start(name: str, card: Card, tile: Tile | None) -> Start:
    height, width = (size + card.patch - 1 for size in tile or (1, 1))
    return Start(name, card.scene.bands, height, width, batched=card.kind == "patch")


def _fixed(graph: onnx.ModelProto, start: Start) -> onnx.ModelProto:
    """The graph for tiles of one size; one of patches as it is."""
    return graph if start.batched else at_size(graph, start.height, start.width)
