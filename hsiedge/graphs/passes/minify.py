"""Pass: the same graph in fewer bytes. In a small INT8 file, names and remarks take more of them than weights."""

from __future__ import annotations

import itertools
import string
from collections import Counter
from collections.abc import Iterator

import onnx_ir as ir
from onnx import defs

from hsiedge.graphs.edit import array_of, name_of
from hsiedge.graphs.passes.graph_pass import GraphPass
from hsiedge.runtimes import seal

_WITH_WEIGHTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_SPATIAL = ("Conv", "ConvTranspose", "MaxPool", "AveragePool")
_BY_AXIS = {"pads": 0, "dilations": 1, "strides": 1}  # their defaults, along each axis
_QUANTIZERS_OWN = ("onnx.infer", "onnx.quant.pre_process")
_PLAIN = ("FLOAT", "FLOAT16", "INT8", "UINT8", "INT16", "UINT16", "INT32", "INT64")
_LETTERS = string.ascii_letters + "_"


class Minify(GraphPass):
    """Leaves out what no runtime reads, and writes short what only has to be told apart.

    Requires: nothing; a graph with inner graphs or functions stays as it is.
    Does: gives values names of one letter or two; takes the names of nodes without weights away, and docs, value_info,
    metadata of graph and nodes, attributes that say the default, initializers that nothing uses or that equal another (but int8
    ones, of which each use keeps its own: `SeparateInt8Tensors`), zero points of biases and of the weights of integer
    convolutions (they are 0; those of other layers stay, which onnxruntime needs), and opsets that no node is of.
    Ensures: outputs are the same to the bit. Names of inputs, outputs and nodes with weights are kept, and the model's
    metadata but for what a quantizer left there for itself.
    """

    def rewrite(self, model: ir.Model) -> str:
        if model.functions or any(True for _ in model.graph.subgraphs()):
            return ""
        _say_less(model)
        for node in model.graph:
            _drop_defaults(node, model.graph.opset_imports.get(node.domain, 1))
        _drop_zero_points(model.graph)
        before = len(model.graph.initializers)
        _share_initializers(model.graph)
        _shorten_names(model.graph)
        return f"{before} initializers are {len(model.graph.initializers)}, and names are short"

    def fault(self, model: ir.Model) -> str:
        return (
            "a node with weights has no name"
            if any(node.op_type in _WITH_WEIGHTS and not node.name for node in model.graph)
            else ""
        )


def _say_less(model: ir.Model) -> None:
    graph = model.graph
    model.producer_name, model.producer_version, model.doc_string, graph.doc_string = "hsiedge", None, None, None
    domains = {node.domain for node in graph}
    for domain in [domain for domain in graph.opset_imports if domain not in domains]:
        del graph.opset_imports[domain]
    for key in (*_QUANTIZERS_OWN, seal.KEY):  # what says less has another digest
        model.metadata_props.pop(key, None)
    graph.metadata_props.clear()
    computed = [value for node in graph for value in node.outputs]
    for value in (*graph.inputs, *graph.initializers.values(), *computed):
        value.doc_string = None
        value.metadata_props.clear()
        value.meta.clear()  # onnx-ir keeps quantization annotations there
        if value not in _public(graph):
            value.type = value.shape = None
    for node in graph:
        node.doc_string = None
        node.metadata_props.clear()
        if node.op_type not in _WITH_WEIGHTS:
            node.name = None


def _drop_defaults(node: ir.Node, opset: int) -> None:
    known = defs.get_schema(node.op_type, opset, node.domain).attributes if defs.has(node.op_type, node.domain) else {}
    for name, entry in list(node.attributes.items()):
        default = ir.from_proto(known[name].default_value) if name in known and known[name].default_value.name else None
        by_schema = default is not None and default.type == entry.type and default.value == entry.value
        by_axis = node.op_type in _SPATIAL and name in _BY_AXIS and {*entry.as_ints()} == {_BY_AXIS[name]}
        if by_schema or by_axis:
            del node.attributes[name]


def _drop_zero_points(graph: ir.Graph) -> None:
    """Drops zero points of biases and of integer convolutions' weights, which are 0: the default of DequantizeLinear.

    Linear layers would be computed in float without them; and where a convolution is no integer kernel, onnxruntime's exact
    mode makes unsigned weights by channel with one zero point for all, which DequantizeLinear refuses as it runs.
    """
    filters = {node.inputs[1] for node in graph if _is_integer_convolution(node)}
    for node in graph:
        if node.op_type != "DequantizeLinear" or len(node.inputs) != 3:
            continue
        stored, zero_point = array_of(node.inputs[0]), array_of(node.inputs[2])
        if stored is None or zero_point is None or zero_point.any():
            continue
        if zero_point.dtype.name == "int32" or node.outputs[0] in filters:  # no weight is that wide
            node.resize_inputs(2)


def _is_integer_convolution(node: ir.Node) -> bool:
    """Whether onnxruntime makes one QLinearConv of it: all that it takes is dequantized, and it is quantized right behind."""
    if node.op_type != "Conv":
        return False
    makers = [value.producer() if value is not None else None for value in node.inputs]
    takers = [use.node.op_type for use in node.outputs[0].uses()]
    return all(maker is not None and maker.op_type == "DequantizeLinear" for maker in makers) and takers == ["QuantizeLinear"]


def _share_initializers(graph: ir.Graph) -> None:
    """Takes away those that nothing uses, and those that equal another."""
    public, first = _public(graph), dict[tuple[ir.DataType, tuple[int, ...], bytes], ir.Value]()
    for name, value in list(graph.initializers.items()):
        tensor = value.const_value
        if tensor is None or not (value.uses() or value in public):
            del graph.initializers[name]
            continue
        if tensor.dtype.name in _PLAIN:  # as raw bytes: a list of numbers takes up to ten bytes for a negative one
            value.const_value = tensor = ir.tensor(tensor.numpy(), name=name)
        if value in public or tensor.dtype in (ir.DataType.INT8, ir.DataType.STRING):
            continue  # an input's own weights may be fed in the place of these
        shared = first.setdefault((tensor.dtype, tuple(tensor.shape.numpy()), tensor.tobytes()), value)
        if shared is not value:
            value.replace_all_uses_with(shared)
            del graph.initializers[name]


def _shorten_names(graph: ir.Graph) -> None:
    """Names each value but inputs and outputs anew; those that are named most often get the shortest."""
    public = _public(graph)
    named = (value for node in graph for value in (*node.inputs, *node.outputs) if value is not None and value.name)
    uses = Counter(value for value in named if value not in public)
    names = zip([value for value, _ in uses.most_common()], _short_names({name_of(value) for value in public}))
    stored = list(graph.initializers.values())
    graph.initializers.clear()  # so that a name may pass from one to another
    for value, name in names:
        value.name = name
    for value in stored:
        graph.register_initializer(value)


def _short_names(reserved: set[str]) -> Iterator[str]:
    letters = itertools.chain(_LETTERS, (a + b for a in _LETTERS for b in _LETTERS + string.digits))
    names = itertools.chain(letters, (f"v{number}" for number in itertools.count(100)))
    return (name for name in names if name not in reserved)


def _public(graph: ir.Graph) -> set[ir.Value]:
    return {*graph.inputs, *graph.outputs}
