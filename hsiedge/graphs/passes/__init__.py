"""Passes: each file rewrites one thing in an ONNX graph, on onnx-ir's PassBase; here they stand in the order that they need.

Passes that look at a scene's spectra are made where those are: `StandardizeInput` comes before FLOAT, `ClipOutliers` makes the
graph that is calibrated on, and `FixedPointInput` follows calibration (`hsiedge.graphs.quantization.session`).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING

import onnx_ir as ir
from onnx_ir.passes import PassBase

from hsiedge.graphs.passes.channels_last_flatten import ChannelsLastFlatten
from hsiedge.graphs.passes.channels_last_input import ChannelsLastInput
from hsiedge.graphs.passes.conv3d_to_conv2d import Conv3dToConv2d
from hsiedge.graphs.passes.exact_mean import ExactMean
from hsiedge.graphs.passes.extract_input_affine import ExtractInputAffine
from hsiedge.graphs.passes.float_logits import FloatLogits
from hsiedge.graphs.passes.hoist_quantize import HoistQuantize
from hsiedge.graphs.passes.merge_reshapes import MergeReshapes
from hsiedge.graphs.passes.minify import Minify
from hsiedge.graphs.passes.polyphase_pool import PolyphasePool
from hsiedge.graphs.passes.pool_before_activation import PoolBeforeActivation
from hsiedge.graphs.passes.separate_int8_tensors import SeparateInt8Tensors
from hsiedge.graphs.passes.tanh_lut import TanhLut

if TYPE_CHECKING:
    from onnx import ModelProto

FLOAT: tuple[PassBase, ...] = (
    PoolBeforeActivation(),
    Conv3dToConv2d(),
    MergeReshapes(),
)
"""The passes of a float graph before it is calibrated: towards layers that integer kernels know, and few nodes."""

INTEGER: tuple[PassBase, ...] = (
    FloatLogits(),
    HoistQuantize(),
    ExactMean(),
    TanhLut(),
    PolyphasePool(),
    ChannelsLastFlatten(),
    ExtractInputAffine(),
    ChannelsLastInput(),
    SeparateInt8Tensors(),
    Minify(),
)
"""The passes of a QDQ graph before it is deployed: towards integers wherever values are only moved, and a small file."""


def read(model: ModelProto) -> ir.Model:
    """The graph as passes take it; they change a copy."""
    return ir.serde.deserialize_model(copy.deepcopy(model))


def write(model: ir.Model) -> ModelProto:
    """The graph as files and onnxruntime take it.

    onnx-ir tells sizes of initializers twice, which is left out.
    """
    proto = ir.serde.serialize_model(model)
    stored = {tensor.name for tensor in proto.graph.initializer}
    sizes = [entry for entry in proto.graph.value_info if entry.name not in stored]
    del proto.graph.value_info[:]
    proto.graph.value_info.extend(sizes)
    return proto


def run(model: ir.Model, passes: Sequence[PassBase]) -> bool:
    """Runs passes on a model, one after the other; whether one of them changed it."""
    modified = False
    for step in passes:
        modified = step(model).modified or modified
    return modified


def apply(model: ModelProto, *passes: PassBase) -> ModelProto:
    """The graph after some passes; the very same, where none of them changed anything.

    onnx-ir drops sparse initializers: a graph that has them stays as it is.
    """
    if model.graph.sparse_initializer:
        return model
    changed = read(model)
    return write(changed) if run(changed, passes) else model
