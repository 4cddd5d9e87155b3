"""A runtime for hsiedge: ONNX's own reference evaluator. It is slow, and computes each operator as the standard words it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator
from onnx.version_converter import convert_version

from hsiedge.errors import ModelError
from hsiedge.runtimes import Engine, Session, TensorSpec

OPSET = 21  # the evaluator has no quantization of older ones


class ReferenceSession(Session):
    """An ONNX file in the reference evaluator.

    Args:
        path: the model file.
        threads: not used; the evaluator is numpy.

    Raises:
        ModelError: the file is damaged, or has an operator that the evaluator does not know.
    """

    runtime = f"ONNX reference {onnx.__version__}"
    provider = "numpy"

    def __init__(self, path: Path, threads: int = 0) -> None:
        try:
            model = onnx.load(path, load_external_data=False)  # no path from inside a file is followed
            self._evaluator = ReferenceEvaluator(convert_version(model, OPSET))
        except Exception as error:  # whatever is wrong with the file
            raise ModelError(f"{path}: the reference evaluator does not load it ({error})") from error
        self.inputs = [input_spec(value) for value in model.graph.input]

    def run(self, tensors: Sequence[np.ndarray]) -> np.ndarray:
        """The graph's first output. Raises ModelError where the tensors do not fit the graph."""
        for spec, tensor in zip(self.inputs, tensors):
            sizes = [size if expected is None else expected for expected, size in zip(spec.shape, tensor.shape)]
            if tensor.dtype != spec.dtype or list(tensor.shape) != sizes:
                raise ModelError(f"{spec.name} is {spec.dtype} {spec.shape}; it was given {tensor.dtype} {tensor.shape}")
        return self._evaluator.run(None, dict(zip((spec.name for spec in self.inputs), tensors)))[0]


def input_spec(value: onnx.ValueInfoProto) -> TensorSpec:
    """Name, shape and dtype of an input; a free dimension is None."""
    tensor = value.type.tensor_type
    shape = tuple(size.dim_value if size.HasField("dim_value") else None for size in tensor.shape.dim)
    return TensorSpec(value.name, shape, onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))


ENGINE = Engine("ONNX reference", (".onnx",), __name__, "onnx")
open_session = ReferenceSession
