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
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from hsiedge.errors import ModelError

_FRONT = ("Cast", "Sub", "Mul")
_LAYERS = ("Conv", "Gemm")


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

    def __init__(self, graph: Any, source: Any, bits: int = 8) -> None:
        super().__init__()
        self._graph = graph
        self._constants = _arrays(graph)
        self._front = [node for node in graph.graph.node if node.op_type in _FRONT]
        self.layers = nn.ModuleDict()
        self._steps: list[tuple[Any, Callable[..., Tensor]]] = []
        makers = {name: node for node in graph.graph.node for name in node.output}
        floats = _arrays(source)
        for node in graph.graph.node:
            if node.op_type in _FRONT or (node.op_type == "DequantizeLinear" and node.input[0] in self._constants):
                continue  # the layers do the latter
            if node.op_type in _LAYERS:
                layer = _Layer(node, makers, self._constants, floats, bits, _output_step(node, graph, self._constants))
                self.layers[node.name.replace(".", "_")] = layer
                self._steps.append((node, layer))
            elif node.op_type in _OPERATORS:
                self._steps.append((node, _OPERATORS[node.op_type](node, self._constants)))
            else:
                raise ModelError(f"{node.name}: quantization-aware training does not know the operator {node.op_type}")

    @property
    def spectral(self) -> nn.Module | None:
        """The weights of the first layer where that is a convolution over the bands (`training.conditioning`)."""
        layer = dict(self.layers.items()).get("spectral")
        return layer.weights if isinstance(layer, _Layer) else None

    def forward(self, spectra: Tensor) -> Tensor:
        """Logits, as the graph gives them but for rounding errors of float sums; in the dtype of `spectra`.

        In float64, sums are exact, and scaled to output steps as onnxruntime's integer kernels scale them, in float32.
        """
        values = {self._front[-1].output[0]: spectra}
        for node, step in self._steps:
            values[node.output[0]] = step(*(values[name] for name in node.input if name in values))
        return values[self._graph.graph.output[0].name]

    def write(self) -> Any:
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


def _output_step(node: Any, graph: Any, constants: dict[str, NDArray[Any]]) -> float | None:
    """The step that a layer's output is rounded to, right behind it or behind a Relu; None where it stays float."""
    takers = [other for other in graph.graph.node if node.output[0] in other.input]
    if len(takers) == 1 and takers[0].op_type == "Relu":
        return _output_step(takers[0], graph, constants)
    return float(constants[takers[0].input[1]]) if len(takers) == 1 and takers[0].op_type == "QuantizeLinear" else None


class _Layer(nn.Module):
    """A convolution or linear layer with weights on a grid and a bias of 32 bits."""

    def __init__(
        self,
        node: Any,
        makers: dict[str, Any],
        constants: dict[str, NDArray[Any]],
        floats: Any,
        bits: int,
        output_step: float | None,
    ) -> None:
        super().__init__()
        entry, weight, bias = (makers[name] for name in node.input)
        self._names = (weight.input[0], weight.input[1], bias.input[0], bias.input[1])
        sources = [name.removesuffix("_quantized") for name in (weight.input[0], bias.input[0])]
        self.name = str(node.name)
        self.input_step = float(constants[entry.input[1]])
        self.weights = GridWeights(_tensor(floats[sources[0]]), bits)
        self.bias = nn.Parameter(_tensor(floats[sources[1]]))
        self._output_step = output_step
        self._apply_weights = _convolution(node) if node.op_type == "Conv" else functional.linear

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


def _arrays(model: Any) -> dict[str, NDArray[Any]]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def _tensor(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.array(array))


def _attributes(node: Any) -> dict[str, Any]:
    """The attributes that a node says, by name; not those that it leaves to their defaults."""
    return {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}


def _convolution(node: Any) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    attributes = _attributes(node)
    ndim = len(attributes["kernel_shape"])
    pads = list(attributes.get("pads", [0] * 2 * ndim))
    if pads[:ndim] != pads[ndim:]:
        raise ModelError(f"{node.name}: a convolution padded on one side more than on the other")
    function = (functional.conv1d, functional.conv2d, functional.conv3d)[ndim - 1]
    stride, dilation = (tuple(attributes.get(name, [1] * ndim)) for name in ("strides", "dilations"))

    def convolve(value: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return function(value, weight, bias, stride, tuple(pads[:ndim]), dilation, attributes.get("group", 1))

    return convolve


def _quantize(node: Any, constants: dict[str, NDArray[Any]]) -> Callable[[Tensor], Tensor]:
    step, zero = float(constants[node.input[1]]), constants[node.input[2]]
    limits = np.iinfo(zero.dtype)
    low, high = limits.min - int(zero), limits.max - int(zero)

    def quantize(value: Tensor) -> Tensor:
        steps = value / step
        steps = steps.float().double() if value.dtype == torch.float64 else steps  # a half stays one
        return rounded(steps.clamp(low, high)) * step

    return quantize


def _pool(node: Any, constants: dict[str, NDArray[Any]]) -> Callable[[Tensor], Tensor]:
    attributes = _attributes(node)
    kernel = attributes["kernel_shape"]
    if any(attributes.get("pads", [])) or attributes.get("ceil_mode", 0):
        raise ModelError(f"{node.name}: padded pooling is not known here")
    function = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)[len(kernel) - 1]
    return lambda value: function(value, kernel, attributes.get("strides", [1] * len(kernel)))


def _mean(node: Any, constants: dict[str, NDArray[Any]]) -> Callable[[Tensor], Tensor]:
    axes, keep = tuple(map(int, constants[node.input[1]])), bool(_attributes(node).get("keepdims", 1))
    return lambda value: value.mean(axes, keepdim=keep)


def _reshape(node: Any, constants: dict[str, NDArray[Any]]) -> Callable[[Tensor], Tensor]:
    sizes = [int(size) for size in constants[node.input[1]]]
    return lambda value: value.reshape([value.shape[place] if size == 0 else size for place, size in enumerate(sizes)])


def _unsqueeze(node: Any, constants: dict[str, NDArray[Any]]) -> Callable[[Tensor], Tensor]:
    places = sorted(int(place) for place in constants[node.input[1]])

    def unsqueeze(value: Tensor) -> Tensor:
        for place in places:
            value = value.unsqueeze(place)
        return value

    return unsqueeze


def _gather(node: Any, constants: dict[str, NDArray[Any]]) -> Callable[[Tensor], Tensor]:
    axis, place = int(_attributes(node).get("axis", 0)), int(constants[node.input[1]])
    return lambda value: value.select(axis, place)


def _slice(node: Any, constants: dict[str, NDArray[Any]]) -> Callable[[Tensor], Tensor]:
    start, end, axis, step = (int(constants[name].item()) for name in node.input[1:])

    def cut(value: Tensor) -> Tensor:
        return value[(slice(None),) * axis + (slice(start, end, step),)]

    return cut


def _pad(node: Any, constants: dict[str, NDArray[Any]]) -> Callable[[Tensor], Tensor]:
    pads = [int(size) for size in constants[node.input[1]]]
    rank = len(pads) // 2
    backwards = [size for axis in reversed(range(rank)) for size in (pads[axis], pads[rank + axis])]
    return lambda value: functional.pad(value, backwards)


def _concat(node: Any, constants: dict[str, NDArray[Any]]) -> Callable[..., Tensor]:
    axis = int(_attributes(node)["axis"])
    return lambda *values: torch.cat(values, axis)


def _transpose(node: Any, constants: dict[str, NDArray[Any]]) -> Callable[[Tensor], Tensor]:
    order = tuple(_attributes(node)["perm"])
    return lambda value: value.permute(order)


_OPERATORS: dict[str, Callable[[Any, dict[str, NDArray[Any]]], Callable[..., Tensor]]] = {
    "QuantizeLinear": _quantize,
    "DequantizeLinear": lambda node, constants: lambda value: value,
    "Relu": lambda node, constants: torch.relu,
    "Tanh": lambda node, constants: torch.tanh,
    "MaxPool": _pool,
    "ReduceMean": _mean,
    "Reshape": _reshape,
    "Flatten": lambda node, constants: lambda value: value.flatten(1),
    "Unsqueeze": _unsqueeze,
    "Gather": _gather,
    "Slice": _slice,
    "Pad": _pad,
    "Concat": _concat,
    "Transpose": _transpose,
}
