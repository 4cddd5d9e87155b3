"""A QDQ graph as a PyTorch module that can be trained: what onnxruntime will do with the graph, in float arithmetic.

The net is simulated as it will run: not the PyTorch net with quantizers thought into it, but the very graph that is
deployed, each QuantizeLinear of it a rounding with the same scale, each weight on the grid of its integers. Training moves
weights, biases and the weights' steps; `QdqNet.write` puts them back into the graph.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from hsiedge.graphs.edit import array_of, name_of, taken
from hsiedge.graphs.operator_view import Kernel, Operator, Rules, UnfitError, operands_of
from hsiedge.graphs.passes import read

_FRONT = ("Cast", "Sub", "Mul")
_LAYERS = ("Conv", "Gemm")
Node = Operator[object]
Step = Callable[..., Tensor]


def rounded(value: Tensor) -> Tensor:
    """Half to even, as in ONNX; the gradient passes as if nothing were done (Bengio, Leonard and Courville 2013)."""
    return value + (value.round() - value).detach()


class GridWeights(nn.Module):
    """Weights `(out, ...)` on a grid of `bits` bits, symmetric, one step an output channel.

    The step is learned along, through the rounding (Esser et al. 2020, "Learned step size quantization", equation 3). It
    starts at max|w| / top, as onnxruntime has it, or at twice mean|w| / sqrt(top), as that paper has it, whichever is
    smaller: the former at 8 bits, where nothing need be clipped, the latter at few. Weights that are 0 stay 0.

    Attributes:
        top: the largest integer, 2 ** (bits - 1) - 1.
    """

    base: Tensor
    mask: Tensor

    def __init__(self, weight: Tensor, bits: int) -> None:
        super().__init__()
        self.top = 2 ** (bits - 1) - 1
        sizes = weight.abs().flatten(1)
        step = torch.minimum(sizes.amax(1) / self.top, 2 * sizes.mean(1) / self.top**0.5)
        self.weight = nn.Parameter(weight.clone())
        self.growth = nn.Parameter(torch.zeros_like(step))
        self.register_buffer("base", step.clamp_min(1e-9))
        self.register_buffer("mask", (weight != 0).to(weight.dtype))

    @property
    def step(self) -> Tensor:
        """`(out,)`, positive."""
        return self.base * self.growth.exp()

    def integers(self) -> Tensor:
        """The weights in steps: whole numbers from -top to top."""
        return rounded((self.weight * self.mask / self._spread(self.step)).clamp(-self.top, self.top))

    def forward(self) -> Tensor:
        """The weights as the graph has them."""
        return self.integers() * self._spread(self.step)

    def _spread(self, step: Tensor) -> Tensor:
        return step.reshape(-1, *[1] * (self.mask.ndim - 1))


class QdqNet(nn.Module):
    """A QDQ graph, from standardized spectra `(N, bands, p, p)` to logits `(N, C)`.

    Args:
        graph: that of a `QdqModel` (`hsiedge.graphs.quantization.session`): it begins with the per-band affine.
        source: the float graph that it was made from; its weights are where training starts.
        bits: of the weights. Activations keep 8.

    Raises:
        ModelError: an operator that is not known here.
    """

    def __init__(self, graph: ModelProto, source: ModelProto, bits: int = 8) -> None:
        super().__init__()
        self._graph, self._nodes = graph, read(graph).graph
        self._front = [node for node in self._nodes if node.op_type in _FRONT]
        self.layers = nn.ModuleDict()
        self._steps: list[tuple[ir.Node, Step]] = []
        floats = {tensor.name: numpy_helper.to_array(tensor) for tensor in source.graph.initializer}
        for node in self._nodes:
            if node.op_type in _FRONT or (node.op_type == "DequantizeLinear" and array_of(node.inputs[0]) is not None):
                continue  # the layers do the latter
            operator = Node(node, operands_of(node, {}))
            if node.op_type in _LAYERS:
                self.layers[operator.name.replace(".", "_")] = _Layer(operator, floats, bits)
                self._steps.append((node, self.layers[operator.name.replace(".", "_")]))
            else:
                self._steps.append((node, _OPERATORS.apply(operator)))

    @property
    def spectral(self) -> nn.Module | None:
        """The weights of the first layer where that is a convolution over the bands (`training.conditioning`)."""
        layer = dict(self.layers.items()).get("spectral")
        return layer.weights if isinstance(layer, _Layer) else None

    def forward(self, spectra: Tensor) -> Tensor:
        """Logits, as the graph gives them but for rounding errors of float sums; in the dtype of `spectra`.

        In float64, sums are exact, and scaled to output steps as onnxruntime's integer kernels scale them, in float32.
        """
        values: dict[ir.Value | None, Tensor] = {self._front[-1].outputs[0]: spectra}
        for node, step in self._steps:
            values[node.outputs[0]] = step(*(values[value] for value in node.inputs if value in values))
        return values[self._nodes.outputs[0]]

    def write(self) -> ModelProto:
        """The graph, with the integers and steps of weights and biases as they stand."""
        graph = copy.deepcopy(self._graph)
        stored = {tensor.name: tensor for tensor in graph.graph.initializer}
        for layer in self._quantized():
            for name, values in layer.stored().items():
                stored[name].CopyFrom(numpy_helper.from_array(values, name))
        return graph

    def weights(self) -> Iterator[tuple[str, Tensor, Tensor]]:
        """The name of each layer, and its weights and bias as the graph has them."""
        with torch.no_grad():
            for layer in self._quantized():
                yield layer.name, layer.weights(), layer.bias_value()

    @property
    def output_step(self) -> float:
        """The most that a logit changes where one input of the last layer changes by one step."""
        last = list(self._quantized())[-1]
        with torch.no_grad():
            return last.input_step * float(last.weights().abs().max())

    def _quantized(self) -> Iterator[_Layer]:
        return (layer for layer in self.layers.values() if isinstance(layer, _Layer))


def _output_step(node: ir.Node) -> float | None:
    """The step that a layer's output is rounded to, right behind it or behind a Relu; None where it stays float."""
    takers = node.outputs[0].consumers()
    if len(takers) == 1 and takers[0].op_type == "Relu":
        return _output_step(takers[0])
    return _scale(takers[0]) if len(takers) == 1 and takers[0].op_type == "QuantizeLinear" else None


def _scale(node: ir.Node) -> float:
    """The one scale of a QuantizeLinear or DequantizeLinear."""
    return float(Node(node, operands_of(node, {})).required(1))


class _Layer(nn.Module):
    """A convolution or linear layer with weights on a grid and a bias of 32 bits."""

    def __init__(self, operator: Node, floats: dict[str, NDArray[Any]], bits: int) -> None:
        super().__init__()
        entry, weight, bias = (taken(operator.node, place).producer() for place in range(3))
        assert entry is not None
        assert weight is not None
        assert bias is not None
        self._names = [name_of(taken(maker, place)) for maker in (weight, bias) for place in (0, 1)]
        self.name, self.input_step, self._output_step = operator.name, _scale(entry), _output_step(operator.node)
        sources = [torch.from_numpy(np.array(floats[name.removesuffix("_quantized")])) for name in self._names[::2]]
        self.weights, self.bias = GridWeights(sources[0], bits), nn.Parameter(sources[1])
        self._apply_weights = _convolution(operator) if operator.kind == "Conv" else functional.linear

    def forward(self, value: Tensor) -> Tensor:
        if value.dtype == torch.float64 and self._output_step is not None:
            return self._as_integers(value, self._output_step)
        return self._apply_weights(value, self.weights().to(value.dtype), self.bias_value().to(value.dtype))

    def _as_integers(self, value: Tensor, step: float) -> Tensor:
        """The exact sum of whole numbers, times one float32 a channel: what an integer kernel rounds."""
        weights, bias = self.weights.integers().double(), self._integer_bias().double()
        total = self._apply_weights((value / self.input_step).round(), weights, bias)
        scale = (self._bias_step() / step).reshape(-1, *[1] * (self.weights.mask.ndim - 2))  # of maps, channels come first
        return (total.float() * scale).double() * step

    def bias_value(self) -> Tensor:
        """The bias as the graph has it: 32 bits, in steps of the products that it is added to."""
        return self._integer_bias() * self._bias_step()

    def _bias_step(self) -> Tensor:
        return self.input_step * self.weights.step

    def _integer_bias(self) -> Tensor:
        return rounded(self.bias / self._bias_step())

    def stored(self) -> dict[str, NDArray[Any]]:
        """Integers and steps of weights and bias, by the names of the graph's initializers."""
        with torch.no_grad():
            values = (self.weights.integers(), self.weights.step, self._integer_bias(), self._bias_step())
            dtypes = (np.int8, np.float32, np.int32, np.float32)
            return {name: value.numpy().astype(dtype) for name, value, dtype in zip(self._names, values, dtypes)}


def _kernels(operator: Node) -> list[Kernel]:
    """The kernels of a convolution or pool, as far as PyTorch has such. Raises UnfitError."""
    if operator.pads_itself:
        raise UnfitError("it pads by the size of its input")
    kernels = operator.kernels(operator.integers("kernel_shape") or [], ())
    if any(kernel.head != kernel.tail for kernel in kernels):
        raise UnfitError("it is padded on one side more than on the other")
    return kernels


def _convolution(operator: Node) -> Step:
    kernels, group = _kernels(operator), operator.integer("group")
    function = (functional.conv1d, functional.conv2d, functional.conv3d)[len(kernels) - 1]
    stride, padding, dilation = zip(*((kernel.stride, kernel.head, kernel.dilation) for kernel in kernels))

    def convolve(value: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return function(value, weight, bias, stride, padding, dilation, group)

    return convolve


def _quantize(operator: Node) -> Step:
    step, zero = float(operator.required(1)), operator.required(2)
    limits = np.iinfo(zero.dtype)
    low, high = limits.min - int(zero), limits.max - int(zero)

    def quantize(value: Tensor) -> Tensor:
        steps = value / step
        steps = steps.float().double() if value.dtype == torch.float64 else steps  # a half stays one
        return rounded(steps.clamp(low, high)) * step

    return quantize


def _pool(operator: Node) -> Step:
    kernels = _kernels(operator)
    if any(kernel.head or kernel.ceil for kernel in kernels):
        raise UnfitError("padded pooling is not known here")
    function = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)[len(kernels) - 1]
    sizes, strides, dilations = zip(*((kernel.size, kernel.stride, kernel.dilation) for kernel in kernels))
    return lambda value: function(value, sizes, strides, 0, dilations)


def _reshape(operator: Node) -> Step:
    sizes = operator.integers("shape", 1) or []
    return lambda value: value.reshape([value.shape[place] if size == 0 else size for place, size in enumerate(sizes)])


def _unsqueeze(operator: Node) -> Step:
    places = sorted(operator.integers("axes", 1) or [])

    def unsqueeze(value: Tensor) -> Tensor:
        for place in places:
            value = value.unsqueeze(place)
        return value

    return unsqueeze


def _slice(operator: Node) -> Step:
    def cut(value: Tensor) -> Tensor:
        parts = operator.slices(value.ndim)
        return value[tuple(parts.get(axis, slice(None)) for axis in range(value.ndim))]

    return cut


def _pad(operator: Node) -> Step:
    pairs = operator.pads(len(operator.required(1)) // 2)
    backwards = [size for pair in reversed(pairs) for size in pair]
    return lambda value: functional.pad(value, backwards)


_OPERATORS = Rules[Node, Step](
    {
        "QuantizeLinear": _quantize,
        "DequantizeLinear": lambda operator: lambda value: value,
        "Relu": lambda operator: torch.relu,
        "Tanh": lambda operator: torch.tanh,
        "MaxPool": _pool,
        "ReduceMean": lambda operator: (
            lambda value: value.mean(operator.reduced(value.ndim), keepdim=operator.flag("keepdims"))
        ),
        "Reshape": _reshape,
        "Flatten": lambda operator: lambda value: value.flatten(1),
        "Unsqueeze": _unsqueeze,
        "Gather": lambda operator: lambda value: value.select(operator.integer("axis"), int(operator.required(1))),
        "Slice": _slice,
        "Pad": _pad,
        "Concat": lambda operator: lambda *values: torch.cat(values, operator.axis(values[0].ndim)),
        "Transpose": lambda operator: lambda value: value.permute(operator.permutation(value.ndim)),
    },
    unknown="not known to quantization-aware training",
)
