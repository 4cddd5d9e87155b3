"""An ONNX graph as a torch module, for the peers that take no ONNX: scene graphs are ours, and exist as ONNX alone.

A closed set of operators; any other is an error that names it. What comes out is compared with onnxruntime before a peer
is given it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from torch import Tensor, nn

from hsiedge.errors import CheckError, ModelError

LIMIT = 1e-4  # of the logits' range


class OnnxModule(nn.Module):
    """Runs the graph's nodes one by one; float32 counts in, logits out."""

    def __init__(self, model: onnx.ModelProto) -> None:
        super().__init__()
        graph = model.graph
        self._nodes = [
            (node, {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}) for node in graph.node
        ]
        self._input, self._output = graph.input[0].name, graph.output[0].name
        self._constants: dict[str, str] = {}
        self._sizes: dict[str, list[int]] = {}  # axes and shapes: they decide what is done, and are no tensors to torch
        for place, tensor in enumerate(graph.initializer):
            values = numpy_helper.to_array(tensor)
            if values.dtype == np.int64:
                self._sizes[tensor.name] = values.ravel().tolist()
                continue
            self.register_buffer(f"constant_{place}", torch.from_numpy(values.copy()))
            self._constants[tensor.name] = f"constant_{place}"
        if unknown := sorted({node.op_type for node in graph.node} - set(OPERATORS)):
            raise ModelError(f"no torch form of {', '.join(unknown)}")

    def forward(self, counts: Tensor) -> Tensor:
        values: dict[str, Any] = {**self._sizes, **{name: getattr(self, buffer) for name, buffer in self._constants.items()}}
        values[self._input] = counts
        for node, attributes in self._nodes:
            inputs = [values[name] if name else None for name in node.input]
            values[node.output[0]] = OPERATORS[node.op_type](inputs, attributes)
        output: Tensor = values[self._output]
        return output


def _conv(inputs: list[Any], attributes: dict[str, Any]) -> Tensor:
    pads = attributes.get("pads", [0])
    if any(pads) or attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise ModelError("a padded convolution has no torch form here")
    run = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}[inputs[0].ndim]
    bias = inputs[2] if len(inputs) > 2 else None
    output: Tensor = run(
        inputs[0],
        inputs[1],
        bias,
        stride=attributes.get("strides", 1),
        dilation=attributes.get("dilations", 1),
        groups=attributes.get("group", 1),
    )
    return output


def _gemm(inputs: list[Any], attributes: dict[str, Any]) -> Tensor:
    weight = inputs[1] if attributes.get("transB") else inputs[1].T
    output: Tensor = F.linear(inputs[0], weight, inputs[2] if len(inputs) > 2 else None)
    return output


def _reduce_mean(inputs: list[Any], attributes: dict[str, Any]) -> Tensor:
    axes = attributes.get("axes") or inputs[1]
    output: Tensor = inputs[0].mean(axes, keepdim=bool(attributes.get("keepdims", 1)))
    return output


OPERATORS: dict[str, Any] = {
    "Cast": lambda inputs, _: inputs[0].to(torch.float32),  # counts are float32 already
    "Add": lambda inputs, _: inputs[0] + inputs[1],
    "Sub": lambda inputs, _: inputs[0] - inputs[1],
    "Mul": lambda inputs, _: inputs[0] * inputs[1],
    "Relu": lambda inputs, _: F.relu(inputs[0]),
    "Conv": _conv,
    "Gemm": _gemm,
    "AveragePool": lambda inputs, a: F.avg_pool2d(inputs[0], a["kernel_shape"], a.get("strides", 1)),
    "GlobalAveragePool": lambda inputs, _: inputs[0].mean((2, 3), keepdim=True),
    "ReduceMean": _reduce_mean,
    "Flatten": lambda inputs, a: inputs[0].flatten(a.get("axis", 1)),
    "Reshape": lambda inputs, _: inputs[0].reshape([size or inputs[0].shape[i] for i, size in enumerate(inputs[1])]),
    "Squeeze": lambda inputs, _: inputs[0].squeeze(tuple(inputs[1])),
}


def export_torch(source: Path, shape: tuple[int, ...], path: Path) -> None:
    """Writes `source` as a torch.export program for float32 counts of `shape`, once it gave what onnxruntime gives.

    Raises:
        ModelError: an operator without a torch form.
        CheckError: the logits differ.
    """
    from hsiedge.runtimes import load

    module = OnnxModule(onnx.load(str(source))).eval()
    session = load(source).session
    counts = np.random.default_rng(0).integers(0, 4000, shape).astype(session.inputs[0].dtype)
    tensor = torch.from_numpy(counts.astype(np.float32))
    with torch.no_grad():
        ours = module(tensor).numpy()
    theirs = session.run([counts])
    worst = float(np.abs(ours - theirs).max() / np.ptp(theirs))
    if not worst <= LIMIT:
        raise CheckError(f"{source.name}: its torch form differs by {worst:.1e} of the logits' range")
    with torch.no_grad():
        torch.export.save(torch.export.export(module, (tensor,)), path)


def with_float_input(source: Path, path: Path) -> None:
    """The graph without the Cast from stored counts: it takes them as float32."""
    model = onnx.load(str(source))
    graph = model.graph
    first = graph.node[0]
    if first.op_type != "Cast" or first.input[0] != graph.input[0].name:
        raise ModelError(f"{source.name}: does not begin with a Cast of its counts")
    for node in graph.node[1:]:
        for place, name in enumerate(node.input):
            node.input[place] = graph.input[0].name if name == first.output[0] else name
    graph.node.remove(first)
    graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    onnx.save(model, str(path))
