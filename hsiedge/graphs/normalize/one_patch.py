"""A patch graph in normal form: one patch, constants folded, every shape known. What the passes on graphs start from."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import onnxruntime

from hsiedge.errors import ModelError
from hsiedge.graphs.onnx_io import inputs_of

if TYPE_CHECKING:
    from onnx import ModelProto

_OPSET = 18


def normalized(model: ModelProto) -> ModelProto:
    """A patch graph `(N, bands, p, p) -> (N, classes)` for N = 1.

    Does: fixes N, lets onnxruntime fold what is constant then (shapes, BatchNorm behind a convolution, a bias behind a
    product), and infers shapes. Nodes with weights keep their names.

    Raises:
        ModelError: a graph that needs other operators than ONNX's own, or whose shapes do not follow from its input's.
    """
    import onnx

    fixed = copy.deepcopy(model)
    del fixed.metadata_props[:], fixed.graph.value_info[:]
    inputs_of(fixed)[0].type.tensor_type.shape.dim[0].dim_value = 1
    for size in fixed.graph.output[0].type.tensor_type.shape.dim:
        size.Clear()
    try:
        if next(entry.version for entry in fixed.opset_import if entry.domain in ("", "ai.onnx")) < _OPSET:
            fixed = onnx.version_converter.convert_version(fixed, _OPSET)
        inferred = onnx.shape_inference.infer_shapes(_folded(fixed), strict_mode=True, data_prop=True)
    except Exception as error:  # those of onnxruntime and onnx have no common base
        raise ModelError(f"the graph cannot be followed for one patch: {str(error).strip().splitlines()[0]}") from error
    foreign = [node for node in inferred.graph.node if node.domain not in ("", "ai.onnx")]
    if foreign:
        raise ModelError(f"node {foreign[0].name} ({foreign[0].domain}.{foreign[0].op_type}): not an operator of ONNX's own")
    return inferred


def _folded(model: ModelProto) -> ModelProto:
    import onnx

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 4
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "folded.onnx"
        options.optimized_model_filepath = str(path)
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return onnx.load(path)
